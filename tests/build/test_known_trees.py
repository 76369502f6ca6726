"""What an engine remembers of bases from build to build, and how much of it."""

from ocimagic.build.known import KnownTrees
from ocimagic.layers.mergedtree import MergedTree


def test_the_trees_asked_for_last_are_kept():
    known = KnownTrees()
    trees = {name: MergedTree(()) for name in "abcde"}
    for name in "abcd":
        known.keep(name, trees[name], 10_000)
    assert known.find("a") is trees["a"]
    known.keep("e", trees["e"], 10_000)
    assert known.find("b") is None, "asked for longest ago"
    assert [known.find(name) for name in "acde"] == [trees[name] for name in "acde"]


def test_what_is_too_small_or_too_large_is_not_kept():
    known = KnownTrees()
    for name, entries in (("small", 10), ("huge", 1_000_000)):
        known.keep(name, MergedTree(()), entries)
        assert known.find(name) is None
