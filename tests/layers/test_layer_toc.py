from __future__ import annotations

import sys

import evil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import ContentError, LayerRefused
from ocimagic.layers.entrypath import Mark, Place, locate, normalise
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import (
    TocEntry,
    independent,
    read_file,
    toc_from_bytes,
    toc_of,
    toc_to_bytes,
)

directory, file, symlink, hardlink = evil.directory, evil.file, evil.symlink, evil.hardlink


def toc(*parts: bytes) -> tuple[TocEntry, ...]:
    return toc_of([b"".join(parts)])


def tree(*layers: tuple[bytes, ...]) -> MergedTree:
    return MergedTree(toc(*parts) for parts in layers)


def listing(made: MergedTree) -> set[str]:
    return {found.path for found in made.walk()} - {""}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a", Place("", "a", Mark.PLAIN)),
        ("./a/b/", Place("a", "b", Mark.PLAIN)),
        ("/", Place("", "", Mark.PLAIN)),
        ("a/.wh.b", Place("a", "b", Mark.WHITEOUT)),
        (".wh.b", Place("", "b", Mark.WHITEOUT)),
        ("a/.wh.b/", Place("a", "b", Mark.WHITEOUT)),
        ("a/.wh..wh..opq", Place("a", "", Mark.OPAQUE)),
        (".wh..wh.plnk", Place("", ".wh..wh.plnk", Mark.IGNORED)),
        (".wh..wh.plnk/x", Place(".wh..wh.plnk", "x", Mark.IGNORED)),
        ("a/.wh..wh.aufs", Place("a", ".wh..wh.aufs", Mark.IGNORED)),
        ("a.wh.b", Place("", "a.wh.b", Mark.PLAIN)),
        ("...", Place("", "...", Mark.PLAIN)),
    ],
)
def test_places(name, place):
    assert place == locate(name)


@given(st.text("a/.\0ä", max_size=600))
def test_a_normalised_name_stays_inside(name):
    try:
        path = normalise(name)
    except LayerRefused:
        return
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/")) or path == ""
    assert path == normalise(path)


def test_component_length_counts_bytes():
    assert normalise("ä" * 127) == "ä" * 127
    with pytest.raises(LayerRefused):
        normalise("ä" * 128)


def test_paths_of_places():
    assert [locate(name).path for name in ("a/b", "b", "a/.wh..wh..opq", "/")] == [
        "a/b",
        "b",
        "a",
        "",
    ]


@pytest.mark.parametrize("gzipped", [True, False])
def test_table_round_trip(gzipped):
    table = toc(
        directory("d"),
        file(b"d/\xff"),
        symlink("s", "/d"),
        hardlink("h", "./d/\udcff"),
        file("d/.wh.x"),
        file("d/.wh..wh..opq"),
        evil.header("n", b"3", device=(1, 3)),
    )
    raw = toc_to_bytes(table, gzipped=gzipped)
    assert table == toc_from_bytes(raw)
    assert raw == toc_to_bytes(table, gzipped=gzipped)
    assert "".join(line.kind for line in table) == "dflhwoc"
    assert table[3].linkname == "d/\udcff"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"version":2,"entries":[]}', b'{"version":1,"entries":[[1]]}',
            b"\x1f\x8bx", b'{"version":1,"entries":[["a","?"]]}', b'{"version":1}'],
)  # fmt: skip
def test_damaged_table(raw):
    with pytest.raises(ContentError):
        toc_from_bytes(raw)


@pytest.mark.parametrize(
    ("parts", "alone"),
    [
        ((), True),
        ((file("a"),), True),
        ((directory("d"), file("d/a")), True),
        ((file("d/a"), directory("d")), True),
        ((file("d/a"),), False),
        ((directory("d"), file("d/e/.wh.a")), False),
        ((file("d/.wh..wh..opq"),), False),
        ((directory("d"), file("d/.wh..wh..opq")), True),
        ((file(".wh..wh..opq"),), False),
        ((file(".wh.a"),), True),
        ((file("a"), hardlink("b", "a")), True),
        ((hardlink("b", "a"),), False),
        ((hardlink("b", "a"), file("a")), False),
        ((file(".wh.a"), hardlink("b", "a")), False),
        ((symlink("l", "d"), file("l/a")), False),
    ],
)
def test_independent(parts, alone):
    assert alone is independent(toc(*parts))


def test_small_files_are_read_from_the_stream():
    tar = file("a", b"first") + file("b", b"x" * 5000) + evil.END
    entry = toc_of([tar])[1]
    for size in (1, 1000, 1 << 20):
        used = []
        chunks = (used.append(at) or tar[at : at + size] for at in range(0, len(tar), size))
        assert read_file(chunks, entry) == b"x" * 5000
        assert used[-1] < entry.offset + entry.size
    with pytest.raises(ContentError, match="at most"):
        read_file([tar], entry, max_bytes=4999)
    with pytest.raises(ContentError, match="ends before"):
        read_file([tar[:2000]], entry)
    assert read_file([tar], entry._replace(size=0)) == b""


def test_upper_entries_win_and_say_where_from():
    made = tree((directory("d"), file("d/a", b"old")), (file("d/a", b"newer"), file("b")))
    assert (made.find("/d/a").layer, made.lookup("d/a").size) == (1, 5)
    assert [found.path for found in made.children("/")] == ["b", "d"]
    assert [found.path for found in made.children("d")] == ["d/a"]
    assert made.lookup("nothing") is None
    assert made.children("b") == ()
    assert made.children("nothing") == ()


def test_whiteouts_hit_lower_layers_only_in_any_order():
    base = (directory("d"), file("d/a"), file("d/b"), directory("d/s"), file("d/s/x"))
    for parts in (
        (file("d/.wh.a"), file("d/c"), file("d/.wh.c"), file("d/.wh.s")),
        (file("d/c"), file("d/.wh.c"), file("d/.wh.s"), file("d/.wh.a")),
    ):
        assert {"d", "d/b", "d/c"} == listing(tree(base, parts))
    for parts in ((file("d/n"), file("d/.wh..wh..opq")), (file("d/.wh..wh..opq"), file("d/n"))):
        assert {"d", "d/n"} == listing(tree(base, parts))
    assert {"n"} == listing(tree(base, (file("n"), file(".wh..wh..opq"))))
    assert {"d", "d/n"} == listing(tree(base, (directory("d"), file("d/n"), file(".wh.d"))))


def test_directories_keep_what_is_in_them_others_replace():
    base = (directory("d", mode=0o700), file("d/a"))
    made = tree(base, (directory("d", mode=0o755),))
    assert (made.lookup("d").mode, made.find("d").layer) == (0o755, 1)
    assert made.lookup("d/a")
    assert {"d"} == listing(tree(base, (file("d"),)))
    assert {"d"} == listing(tree(base, (file("d"), directory("d"))))


def test_links_are_resolved_inside():
    made = tree(
        (directory("etc"), file("etc/passwd"), symlink("up", "../../etc"), symlink("loop", "loop"),
         symlink("abs", "/up/./passwd"), directory("d"), symlink("d/l", "../etc//passwd"),
         symlink("out", "/nowhere")),
        (hardlink("h", "abs"), hardlink("hard", "etc/passwd")),
    )  # fmt: skip
    for path in ("up/passwd", "/abs", "d/l", "/../../etc/passwd", "d/../abs"):
        assert made.lookup(path).path == "etc/passwd"
    assert Kind.SYMLINK is made.lookup("abs", follow=False).kind
    assert Kind.SYMLINK is made.lookup("h", follow=False).kind
    assert made.lookup("loop") is None
    assert made.lookup("out") is None
    assert made.lookup("etc/passwd/x") is None
    hard = made.find("hard")
    assert (hard.path, hard.entry.kind, hard.layer) == ("hard", Kind.FILE, 0)
    assert hard.entry.offset == made.lookup("etc/passwd").offset


def test_implied_directories():
    made = tree((symlink("l", "d"), directory("d"), file("l/x/y/z")))
    assert {"l", "d", "d/x", "d/x/y", "d/x/y/z"} == listing(made)
    with pytest.raises(LayerRefused, match="parent"):
        tree((symlink("l", "nothing"), file("l/x")))
    with pytest.raises(LayerRefused, match="parent"):
        tree((file("l"), file("l/x")))
    with pytest.raises(LayerRefused, match="hard link"):
        tree((hardlink("l", "x"),))


def test_deep_trees_do_not_recurse():
    path = b"/".join([b"d"] * 2000)
    made = tree((evil.pax({b"path": path}), file("x")), (file(".wh.d"),))
    assert set() == listing(made)


def test_the_portable_files_need_no_linux_and_little_else():
    import subprocess

    code = (
        "import sys; sys.modules['ocimagic.linux.syscalls'] = None;"
        "import ocimagic.layers.compress, ocimagic.layers.mergedtree, ocimagic.layers.toc;"
        "heavy = {'asyncio','sqlite3','http','ssl','isal','zstandard','subprocess'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
