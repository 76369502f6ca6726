"""What a container can be, and what may be done to it then.

Spec: runtime-spec runtime.md, "State"; the words are docker's: ``exited`` for ``stopped``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping


class Status(Enum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"


ALIVE = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})
STOPPED = frozenset({Status.CREATED, Status.EXITED})
DOOMED = frozenset({Status.REMOVING, Status.DEAD})


class Verb(Enum):
    """What can be asked of a container."""

    START = "start"
    STOP = "stop"
    KILL = "kill"
    RESTART = "restart"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    WAIT = "wait"
    ATTACH = "attach"
    EXEC = "exec"
    TOP = "top"
    STATS = "stats"
    RENAME = "rename"
    UPDATE = "update"
    COPY = "copy"
    DIFF = "diff"
    EXPORT = "export"
    COMMIT = "commit"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a verb may be used.

    Attributes:
        allowed: the statuses it is for.
        why: what is said of the others, where there is more to say than the status.
        hint: what to do then.
    """

    allowed: frozenset[Status]
    why: Mapping[Status, str] = field(default_factory=dict)
    hint: Mapping[Status, str] = field(default_factory=dict)


_NOT_RUNNING = dict.fromkeys(STOPPED, "it is not running")
_WAIT = {Status.RESTARTING: "it is restarting, wait until it is running"}
_START_FIRST = dict.fromkeys(STOPPED, "%container_start {name}")
_UNPAUSE_FIRST = {Status.PAUSED: "%container_unpause {name}"}
_ANY = frozenset(Status) - DOOMED

RULES: dict[Verb, Rule] = {
    Verb.START: Rule(
        STOPPED,
        {Status.PAUSED: "it is paused, try unpause instead"} | dict.fromkeys(
            (Status.RUNNING, Status.RESTARTING), "it is running already"
        ),
        _UNPAUSE_FIRST,
    ),
    # Stopping what does not run is done at once, as in docker.
    Verb.STOP: Rule(_ANY),
    Verb.RESTART: Rule(_ANY),
    Verb.WAIT: Rule(frozenset(Status)),
    Verb.KILL: Rule(ALIVE, _NOT_RUNNING),
    Verb.PAUSE: Rule(
        frozenset({Status.RUNNING}),
        _NOT_RUNNING | _WAIT | {Status.PAUSED: "it is already paused"},
        _START_FIRST | _UNPAUSE_FIRST,
    ),
    Verb.UNPAUSE: Rule(
        frozenset({Status.PAUSED}), dict.fromkeys(Status, "it is not paused")
    ),
    Verb.ATTACH: Rule(
        frozenset({Status.RUNNING}),
        {
            **dict.fromkeys(STOPPED, "it is stopped, start it first"),
            Status.PAUSED: "it is paused, unpause it first",
            **_WAIT,
        },
        _START_FIRST | _UNPAUSE_FIRST,
    ),
    Verb.EXEC: Rule(
        frozenset({Status.RUNNING}),
        {**_NOT_RUNNING, Status.PAUSED: "it is paused, unpause it before exec", **_WAIT},
        _START_FIRST | _UNPAUSE_FIRST,
    ),
    Verb.TOP: Rule(
        frozenset({Status.RUNNING, Status.PAUSED}), _NOT_RUNNING | _WAIT, _START_FIRST
    ),
    Verb.STATS: Rule(_ANY),
    Verb.RENAME: Rule(_ANY),
    Verb.UPDATE: Rule(_ANY),
    Verb.COPY: Rule(_ANY),
    Verb.DIFF: Rule(_ANY),
    Verb.EXPORT: Rule(_ANY),
    Verb.COMMIT: Rule(_ANY),
    Verb.REMOVE: Rule(
        STOPPED | {Status.DEAD},
        {
            Status.RUNNING: "it is running: stop it before removing, or force remove",
            Status.RESTARTING: "it is restarting: stop it before removing, or force remove",
            Status.PAUSED: "it is paused and must be unpaused first",
            Status.REMOVING: "its removal is already in progress",
        },
        dict.fromkeys(
            (Status.RUNNING, Status.RESTARTING, Status.PAUSED),
            "%container_stop {name}, or %container_rm -f {name}",
        ),
    ),
}  # fmt: skip


def refusal(verb: Verb, status: Status, name: str) -> InvalidState | None:
    """Return why a verb is not for a container of this status, None if it is."""
    rule = RULES[verb]
    if status in rule.allowed:
        return None
    usual = "it is marked for removal" if status in DOOMED else f"it is {status.value}"
    hint = rule.hint.get(status)
    return InvalidState(
        f"cannot {_PHRASES.get(verb, verb.value + ' container')} {name}",
        why=rule.why.get(status, usual),
        hint=hint and hint.format(name=name),
    )


_PHRASES = {
    Verb.ATTACH: "attach to container",
    Verb.EXEC: "exec in container",
    Verb.TOP: "list the processes of container",
    Verb.COPY: "copy files of container",
    Verb.DIFF: "show the changes of container",
}
