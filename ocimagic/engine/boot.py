"""What restart policies ask for when an engine begins, as a daemon does after a boot.

Shims start their containers again while the machine runs; when it was off, or shim and holder
were killed together, nobody is left who would.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocimagic.engine.record import Document
from ocimagic.engine.register import EXIT_NAME, STATE_NAME, read_json
from ocimagic.errors import OcimagicError
from ocimagic.linux.identity import boot_id
from ocimagic.model.policy import RestartName
from ocimagic.shim import client as shim
from ocimagic.shim.restart import after_boot
from ocimagic.shim.task import RestartPolicy

if TYPE_CHECKING:
    from ocimagic.engine.lifecycle import Lifecycle
    from ocimagic.store.containers import ContainerRecord

_LASTING = (RestartName.ALWAYS, RestartName.UNLESS_STOPPED)


def start_again(containers: Lifecycle) -> None:
    """Start the containers that should run and that nobody keeps."""
    for record in containers.store.containers.all():
        if is_due(containers, record):
            # One that cannot start now must not keep the engine from the others.
            with contextlib.suppress(OcimagicError):
                containers.start(record.container_id)


def is_due(containers: Lifecycle, record: ContainerRecord) -> bool:
    """Say whether a container is to be started: its policy says so, and its end was no one's wish.

    As in docker, ``always`` starts after a boot what somebody had stopped before it.
    """
    policy = Document.decode(record.document).options.restart
    directory = containers.directory(record.container_id)
    state = read_json(directory / STATE_NAME)
    if policy.name not in _LASTING or state is None or shim.is_kept(directory):
        return False
    ended = read_json(directory / EXIT_NAME)
    if ended is not None and state.get("boot_id") == boot_id():
        return False
    is_stopped = ended is not None and bool(ended.get("stopped"))
    return after_boot(RestartPolicy(policy.name.value), is_stopped=is_stopped)
