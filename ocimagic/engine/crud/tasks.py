"""Tasks: what runs of a container, kept by a shim of ours as every container is.

A row and the shim's files are the truth; what is in memory is the way to the client's streams.
The engine's own containers have tasks, too, in ``default``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.bundle.directory import CONFIG_NAME, ROOTFS_NAME
from ocimagic.engine.crud.containers import spec_of
from ocimagic.engine.crud.room import Refused, check_identifier
from ocimagic.engine.crud.running import ALIVE, Process, Running, TaskState
from ocimagic.engine.processes import wait_started
from ocimagic.errors import BadInput, OcimagicError
from ocimagic.home.disk import storage_errors
from ocimagic.model.result import ExitStatus
from ocimagic.model.state import Status
from ocimagic.spec.codec import decode, encode
from ocimagic.spec.runtime import RuntimeConfig
from ocimagic.store import objects
from ocimagic.store.objects import ObjectExists, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ocimagic.engine.crud.snapshots import MountPoint
    from ocimagic.engine.crud.streams import Stdio
    from ocimagic.model.rootfs import Rootfs
    from ocimagic.shim.client import Connection
    from ocimagic.store.objects import Object

_LOOK_S = 0.2
_USUAL_SHARES = 1024


class Tasks(Running):
    """The tasks of all namespaces."""

    # -- beginning -----------------------------------------------------------------

    def create(
        self, namespace: str, container_id: str, mounts: Sequence[MountPoint], stdio: Stdio
    ) -> None:
        """Make ready what a container's spec says: its bundle, as our runtime takes it.

        Raises:
            ObjectNotFound: no such container.
            ObjectExists: it has a task.
            InvalidDocument: its spec breaks the runtime-spec.
            BadInput: a stream that is none.
        """
        if self._containers.engines(namespace, container_id):
            raise ObjectExists(f"task {container_id}: already exists")
        container = self._containers.get(namespace, container_id)
        stdio.check()
        token = os.urandom(6).hex()
        directory = self._store.home.objects / "tasks" / token
        document = {"token": token, "stdio": stdio.to_json(), "told": False, "ended": None}
        with self._store.in_use(), storage_errors(self._store.home.data):
            self._objects.add(namespace, objects.TASK, container_id, document)
            try:
                (directory / "bundle").mkdir(parents=True, mode=0o700)
                self._write_bundle(namespace, container, mounts, stdio, directory)
            except BaseException:
                self._objects.remove(namespace, objects.TASK, container_id)
                self.take_away(directory)
                raise
        self._remember((namespace, container_id, ""), Process(stdio))
        self.tell(namespace, "/tasks/create", container_id=container_id, bundle=str(directory))

    def _write_bundle(
        self,
        namespace: str,
        container: Object,
        mounts: Sequence[MountPoint],
        stdio: Stdio,
        directory: Path,
    ) -> None:
        fields = decode(spec_of(container), what=f"the spec of container {container.name!r}")
        root = dict(fields.child("root").value)
        process = {**fields.child("process").value, "terminal": stdio.terminal}
        bundle = directory / "bundle"
        rootfs = self._root(namespace, container, mounts, directory / "rw")
        if rootfs is not None:
            root["path"] = "rootfs"
            (bundle / "rootfs").mkdir()
            (bundle / ROOTFS_NAME).write_text(json.dumps(rootfs.to_json()), encoding="utf-8")
        elif not str(root.get("path", "")).startswith("/"):
            raise BadInput(f"container {container.name!r} has neither a snapshot nor a root")
        spec = {**fields.value, "root": root, "process": process}
        RuntimeConfig.parse(encode(spec))
        if self._unpacker.rootless:
            _leave_usual_shares(spec)
        (bundle / CONFIG_NAME).write_bytes(encode(spec))

    def _root(
        self, namespace: str, container: Object, mounts: Sequence[MountPoint], scratch: Path
    ) -> Rootfs | None:
        """Return what is to be mounted as the root; None for what the spec says."""
        if mounts:
            return self._snapshots.root_of(namespace, mounts, scratch)
        key = str(container.document.get("snapshot_key", ""))
        return self._snapshots.root_of_key(namespace, key, scratch) if key else None

    def start(self, namespace: str, container_id: str, exec_id: str) -> int:
        """Start a task, or a command beside it; return its pid.

        Raises:
            Refused: it was started already.
            StartFailed, CommandNotFound, CommandNotExecutable: the runtime says why.
        """
        if exec_id:
            return self._start_exec(namespace, container_id, exec_id)
        if record := self._containers.engines(namespace, container_id):
            started = self._engine_containers.start(record.container_id)
            return started.pid or 0
        task = self._objects.get(namespace, objects.TASK, container_id)
        if self._state(task).status is not Status.CREATED:
            raise Refused(f"task {container_id} must be created to be started")
        process = self._process((namespace, container_id, ""), task)
        connection = self._launch(task, process)
        try:
            process.pid = connection.started().init.pid
        except BaseException:
            connection.close()
            raise
        self._lead(namespace, container_id, "", process, connection)
        said = {"container_id": container_id, "pid": str(process.pid)}
        self.tell(namespace, "/tasks/start", **said)
        return process.pid

    def _launch(self, task: Object, process: Process) -> Connection:
        directory = self._directory(task)
        run_directory = self._store.home.run / f"task-{task.document['token']}"
        run_directory.mkdir(mode=0o700, exist_ok=True)
        return self._engine_containers.launcher.launch(
            {
                "id": task.name,
                "bundle": str(directory / "bundle"),
                "directory": str(directory),
                "run_directory": str(run_directory),
                "log_path": str(directory / "log"),
                "interactive": bool(process.stdio.stdin),
                "attached": process.stdio.is_heard,
                "terminal": process.stdio.terminal,
                "console_size": process.size,
                "log": {"driver": "none"},
            }
        )

    def execute(
        self,
        namespace: str,
        container_id: str,
        exec_id: str,
        spec: Mapping[str, object],
        stdio: Stdio,
    ) -> None:
        """Make ready a command to run beside a task; ``start`` begins it.

        Raises:
            ObjectExists: there is one of that ID.
            BadInput: no ID, or a stream that is none.
        """
        check_identifier(exec_id, "exec id")
        stdio.check()
        state = self.get(namespace, container_id)
        if state.status not in ALIVE:
            raise Refused(f"task {container_id} is not running")
        key = (namespace, state.container_id, exec_id)
        with self._lock:
            if key in self._known:
                raise ObjectExists(f"exec {exec_id}: already exists")
            document = {**spec, "terminal": stdio.terminal}
            self._known[key] = Process(stdio, document)
        said = {"container_id": state.container_id, "exec_id": exec_id}
        self.tell(namespace, "/tasks/exec-added", **said)

    def _start_exec(self, namespace: str, container_id: str, exec_id: str) -> int:
        container_id = self.get(namespace, container_id).container_id
        process = self._exec(namespace, container_id, exec_id)
        if process.pump is not None or process.spec is None:
            raise Refused(f"exec {exec_id} was started already")
        connection = self._connect(namespace, container_id)
        try:
            connection.execute(
                f"{exec_id}-{os.urandom(8).hex()}",
                process.spec,
                stdin=bool(process.stdio.stdin),
                detach=not process.stdio.is_heard and not process.stdio.stdin,
                console_size=process.size,
            )
            process.pid = wait_started(connection)
        except BaseException:
            connection.close()
            raise
        self._lead(namespace, container_id, exec_id, process, connection)
        said = {"container_id": container_id, "exec_id": exec_id, "pid": str(process.pid)}
        self.tell(namespace, "/tasks/exec-started", **said)
        return process.pid

    def wait(
        self, namespace: str, container_id: str, exec_id: str, is_wanted: Callable[[], bool]
    ) -> ExitStatus | None:
        """Wait for an end; None when nobody wants to know any more.

        Raises:
            ObjectNotFound: there is nothing to wait for.
        """
        record = self._containers.engines(namespace, container_id)
        state = self.get(namespace, container_id, exec_id)
        while is_wanted():
            if record is not None and not exec_id:
                state = self._state_of_engine(record.container_id) or state
            else:
                state = self.get(namespace, container_id, exec_id)
            process = self._known.get((namespace, state.container_id, exec_id))
            is_led = process is not None and process.pump is not None
            if state.ended is not None and (not is_led or (process and process.over.is_set())):
                return state.ended
            if process is not None:
                process.over.wait(_LOOK_S)
            else:
                threading.Event().wait(_LOOK_S)
        return None

    def pids(self, namespace: str, container_id: str) -> list[int]:
        """Return the pids of all processes."""
        with self._connect(namespace, container_id) as connection:
            return connection.processes()

    def stats(self, namespace: str, container_id: str) -> Mapping[str, Any]:
        """Return what a task uses, as ``runc events --stats`` prints it under ``data``."""
        with self._connect(namespace, container_id) as connection:
            return connection.stats()

    # -- what runs -------------------------------------------------------------------

    def kill(
        self, namespace: str, container_id: str, exec_id: str, number: int, *, everyone: bool
    ) -> None:
        """Send a signal.

        Raises:
            ObjectNotFound: there is nothing, or it has ended.
            BadInput: no such signal.
        """
        if not 0 < number < signal.NSIG:
            raise BadInput(f"there is no signal {number}")
        state = self.get(namespace, container_id, exec_id)
        if state.status is Status.EXITED:
            raise missing("process", f"{container_id}: already finished")
        if state.status is Status.CREATED:
            self._end_unstarted(namespace, state, number)
            return
        if exec_id:
            process = self._exec(namespace, state.container_id, exec_id)
            assert process.pump is not None
            process.pump.connection.kill(number)
            return
        with self._connect(namespace, container_id) as connection:
            others = connection.processes() if everyone else []
            connection.kill(number)
        for pid in others:
            if pid != state.pid:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _end_unstarted(self, namespace: str, state: TaskState, number: int) -> None:
        """End what waits for its start; a signal that ends nothing is let pass."""
        if number not in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            return
        ended = ExitStatus(code=128 + number, signal=number, finished=datetime.now(UTC))
        if state.exec_id:
            process = self._exec(namespace, state.container_id, state.exec_id)
            process.ended, process.spec = ended, None
            process.over.set()
            return
        task = self._objects.get(namespace, objects.TASK, state.container_id)
        record = {"code": ended.code, "signal": number, "finished": ended.finished.isoformat()}
        kept = {**task.document, "ended": record}
        self._tell_end(self._objects.put(namespace, objects.TASK, task.name, kept))

    def pause(self, namespace: str, container_id: str) -> None:
        """Stop all processes where they are."""
        with self._connect(namespace, container_id) as connection:
            connection.pause()
        self.tell(namespace, "/tasks/paused", container_id=container_id)

    def resume(self, namespace: str, container_id: str) -> None:
        """Let them go on."""
        with self._connect(namespace, container_id) as connection:
            connection.resume()
        self.tell(namespace, "/tasks/resumed", container_id=container_id)

    def update(self, namespace: str, container_id: str, resources: Mapping[str, object]) -> None:
        """Change limits: runtime-spec ``resources``."""
        with self._connect(namespace, container_id) as connection:
            connection.update(resources)

    def resize(
        self, namespace: str, container_id: str, exec_id: str, size: tuple[int, int]
    ) -> None:
        """Say how many rows and columns the terminal has that shows a process."""
        state = self.get(namespace, container_id, exec_id)
        process = self._known.get((namespace, state.container_id, exec_id))
        if process is not None:
            process.size = size
        if process is not None and process.pump is not None:
            process.pump.connection.resize(*size)
        elif state.status in ALIVE:
            with self._connect(namespace, container_id) as connection:
                connection.resize(*size)

    def close_stdin(self, namespace: str, container_id: str, exec_id: str) -> None:
        """Let a process know that no more input comes."""
        state = self.get(namespace, container_id, exec_id)
        process = self._known.get((namespace, state.container_id, exec_id))
        if process is not None and process.pump is not None:
            process.pump.close_stdin()

    # -- the end ---------------------------------------------------------------------

    def delete(self, namespace: str, container_id: str) -> TaskState:
        """Forget a task that does not run, with its files; return how it ended.

        Raises:
            Refused: it runs.
        """
        state = self.get(namespace, container_id)
        if state.status in ALIVE:
            raise Refused(f"task {container_id} must be stopped before deletion: running")
        task = self._objects.get(namespace, objects.TASK, container_id)
        with self._lock:
            for key in [key for key in self._known if key[:2] == (namespace, container_id)]:
                process = self._known.pop(key)
                if process.pump is not None:
                    process.pump.let_go()
        self.take_away(self._directory(task))
        self._objects.remove(namespace, objects.TASK, container_id)
        said = {"container_id": container_id, "pid": str(state.pid)}
        if state.ended:
            said["exit_status"] = str(state.ended.code)
            said["exited_at"] = str(state.ended.finished.timestamp())
        self.tell(namespace, "/tasks/delete", **said)
        return state

    def delete_exec(self, namespace: str, container_id: str, exec_id: str) -> TaskState:
        """Forget a command that does not run; return how it ended.

        Raises:
            Refused: it runs.
        """
        state = self.get(namespace, container_id, exec_id)
        if state.status in ALIVE:
            raise Refused(f"exec {exec_id} must be stopped before deletion: running")
        with self._lock:
            self._known.pop((namespace, state.container_id, exec_id), None)
        return state

    def adopt(self) -> None:
        """Go on with tasks that another server began, and tell what ended meanwhile."""
        for task in self._objects.everywhere(objects.TASK):
            state = self._state(task)
            if state.status is Status.EXITED:
                self._tell_end(task)
            if state.status not in ALIVE:
                continue
            with contextlib.suppress(OcimagicError, OSError):
                process = self._process((task.namespace, task.name, ""), task)
                process.pid = state.pid
                connection = self._connect(task.namespace, task.name)
                if process.stdio.is_heard:
                    connection.attach()
                self._lead(task.namespace, task.name, "", process, connection)

    def close(self) -> None:
        """Let go of all streams; what runs goes on."""
        with self._lock:
            for process in self._known.values():
                if process.pump is not None:
                    process.pump.let_go()
            self._known.clear()


def _leave_usual_shares(spec: Mapping[str, Any]) -> None:
    """Take out what clients of containerd always ask for, and the kernel gives anyway.

    An ordinary user may have no cgroup in which it could be written down.
    """
    cpu = spec.get("linux", {}).get("resources", {}).get("cpu", {})
    if cpu.get("shares") == _USUAL_SHARES:
        del cpu["shares"]
