"""How often a busy notebook gives the threads of a server their turn."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Python's own is 5 ms, and a request waits for about six turns.  With one busy thread and no
# request it costs nothing: nobody asks for a turn.
SWITCH_S = 0.0001
_lock = threading.Lock()
_servers = 0
_usual_s = 0.0


@contextmanager
def short_turns() -> Iterator[None]:
    """Shorten sys.setswitchinterval() of this process until the last who wants it has left."""
    global _servers, _usual_s  # noqa: PLW0603  as the interval is: one for the process
    with _lock:
        if not _servers:
            _usual_s = sys.getswitchinterval()
            sys.setswitchinterval(min(_usual_s, SWITCH_S))
        _servers += 1
    try:
        yield
    finally:
        with _lock:
            _servers -= 1
            if not _servers:
                sys.setswitchinterval(_usual_s)
