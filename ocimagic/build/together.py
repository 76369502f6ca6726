"""Stages side by side: each begins when all that it needs are done."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Protocol, TypeVar

from ocimagic.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_AT_ONCE = max(2, min(8, os.cpu_count() or 1))  # a RUN waits as much as it computes


class Stop(threading.Event):
    """Set when the user wants no more, or when another stage has failed.

    Args:
        asked: the user's; None if there is no such wish.
    """

    def __init__(self, asked: threading.Event | None) -> None:
        super().__init__()
        self._asked = asked

    def is_set(self) -> bool:
        """Say whether there is any reason to stop."""
        return super().is_set() or (self._asked is not None and self._asked.is_set())


class Stage(Protocol):
    """What has a number, and needs what has others."""

    @property
    def index(self) -> int:
        """Return its number."""

    @property
    def needs(self) -> Iterable[int]:
        """Return the numbers of what must be done before it."""


T = TypeVar("T", bound=Stage)


def run_together(stages: Sequence[T], work: Callable[[T], None], stop: Stop) -> None:
    """Do all stages; those that need nothing of each other at the same time.

    Args:
        stages: each after those it needs.
        work: does one.
        stop: is set when one has failed; the others end soon then.

    Raises:
        BaseException: what the first of them failed with.
    """
    if len(stages) == 1:
        work(stages[0])
        return
    waiting, running = list(stages), dict[Future[None], int]()
    done: set[int] = set()
    failures: list[BaseException] = []
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ocimagic-stage")
    try:
        while running or (waiting and not failures):
            for stage in [each for each in waiting if done.issuperset(each.needs)]:
                if not failures:
                    waiting.remove(stage)
                    running[pool.submit(work, stage)] = stage.index
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                index = running.pop(future)
                if failure := future.exception():
                    failures.append(failure)
                    stop.set()
                else:
                    done.add(index)
    except BaseException:  # an interrupt
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    real = [each for each in failures if not isinstance(each, Cancelled)]
    if failures:
        raise (real or failures)[0]
