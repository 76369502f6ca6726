"""What clients ask of a shim, and what it answers.

A request with an ``id`` is answered by ``{"reply": {...}, "id": ...}`` or
``{"error": {...}, "id": ...}``; one without is not answered.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, InvalidState, OcimagicError, StartFailed, pack
from ocimagic.shim import events, protocol
from ocimagic.shim import life as lives
from ocimagic.shim.records import timestamp
from ocimagic.shim.tape import STREAMS
from ocimagic.shim.task import number_in, parse_restart, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.shim.clients import Client
    from ocimagic.shim.monitor import Monitor

Request = dict[str, object]
Answer = Request | None


class Requests:
    """Does what clients ask."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._verbs: dict[str, Callable[[Client, Request], Answer]] = {
            "attach": self._attach,
            "kill": self._kill,
            "resize": self._resize,
            "stop": self._stop,
            "pause": self._pause,
            "resume": self._resume,
            "update": self._update,
            "stats": self._stats,
            "processes": self._processes,
            "execute": self._execute,
            "write_timelines": self._write_timelines,
            "connect": self._connect,
            "disconnect": self._disconnect,
        }

    def hear(self, client: Client, kind: bytes, payload: bytes) -> None:
        """Take one frame of a client.

        Raises:
            ProtocolError: it is not to be understood.
        """
        if kind == protocol.STDIN:
            self._take_stdin(client, payload)
            return
        if kind != protocol.MESSAGE:
            raise protocol.ProtocolError(f"kind {kind!r} from a client")
        request = protocol.parse_message(payload)
        try:
            answer = self._obey(client, request)
        except OcimagicError as err:
            self._answer(client, request, {"error": pack(err)})
        except OSError as err:
            failure = StartFailed("the shim cannot do this", why=str(err))
            self._answer(client, request, {"error": pack(failure)})
        else:
            if answer is not None:
                self._answer(client, request, {"reply": answer})

    def _obey(self, client: Client, request: Request) -> Answer:
        verb = self._verbs.get(str(request.get("op")))
        if verb is None:
            raise InvalidOption(f"this shim does not know the verb {request.get('op')!r}")
        return verb(client, request)

    def _answer(self, client: Client, request: Request, content: Request) -> None:
        if "id" in request:
            self._monitor.clients.say(client, content | {"id": request["id"]})
        elif "error" in content and request.get("op") == "execute":
            self._monitor.clients.say(client, content)

    def _take_stdin(self, client: Client, payload: bytes) -> None:
        process = self._monitor.process_of(client)
        if process is not None and process.stdin is not None:
            client.sends_stdin = True
            process.stdin.feed(client.sender, payload)

    # -- verbs -----------------------------------------------------------------

    def _attach(self, client: Client, request: Request) -> Answer:
        """Send output: from now on, or from where somebody was whose shim died."""
        monitor = self._monitor
        client.exec_id = str(request.get("exec_id", ""))
        client.sender = number_in(request, "sender")
        process = monitor.process_of(client)
        record = monitor.execs.record(client.exec_id)
        if process is None:
            gone = {"code": 255, "signal": None, "finished": timestamp(), "error": "it is unknown"}
            monitor.clients.say(client, {"exit": record or gone})
            return None
        client.patient |= bool(client.exec_id)
        rest, attached = b"", dict(zip(STREAMS, process.tape.totals, strict=True)) | {"missed": 0}
        if not request.get("quiet"):
            client.tape, client.position = process.tape, process.tape.head
            offsets = request.get("offsets")
            if isinstance(offsets, dict):
                had = {name: number_in(offsets, name) for name in STREAMS}
                client.position, rest, attached["missed"] = process.tape.resume(had)
                attached |= had
        if request.get("first") and monitor.first is None:
            monitor.first_returns(client)
        stdin = process.stdin
        if stdin is not None and stdin.sender == client.sender:
            attached["stdin"] = client.acknowledged = stdin.delivered
        # Whoever reads the log file besides now knows that nothing falls in between.
        packet = protocol.message({"attached": attached}) + rest
        client.queue.append((client.position, packet))
        monitor.clients.flush(client)
        if record is not None:
            monitor.clients.say(client, {"exit": record})
        return None

    def _kill(self, client: Client, request: Request) -> Answer:
        number = _signal(request)
        monitor = self._monitor
        process = monitor.process_of(client)
        if process is None:
            raise InvalidState("the process is over")
        is_last = number in (signal.SIGKILL, monitor.task.stop_signal)
        if process is monitor.process and is_last:
            # Docker's rule: who kills a container does not want it started again.
            monitor.finale.forbid_restart()
        if process is monitor.process:
            events.tell(monitor, "kill", signal=str(number))
        process.signal(number)
        return {}

    def _resize(self, client: Client, request: Request) -> Answer:
        process = self._monitor.process_of(client)
        if process is not None:
            size = parse_size(request.get("size"))
            process.resize(size)
            if process is self._monitor.process:
                height, width = map(str, size)
                events.tell(self._monitor, "resize", height=height, width=width)
        return {}

    def _stop(self, _client: Client, request: Request) -> Answer:
        grace = request.get("grace_s")
        if not isinstance(grace, int | float) or isinstance(grace, bool) or not grace >= 0:
            raise InvalidOption("grace_s is a number of seconds", why=repr(grace)[:60])
        self._monitor.finale.stop(_signal(request), float(grace))
        return {}

    def _pause(self, _client: Client, _request: Request) -> Answer:
        monitor = self._monitor
        self._expect_running()
        if monitor.life.is_paused:
            raise InvalidState("the container is paused already")
        monitor.runtime.pause()
        monitor.life.is_paused = True
        monitor.publish()
        return {}

    def _resume(self, _client: Client, _request: Request) -> Answer:
        monitor = self._monitor
        self._expect_running()
        if not monitor.life.is_paused:
            raise InvalidState("the container is not paused")
        monitor.thaw()
        return {}

    def _update(self, _client: Client, request: Request) -> Answer:
        """Change limits of the container that runs, what is done when it ends, or its name."""
        monitor = self._monitor
        if name := request.get("name"):
            monitor.life.name = str(name)
            monitor.save()
        resources, policy = request.get("resources"), request.get("restart")
        warnings: list[str] = []
        restart = parse_restart(policy) if isinstance(policy, dict) else None
        if isinstance(resources, dict) and resources:
            self._expect_running()
            warnings = monitor.runtime.update(resources)
        if restart is not None:
            monitor.life.restart = [restart.name, restart.maximum_retry_count]
            monitor.save()
        return {"warnings": warnings}

    def _stats(self, _client: Client, _request: Request) -> Answer:
        self._expect_running()
        return self._monitor.runtime.stats()

    def _processes(self, _client: Client, _request: Request) -> Answer:
        self._expect_running()
        return {"processes": self._monitor.runtime.processes()}

    def _execute(self, client: Client, request: Request) -> Answer:
        self._monitor.execs.start(client, request)
        return None

    def _write_timelines(self, _client: Client, _request: Request) -> Answer:
        self._monitor.execs.write()
        return {}

    def _connect(self, _client: Client, request: Request) -> Answer:
        self._expect_running()
        endpoint = request.get("endpoint")
        assert isinstance(endpoint, dict)
        self._monitor.networks.connect(self._monitor.life.pid, endpoint)
        return {}

    def _disconnect(self, _client: Client, request: Request) -> Answer:
        self._expect_running()
        self._monitor.networks.disconnect(self._monitor.life.pid, str(request.get("network_id")))
        return {}

    def _expect_running(self) -> None:
        if self._monitor.life.phase != lives.RUNNING:
            raise InvalidState(f"the container is {self._monitor.life.status}")


def _signal(request: Mapping[str, object]) -> int:
    number = request.get("signal")
    if not isinstance(number, int) or not 0 < number < signal.NSIG:
        raise InvalidOption("there is no such signal", why=repr(number)[:60])
    return number
