"""What layers did to each path of an image, beside a model that merges trees the slow way."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_accounting import CHANGES, Model, layer

from ocimagic.errors import InvalidOption
from ocimagic.layers.accounting import accounts_of, explore
from ocimagic.model.explored import HistoryStep, Touch, WastePair

LINES = [("ADD rootfs", True), ("ENV A=1", False), ("COPY c /", True), ("RUN rm etc/b", True)]


@pytest.fixture
def found():
    return explore(
        [layer("etc/", "etc/a 10", "etc/b 20", "etc-x 1", "bin/", "bin/x 5", "bin/y>bin/x"),
         layer("etc/", "etc/a 11", "c 1"), layer("-etc/b")], LINES,
    )  # fmt: skip


def touches(found):
    return {
        each.path: " ".join(f"{touch.letter}{touch.layer}" for touch in each.touches)
        for each in found.files
    }


def test_each_path_says_which_layers_did_what(found):
    assert touches(found) == {
        "bin": "A0", "bin/x": "A0", "bin/y": "A0", "c": "A1", "etc": "A0", "etc/a": "A0 M1",
        "etc/b": "A0 D2", "etc-x": "A0",
    }  # fmt: skip
    last = {each.path: each for each in found.files}
    assert [last[path].is_there for path in ("etc/a", "etc/b")] == [True, False]
    assert (last["etc/a"].size_bytes, last["etc/b"].size_bytes) == (11, 20)


def test_a_directory_comes_right_before_what_it_holds(found):
    assert [each.path for each in found.files][4:] == ["etc", "etc/a", "etc/b", "etc-x"]


def test_lines_and_layers_find_each_other(found):
    assert [each.layer for each in found.steps] == [0, None, 1, 2]
    assert [each.created_by for each in found.accounts.layers] == [
        "ADD rootfs", "COPY c /", "RUN rm etc/b"
    ]  # fmt: skip
    short = explore([layer("a 1"), layer("b 1")], [("ADD a", True)])
    assert short.steps[1] == HistoryStep(created_by="", layer=1)
    long = explore([layer("a 1")], [("ADD a", True), ("lies", True)])
    assert [each.layer for each in long.steps] == [0, None], "a history may claim too much"


def test_waste_has_two_lines_that_caused_it(found):
    assert found.waste() == (
        WastePair(shipped_by=0, hidden_by=2, files=1, size_bytes=20),
        WastePair(shipped_by=0, hidden_by=1, files=1, size_bytes=10),
    )
    assert found.accounts == accounts_of(
        [layer("etc/", "etc/a 10", "etc/b 20", "etc-x 1", "bin/", "bin/x 5", "bin/y>bin/x"),
         layer("etc/", "etc/a 11", "c 1"), layer("-etc/b")],
        [name for name, makes in LINES if makes],
    )  # fmt: skip
    assert found.shown_bytes == 10 + 1 + 5 + 1 + 20 - 20 + 11 - 10


def test_directories_add_up_with_hard_links_once(found):
    assert found.directory_bytes == {"": 18, "bin": 5, "etc": 11}


def test_a_deleted_directory_is_all_there_to_be_seen():
    found = explore([layer("d/", "d/e/", "d/e/f 100", "k 1"), layer("-d")], [])
    assert touches(found) == {"d": "A0 D1", "d/e": "A0 D1", "d/e/f": "A0 D1", "k": "A0"}
    assert found.directory_bytes == {"": 1}


def test_what_came_back_after_it_was_deleted():
    found = explore([layer("a 5"), layer("-a"), layer("a 7")], [])
    assert touches(found) == {"a": "A0 D1 A2"}
    assert found.waste() == (WastePair(shipped_by=0, hidden_by=1, files=1, size_bytes=5),)


def test_a_file_that_becomes_a_directory():
    found = explore([layer("a 5"), layer("a/", "a/b 1")], [])
    assert touches(found) == {"a": "A0 M1", "a/b": "A1"}
    assert [each.kind for each in found.files] == ["d", "f"]


class TestTree:
    def test_all(self, found):
        tree = found.tree()
        assert (len(tree.files), tree.hits, tree.hidden) == (8, 8, 0)

    def test_depth(self, found):
        tree = found.tree(depth=1)
        assert [each.path for each in tree.files] == ["bin", "c", "etc", "etc-x"]
        assert tree.hidden == 4

    def test_one_layer_with_the_way_to_it(self, found):
        tree = found.tree(layer=2)
        assert ([each.path for each in tree.files], tree.hits) == (["etc", "etc/b"], 1)

    def test_a_pattern_begins_at_the_root(self, found):
        assert [each.path for each in found.tree(pattern="^/c$").files] == ["c"]
        assert found.tree(pattern="nowhere").hits == 0

    def test_what_is_no_layer_or_no_pattern(self, found):
        with pytest.raises(InvalidOption, match="has no layer 3"):
            found.tree(layer=3)
        with pytest.raises(InvalidOption, match="no regular expression"):
            found.tree(pattern="[")

    def test_the_first_and_the_weighty(self, found):
        first = found.tree().first(3)
        assert ([each.path for each in first.files], first.hidden) == (["bin", "bin/x", "bin/y"], 5)
        thin = found.tree().thinned(1)
        assert [each.path for each in thin.files] == ["bin", "bin/x"], "directories come first"


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, max_size=4))
def test_as_the_model_says(layers):
    model, tables, trees = Model(), [], [{}]
    for number, changes in enumerate(layers):
        lines, _ = model.lay(changes, number)
        tables.append(layer(*lines))
        trees.append(dict(model.tree))
    found = explore(tables, [])
    known = {each.path: each for each in found.files}
    assert {path for path, each in known.items() if each.is_there} == set(trees[-1])
    for number, (before, after) in enumerate(pairwise(trees)):
        for letter, paths in (
            ("A", after.keys() - before.keys()),
            ("D", before.keys() - after.keys()),
            ("M", {each for each in before.keys() & after.keys() if before[each] != after[each]}),
        ):
            touch = Touch(number, letter)
            assert {path for path, each in known.items() if touch in each.touches} == paths
