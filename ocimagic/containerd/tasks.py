"""The service of tasks: what runs of containers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ocimagic.containerd import messages
from ocimagic.containerd.convert import methods, mount_points, time_of
from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.engine.crud.streams import Stdio
from ocimagic.errors import BadInput, Cancelled, HostLacks, NotBuiltYet
from ocimagic.model.state import Status

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from ocimagic.containerd.door import Caller, Message, Method
    from ocimagic.engine.crud.crud import Crud
    from ocimagic.engine.crud.running import TaskState

_STATUSES = {
    Status.CREATED: 1,
    Status.RUNNING: 2,
    Status.RESTARTING: 2,
    Status.EXITED: 3,
    Status.PAUSED: 4,
}


class Tasks:
    """Tasks.

    Args:
        crud: what is offered.
        over: set when the server closes.
    """

    def __init__(self, crud: Crud, over: threading.Event) -> None:
        self._crud = crud
        self._over = over

    def services(self) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods by service."""
        table = {
            "Create": ("CreateTaskRequest", "CreateTaskResponse", self._create),
            "Start": ("StartRequest", "StartResponse", self._start),
            "Delete": ("DeleteTaskRequest", "DeleteResponse", self._delete),
            "DeleteProcess": ("DeleteProcessRequest", "DeleteResponse", self._delete_process),
            "Get": ("GetRequest", "GetResponse", self._get),
            "List": ("ListTasksRequest", "ListTasksResponse", self._list),
            "Kill": ("KillRequest", "", self._kill),
            "Exec": ("ExecProcessRequest", "", self._exec),
            "ResizePty": ("ResizePtyRequest", "", self._resize),
            "CloseIO": ("CloseIORequest", "", self._close_io),
            "Pause": ("PauseTaskRequest", "", self._pause),
            "Resume": ("ResumeTaskRequest", "", self._resume),
            "ListPids": ("ListPidsRequest", "ListPidsResponse", self._pids),
            "Update": ("UpdateTaskRequest", "", self._update),
            "Metrics": ("MetricsRequest", "MetricsResponse", self._metrics),
            "Wait": ("WaitRequest", "WaitResponse", self._wait),
        }
        return {"containerd.services.tasks.v1.Tasks": methods(messages.tasks, table)}

    def _create(self, request: Message, caller: Caller) -> Message:
        if request.checkpoint.digest:
            raise NotBuiltYet("a task cannot be restored from a checkpoint", hint="start it anew")
        self._crud.tasks.create(
            caller.namespace, request.container_id, mount_points(request.rootfs), _stdio(request)
        )
        return messages.tasks.CreateTaskResponse(container_id=request.container_id)

    def _start(self, request: Message, caller: Caller) -> Message:
        pid = self._crud.tasks.start(caller.namespace, request.container_id, request.exec_id)
        return messages.tasks.StartResponse(pid=pid)

    def _delete(self, request: Message, caller: Caller) -> Message:
        return _deleted(self._crud.tasks.delete(caller.namespace, request.container_id))

    def _delete_process(self, request: Message, caller: Caller) -> Message:
        tasks = self._crud.tasks
        return _deleted(tasks.delete_exec(caller.namespace, request.container_id, request.exec_id))

    def _get(self, request: Message, caller: Caller) -> Message:
        found = self._crud.tasks.get(caller.namespace, request.container_id, request.exec_id)
        return messages.tasks.GetResponse(process=_process(found))

    def _list(self, _request: Message, caller: Caller) -> Message:
        found = map(_process, self._crud.tasks.list(caller.namespace))
        return messages.tasks.ListTasksResponse(tasks=found)

    def _kill(self, request: Message, caller: Caller) -> None:
        self._crud.tasks.kill(
            caller.namespace,
            request.container_id,
            request.exec_id,
            request.signal,
            everyone=request.all,
        )

    def _exec(self, request: Message, caller: Caller) -> None:
        spec = _json(request.spec.value, "a process")
        self._crud.tasks.execute(
            caller.namespace, request.container_id, request.exec_id, spec, _stdio(request)
        )

    def _resize(self, request: Message, caller: Caller) -> None:
        size = (request.height, request.width)
        self._crud.tasks.resize(caller.namespace, request.container_id, request.exec_id, size)

    def _close_io(self, request: Message, caller: Caller) -> None:
        if request.stdin:
            tasks = self._crud.tasks
            tasks.close_stdin(caller.namespace, request.container_id, request.exec_id)

    def _pause(self, request: Message, caller: Caller) -> None:
        self._crud.tasks.pause(caller.namespace, request.container_id)

    def _resume(self, request: Message, caller: Caller) -> None:
        self._crud.tasks.resume(caller.namespace, request.container_id)

    def _pids(self, request: Message, caller: Caller) -> Message:
        pids = self._crud.tasks.pids(caller.namespace, request.container_id)
        found = [messages.process_types.ProcessInfo(pid=pid) for pid in pids]
        return messages.tasks.ListPidsResponse(processes=found)

    def _update(self, request: Message, caller: Caller) -> None:
        resources = _json(request.resources.value, "resources")
        self._crud.tasks.update(caller.namespace, request.container_id, resources)

    def _metrics(self, request: Message, caller: Caller) -> Message:
        states = [
            each for each in self._crud.tasks.list(caller.namespace) if each.status in _LIVING
        ]
        found = chosen(states, request.filters, lambda each: fields_of({}, id=each.container_id))
        metrics = []
        for each in found:
            try:
                stats = self._crud.tasks.stats(caller.namespace, each.container_id)
            except HostLacks:
                continue  # nobody counts for it
            metrics.append(
                messages.types.Metric(
                    timestamp=time_of(time.time()), id=each.container_id, data=_metric(stats)
                )
            )
        return messages.tasks.MetricsResponse(metrics=metrics)

    def _wait(self, request: Message, caller: Caller) -> Message:
        ended = self._crud.tasks.wait(
            caller.namespace,
            request.container_id,
            request.exec_id,
            lambda: caller.is_there and not self._over.is_set(),
        )
        if ended is None:
            raise Cancelled("nobody waits any more")
        return messages.tasks.WaitResponse(
            exit_status=ended.code, exited_at=time_of(ended.finished.timestamp())
        )


_LIVING = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


def _stdio(request: Message) -> Stdio:
    return Stdio(
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
        terminal=request.terminal,
    )


def _json(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as err:
        raise BadInput(f"{what} is to be JSON", why=str(err)) from err
    if not isinstance(found, dict):
        raise BadInput(f"{what} is to be a JSON object")
    return found


def _process(state: TaskState) -> Message:
    message = messages.process_types.Process(
        container_id=state.container_id if state.exec_id else "",
        id=state.exec_id or state.container_id,
        pid=state.pid,
        status=_STATUSES[state.status],
        stdin=state.stdio.stdin,
        stdout=state.stdio.stdout,
        stderr=state.stdio.stderr,
        terminal=state.stdio.terminal,
    )
    if state.ended is not None:
        message.exit_status = state.ended.code
        message.exited_at.CopyFrom(time_of(state.ended.finished.timestamp()))
    return message


def _deleted(state: TaskState) -> Message:
    message = messages.tasks.DeleteResponse(
        id=state.exec_id or state.container_id,
        pid=state.pid,
        exit_status=state.ended.code if state.ended else 0,
    )
    if state.ended is not None:
        message.exited_at.CopyFrom(time_of(state.ended.finished.timestamp()))
    return message


def _metric(stats: Mapping[str, Any]) -> Message:
    """Return figures in the words of cgroup version 1, which fit those of 2 as well."""
    cpu = stats["cpu"].get("usage", {})
    memory, pids = stats["memory"], stats["pids"]
    usage = memory.get("usage", {})
    cache = int(memory.get("cache", 0))
    metrics = messages.cgroups.Metrics(
        pids=messages.cgroups.PidsStat(
            current=int(pids.get("current", 0)), limit=int(pids.get("limit", 0))
        ),
        cpu=messages.cgroups.CPUStat(
            usage=messages.cgroups.CPUUsage(
                total=int(cpu.get("total", 0)),
                kernel=int(cpu.get("kernel", 0)),
                user=int(cpu.get("user", 0)),
                per_cpu=[int(each) for each in cpu.get("percpu", ())],
            )
        ),
        memory=messages.cgroups.MemoryStat(
            cache=cache,
            total_cache=cache,
            usage=messages.cgroups.MemoryEntry(
                limit=int(usage.get("limit", 0)),
                usage=int(usage.get("usage", 0)),
                max=int(usage.get("max", 0)),
                failcnt=int(usage.get("failcnt", 0)),
            ),
        ),
    )
    name = metrics.DESCRIPTOR.full_name
    return messages.well_known.Any(type_url=name, value=metrics.SerializeToString())
