"""Many questions at a time, where an API has none about all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST = 8

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


def asked_together(
    ask: Callable[[Thing], Answer | None], things: Sequence[Thing], most: int = _MOST
) -> list[Answer]:
    """Ask about each of many things; far away, each answer takes its time.

    Args:
        ask: is called for each of them, by several threads; None is no answer.
        things: what is asked about.
        most: how many threads, at the most.

    Returns:
        the answers, in the order of the things.

    Raises:
        Exception: what ``ask`` raised first.
    """
    left = iter(list(enumerate(things)))  # each step of it is one for all threads
    found: dict[int, Answer] = {}
    errors: list[Exception] = []

    def work() -> None:
        for number, thing in left:
            try:
                answer = ask(thing)
            except Exception as err:  # noqa: BLE001  it is raised again below
                errors.append(err)
            else:
                if answer is not None:
                    found[number] = answer
            if errors:
                return

    threads = [
        threading.Thread(target=work, name="ocimagic-client", daemon=True)
        for _ in range(min(most, len(things)) - 1)
    ]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [found[number] for number in sorted(found)]
