"""Which handler answers which method and path, as a table.

Spec: Docker Engine API v1.50, "paths"; ``{name}`` of an image may hold slashes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ocimagic.api.exchange import Answer

# What answers: it returns a whole answer, or None for one that it has sent itself.
Handler: TypeAlias = "Callable[..., Answer | None]"
_VERSIONED = re.compile(r"/v([0-9]{1,3})\.([0-9]{1,3})(/.*)")
_PART = re.compile(r"\{(\w+)(:path)?\}")


class Route(NamedTuple):
    """Who answers a request.

    Attributes:
        operation: docker's name of it; "" for what is not ours.
        names: those in the path.
    """

    handler: Handler
    operation: str
    names: Mapping[str, str]


class Routes:
    """The table; who is asked first comes first.

    Args:
        table: method, path with ``{names}``, handler, and docker's name of the operation.
    """

    def __init__(self, table: Iterable[tuple[str, str, Handler, str]]) -> None:
        self._table = [(row[0], _pattern(row[1]), *row[2:]) for row in table]

    def find(self, method: str, path: str) -> Route | None:
        """Return who answers."""
        for known, pattern, handler, operation in self._table:
            if known == method and (found := pattern.fullmatch(path)):
                return Route(handler, operation, found.groupdict())
        return None


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(
        _PART.sub(lambda part: f"(?P<{part[1]}>{'.+' if part[2] else '[^/]+'})", path)
    )


def split_version(path: str) -> tuple[tuple[int, int] | None, str]:
    """Return the version that a path begins with, None for none, and the rest."""
    found = _VERSIONED.fullmatch(path)
    return ((int(found[1]), int(found[2])), found[3]) if found else (None, path)
