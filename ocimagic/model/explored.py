"""An image seen file by file: which layer did what to each path, and what bytes that costs."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.errors import InvalidOption
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.accounts import Accounts

MEANINGS = {"A": "added", "M": "changed", "D": "deleted"}


class Touch(NamedTuple):
    """What a layer did to a path.

    Attributes:
        layer: its number, the lowest being 0.
        letter: ``A`` added, ``M`` changed, ``D`` deleted.
    """

    layer: int
    letter: str


class ExploredFile(NamedTuple):
    """A path that a layer of the image has, as it is in the image or was before it was deleted.

    Attributes:
        path: relative to the root.
        kind: ``f`` file, ``d`` directory, ``l`` symlink, ``c`` ``b`` devices, ``p`` FIFO.
        mode: permission bits.
        size_bytes: of the content that was there last.
        link: a symlink's text.
        touches: lowest layer first, at least one.
        content: of a file, which it is: layer and offset in its tar; hard links have the same.
    """

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size_bytes: int
    link: str
    touches: tuple[Touch, ...]
    content: tuple[int, int] | None = None

    @property
    def is_there(self) -> bool:
        """Say whether the image shows it."""
        return self.touches[-1].letter != "D"

    @property
    def depth(self) -> int:
        """Return how many directories it is below the root."""
        return self.path.count("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStep:
    """A line of the image's history: as a rule one line of its Dockerfile.

    Attributes:
        created_by: as the builder wrote it down, "" if nobody did.
        layer: the number of the layer it made, None for none.
    """

    created_by: str
    layer: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WastePair:
    """What one layer ships and another one hides.

    Attributes:
        shipped_by: number of the layer that has the bytes.
        hidden_by: number of the layer after which nothing shows them; the same one when it
            ships two files of one name.
        files: how many.
    """

    shipped_by: int
    hidden_by: int
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Explored:
    """Everything of an image's files that its layers tell.

    Attributes:
        steps: its history, first line first; each layer belongs to exactly one.
        accounts: what each layer ships and wastes.
        files: of the image, and those that were deleted, a directory before what it holds.
    """

    steps: tuple[HistoryStep, ...]
    accounts: Accounts
    files: tuple[ExploredFile, ...]

    @property
    def image(self) -> str:
        """Return the image's name."""
        return self.accounts.image

    @property
    def shown_bytes(self) -> int:
        """Return the bytes that the image shows, each content once."""
        return self.accounts.shipped_bytes - self.accounts.wasted_bytes

    def waste(self) -> tuple[WastePair, ...]:
        """Return which two layers waste how much, the most first."""
        sums: dict[tuple[int, int], list[int]] = {}
        for layer, account in enumerate(self.accounts.layers):
            for each in account.wasted:
                found = sums.setdefault((layer, each.by), [0, 0])
                found[0] += 1
                found[1] += each.size_bytes
        pairs = (
            WastePair(shipped_by=pair[0], hidden_by=pair[1], files=files, size_bytes=size)
            for pair, (files, size) in sums.items()
        )
        return tuple(sorted(pairs, key=lambda each: (-each.size_bytes, each.shipped_by)))

    @cached_property
    def directory_bytes(self) -> dict[str, int]:
        """What the image shows below each directory, "" being the root.

        A content with several hard links counts once, where the first of them is.
        """
        sums = {"": 0}
        seen: set[tuple[int, int]] = set()
        for each in self.files:
            if each.kind == "d" and each.is_there:
                sums[each.path] = 0
            elif each.content is not None and each.content not in seen and each.is_there:
                seen.add(each.content)
                sums[each.path.rpartition("/")[0]] += each.size_bytes
        for path in reversed(sums):  # what a directory holds before the directory
            if path:
                sums[path.rpartition("/")[0]] += sums[path]
        return sums

    def tree(
        self, *, layer: int | None = None, pattern: str = "", depth: int | None = None
    ) -> FileTree:
        """Return a part of it.

        Args:
            layer: only what this layer did something to.
            pattern: only paths in which this regular expression is found; they begin with /.
            depth: not deeper; 1 is what the root holds.

        Raises:
            InvalidOption: there is no such layer, or the pattern is none.
        """
        layers = len(self.accounts.layers)
        if layer is not None and not 0 <= layer < layers:
            raise InvalidOption(
                f"{self.image} has no layer {layer}",
                why=f"it has {layers}, the lowest is 0" if layers else "it has no layers",
            )
        kept = self.files
        hits = len(kept)
        if layer is not None or pattern:
            found = self._fitting(layer, _compiled(pattern))
            hits = len(found)
            found = found.union(*map(_above, found))
            kept = tuple(each for each in kept if each.path in found)
        shown = kept
        if depth is not None:
            shown = tuple(each for each in kept if each.depth < depth)
        return FileTree(
            image=self.image,
            files=shown,
            directory_bytes=self.directory_bytes,
            layer=layer,
            hits=hits,
            hidden=len(kept) - len(shown),
        )

    def _fitting(self, layer: int | None, wanted: re.Pattern[str]) -> set[str]:
        return {
            each.path
            for each in self.files
            if (layer is None or any(touch.layer == layer for touch in each.touches))
            and wanted.search(f"/{each.path}")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTree:
    """What ``image tree`` shows.

    Attributes:
        files: with the directories that they are in.
        directory_bytes: what the image shows below each directory.
        layer: whose doings are asked for, None for all.
        hits: how many paths fit what was asked for.
        hidden: how many of them and their directories are left out here.
    """

    image: str
    files: tuple[ExploredFile, ...]
    directory_bytes: dict[str, int]
    layer: int | None
    hits: int
    hidden: int

    def first(self, most: int) -> FileTree:
        """Return this, or one that leaves out all but so many files."""
        left = len(self.files) - most
        if left <= 0:
            return self
        return replace(self, files=self.files[:most], hidden=self.hidden + left)

    def thinned(self, most: int) -> FileTree:
        """Return this, or one that shows of each directory only what matters most.

        That is: directories, then what several layers touched, then what is large.
        """
        inside: dict[str, list[ExploredFile]] = {}
        for each in self.files:
            inside.setdefault(each.path.rpartition("/")[0], []).append(each)
        kept: set[str] = {""}
        for directory, files in inside.items():
            if directory in kept:
                best = sorted(files, key=_weight)[:most]
                kept.update(each.path for each in best)
        shown = tuple(each for each in self.files if each.path in kept)
        return replace(self, files=shown, hidden=self.hidden + len(self.files) - len(shown))


def _weight(each: ExploredFile) -> tuple[bool, int, int]:
    return each.kind != "d", -len(each.touches), -each.size_bytes


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in, the root ("") last."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as err:
        raise InvalidOption(
            f"{pattern!r} is no regular expression", why=str(err), hint="write \\. for a dot"
        ) from err
