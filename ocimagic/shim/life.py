"""What a shim knows of its container: in memory that outlives it, and in files for engines.

``state.json`` says what is, ``exit.json`` how it ended; both are replaced whole.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from ocimagic.linux.identity import ProcessIdentity, boot_id
from ocimagic.shim import protocol
from ocimagic.shim.task import RestartPolicy
from ocimagic.spec.record import dataclass, field, fields

if TYPE_CHECKING:
    from ocimagic.shim.ending import Ending
    from ocimagic.shim.memory import Blob

BLOB_CAPACITY = 1 << 19
NEW, MAKING, CREATED, RUNNING = "new", "making", "created", "running"
ENDED, WAITING = "ended", "waiting"


@dataclass(slots=True)
class Life:
    """How far a container has come; plain JSON values.

    Attributes:
        phase: ``new``; ``making``, perhaps in part; ``created``: made, its command waits;
            ``running``; ``ended``, its end not yet told; ``waiting`` to be started again.
        pid: of the first process, with its start time.
        cgroup_paths: where it is, by controller.
        is_cleaned: nothing of it is left but its files.
        is_recorded: its end is written down for good.
        began_s: when the command began, of ``time.monotonic()``, which all processes share.
        told: the client that asked for the container knows that it runs.
        ending: code and signal.
        failure: why it could not be started, packed.
        restart: a policy that was set later; None for the one asked for at first.
        is_stopped: somebody stopped it: it is not started again.
        kill_at_s: when it is killed if it does not stop by itself; 0 for never.
        begin_at_s: when it is started again.
        delay_s: how long that was waited for.
        is_light: the shim has written to few pages of the memory it shares with the holder.
        audience: how many clients are connected.
        is_followed: the client that asked for the container is one of them.
        execs: by exec_id, see ``execs``.
        endpoints: its places in networks, see ``network.plan``.
        leftover: places whose links are not removed yet.
        ports: of the machine that lead to it.
        name: that it was given later; "" for the one it was made with.
    """

    phase: str = NEW
    pid: int = 0
    start_ticks: int = 0
    cgroup_paths: dict[str, str] = field(default_factory=dict)
    is_cleaned: bool = False
    is_recorded: bool = False
    started: str = ""
    began_s: float = 0.0
    told: bool = False
    ending: list[int | None] = field(default_factory=list)
    finished: str = ""
    oom_killed: bool = False
    error: str = ""
    failure: dict[str, object] | None = None
    restart: list[object] | None = None
    restart_count: int = 0
    is_stopped: bool = False
    is_paused: bool = False
    kill_at_s: float = 0.0
    begin_at_s: float = 0.0
    delay_s: float = 0.0
    is_light: bool = False
    audience: int = 0
    is_followed: bool = False
    health: dict[str, object] | None = None
    execs: dict[str, dict[str, object]] = field(default_factory=dict)
    endpoints: list[dict[str, object]] = field(default_factory=list)
    leftover: list[dict[str, object]] = field(default_factory=list)
    ports: list[dict[str, object]] = field(default_factory=list)
    name: str = ""

    @classmethod
    def load(cls, blob: Blob) -> Self:
        """Read what an earlier shim knew; a new life if there was none."""
        content = blob.read()
        return cls(**json.loads(content)) if content else cls()

    def save(self, blob: Blob) -> None:
        """Make sure that the next shim would know it."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        blob.write(json.dumps(content).encode())

    @property
    def identity(self) -> ProcessIdentity:
        """Return who the first process is."""
        return ProcessIdentity(self.pid, self.start_ticks, boot_id())

    def policy(self, asked: RestartPolicy) -> RestartPolicy:
        """Return the restart policy of now."""
        if self.restart is None:
            return asked
        name, count = self.restart
        return RestartPolicy(str(name), int(str(count)))

    def ended(self, ending: Ending, finished: str) -> None:
        """Note how the first process ended."""
        self.phase = ENDED
        self.ending = [ending.code, ending.signal]
        self.finished = finished
        if not ending.known:
            self.error = "nobody saw the exit code: the shim and its holder were killed"

    @property
    def status(self) -> str:
        """Return docker's word for what the container is now."""
        if self.phase == WAITING:
            return "restarting"
        return "paused" if self.is_paused else "running"

    def state(
        self, run_directory: str, shim: ProcessIdentity, holder: ProcessIdentity
    ) -> dict[str, object]:
        """Return what engines read while the container lives."""
        return {
            "version": protocol.VERSION,
            "status": self.status,
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "boot_id": shim.boot_id,
            "shim_pid": shim.pid,
            "shim_start_ticks": shim.start_ticks,
            "holder_pid": holder.pid,
            "holder_start_ticks": holder.start_ticks,
            "started": self.started,
            "run_directory": run_directory,
            "cgroup_paths": self.cgroup_paths,
            "restart_count": self.restart_count,
            "health": self.health,
            "execs": self.execs,
            "endpoints": self.endpoints,
            "ports": self.ports,
        }

    def record(self, dropped: int) -> dict[str, object]:
        """Return how the first process ended, for ``exit.json`` and for clients."""
        code, signal = self.ending
        return {
            "code": code,
            "signal": signal,
            "started": self.started,
            "finished": self.finished,
            "oom_killed": self.oom_killed,
            "error": self.error,
            "restart_count": self.restart_count,
            "stopped": self.is_stopped,
            "dropped_log_records": dropped,
        }


def replace_file(path: str, content: dict[str, object], *, durable: bool) -> None:
    """Write a JSON file whole, see ``replace_text``."""
    replace_text(path, json.dumps(content), durable=durable)


def replace_text(path: str, text: str, *, durable: bool) -> None:
    """Write a file whole.

    Args:
        path: where.
        text: all of it.
        durable: wait until it would survive a power cut.
    """
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode()
        while data:
            data = data[os.write(fd, data) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
