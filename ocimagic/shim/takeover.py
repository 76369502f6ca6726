"""How a shim begins: anew, or where another one was killed.

The holder has the descriptors, shared memory has the rest.  Each phase of a container's life has
its way to go on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ocimagic.shim import life as lives
from ocimagic.shim.ending import Ending
from ocimagic.shim.own import Made

if TYPE_CHECKING:
    from ocimagic.shim.monitor import Monitor

_RETURN_S = 5.0  # clients of a killed shim come back within this, or do not


class TakeOver:
    """The first steps of a shim."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._life = monitor.life

    def begin(self) -> None:
        """Start the container, or go on with it."""
        life, groups = self._life, self._monitor.keeper.groups
        if life.phase == lives.CREATED and "channel" not in groups:
            # The last shim died before the holder had it: what it made ends by itself.
            life.phase = lives.MAKING
        if not life.told:
            self._monitor.admit_first()
        elif "first" in groups:
            # Its conversation with the last shim was cut somewhere: it comes back by itself.
            self._monitor.keeper.drop("first")
        if life.told:
            self._expect_clients()
        if life.failure is not None:
            self._monitor.say_failed()
        elif life.phase in (lives.NEW, lives.MAKING):
            if life.phase == lives.MAKING:
                self._monitor.networks.detach()
                self._monitor.runtime.undo_attempt()
            self._monitor.begin()
        else:
            self._go_on()

    def _expect_clients(self) -> None:
        monitor = self._monitor
        if self._life.audience:
            patient = monitor.task.attached and self._life.is_followed
            monitor.clients.expect(monitor.process.tape, patient=patient)
            monitor.loop.at(time.monotonic() + _RETURN_S, self._nobody_returns)

    def _nobody_returns(self) -> None:
        monitor = self._monitor
        monitor.clients.expect_nobody()
        monitor.note_audience()
        if monitor.first is None and self._life.is_followed:
            monitor.leave_first()

    def _go_on(self) -> None:
        monitor, life, groups = self._monitor, self._life, self._monitor.keeper.groups
        for stream, data, position in monitor.process.tape.since(monitor.log.position):
            monitor.log.write(stream, data, position)
        if "process" in groups:
            monitor.process.found(life.identity)
        if life.phase == lives.CREATED:
            channel = groups.pop("channel")["fd"]
            start = monitor.runtime.adopt(life.identity, life.cgroup_paths, channel)
            monitor.start(Made(life.pid, monitor.process.pidfd, -1, channel, start))
            return
        if not life.is_cleaned:
            monitor.runtime.adopt(life.identity, life.cgroup_paths)
        if life.ending:
            code, number = life.ending
            monitor.process.ending = Ending(int(code or 0), number)
        monitor.execs.take_over()
        monitor.networks.adopt()
        if not life.is_recorded:
            monitor.publish()
        monitor.serve()
        monitor.tell_started()
        self._resume_phase()

    def _resume_phase(self) -> None:
        finale = self._monitor.finale
        if self._life.phase == lives.RUNNING:
            finale.expect_end()
            self._monitor.expect_rest()
            self._monitor.health.start()
        elif self._life.phase == lives.ENDED:
            finale.drain()
            finale.on_quiet()
        else:
            finale.wait()
