"""One command in the foreground of a cell: a thread works, the main thread shows and listens.

The engine runs in a worker thread; its events come through a queue to the thread that runs
the cell.  Three things follow from that shape: output belongs to the cell that asked for it
whatever thread made it, the stop button interrupts a plain ``queue.get`` at once instead of
some lock deep in the engine, and the engine is told to stop instead of being torn apart by
a KeyboardInterrupt between two of its lines.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import Cancelled
from ocimagic.magics.errors import Interrupted
from ocimagic.model.result import RunResult
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.event import Event, OnEvent

    Work = Callable[[OnEvent, threading.Event], object]

PATIENCE_S = 20.0  # docker's ten seconds from the stop signal to SIGKILL, and some
IMPATIENCE_S = 0.5  # for work that does not listen, and may finish by itself at any moment
_QUEUED = 512
_TICK_S = 0.1


class Screen(Protocol):
    """Who shows events; called in the main thread only."""

    def show(self, event: Event) -> None:
        """Show one event, now or at the next tick."""
        ...

    def due_s(self) -> float | None:
        """Return the seconds until ``tick`` wants to be called, None for never."""
        ...

    def tick(self) -> None:
        """Show what was put off."""
        ...


@dataclass(slots=True)
class _Call:
    """Something to do in the thread of the cell, for a worker that waits for it."""

    function: Callable[[], object]
    outcome: _Outcome
    done: threading.Event


@dataclass(slots=True)
class _Outcome:
    value: object = None
    error: BaseException | None = None


class Foreground:
    """Runs one piece of work; used once.

    Args:
        screen: shows its events.
        cancellable: the work watches the event it gets.
    """

    def __init__(self, screen: Screen, *, cancellable: bool = True) -> None:
        self._screen = screen
        self._cancellable = cancellable
        self._queue: queue.Queue[Event | _Call | None] = queue.Queue(_QUEUED)
        self._cancelled = threading.Event()
        self._deaf = False
        self._outcome = _Outcome()

    def run(self, work: Work) -> object:
        """Do the work and return its value.

        Raises:
            Interrupted: the user pressed stop; the work was cancelled.
            BaseException: what the work raised.
        """
        # daemon: a thread that hangs must not keep the kernel from its atexit handlers.
        thread = threading.Thread(target=self._work, args=(work,), name="ocimagic", daemon=True)
        started_s = time.monotonic()
        interrupted = False
        try:
            thread.start()
            self._pump(None)
        except KeyboardInterrupt:
            interrupted = True
        if interrupted:
            ended = self._stop()
            raise self._stopped(time.monotonic() - started_s, ended=ended)
        if self._outcome.error is not None:
            raise self._outcome.error
        return self._outcome.value

    def _work(self, work: Work) -> None:
        try:
            self._outcome.value = work(self._put, self._cancelled)
        except BaseException as err:  # noqa: BLE001  it is raised again in the main thread
            self._outcome.error = err
        finally:
            self._put(None)

    def in_cell(self, function: Callable[[], object]) -> object:
        """Have the thread of the cell do something for the worker, and return its value.

        Raises:
            Cancelled: the user pressed stop before it could be done.
        """
        call = _Call(function, _Outcome(), threading.Event())
        self._put(call)
        while not call.done.wait(_TICK_S):
            if self._deaf:
                raise Cancelled("stopped by you")
        if call.outcome.error is not None:
            raise call.outcome.error
        return call.outcome.value

    def _put(self, event: Event | _Call | None) -> None:
        """Hand an event over; a full queue makes the worker wait for the screen."""
        if not self._deaf:
            self._queue.put(event)

    def _pump(self, deadline_s: float | None) -> bool:
        """Show events until the work has ended; False when the deadline came first."""
        while True:
            wait_s = self._screen.due_s()
            if deadline_s is not None:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                wait_s = left_s if wait_s is None else min(wait_s, left_s)
            try:
                event = self._queue.get(timeout=wait_s)
            except queue.Empty:
                self._screen.tick()
                continue
            if event is None:
                return True
            if isinstance(event, _Call):
                _do(event)
            else:
                self._screen.show(event)
            if (due_s := self._screen.due_s()) is not None and due_s <= 0:
                self._screen.tick()

    def _stop(self) -> bool:
        """Cancel the work and wait for it, but no longer than a second press on stop."""
        self._cancelled.set()
        patience_s = PATIENCE_S if self._cancellable else IMPATIENCE_S
        try:
            return self._pump(time.monotonic() + patience_s)
        except KeyboardInterrupt:
            return False
        finally:
            # Nobody reads on: wake a worker that waits for room, let it drop the rest.
            self._deaf = True
            while not self._queue.empty():
                self._queue.get_nowait()

    def _stopped(self, after_s: float, *, ended: bool) -> Interrupted:
        if not ended and self._cancellable:
            return Interrupted(
                f"Stopped by you after {after_s:.1f} s; the command has not ended yet",
                "%container_ls shows what still runs, %container_rm -f NAME ends it",
            )
        left, after = self._outcome, f"after {after_s:.1f} s"
        if isinstance(left.error, Cancelled):
            what = left.error.what
            return Interrupted(f"{what[:1].upper()}{what[1:]}, {after}", left.error.hint or "")
        if isinstance(left.value, RunResult):
            return Interrupted(
                f"Stopped by you {after}: container {left.value.name} ended with exit code "
                f"{left.value.exit_code}",
                "",
            )
        return Interrupted(f"Stopped by you {after}", "")


def _do(call: _Call) -> None:
    try:
        call.outcome.value = call.function()
    except BaseException as err:
        call.outcome.error = err
        if isinstance(err, KeyboardInterrupt):
            raise
    finally:
        call.done.set()
