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
from ocimagic.model.explored import Explored, ExploredFile, HistoryStep, Touch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ocimagic.layers.toc import TocEntry

_Content = tuple[int, int]  # layer and offset in its tar


def accounts_of(tocs: Sequence[Sequence[TocEntry]], created_by: Sequence[str] = ()) -> Accounts:
    """Make up the accounts of an image.

    Args:
        tocs: its layers' tables, lowest first.
        created_by: the instructions that made them.

    Raises:
        LayerRefused: the layers do not fit on each other.
    """
    return _Ledger(tocs).accounts(created_by)


def explore(tocs: Sequence[Sequence[TocEntry]], history: Sequence[tuple[str, bool]]) -> Explored:
    """Say of each path of an image what its layers did to it, and make up the accounts.

    Args:
        tocs: its layers' tables, lowest first.
        history: of each line what made it, and whether that made a layer.

    Raises:
        LayerRefused: the layers do not fit on each other.
    """
    steps = tuple(_steps(history, len(tocs)))
    made_by = [each.created_by for each in steps if each.layer is not None]
    ledger = _Ledger(tocs)
    return Explored(steps=steps, accounts=ledger.accounts(made_by), files=tuple(ledger.files()))


def _steps(history: Sequence[tuple[str, bool]], layers: int) -> Iterator[HistoryStep]:
    """Give each layer its line; those at the end have none where a history is too short."""
    layer = 0
    for created_by, makes_layer in history:
        is_made = makes_layer and layer < layers
        yield HistoryStep(created_by=created_by, layer=layer if is_made else None)
        layer += is_made
    for left in range(layer, layers):
        yield HistoryStep(created_by="", layer=left)


class _Ledger:
    """Goes through the layers once, each as a change of the tree below it."""

    def __init__(self, tocs: Sequence[Sequence[TocEntry]]) -> None:
        self._shipped = [_contents(layer, toc) for layer, toc in enumerate(tocs)]
        self._wasted: list[list[Wasted]] = [[] for _ in tocs]
        self._done: list[dict[str, list[str]]] = []
        self._touches: dict[str, tuple[Touch, ...]] = {}
        self._last: dict[str, Found] = {}
        self._shown: dict[_Content, int] = {}  # by how many paths
        self._alike: dict[tuple[Touch, ...], tuple[Touch, ...]] = {}
        tree = MergedTree(())
        for number, toc in enumerate(tocs):
            lower, tree = tree, tree.below(toc)
            self._lay(number, tree.changes(lower))

    def accounts(self, created_by: Sequence[str]) -> Accounts:
        """Return the accounts."""
        names = [*created_by, *[""] * (len(self._done) - len(created_by))]
        return Accounts(
            layers=tuple(
                LayerAccount(
                    created_by=name,
                    added=tuple(sorted(done["A"])),
                    changed=tuple(sorted(done["M"])),
                    deleted=tuple(sorted(done["D"])),
                    shipped_bytes=sum(size for _, size in contents.values()),
                    wasted=tuple(sorted(lost, key=lambda each: (-each.size_bytes, each.path))),
                )
                for name, done, contents, lost in zip(
                    names, self._done, self._shipped, self._wasted, strict=False
                )
            )
        )

    def files(self) -> Iterator[ExploredFile]:
        """Yield every path there ever was, a directory before what it holds."""
        last, kinds = self._last, {kind: kind.value for kind in Kind}
        # No name has a NUL in it, so this puts "a/b" before "a-b", as a tree does.
        for path in sorted(self._touches, key=lambda each: each.replace("/", "\0")):
            _, entry, source, _ = last[path]
            _, kind, mode, uid, gid, size, link, _, offset = entry
            content = (source, offset) if kind is Kind.FILE else None
            touches = self._touches[path]
            yield ExploredFile(path, kinds[kind], mode, uid, gid, size, link, touches, content)

    def _lay(self, number: int, changes: Iterable[tuple[Found | None, Found | None]]) -> None:
        done: dict[str, list[str]] = {"A": [], "M": [], "D": []}
        # Most paths have one of a few histories: they share it.
        alike, touches = self._alike, self._touches
        marks = {letter: Touch(number, letter) for letter in done}
        shown, hidden = self._shown, set[_Content]()
        for old, new in changes:
            if new is not None and new.entry.kind is Kind.FILE:
                content = (new.layer, new.entry.offset)
                shown[content] = shown.get(content, 0) + 1
            if old is not None and old.entry.kind is Kind.FILE:
                content = (old.layer, old.entry.offset)
                shown[content] -= 1
                hidden.add(content)
            letter = "A" if old is None else _letter(old, new)
            found = new or old
            assert found is not None
            path = found.path
            self._last[path] = found
            if letter:
                done[letter].append(path)
                known = (*touches.get(path, ()), marks[letter])
                touches[path] = alike.setdefault(known, known)
        # What a layer ships and does not even show itself is its own waste.
        hidden.update(each for each in self._shipped[number] if each not in shown)
        for content in hidden:
            if not shown.get(content) and content in self._shipped[content[0]]:
                path, size = self._shipped[content[0]][content]
                lost = Wasted(path=path, size_bytes=size, by=number)
                self._wasted[content[0]].append(lost)
        self._done.append(done)


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


def _letter(old: Found, new: Found | None) -> str:
    """Return what became of a path that was there, "" for nothing."""
    if new is None:
        return "D"
    return "M" if _identity(old) != _identity(new) else ""


def _identity(found: Found) -> tuple[object, ...]:
    """Return what makes a file another one; a directory that is listed again is the same."""
    entry = found.entry
    looks = (entry.kind, entry.mode, entry.uid, entry.gid)
    if entry.kind is Kind.DIR:
        return looks
    return (*looks, entry.linkname, found.layer, entry.offset)
