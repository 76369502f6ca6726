"""Services one after the other, and side by side where none waits for the other."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from ocimagic.errors import Cancelled

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Mapping

_AT_ONCE = 16


def in_order(
    needs: Mapping[str, Collection[str]],
    act: Callable[[str], None],
    cancelled: threading.Event | None = None,
) -> None:
    """Act on every name, each after those that it needs.

    What was begun is waited for when something fails; nothing else is begun then.

    Args:
        needs: by name, which others come first; those that are no names here do not count.
        act: called in threads.
        cancelled: begins nothing more when set.

    Raises:
        Cancelled: it was set.
        BaseException: the first that ``act`` raised.
    """
    left = {name: {each for each in needs[name] if each in needs} for name in needs}
    running: dict[Future[None], str] = {}
    failed: BaseException | None = None
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="compose") as pool:
        while left or running:
            if failed is None and not (cancelled and cancelled.is_set()):
                for name in [each for each, before in left.items() if not before]:
                    del left[name]
                    running[pool.submit(act, name)] = name
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                failed = failed or future.exception()
                for before in left.values():
                    before.discard(name)
    if failed is not None:
        raise failed
    if cancelled and cancelled.is_set():
        raise Cancelled("stopped by you", hint="%compose_ps shows what runs")


def reverse(needs: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return who comes first when things are taken down: whoever needs one goes before it."""
    made: dict[str, set[str]] = {name: set() for name in needs}
    for name, before in needs.items():
        for each in before:
            if each in made:
                made[each].add(name)
    return made
