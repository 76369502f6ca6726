"""From the end of the first process to the container's next start, or to its last word.

Order at the end: drain, close the log, write the exit record, clean up, then tell.
"""

from __future__ import annotations

import contextlib
import os
import time
from signal import SIGKILL
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.shim import events, restart
from ocimagic.shim import life as lives
from ocimagic.shim.ending import reap_strangers
from ocimagic.shim.life import replace_file
from ocimagic.shim.outcome import EXIT_NAME
from ocimagic.shim.records import timestamp
from ocimagic.shim.removal import remove_path, remove_volume

if TYPE_CHECKING:
    from ocimagic.shim.loop import Alarm
    from ocimagic.shim.monitor import Monitor

_DRAIN_S = 2.0
_LOOK_S = 0.02


class Finale:
    """Sees a container off, or starts it again."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._killer: Alarm | None = None
        self._next: Alarm | None = None
        self._has_mounted = False

    # -- stopping --------------------------------------------------------------

    def stop(self, signal: int, grace_s: float) -> None:
        """End the container by agreement, by force after a time; it is not started again."""
        monitor = self._monitor
        if self.forbid_restart():
            return
        monitor.life.kill_at_s = 0.0 if signal == SIGKILL else time.monotonic() + grace_s
        monitor.save()
        events.tell(monitor, "kill", signal=str(signal))
        monitor.process.signal(signal)
        monitor.thaw()
        self.expect_end()

    def forbid_restart(self) -> bool:
        """Do not start the container again; say whether that was its end."""
        life = self._monitor.life
        life.is_stopped = True
        self._monitor.save()
        if life.phase != lives.WAITING:
            return False
        life.phase = lives.ENDED
        life.restart_count -= 1
        self.conclude()
        return True

    def expect_end(self) -> None:
        """Kill what does not end in time, if a time was set."""
        if self._killer is not None:
            self._killer.cancel()
        if self._monitor.life.kill_at_s:
            self._killer = self._monitor.loop.at(self._monitor.life.kill_at_s, self._lose_patience)

    def _lose_patience(self) -> None:
        events.tell(self._monitor, "kill", signal=str(int(SIGKILL)))
        self._monitor.kill_all()

    # -- ending ----------------------------------------------------------------

    def on_quiet(self) -> None:
        """Look whether the first process has ended, and whether all it wrote is there."""
        monitor = self._monitor
        ending = monitor.process.ending
        if ending is not None and monitor.life.phase == lives.RUNNING:
            monitor.life.oom_killed = monitor.runtime.oom_kills() > 0
            monitor.life.ended(ending, timestamp())
            monitor.save()
            if monitor.life.oom_killed:
                events.tell(monitor, "oom")
            events.tell(monitor, "die", exitCode=str(ending.code))
            self._has_mounted = True
            monitor.runtime.kill_others()
            monitor.process.bury()
            self.drain()
        if monitor.life.phase == lives.ENDED and monitor.is_quiet():
            self.conclude()

    def drain(self) -> None:
        """Give what still has the streams a bounded time."""
        # A pid namespace ends as a whole; without one, somebody may hold a stream for ever.
        self._next = self._monitor.loop.at(time.monotonic() + _DRAIN_S, self.conclude)

    def conclude(self) -> None:
        """Close what belonged to the process and decide what comes next."""
        monitor, life = self._monitor, self._monitor.life
        for alarm in (self._next, self._killer):
            if alarm is not None:
                alarm.cancel()
        life.kill_at_s = 0.0
        monitor.close_process()
        if not monitor.task.remove:
            monitor.execs.write()
        if self._has_mounted:  # what could not be started has mounted nothing
            events.tell_of_volumes(monitor, "unmount")
            self._has_mounted = False
        reap_strangers(monitor.execs.pids())
        wanted = restart.is_wanted(
            life.policy(monitor.task.restart),
            code=int(life.ending[0] or 0),
            count=life.restart_count,
            is_stopped=life.is_stopped,
        )
        if wanted:
            self._wait()
        else:
            self._finish()

    # -- again -----------------------------------------------------------------

    def _wait(self) -> None:
        monitor, life = self._monitor, self._monitor.life
        life.delay_s = restart.delay_s(life.delay_s, time.monotonic() - life.began_s)
        life.begin_at_s = time.monotonic() + life.delay_s
        life.restart_count += 1
        life.phase = lives.WAITING
        monitor.publish()
        monitor.execs.tell()
        monitor.clients.tell({"exit": self._record() | {"restarting": True}})
        self.wait()

    def wait(self) -> None:
        """Start the container again when its time has come."""
        self._next = self._monitor.loop.at(self._monitor.life.begin_at_s, self._begin_again)

    def _begin_again(self) -> None:
        life = self._monitor.life
        life.phase = lives.NEW
        life.ending, life.finished, life.error = [], "", ""
        life.oom_killed = life.is_paused = False
        self._monitor.execs.clear()
        self._monitor.health.reset()
        self._monitor.save()
        self._monitor.begin()

    # -- or never --------------------------------------------------------------

    def _finish(self) -> None:
        if not self._monitor.life.is_recorded:
            self._record_end()
            self._monitor.life.is_recorded = True
            self._monitor.save()
        # Whoever hears of the end may start the container again at once.
        self._monitor.release_lease()
        self._say_goodbye()

    def _record_end(self) -> None:
        monitor, task = self._monitor, self._monitor.task
        monitor.log.close(durable=not task.remove)
        path = os.path.join(task.directory, EXIT_NAME)
        with contextlib.suppress(OSError):  # a full disk; clients are still told
            replace_file(path, self._record(), durable=not task.remove)
        with contextlib.suppress(OSError):
            remove_path(task.run_directory)
        if task.remove:
            self._remove_all()

    def _say_goodbye(self) -> None:
        """Tell the end, when those whom a killed shim left have come back to hear it."""
        monitor = self._monitor
        if monitor.clients.are_missing(monitor.life.audience):
            monitor.loop.at(time.monotonic() + _LOOK_S, self._say_goodbye)
            return
        monitor.execs.tell()
        monitor.clients.tell({"exit": self._record()})
        monitor.over = True

    def _remove_all(self) -> None:
        directory = self._monitor.task.directory
        with contextlib.suppress(OSError):  # what is left is taken by the next engine
            # At once gone for whoever looks, then bit by bit.
            gone = f"{directory}.gone"
            os.rename(directory, gone)
            events.tell(self._monitor, "destroy")
            remove_path(gone)
        for each in self._monitor.task.volumes:
            with contextlib.suppress(OSError, OcimagicError):  # likewise
                remove_volume(each)

    def _record(self) -> dict[str, object]:
        return self._monitor.life.record(self._monitor.log.dropped)
