"""Whose namespace a container uses: docker's words ``host``, ``private``, ``container:NAME``.

Spec: Docker Engine API, HostConfig ``PidMode``, ``IpcMode``, ``UTSMode``, ``UsernsMode`` and
``CgroupnsMode``; namespaces(7).
"""

from __future__ import annotations

from enum import Enum

from ocimagic.errors import InvalidOption
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass

CONTAINER_PREFIX = "container:"


class Share(Enum):
    """With whom a namespace is shared.

    DEFAULT is docker's choice for the kind; SHAREABLE and NONE are for IPC only: others may
    join it, and no /dev/shm at all.
    """

    DEFAULT = ""
    PRIVATE = "private"
    HOST = "host"
    SHAREABLE = "shareable"
    NONE = "none"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class NamespaceChoice:
    """One choice; ``container`` is a name or ID, for ``Share.CONTAINER`` only."""

    share: Share = Share.DEFAULT
    container: str = ""


_ALLOWED = {
    "pid": (Share.DEFAULT, Share.HOST, Share.CONTAINER),
    "ipc": tuple(Share),
    "uts": (Share.DEFAULT, Share.HOST),
    "userns": (Share.DEFAULT, Share.HOST),
    "cgroupns": (Share.DEFAULT, Share.PRIVATE, Share.HOST),
}


def namespace_choice(kind: str, text: str) -> NamespaceChoice:
    """Read the value of ``--pid``, ``--ipc``, ``--uts``, ``--userns`` or ``--cgroupns``.

    Raises:
        InvalidOption: not a word for this kind.
    """
    allowed = _ALLOWED[kind]
    if text.startswith(CONTAINER_PREFIX) and Share.CONTAINER in allowed:
        name = text.removeprefix(CONTAINER_PREFIX)
        if not name:
            raise InvalidOption(f"--{kind} {text} names no container")
        return NamespaceChoice(Share.CONTAINER, name)
    for share in allowed:
        if share.value == text and share is not Share.CONTAINER:
            return NamespaceChoice(share)
    words = [
        f"{CONTAINER_PREFIX}NAME" if each is Share.CONTAINER else each.value
        for each in allowed
        if each.value
    ]
    near = nearest(text, words)
    hint = f"did you mean {near}?" if near else f"write {' or '.join(words)}"
    raise InvalidOption(f"invalid value for --{kind}: {text!r}", hint=hint)
