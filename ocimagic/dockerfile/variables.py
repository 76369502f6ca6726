"""Names and values that grow line by line, thousands of lines perhaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

_MOST_NEW = 128


class Variables(Mapping[str, str]):
    """A mapping that is never changed: ``with_added`` makes the next one at little cost.

    Most names are in one dict that many of them share, the newest few in one of their own.
    A name keeps its first place, as in a dict.
    """

    __slots__ = ("_new", "_old")
    __hash__: ClassVar[None]  # type: ignore[assignment]  # equal ones may be in another order

    def __init__(
        self, old: Mapping[str, str] | None = None, new: Mapping[str, str] | None = None
    ) -> None:
        """Take most names and, where they are apart, the newest; neither is changed any more."""
        self._old = old or {}
        self._new = new or {}

    def with_added(self, added: Mapping[str, str]) -> Variables:
        """Return these with more names, or with other values for some."""
        new = {**self._new, **added}
        return (
            Variables(self._old, new) if len(new) <= _MOST_NEW else Variables({**self._old, **new})
        )

    def __getitem__(self, name: str) -> str:
        """Return the value of a name."""
        return self._new[name] if name in self._new else self._old[name]

    def __contains__(self, name: object) -> bool:
        """Say whether a name has a value."""
        return name in self._new or name in self._old

    def __iter__(self) -> Iterator[str]:
        """Yield the names, in the order in which they came."""
        yield from self._old
        yield from (name for name in self._new if name not in self._old)

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._old) + sum(name not in self._old for name in self._new)

    def __repr__(self) -> str:
        """Show names and values."""
        return f"Variables({dict(self)!r})"
