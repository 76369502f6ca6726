"""The tree that a stack of layers makes, from their tables of contents alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import LayerRefused
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import TocEntry
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_LINKS = 40  # as the kernel
_IMPLIED = TocEntry("", Kind.DIR, 0o755, 0, 0, 0, "", 0, 0)


class Found(NamedTuple):
    """A file in the merged tree.

    Attributes:
        path: where it is, with all symlinks resolved that were followed.
        entry: its line; of a hard link, the line of the file it is.
        layer: index of the layer whose tar holds its content, the lowest being 0.
        placed: index of the layer that put it here: of a hard link perhaps a later one.
    """

    path: str
    entry: TocEntry
    layer: int
    placed: int


@dataclass(slots=True, eq=False)
class _Node:
    entry: TocEntry
    layer: int  # whose entry put it here
    source: int  # whose tar holds the content: another layer's for a hard link
    tree: object  # the only one that may change it
    children: dict[str, _Node] | None = None  # of a directory

    def copy(self, tree: object) -> _Node:
        """Return a copy for another tree; what is below is still shared."""
        children = None if self.children is None else dict(self.children)
        return _Node(self.entry, self.layer, self.source, tree, children)


class MergedTree:
    """What ``/`` of an image looks like; symlinks and whiteouts obeyed, nothing unpacked.

    Args:
        tocs: the layers' tables, lowest first.

    Raises:
        LayerRefused: the layers do not fit on each other.
    """

    def __init__(self, tocs: Iterable[Iterable[TocEntry]]) -> None:
        self._root = _Node(_IMPLIED, 0, 0, self, {})
        self._layers = 0
        self._latest: tuple[str, dict[str, _Node]] | None = None  # as long as nothing is replaced
        for toc in tocs:
            self.add_layer(toc)

    def below(self, toc: Iterable[TocEntry]) -> MergedTree:
        """Return a tree with one more layer; this one stays, and both share what is the same.

        Raises:
            LayerRefused: it does not fit on them.
        """
        made = MergedTree(())
        made._root = self._root.copy(made)
        made._layers = self._layers
        made.add_layer(toc)
        return made

    def add_layer(self, toc: Iterable[TocEntry]) -> None:
        """Lay one more layer on those that are there.

        Raises:
            LayerRefused: it does not fit on them.
        """
        self._latest = None
        for entry in toc:
            self._add(entry, self._layers)
        self._layers += 1

    def find(self, path: str, *, follow: bool = True) -> Found | None:
        """Look a path up as a process whose ``/`` this is would.

        Args:
            path: absolute or relative to the root; ``..`` stays inside.
            follow: whether a symlink in the last component is followed too.
        """
        walked = self._walk(path, follow=follow)
        if walked is None:
            return None
        where, node = walked
        return _found(where, node)

    def lookup(self, path: str, *, follow: bool = True) -> TocEntry | None:
        """Return the line of a path, or None; ``find`` also says which layer it is from."""
        found = self.find(path, follow=follow)
        return found and found.entry

    def children(self, path: str) -> tuple[Found, ...]:
        """Return what a directory holds, sorted by name; nothing if it is no directory."""
        walked = self._walk(path)
        if walked is None or walked[1].children is None:
            return ()
        where = walked[0]
        made = []
        for name, node in sorted(walked[1].children.items()):
            inside = f"{where}/{name}" if where else name
            made.append(_found(inside, node))
        return tuple(made)

    def walk(self) -> Iterator[Found]:
        """Yield all files, a directory before what it holds, the root first."""
        pending = [("", self._root)]
        while pending:
            path, node = pending.pop()
            yield _found(path, node)
            for name, child in sorted((node.children or {}).items(), reverse=True):
                pending.append((f"{path}/{name}" if path else name, child))

    def changes(self, before: MergedTree) -> Iterator[tuple[Found | None, Found | None]]:
        """Yield what each path was and is where this tree differs from the one it was made from.

        A directory that was listed again, with nothing new about it, is among them; the root
        is not.  What both trees share is not even looked at.

        Args:
            before: the tree whose ``below`` made this one.
        """
        pending: list[tuple[str, _Node | None, _Node | None]] = [("", before._root, self._root)]
        while pending:
            path, old, new = pending.pop()
            if path:
                yield (
                    None if old is None else _found(path, old),
                    None if new is None else _found(path, new),
                )
            olds = (old and old.children) or {}
            news = (new and new.children) or {}
            prefix = f"{path}/" if path else ""
            for name, was in olds.items():
                now = news.get(name)
                if was is not now:
                    pending.append((prefix + name, was, now))
            for name, now in news.items():
                if name not in olds:
                    pending.append((prefix + name, None, now))

    def _walk(
        self,
        path: str,
        *,
        follow: bool = True,
        change: bool = False,
        implied: _Node | None = None,
    ) -> tuple[str, _Node] | None:
        """Resolve a path; return where it ends and what is there.

        Args:
            path: as in ``find``.
            follow: as in ``find``.
            change: the caller will change what is there.
            implied: what to copy for each missing directory; without it, None is returned.
        """
        trail = [("", self._root)]
        todo = [part for part in reversed(path.split("/")) if part]
        ours = len(todo)  # of what is left to do, this many parts are not from a symlink
        links = 0
        while todo:
            part = todo.pop()
            where, node = trail[-1]
            if node.children is None:
                return None
            if part == ".":
                continue
            if part == "..":
                del trail[max(len(trail) - 1, 1) :]
                continue
            child = node.children.get(part)
            if child is None:
                if implied is None or len(todo) >= ours:
                    return None
                child = _Node(implied.entry, implied.layer, implied.source, self, {})
                node.children[part] = child
            elif change and child.tree is not self and child.children is not None:
                child = node.children[part] = child.copy(self)
            if child.entry.kind is Kind.SYMLINK and (follow or todo):
                links += 1
                if links > _MAX_LINKS:
                    return None
                ours = min(ours, len(todo))
                text = child.entry.linkname
                if text.startswith("/"):
                    del trail[1:]
                todo.extend(each for each in reversed(text.split("/")) if each)
                continue
            trail.append((f"{where}/{part}" if where else part, child))
        return trail[-1]

    def _add(self, entry: TocEntry, layer: int) -> None:
        if not entry.path and entry.kind is Kind.DIR:
            self._root.entry = entry
            return
        if entry.kind is Kind.OPAQUE:
            self._latest = None
            walked = self._walk(entry.path, change=True)
            if walked is not None:
                self._prune(walked[1], layer)
            return
        parent_path, _, name = entry.path.rpartition("/")
        if entry.kind is Kind.WHITEOUT:
            self._latest = None
            walked = self._walk(parent_path, change=True)
            if walked is not None and walked[1].children is not None:
                self._hide(walked[1].children, name, layer)
            return
        # Layers list what a directory holds in a row.
        if self._latest is not None and self._latest[0] == parent_path:
            siblings = self._latest[1]
        else:
            siblings = self._directory(parent_path, entry, layer)
            self._latest = parent_path, siblings
        old = siblings.get(name)
        if old is not None:
            self._latest = None
        if entry.kind is Kind.HARDLINK:
            siblings[name] = self._linked(entry, layer, old)
            return
        made = _Node(entry, layer, layer, self, {} if entry.kind is Kind.DIR else None)
        if made.children is not None and old is not None and old.children is not None:
            made.children = old.children if old.tree is self else dict(old.children)
        siblings[name] = made

    def _linked(self, entry: TocEntry, layer: int, old: _Node | None) -> _Node:
        """Return the node of a hard link that takes the place of ``old``."""
        walked = self._walk(entry.linkname, follow=False)
        if walked is None or walked[1].children is not None:
            raise LayerRefused(entry.path, f"a hard link to {entry.linkname!r}, which is no file")
        target = walked[1]
        if old is not None and any(node is target for node in _below(old)):
            raise LayerRefused(entry.path, "a hard link to itself or to what it replaces")
        return _Node(target.entry, layer, target.source, self)

    def _directory(self, path: str, entry: TocEntry, layer: int) -> dict[str, _Node]:
        """Return the children of a directory, made with its parents if it was implied."""
        walked = self._walk(path, change=True)
        if walked is None:
            implied = _Node(_IMPLIED._replace(mtime_ns=entry.mtime_ns), layer, layer, self)
            walked = self._walk(path, change=True, implied=implied)
        if walked is None or walked[1].children is None:
            raise LayerRefused(entry.path, "its parent is no directory")
        return walked[1].children

    def _hide(self, siblings: dict[str, _Node], name: str, layer: int) -> None:
        """Remove what lower layers put at ``name``; ``siblings`` may be changed."""
        node = siblings.get(name)
        if node is None:
            return
        if node.tree is not self:
            node = siblings[name] = node.copy(self)
        self._prune(node, layer)
        if node.layer < layer and not node.children:
            del siblings[name]

    def _prune(self, top: _Node, layer: int) -> None:
        """Remove everything below a directory that lower layers put there.

        A lower directory in which this layer put something stays, as what it was.
        """
        order = [top]
        for node in order:  # grows while it is read
            children = node.children or {}
            for name, child in children.items():
                if child.tree is not self:
                    children[name] = child.copy(self)
            order.extend(children.values())
        for node in reversed(order):
            for name, child in list((node.children or {}).items()):
                if child.layer < layer and not child.children:
                    del (node.children or {})[name]


def _found(path: str, node: _Node) -> Found:
    entry = node.entry
    # Only what is implied, or a hard link, has a line with another path.
    entry = entry if entry.path == path else entry._replace(path=path)
    return Found(path, entry, node.source, node.layer)


def _below(top: _Node) -> list[_Node]:
    """Return a node and all below it, parents first."""
    order = [top]
    for node in order:  # grows while it is read
        order.extend((node.children or {}).values())
    return order
