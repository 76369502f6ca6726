"""Health checks: a command in the container, now and then, whether or not an engine lives.

Docker's rules: ``starting`` until the first success or so many failures in a row; failures
while it starts do not count; the last five results are kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.shim import events
from ocimagic.shim.execs import PROBE
from ocimagic.shim.records import timestamp

if TYPE_CHECKING:
    from ocimagic.shim.loop import Alarm
    from ocimagic.shim.monitor import Monitor
    from ocimagic.shim.process import Process

_KEPT = 5
_OUTPUT_BYTES = 4096
_NO_ANSWER = -1


class Health:
    """Checks one container; what it finds is in ``life.health``."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._test = monitor.task.health
        self._next: Alarm | None = None
        self._probe: Process | None = None
        self._number = 0
        self._output = bytearray()
        self._begun = ""

    def start(self) -> None:
        """Begin to check, or go on with it; nothing without a test."""
        if self._test is not None:
            if self._monitor.life.health is None:
                self._monitor.life.health = {"status": "starting", "failing_streak": 0, "log": []}
                self._monitor.publish()
            self._wait()

    def stop(self) -> None:
        """Check no more: the container is over."""
        if self._next is not None:
            self._next.cancel()
        if self._probe is not None:
            self._probe.silence()
            self._monitor.execs.release(self._probe)
            self._probe = None

    def reset(self) -> None:
        """Forget what was found: the container is started again."""
        self._monitor.life.health = None

    # -- as the owner of a probe -------------------------------------------------

    def on_output(self, process: Process, _stream: int, data: bytes) -> None:
        """Keep the beginning of what a probe says."""
        room = _OUTPUT_BYTES - len(self._output)
        self._output += data[:room]
        process.tape.settle()

    def on_stdin(self, process: Process) -> None:
        """A probe has none."""

    def on_quiet(self, process: Process) -> None:
        """Note what a probe found that has ended, whoever still has its streams."""
        if process.ending is not None and process is self._probe:
            self._conclude(process.ending.code, self._output.decode(errors="replace"))

    # -- checking ----------------------------------------------------------------

    def _wait(self) -> None:
        test = self._test
        assert test is not None
        starts = self._is_starting() and test.start_period_s > 0
        patience = test.start_interval_s if starts else test.interval_s
        self._next = self._monitor.loop.at(time.monotonic() + patience, self._check)

    def _check(self) -> None:
        monitor, test = self._monitor, self._test
        assert test is not None
        if monitor.life.is_paused:  # it could not answer, which is nobody's fault
            self._wait()
            return
        self._number += 1
        self._output.clear()
        self._begun = timestamp()
        document = monitor.runtime.probe_process(test.argv)
        try:
            self._probe = monitor.execs.begin(f"{PROBE}{self._number}", document, self, {})
        except (OcimagicError, OSError) as err:
            self._note(_NO_ANSWER, str(err))
            return
        self._next = monitor.loop.at(time.monotonic() + test.timeout_s, self._time_out)

    def _time_out(self) -> None:
        assert self._test is not None
        self._conclude(_NO_ANSWER, f"Health check exceeded timeout ({self._test.timeout_s:g}s)")

    def _conclude(self, code: int, output: str) -> None:
        probe, self._probe = self._probe, None
        assert probe is not None
        assert self._next is not None
        self._next.cancel()
        if probe.ending is None:
            probe.kill()
        self._monitor.execs.release(probe)
        self._note(code, output)

    def _note(self, code: int, output: str) -> None:
        """Write a result down and decide what the container is."""
        health, test = self._monitor.life.health, self._test
        assert health is not None
        assert test is not None
        log, before = health["log"], health["status"]
        assert isinstance(log, list)
        result = {"start": self._begun, "end": timestamp(), "exit_code": code, "output": output}
        health["log"] = [*log, result][-_KEPT:]
        if code == 0:
            health |= {"status": "healthy", "failing_streak": 0}
        elif not self._is_starting():
            streak = int(str(health["failing_streak"])) + 1
            health["failing_streak"] = streak
            if streak >= test.retries:
                health["status"] = "unhealthy"
        self._monitor.publish()
        if health["status"] != before:
            events.tell(self._monitor, f"health_status: {health['status']}")
        self._wait()

    def _is_starting(self) -> bool:
        """Say whether failures do not count yet."""
        life, test = self._monitor.life, self._test
        assert life.health is not None
        assert test is not None
        soon = time.monotonic() - life.began_s < test.start_period_s
        return soon and life.health["status"] == "starting"
