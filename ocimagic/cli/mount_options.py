"""``-v``, ``--mount`` and ``--device``: from words to what is mounted where.

The words are read in ``ocimagic.model.mount_words``; here are the caller's directory and the
devices of this machine.
"""

from __future__ import annotations

import glob
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.model import mount_words
from ocimagic.model.mount_words import tmpfs, volumes_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.cli.session import Session
    from ocimagic.model.options import TmpfsMount, VolumeMount
    from ocimagic.model.resources import DeviceMapping

__all__ = ["devices", "mount", "tmpfs", "volume", "volumes_from"]


def volume(session: Session, text: str) -> VolumeMount:
    """Read ``-v``; a relative source starts at the session's directory."""
    return mount_words.volume(session.path, text)


def mount(session: Session, text: str) -> VolumeMount | TmpfsMount:
    """Read ``--mount``; a relative source starts at the session's directory."""
    return mount_words.mount(session.path, text)


def devices(text: str) -> Iterator[DeviceMapping]:
    """Read ``--device``; ``/dev/tty*`` is several."""
    device = mount_words.device(text)
    if not device.source.endswith("*"):
        yield device
        return
    for path in sorted(glob.glob(device.source)):
        yield replace(device, source=path, target=path)
