"""What happened, from the journal that every engine and shim of the data root writes."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from ocimagic.home.journal import Reading
from ocimagic.model.system_event import SystemEvent, events_that_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_TICK_S = 0.2  # so long it takes until a cancelled listener ends


def events(
    journal: Path,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    conditions: Iterable[str] = (),
    cancelled: threading.Event | None = None,
) -> Iterator[SystemEvent]:
    """Yield events, those of before first, then new ones as they come.

    Args:
        journal: the file.
        since_ns: nanoseconds since 1970; None tells only of what is new.
        until_ns: ends then; a time that is over ends at once. None goes on until cancelled.
        conditions: docker's filters, ``KEY=VALUE``.
        cancelled: ends it when set.

    Raises:
        InvalidOption: a filter that is none.
    """
    fits = events_that_fit(conditions)
    first_ns = time.time_ns() if since_ns is None else since_ns
    stop = cancelled or threading.Event()
    return _told(journal, fits, first_ns, until_ns, stop)


def _told(
    journal: Path,
    fits: Callable[[SystemEvent], bool],
    first_ns: int,
    until_ns: int | None,
    stop: threading.Event,
) -> Iterator[SystemEvent]:
    with closing(Reading(journal, first_ns)) as reading, ExitStack() as stack:
        wait = _waiting(journal.parent, stack, stop)
        while True:
            # Looked at before reading: all that was written until then is read.
            is_over = stop.is_set() or (until_ns is not None and time.time_ns() >= until_ns)
            for document in reading.more():
                event = _event(document)
                if event is None or event.time_ns < first_ns or not fits(event):
                    continue
                if until_ns is None or event.time_ns <= until_ns:
                    yield event
            if is_over:
                return
            left_s = _TICK_S if until_ns is None else (until_ns - time.time_ns()) / 1e9
            wait(max(0.0, min(_TICK_S, left_s)))


def _waiting(directory: Path, stack: ExitStack, stop: threading.Event) -> Callable[[float], object]:
    """Return what waits until something is written, or some seconds."""
    try:
        from ocimagic.linux.watching import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Watcher
    except ImportError:  # no Linux
        return stop.wait
    try:
        watcher = stack.enter_context(Watcher())
        watcher.add(directory, IN_CREATE | IN_MODIFY | IN_MOVED_TO)
    except OSError:  # this account watches too much already
        return stop.wait
    return watcher.wait


def _event(document: Mapping[str, object]) -> SystemEvent | None:
    """Read a line of the journal; None if it is none."""
    kind, action, actor = (document.get(name) for name in ("kind", "action", "id"))
    time_ns, attributes = document.get("time"), document.get("attributes")
    if not (isinstance(kind, str) and isinstance(action, str) and isinstance(actor, str)):
        return None
    if not isinstance(time_ns, int) or not isinstance(attributes, dict):
        return None
    said = {str(name): str(value) for name, value in attributes.items()}
    return SystemEvent(kind, action, actor, said, time_ns)
