"""Layer accounts: what each layer adds, changes and deletes, and whose bytes it wastes.

A layer's content is told apart by where it lies: which tar, at which offset.  So hard links
are one content, a file that is shipped again is another, and content is wasted exactly when no
path of the last tree leads to it; who wastes it is the first layer after which none does.

dive's efficiency (``dive/filetree/efficiency.go``) is a ratio of sums over paths: the smallest
size a path ever had, over the sum of all sizes it had.  For a deleted directory it adds the
size of the tree to both sums, under the directory's own path, while the files in it keep their
size in both sums under theirs: deleting a directory costs nothing there, deleting its files one
by one does.  An opaque directory hides nothing there.  A file that grows counts as the small
one it was, and each hard link is one more content.  Here all of these are what they are.

Spec: image-spec layer.md, "Whiteouts", "Opaque Whiteout".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.layers.mergedtree import Found, MergedTree
from ocimagic.layers.tarheader import Kind
from ocimagic.model.accounts import Accounts, LayerAccount, Wasted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ocimagic.layers.toc import TocEntry

_Content = tuple[int, int]  # layer and offset in its tar
_Seen = dict[str, tuple[object, ...]]


def accounts_of(tocs: Sequence[Sequence[TocEntry]], created_by: Sequence[str] = ()) -> Accounts:
    """Make up the accounts of an image.

    Args:
        tocs: its layers' tables, lowest first.
        created_by: the instructions that made them.

    Raises:
        LayerRefused: the layers do not fit on each other.
    """
    tree = MergedTree(())
    shipped = [_contents(layer, toc) for layer, toc in enumerate(tocs)]
    alive: dict[_Content, tuple[str, int]] = {}
    wasted: list[list[Wasted]] = [[] for _ in tocs]
    before: _Seen = {}
    made: list[tuple[_Seen, _Seen]] = []
    for number, toc in enumerate(tocs):
        tree.add_layer(toc)
        alive |= shipped[number]
        now, shown = _look(tree)
        for content in alive.keys() - shown:
            path, size = alive.pop(content)
            wasted[content[0]].append(Wasted(path=path, size_bytes=size, by=number))
        made.append((before, now))
        before = now
    names = [*created_by, *[""] * (len(tocs) - len(created_by))]
    return Accounts(
        layers=tuple(
            LayerAccount(
                created_by=name,
                added=_sorted(now.keys() - old.keys()),
                changed=_sorted(path for path in now.keys() & old.keys() if now[path] != old[path]),
                deleted=_sorted(old.keys() - now.keys()),
                shipped_bytes=sum(size for _, size in contents.values()),
                wasted=tuple(sorted(lost, key=lambda each: (-each.size_bytes, each.path))),
            )
            for name, (old, now), contents, lost in zip(names, made, shipped, wasted, strict=True)
        )
    )


def shared_bytes(images: Mapping[str, Iterable[tuple[str, int]]]) -> dict[str, tuple[int, int]]:
    """Say of each image how much of it others have too, and how much it has alone.

    Args:
        images: name to the diff_id and size of each of its layers.

    Returns:
        Name to shared and own bytes; a layer that an image has twice is kept once.
    """
    layers = {name: dict(each) for name, each in images.items()}
    users: dict[str, int] = {}
    for each in layers.values():
        for diff_id in each:
            users[diff_id] = users.get(diff_id, 0) + 1
    return {
        name: (
            sum(size for diff_id, size in each.items() if users[diff_id] > 1),
            sum(size for diff_id, size in each.items() if users[diff_id] == 1),
        )
        for name, each in layers.items()
    }


def _contents(layer: int, toc: Iterable[TocEntry]) -> dict[_Content, tuple[str, int]]:
    """Return the contents of a layer's files, with path and size."""
    return {
        (layer, entry.offset): (entry.path, entry.size)
        for entry in toc
        if entry.kind is Kind.FILE and entry.size
    }


def _look(tree: MergedTree) -> tuple[_Seen, set[_Content]]:
    """Return what each path is, and the contents that can be reached."""
    seen: _Seen = {}
    shown: set[_Content] = set()
    for found in tree.walk():
        if found.path:
            seen[found.path] = _identity(found)
        if found.entry.kind is Kind.FILE:
            shown.add((found.layer, found.entry.offset))
    return seen, shown


def _identity(found: Found) -> tuple[object, ...]:
    """Return what makes a file another one; a directory that is listed again is the same."""
    entry = found.entry
    looks = (entry.kind, entry.mode, entry.uid, entry.gid)
    if entry.kind is Kind.DIR:
        return looks
    return (*looks, entry.linkname, found.layer, entry.offset)


def _sorted(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths))
