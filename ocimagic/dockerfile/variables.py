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

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._old: dict[str, str] = dict(items or {})
        self._new: dict[str, str] = {}

    def with_added(self, added: Mapping[str, str]) -> Variables:
        """Return these with more names, or with other values for some."""
        after = Variables.__new__(Variables)
        after._old, after._new = self._old, {**self._new, **added}
        if len(after._new) > _MOST_NEW:
            after._old, after._new = {**after._old, **after._new}, {}
        return after

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
