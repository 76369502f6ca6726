"""What a shim says of its container's beginning and end, understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.shim import protocol
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.linux.identity import ProcessIdentity

STATE_NAME = "state.json"
EXIT_NAME = "exit.json"
TIMELINE_NAME = "timeline.json"
EXEC_TIMELINES = "exec-*.json"


def exec_timeline_name(exec_id: str) -> str:
    """Return the file that tells how a command was executed.

    There are sixteen: the newest is always there, and there are never many.
    """
    return EXEC_TIMELINES.replace("*", str(sum(exec_id.encode()) % 16))


@dataclass(frozen=True, slots=True)
class Started:
    """What a shim wrote when its container began.

    Attributes:
        init: the container's first process, as seen from the machine.
        shim: who keeps it.
        holder: who starts another shim when that dies.
        started: RFC 3339 with nanoseconds.
    """

    init: ProcessIdentity
    shim: ProcessIdentity
    holder: ProcessIdentity
    started: str

    @classmethod
    def from_message(cls, state: Mapping[str, object]) -> Self:
        """Read a shim's state."""
        from ocimagic.linux.identity import ProcessIdentity  # the engine loads without Linux

        def who(prefix: str) -> ProcessIdentity:
            pid, ticks = (int(str(state[f"{prefix}{key}"])) for key in ("pid", "start_ticks"))
            return ProcessIdentity(pid, ticks, str(state["boot_id"]))

        return cls(who(""), who("shim_"), who("holder_"), str(state["started"]))


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    Attributes:
        finished: RFC 3339.
        oom_killed: the memory limit of the container killed something in it.
        error: why there is no better answer; "" when all is known.
        restart_count: how often the container was started again.
        restarting: it will be started again.
        stopped: somebody stopped it on purpose.
    """

    code: int
    signal: int | None
    finished: str
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    restarting: bool = False
    stopped: bool = False

    @classmethod
    def from_message(cls, record: Mapping[str, object]) -> Self:
        """Read an exit record."""
        number = record["signal"]
        return cls(
            int(str(record["code"])),
            None if number is None else int(str(number)),
            str(record["finished"]),
            bool(record.get("oom_killed")),
            str(record.get("error", "")),
            int(str(record.get("restart_count", 0))),
            bool(record.get("restarting")),
            bool(record.get("stopped")),
        )


def exit_of(payload: bytes) -> Exit | None:
    """Return the exit record in a JSON frame, None for another message."""
    content = protocol.parse_message(payload)
    return Exit.from_message(mapping(content["exit"])) if "exit" in content else None


def mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object that must be one."""
    assert isinstance(value, dict)
    return value
