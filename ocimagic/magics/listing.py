"""Several results in a row, as a value to work with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from ocimagic.cli.rows import ChangeRows, PortRows, Rows
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


class Listing(Sequence[T], Generic[T]):
    """What ``%image_ls`` and its like return.

    ``[0]`` and ``[1:3]`` count, ``['web']`` asks by name or by the beginning of an ID.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[T]) -> None:
        # A tuple is kept as it is: the command line's own kinds know how they are laid out.
        self._items = items if isinstance(items, tuple) else tuple(items)

    @overload
    def __getitem__(self, key: int | str) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> Listing[T]: ...
    def __getitem__(self, key: int | str | slice) -> T | Listing[T]:
        if isinstance(key, slice):
            return Listing(_like(self._items, self._items[key]))
        if isinstance(key, int):
            return self._items[key]
        for item in self._items:
            if key in _names(item):
                return item
        named = [item for item in self._items if any(n.startswith(key) for n in _ids(item))]
        if key and len(named) == 1:
            return named[0]
        near = nearest(key, self.names)
        raise KeyError(f"{key}; did you mean {near}?" if near else key)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Listing):
            return self._items == other._items
        return isinstance(other, tuple | list) and self._items == tuple(other)

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Listing({list(self._items)!r})"

    @property
    def items(self) -> tuple[T, ...]:
        """Return the results as the tuple they came in."""
        return self._items

    @property
    def names(self) -> list[str]:
        """Return a name for each: ``repository:tag``, a container's name, or its place."""
        return [next(iter(_names(item)), str(at)) for at, item in enumerate(self._items)]

    def __str__(self) -> str:
        from ocimagic.magics.methods import written

        return written(self._items)

    def to_dict(self) -> list[Any]:
        """Return a dictionary for each."""
        from ocimagic.render.values import to_dict

        return [to_dict(each) for each in self._items]

    @property
    def raw(self) -> list[object]:
        """Return docker's document of each.

        Raises:
            AttributeError: they have none.
        """
        return [item.raw for item in cast("tuple[Any, ...]", self._items)]

    def to_dot(self) -> Any:  # noqa: ANN401  graphviz is untyped
        """Return the graph of images with what their indexes name.

        Raises:
            InvalidOption: these are no graph.
        """
        from ocimagic.render.values import to_dot

        return to_dot(self._items)

    def to_pandas(self) -> Any:  # noqa: ANN401  pandas may be absent
        """Return a DataFrame with a row for each.

        Raises:
            HostLacks: pandas is not installed.
        """
        from ocimagic.render.values import to_pandas

        return to_pandas(self._items)


def _like(rows: tuple[T, ...], kept: tuple[T, ...]) -> tuple[T, ...]:
    """Return some of the rows, laid out as all of them were."""
    kind: Any = type(rows)
    if isinstance(rows, Rows):
        return cast("tuple[T, ...]", kind(kept, template=rows.template, **rows.options))
    return cast("tuple[T, ...]", kind(kept)) if isinstance(rows, ChangeRows | PortRows) else kept


def _names(item: object) -> list[str]:
    """Return the names one result answers to, best first."""
    names = [str(getattr(item, "name", "") or "")]
    if repository := getattr(item, "repository", ""):
        names.append(str(repository) if getattr(item, "tag", "") == "latest" else "")
    names.extend(str(tag) for tag in getattr(item, "tags", ()))
    if summary := getattr(item, "summary", None):
        names.extend(_names(summary))
    return [name for name in names if name]


def _ids(item: object) -> list[str]:
    item = getattr(item, "summary", item)
    container = getattr(item, "container_id", None)
    image = None if container else getattr(item, "image_id", None)
    found = str(container or image or "")
    return [found, found.partition(":")[2]] if found else []
