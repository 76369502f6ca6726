"""Trees of bases that builds of this engine have read: the next build need not read them again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocimagic.layers.mergedtree import MergedTree

_LARGE = 1000  # what is smaller is read again in two milliseconds
_MOST = 40_000  # half a kilobyte each


class KnownTrees:
    """Merged trees by chain_id, those asked for last; thread-safe.

    A tree is only worth keeping if its uppermost layer has many entries, and what a few large
    ones need in memory is bounded: the one asked for longest ago goes first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trees: OrderedDict[str, tuple[MergedTree, int]] = OrderedDict()

    def find(self, chain_id: str) -> MergedTree | None:
        """Return the tree of a stack; only to look into, or to have others ``below`` it."""
        with self._lock:
            if chain_id not in self._trees:
                return None
            self._trees.move_to_end(chain_id)
            return self._trees[chain_id][0]

    def keep(self, chain_id: str, tree: MergedTree, entries: int) -> None:
        """Remember a tree that nobody changes any more.

        Args:
            chain_id: of the stack.
            tree: what it makes.
            entries: how many its uppermost layer has.
        """
        if not _LARGE <= entries <= _MOST:
            return
        with self._lock:
            self._trees[chain_id] = (tree, entries)
            while sum(count for _, count in self._trees.values()) > _MOST:
                self._trees.popitem(last=False)
