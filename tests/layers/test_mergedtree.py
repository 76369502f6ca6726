"""Trees that share what they have in common: equal to trees made alone, and never changed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.errors import LayerRefused
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import TocEntry

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
KINDS = st.sampled_from(
    [Kind.FILE, Kind.DIR, Kind.DIR, Kind.SYMLINK, Kind.HARDLINK, Kind.WHITEOUT, Kind.OPAQUE]
)


@st.composite
def lines(draw):
    kind = draw(KINDS)
    link = draw(PATHS) if kind in (Kind.SYMLINK, Kind.HARDLINK) else ""
    mode = draw(st.sampled_from([0o644, 0o755]))
    return TocEntry(draw(PATHS), kind, mode, 0, 0, 0, link, 0, draw(st.integers(0, 5)))


LAYERS = st.lists(st.lists(lines(), max_size=5), min_size=1, max_size=5)


def pictured(tree):
    return [(found.path, found.entry, found.layer) for found in tree.walk()]


def fitting(layers):
    """Keep the lines that fit on what is below them."""
    kept = []
    for layer in layers:
        kept.append([])
        for line in layer:
            try:
                MergedTree([*kept[:-1], [*kept[-1], line]])
            except LayerRefused:
                continue
            kept[-1].append(line)
    return kept


@settings(max_examples=300, deadline=None)
@given(LAYERS)
def test_one_by_one_is_as_all_at_once_and_changes_nothing_below(layers):
    layers = fitting(layers)
    tree, pictures, trees = MergedTree(()), [], []
    for count, layer in enumerate(layers, 1):
        tree = tree.below(layer)
        trees.append(tree)
        pictures.append(pictured(tree))
        assert pictures[-1] == pictured(MergedTree(layers[:count]))
    assert [pictured(each) for each in trees] == pictures


@settings(max_examples=100, deadline=None)
@given(LAYERS, st.lists(lines(), max_size=6), st.lists(lines(), max_size=6))
def test_two_layers_on_one_tree_know_nothing_of_each_other(layers, one, other):
    layers = fitting(layers)
    below = MergedTree(layers)
    before = pictured(below)
    for drawn in (one, other, one):
        *_, layer = fitting([*layers, drawn])
        assert pictured(below.below(layer)) == pictured(MergedTree([*layers, layer]))
    assert pictured(below) == before
