"""Layer accounts, beside a model that merges trees of real names and contents."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.layers.accounting import accounts_of, shared_bytes
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import TocEntry
from ocimagic.model.accounts import Wasted
from ocimagic.model.options import BuildOptions


def layer(*lines):
    """Make a table of ``path size``, ``path/``, ``-path``, ``=path/`` (opaque), ``path>target``."""
    toc, offset = [], 512
    for line in lines:
        offset += 512
        kind, path, size, link = Kind.FILE, line, 0, ""
        if line[0] == "-":
            kind, path = Kind.WHITEOUT, line[1:]
        elif line[0] == "=":
            kind, path = Kind.OPAQUE, line[1:].rstrip("/")
        elif line[-1] == "/":
            kind, path = Kind.DIR, line[:-1]
        elif ">" in line:
            kind = Kind.HARDLINK
            path, _, link = line.partition(">")
        else:
            path, _, size = line.partition(" ")
        toc.append(TocEntry(path, kind, 0o755, 0, 0, int(size), link, 0, offset))
        offset += int(size)
    return toc


def test_each_layer_says_what_it_does():
    found = accounts_of(
        [layer("etc/", "etc/a 10", "etc/b 20", "bin/", "bin/x 5"), layer("etc/", "etc/a 11", "c 1"),
         layer("-etc/b")], ["ADD", "COPY", "RUN rm"],
    )  # fmt: skip
    first, second, third = found.layers
    assert first.added == ("bin", "bin/x", "etc", "etc/a", "etc/b")
    assert (second.added, second.changed, second.deleted) == (("c",), ("etc/a",), ())
    assert (third.added, third.changed, third.deleted) == ((), (), ("etc/b",))
    assert first.wasted == (
        Wasted(path="etc/b", size_bytes=20, by=2),
        Wasted(path="etc/a", size_bytes=10, by=1),
    )
    assert [each.created_by for each in found.layers] == ["ADD", "COPY", "RUN rm"]
    assert (found.shipped_bytes, found.wasted_bytes) == (47, 30)
    assert found.efficiency == 17 / 47


def test_a_deleted_directory_wastes_all_that_was_in_it():
    """dive's score of this image is 1.0: nothing wasted."""
    found = accounts_of([layer("d/", "d/e/", "d/e/big 100", "d/f 50", "k 50"), layer("-d")])
    assert found.layers[1].deleted == ("d", "d/e", "d/e/big", "d/f")
    assert found.efficiency == 0.25


def test_an_opaque_directory_hides_the_lower_one_whatever_comes_first():
    for upper in (layer("d/", "=d/", "d/new 7"), layer("d/", "d/new 7", "=d/")):
        found = accounts_of([layer("d/", "d/old 30"), upper])
        assert found.layers[1].deleted == ("d/old",)
        assert found.layers[1].added == ("d/new",)
        assert (found.wasted_bytes, found.efficiency) == (30, 7 / 37)


def test_hard_links_are_one_content():
    found = accounts_of([layer("a 40", "b>a"), layer("-a")])
    assert (found.shipped_bytes, found.wasted_bytes) == (40, 0), "b still shows it"
    found = accounts_of([layer("a 40", "b>a"), layer("-a", "-b")])
    assert found.wasted_bytes == 40
    found = accounts_of([layer("a 40"), layer("b>a"), layer("a 3")])
    assert found.wasted_bytes == 0, "the link of a higher layer keeps it"


def test_two_of_one_name_in_one_layer_waste_their_own():
    found = accounts_of([layer("a 10", "a 3")])
    assert found.layers[0].wasted == (Wasted(path="a", size_bytes=10, by=0),)


def test_nothing_is_all_of_nothing():
    assert accounts_of([]).efficiency == accounts_of([layer("d/")]).efficiency == 1.0


def test_what_images_share():
    images = {"a": [("1", 10), ("2", 5), ("2", 5)], "b": [("1", 10)], "c": [("3", 7)]}
    assert shared_bytes(images) == {"a": (10, 5), "b": (10, 0), "c": (0, 7)}


NAMES = st.sampled_from(string.ascii_lowercase[:3])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["file", "dir", "delete", "opaque"]), PATHS, st.integers(1, 9)),
    max_size=6,
)


class Model:
    """A tree merged the slow way: a mapping from whole paths to (layer, line) or a directory."""

    def __init__(self):
        self.tree = {}

    def below(self, path):
        return [each for each in self.tree if each == path or each.startswith(path + "/")]

    def lay(self, changes, number):
        """Change the tree; return the layer's lines and its sizes by content."""
        lines, sizes, mine = [], {}, set()
        for what, path, size in changes:
            top = path.rpartition("/")[0]
            parents = [path[:at] for at, letter in enumerate(path) if letter == "/"]
            if any(self.tree.get(each, "d") != "d" for each in parents):
                continue  # its parent is a file
            if any(each in mine for each in self.below(path)):
                continue  # a layer says one thing of a path
            if what in ("delete", "opaque") and top and top not in self.tree:
                continue
            if what == "opaque" and self.tree.get(path) != "d":
                continue
            for each in [] if what in ("delete", "opaque") else parents:
                if each not in self.tree:
                    self.tree[each] = "d"
                    lines.append(f"{each}/")
                    mine.add(each)
            gone = self.below(path)
            if what == "dir":
                if self.tree.get(path) != "d":
                    for each in gone:
                        del self.tree[each]
                self.tree[path] = "d"
                lines.append(f"{path}/")
            elif what == "opaque":
                for each in gone:
                    if each != path:
                        del self.tree[each]
                lines.append(f"={path}/")
            else:
                for each in gone:
                    del self.tree[each]
                if what == "file":
                    self.tree[path] = (number, path)
                    sizes[number, path] = size
                lines.append(f"{path} {size}" if what == "file" else f"-{path}")
            mine.update(parents, [path])
        return lines, sizes


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, max_size=5))
def test_accounts_are_those_of_a_model(layers):
    model, tables, sizes, states = Model(), [], {}, [{}]
    for number, changes in enumerate(layers):
        lines, more = model.lay(changes, number)
        tables.append(layer(*lines))
        sizes |= more
        states.append(dict(model.tree))
    found = accounts_of(tables)
    shown = {each for each in model.tree.values() if each != "d"}
    assert found.shipped_bytes == sum(sizes.values())
    assert found.wasted_bytes == sum(size for each, size in sizes.items() if each not in shown)
    for number, each in enumerate(found.layers):
        old, now = states[number : number + 2]
        assert set(each.added) == now.keys() - old.keys()
        assert set(each.deleted) == old.keys() - now.keys()
        assert set(each.changed) == {path for path in now.keys() & old.keys()
                                     if now[path] != old[path]}  # fmt: skip
        for lost in each.wasted:
            whole = (number, lost.path)
            assert whole in states[lost.by].values() or lost.by == number
            assert whole not in states[lost.by + 1].values()


def test_an_engine_makes_up_the_accounts_of_an_image(engine, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/big").write_bytes(b"b" * 5000)
    (tmp_path / "tree/small").write_bytes(b"s" * 1000)
    text = "FROM scratch\nCOPY tree /tree\nENV A=1\nCOPY tree/big /tree/small\n"
    engine.images.build(BuildOptions(context=str(tmp_path), dockerfile=text, tags=("w",)))
    found = engine.images.waste("w")
    assert (found.image, len(found.layers)) == ("w:latest", 2)
    assert found.layers[0].added == ("tree", "tree/big", "tree/small")
    assert found.layers[1].changed == ("tree/small",)
    assert (found.shipped_bytes, found.wasted_bytes) == (11_000, 1000)
    assert "COPY tree/big" in found.layers[1].created_by
