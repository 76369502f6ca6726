"""What every result of a command can do in a notebook, given to all of them in one place.

The values themselves are plain: ``render.values`` knows how each becomes a dictionary, a frame
or a graph, ``render.display`` how it is written.  While the extension is loaded their classes
have these as methods; a class keeps what it has of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def give(kinds: Iterable[type]) -> Callable[[], None]:
    """Give classes the methods that fit them; return what takes those back.

    ``to_dict()`` all of them, ``str()`` those with words of their own, ``raw`` those with a
    document of docker's, ``to_pandas()`` those that are lists at heart, ``to_dot()`` those that
    are graphs.
    """
    from ocimagic.render import values
    from ocimagic.render.display import draws

    given: list[tuple[type, str]] = []
    for kind in kinds:
        methods: dict[str, object] = {"to_dict": values.to_dict}
        if draws(kind):
            methods["__str__"] = written
        if kind in values.DOCUMENTS:
            methods["raw"] = property(values.DOCUMENTS[kind])
        if kind in values.LISTS:
            methods["to_pandas"] = values.to_pandas
        if kind in values.GRAPHS:
            methods["to_dot"] = values.to_dot
        for name, method in methods.items():
            if not _has(kind, name):
                setattr(kind, name, method)
                given.append((kind, name))

    def take_back() -> None:
        for kind, name in given:
            delattr(kind, name)

    return take_back


def _has(kind: type, name: str) -> bool:
    return getattr(kind, name, None) is not getattr(object, name, None)


def written(value: object) -> str:
    """Return a result as ``print`` writes it: the text a terminal would get."""
    from ocimagic.render.display import as_text

    return as_text(value, datetime.now(UTC))
