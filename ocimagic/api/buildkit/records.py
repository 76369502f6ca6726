"""Builds that were asked for over gRPC, by the reference that their client gave them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_MEET_S = 5.0
_MOST = 64


@dataclass(slots=True)
class Record:
    """One build: what is asked for in parts, and what it tells.

    Attributes:
        session: of its client, "" for none.
        exporter: type of the exporter.
        attributes: of the exporter.
        stop: set when it is to be stopped.
        image_id: what was built.
        failure: what the client says went wrong.
        returned: set when the client wants no more of its frontend.
    """

    session: str
    exporter: str
    attributes: Mapping[str, str]
    stop: threading.Event = field(default_factory=threading.Event)
    image_id: str = ""
    failure: str = ""
    returned: threading.Event = field(default_factory=threading.Event)
    _told: list[Any] = field(default_factory=list)
    _is_over: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def tell(self, response: Any) -> None:  # noqa: ANN401  a message
        """Keep a StatusResponse for whoever listens."""
        with self._changed:
            self._told.append(response)
            self._changed.notify_all()

    def end(self) -> None:
        """Tell listeners that nothing more comes."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def told(self) -> Iterator[Any]:
        """Yield all that is told, until the end."""
        count = 0
        while True:
            with self._changed:
                while not self._is_over and len(self._told) <= count:
                    self._changed.wait()
                new = self._told[count:]
            if not new:
                return
            count += len(new)
            yield from new


class Records:
    """The builds of one server."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: dict[str, Record] = {}
        self._over: OrderedDict[str, Record] = OrderedDict()

    @contextmanager
    def keeping(self, reference: str, record: Record) -> Iterator[None]:
        """Have a build be found until it ends.

        Raises:
            InvalidState: its reference is in use, or there are too many.
        """
        with self._changed:
            if {reference} & {"", *self._known, *self._over}:
                raise InvalidState(f"there is a build {reference!r} already")
            if len(self._known) >= _MOST:
                raise InvalidState(f"{_MOST} builds are under way, and no more are allowed")
            self._known[reference] = record
            self._changed.notify_all()
        try:
            yield
        finally:
            record.end()
            with self._changed:
                del self._known[reference]
                # A build may be over before its client asks how it goes.
                self._over[reference] = record
                while len(self._over) > _MOST:
                    self._over.popitem(last=False)

    def find(self, reference: str) -> Record:
        """Return a build, which may be about to begin.

        Raises:
            NotFound: there is none.
        """
        with self._changed:
            found = self._changed.wait_for(lambda: self._found(reference), _MEET_S)
        if found is None:
            raise NotFound(f"no such build: {reference}")
        return found

    def _found(self, reference: str) -> Record | None:
        return self._known.get(reference) or self._over.get(reference)
