"""Several blobs at a time: the first that fails stops the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import Cancelled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
_AT_ONCE = 3


def together(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    failed: threading.Event,
    stop: threading.Event,
    name: str,
) -> list[Result]:
    """Do the same with each item, three at a time, and return what came of each.

    Args:
        work: is done in threads; watches ``failed``.
        items: in the order they begin.
        failed: set when one has failed.
        stop: set too when this thread is interrupted: it ends what waits for the network.
        name: of the threads.

    Raises:
        BaseException: what the first item raised that failed, not those it stopped.
    """

    def guarded(item: Item) -> Result:
        if failed.is_set():
            raise Cancelled("another layer failed")
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=name) as pool:
        jobs = [pool.submit(guarded, each) for each in items]
        try:
            wait(jobs)
        except BaseException:  # an interrupt
            failed.set()
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    failures = [err for job in jobs if (err := job.exception())]
    real = [err for err in failures if not isinstance(err, Cancelled)]
    if failures:
        raise (real or failures)[0]
    return [job.result() for job in jobs]
