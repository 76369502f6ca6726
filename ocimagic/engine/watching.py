"""Watching containers: told of each change at once, and of what they use now and then.

A container has changed when there is an event in the journal, and when its row in the database
or a file of its shim is written: the kernel tells of each, whoever did it.  What one looks at
then is what the rows and files say, also where a killed engine or shim left no event.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.engine.looking import Looking
from ocimagic.engine.processes import FIRST_WINDOW_S, Processes
from ocimagic.model.overview import Overview

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.engine.usage import Sample
    from ocimagic.home.location import Home
    from ocimagic.linux.watching import Change, Watcher
    from ocimagic.model.report import ContainerStats

_TICK_S = 0.2  # so long it takes until a cancelled watch ends
_SETTLE_S = 0.05  # a change is written in several steps, and seldom comes alone


class Watching(Looking, Processes):
    """The verb that goes on telling."""

    def watch(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        interval_s: float = 2.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Overview]:
        """Yield all containers now, at each change, and when they were sampled again.

        Args:
            all: those that do not run, too.
            interval_s: from one sample of what they use to the next.
            cancelled: ends it when set.
        """
        stop = cancelled or threading.Event()
        sampling = _Sampling(self, interval_s)
        with _Changes(self.store.home) as changes:
            while not stop.is_set():
                changes.follow()  # before one looks, so that nothing happens in between
                stats = sampling.stats()
                containers = self.list(all=all)
                yield Overview(
                    taken=datetime.now(UTC),
                    containers=containers,
                    stats=stats,
                    is_measured=sampling.windows > 1,
                )
                changes.wait(sampling.due_s, stop)

    def sample_all(
        self, before: dict[str, Sample | None]
    ) -> tuple[dict[str, Sample | None], dict[str, ContainerStats]]:
        """Return what living containers have used, and what that makes since ``before``."""
        now, stats = {}, {}
        for record in self._watched((), all=False):
            sample = now[record.container_id] = self._sample(record)
            earlier = before.get(record.container_id)
            stats[record.container_id] = self._stats(record, sample, earlier)
        return now, stats


class _Sampling:
    """What containers use, looked up when it is due.

    Attributes:
        due_s: when it is, in time.monotonic() seconds.
        windows: how many samples there were.
    """

    def __init__(self, watching: Watching, interval_s: float) -> None:
        self._watching = watching
        self._interval_s = interval_s
        self._before: dict[str, Sample | None] = {}
        self._stats: dict[str, ContainerStats] = {}
        self.windows = 0
        self.due_s = 0.0

    def stats(self) -> dict[str, ContainerStats]:
        """Return the figures, new ones if they are due."""
        if time.monotonic() >= self.due_s:
            self._before, self._stats = self._watching.sample_all(self._before)
            # The first sample has none before it to be compared with.
            first = self.windows == 0
            self.windows += 1
            self.due_s = time.monotonic() + (
                min(FIRST_WINDOW_S, self._interval_s) if first else self._interval_s
            )
        return self._stats


class _Changes:
    """Waits for changes of containers; where the kernel cannot tell, for the time only."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._stack = contextlib.ExitStack()
        self._watcher: Watcher | None = None
        self._followed: set[str] = set()

    def __enter__(self) -> _Changes:
        with contextlib.suppress(OSError, ImportError):  # no Linux, no containers
            from ocimagic.linux import watching

            watcher = self._stack.enter_context(watching.Watcher())
            self._home.containers.mkdir(parents=True, exist_ok=True)
            inside = watching.IN_CREATE | watching.IN_DELETE
            moved = watching.IN_MOVED_FROM | watching.IN_MOVED_TO
            watcher.add(self._home.containers, inside | moved)
            # Events are in the journal; names and new rows in the database, whose log grows.
            watcher.add(self._home.own, watching.IN_MODIFY)
            self._watcher = watcher
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self) -> None:
        """Watch containers that are new."""
        if self._watcher is None:
            return
        from ocimagic.linux import watching

        mask = watching.IN_MOVED_TO | watching.IN_CLOSE_WRITE | watching.IN_DELETE
        there = {each.name for each in self._home.containers.iterdir()}
        for name in there - self._followed:
            try:
                self._watcher.add(self._home.containers / name, mask)
            except OSError:
                break  # too many for this account: these are seen at the next sample
        self._followed = there

    def wait(self, due_s: float, stop: threading.Event) -> None:
        """Wait until something changed, the time has come, or nobody wants to know any more."""
        while not stop.is_set() and (left_s := due_s - time.monotonic()) > 0:
            if self._watcher is None:
                stop.wait(left_s)
            elif any(self._matters(each) for each in self._watcher.wait(min(left_s, _TICK_S))):
                stop.wait(_SETTLE_S)
                self._watcher.wait(0)
                return

    def _matters(self, change: Change) -> bool:
        """Leave out what is written all the time: logs, and the database's other files."""
        if change.directory == self._home.own:
            return change.name in {self._home.journal.name, f"{self._home.database.name}-wal"}
        return change.directory in {None, self._home.containers} or change.name.endswith(".json")
