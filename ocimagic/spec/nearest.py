"""What somebody meant who mistyped a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to ``word``, or None if none is near."""
    import difflib  # heavy, and only for those who mistype

    cutoff = 0.65 if len(word) <= 3 else 0.7  # one slip weighs more there: RNU, RUM
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)
