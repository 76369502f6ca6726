"""Reading ahead: what takes the processor without the interpreter, done beside what needs it.

Inflating and hashing let other threads run; making files is mostly Python.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECES = 32  # 8 MiB of a layer


def read_ahead(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what an iterator yields, which runs in a thread a few pieces ahead.

    For a process that ends soon: a thread whose reader has stopped waits until then.
    """
    queue: deque[bytes] = deque()
    changed = threading.Condition()
    outcome: list[BaseException | None] = []

    def run() -> None:
        failure: BaseException | None = None
        try:
            for piece in pieces:
                with changed:
                    changed.wait_for(lambda: len(queue) < _PIECES)
                    queue.append(piece)
                    changed.notify()
        except BaseException as err:  # noqa: BLE001  raised again where the pieces are wanted
            failure = err
        with changed:
            outcome.append(failure)
            changed.notify()

    threading.Thread(target=run, name="ahead", daemon=True).start()
    while True:
        with changed:
            changed.wait_for(lambda: queue or outcome)
            if not queue:
                break
            piece = queue.popleft()
            changed.notify()
        yield piece
    if outcome[0] is not None:
        raise outcome[0]
