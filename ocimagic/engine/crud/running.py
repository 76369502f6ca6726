"""What is known of tasks: rows and shims' files, and in memory the way to clients' streams."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.engine.crud.room import DEFAULT, Part, Refused
from ocimagic.engine.crud.streams import Pump, Stdio
from ocimagic.engine.exits import exit_status
from ocimagic.engine.register import STATE_NAME, read_json, status_in
from ocimagic.errors import InvalidState, NotFound, OcimagicError
from ocimagic.model.result import ExitStatus
from ocimagic.model.state import Status
from ocimagic.shim import client as shim
from ocimagic.store import objects
from ocimagic.store.objects import missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.engine.containers import Containers as EngineContainers
    from ocimagic.engine.crud.containers import Containers
    from ocimagic.engine.crud.snapshots import Snapshots
    from ocimagic.engine.images import Images
    from ocimagic.shim.client import Connection
    from ocimagic.store.containers import ContainerRecord
    from ocimagic.store.objects import Object

ALIVE = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})

Key = tuple[str, str, str]  # namespace, container, exec


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """How it is with a task, or with a command executed beside it.

    Attributes:
        exec_id: "" for the task itself.
        pid: 0 before it was started.
        ended: None as long as it has not.
    """

    container_id: str
    exec_id: str
    pid: int
    status: Status
    stdio: Stdio
    ended: ExitStatus | None


class Process:
    """What this server knows of one process: the way to its streams, and who waits for it."""

    def __init__(self, stdio: Stdio, spec: Mapping[str, object] | None = None) -> None:
        self.stdio = stdio
        self.spec = spec
        self.size: tuple[int, int] | None = None
        self.pump: Pump | None = None
        self.pid = 0
        self.ended: ExitStatus | None = None
        self.over = threading.Event()


class Running(Part):
    """What runs in all namespaces."""

    def __init__(
        self,
        containers: EngineContainers,
        images: Images,
        kept: Containers,
        snapshots: Snapshots,
    ) -> None:
        super().__init__(containers, images)
        self._containers = kept
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._known: dict[Key, Process] = {}

    # -- looking ---------------------------------------------------------------------

    def get(self, namespace: str, container_id: str, exec_id: str = "") -> TaskState:
        """Return how it is with a task, or with a command beside it.

        Raises:
            ObjectNotFound: there is none.
        """
        if exec_id:
            container_id = self.get(namespace, container_id).container_id
            return self._state_of_exec(namespace, container_id, exec_id)
        if found := self._objects.find(namespace, objects.TASK, container_id):
            return self._state(found)
        if record := self._containers.engines(namespace, container_id):
            state = self._state_of_engine(record.container_id)
            if state is not None and state.ended is None:
                return state
        raise missing("task", container_id)

    def list(self, namespace: str) -> list[TaskState]:
        """Return how it is with all tasks."""
        found = [self._state(each) for each in self._objects.list(namespace, objects.TASK)]
        if namespace == DEFAULT:
            states = [self._state_of_engine(each.container_id) for each in self._rows()]
            found += [state for state in states if state and state.ended is None]
        return found

    def _rows(self) -> Sequence[ContainerRecord]:
        return self._store.containers.all()

    # -- what happens --------------------------------------------------------------------

    def _lead(
        self, namespace: str, container_id: str, exec_id: str, process: Process, way: Connection
    ) -> None:
        """Lead the streams of a process that runs, until it has ended."""

        def on_end(ended: ExitStatus | None) -> None:
            process.ended = ended
            if not exec_id:
                with contextlib.suppress(NotFound):
                    self._tell_end(self._objects.get(namespace, objects.TASK, container_id))
            elif ended is not None:
                self._tell_exit(namespace, container_id, exec_id, process.pid, ended)
            process.over.set()

        process.pump = Pump(way, process.stdio, on_end)

    # -- what is known -----------------------------------------------------------------

    def _directory(self, task: Object) -> Path:
        return self._store.home.objects / "tasks" / str(task.document["token"])

    def _state(self, task: Object) -> TaskState:
        directory = self._directory(task)
        status, ended = status_in(directory)
        if task.document["ended"]:
            status, ended = Status.EXITED, exit_status(task.document["ended"])
        state = read_json(directory / STATE_NAME) or {}
        return TaskState(
            container_id=task.name,
            exec_id="",
            pid=int(str(state.get("pid", 0))),
            status=status,
            stdio=Stdio.from_json(task.document["stdio"]),
            ended=ended,
        )

    def _state_of_engine(self, container_id: str) -> TaskState | None:
        """Return how it is with a container of the engine's that was started; else None.

        One that has ended has no task any more, as dockerd deletes it then.
        """
        try:
            summary = self._engine_containers.summary(self._engine_containers.find(container_id))
        except OcimagicError:
            return None
        if summary.status is Status.CREATED:
            return None
        return TaskState(
            container_id=container_id,
            exec_id="",
            pid=summary.pid or 0,
            status=summary.status,
            stdio=Stdio(),
            ended=summary.exit,
        )

    def _state_of_exec(self, namespace: str, container_id: str, exec_id: str) -> TaskState:
        process = self._exec(namespace, container_id, exec_id)
        status = Status.EXITED if process.over.is_set() else Status.RUNNING
        if process.pump is None and process.ended is None:
            status = Status.CREATED
        ended = process.ended
        if process.over.is_set() and ended is None:
            ended = ExitStatus(code=255, signal=None, finished=datetime.now(UTC))
        return TaskState(
            container_id=container_id,
            exec_id=exec_id,
            pid=process.pid,
            status=status,
            stdio=process.stdio,
            ended=ended,
        )

    def _exec(self, namespace: str, container_id: str, exec_id: str) -> Process:
        found = self._known.get((namespace, container_id, exec_id))
        if found is None:
            raise missing("exec", exec_id)
        return found

    def _process(self, key: Key, task: Object) -> Process:
        with self._lock:
            stdio = Stdio.from_json(task.document["stdio"])
            return self._known.setdefault(key, Process(stdio))

    def _remember(self, key: Key, process: Process) -> None:
        with self._lock:
            self._known[key] = process

    def _connect(self, namespace: str, container_id: str) -> Connection:
        """Connect to the shim of what runs.

        Raises:
            Refused: it does not run.
        """
        self.get(namespace, container_id)
        if task := self._objects.find(namespace, objects.TASK, container_id):
            state = read_json(self._directory(task) / STATE_NAME) or {}
            try:
                return shim.connect(Path(str(state.get("run_directory", "/nowhere"))))
            except InvalidState as err:
                raise Refused(f"task {container_id} is not running") from err
        record = self._containers.engines(namespace, container_id)
        assert record is not None
        return self._engine_containers.connect(record)

    def _tell_end(self, task: Object) -> None:
        """Tell that a task has ended, once."""
        ended = self._state(task).ended
        if ended is None or task.document["told"]:
            return
        self._objects.put(task.namespace, objects.TASK, task.name, {**task.document, "told": True})
        process = self._known.get((task.namespace, task.name, ""))
        pid = process.pid if process else 0
        self._tell_exit(task.namespace, task.name, task.name, pid, ended)

    def _tell_exit(
        self, namespace: str, container_id: str, name: str, pid: int, ended: ExitStatus
    ) -> None:
        said = {"container_id": container_id, "id": name, "pid": str(pid)}
        said |= {"exit_status": str(ended.code), "exited_at": str(ended.finished.timestamp())}
        self.tell(namespace, "/tasks/exit", **said)
