"""COPY --chmod, --parents and --link, as BuildKit does them."""

import os


def test_chown_and_chmod(tree):
    text = "FROM scratch\nCOPY --chown=3:4 --chmod=0640 f /new/f\nCOPY --chown=7 d /d\n"
    text += "COPY --chmod=711 e /e\n"
    listing = tree.listing(tree.build(text))
    assert listing["new/f"] == ("f", 0o640, (3, 4))
    assert listing["new"] == ("d", 0o755, (3, 4))
    assert listing["d/sub/two"] == ("f", 0o644, (7, 7))
    assert listing["e"] == ("d", 0o755, (0, 0))
    assert listing["e/three"] == ("f", 0o711, (0, 0))
    assert listing["d"] == ("d", 0o755, (7, 7))


def test_symbolic_chmod(tree):
    (tree.context / "d" / "one").chmod(0o711)
    (tree.context / "d" / "sub").chmod(0o700)
    (tree.context / "d" / "sub" / "two").chmod(0o602)
    os.symlink("one", tree.context / "d" / "link")
    text = (
        "FROM scratch\nARG M=u=rwX,go=rX\nCOPY --chmod=$M d /x\nCOPY --chmod=a+x,o-r <<EOF /h\n"
        "EOF\nADD --chmod=go= f /f\n"
    )
    listing = tree.listing(tree.build(text))
    assert {path: oct(mode) for path, (_, mode, _) in listing.items() if path != "x/link"} == {
        "x": "0o755",
        "x/one": "0o755",
        "x/sub": "0o755",
        "x/sub/two": "0o644",
        "h": "0o751",
        "f": "0o600",
    }
    assert listing["x/link"][0] == "l"


def test_parents_bring_their_modes_and_leave_those_that_are_there(tree):
    (tree.context / "d").chmod(0o750)
    (tree.context / "d" / "sub").chmod(0o711)
    text = "COPY --parents d/sub/two /\nCOPY --parents --chown=3:4 --chmod=u+x,o= d/sub/two /new/\n"
    result = tree.build(f"{tree.head}COPY e /d\n{text}")
    listing = tree.listing(result)
    assert listing["d"] == ("d", 0o755, (0, 0))
    assert listing["d/sub"] == ("d", 0o711, (0, 0))
    assert listing["new"] == ("d", 0o755, (3, 4))
    assert listing["new/d"] == ("d", 0o750, (3, 4))
    assert listing["new/d/sub"] == ("d", 0o710, (3, 4))
    assert listing["new/d/sub/two"] == ("f", 0o740, (3, 4))
    history = tree.engine._store.images.load(result.digest).config.history[-2:]
    assert [each.created_by for each in history] == [
        "COPY --parents d/sub/two / # ocimagic",
        "COPY --parents --chown=3:4 --chmod=u+x,o= d/sub/two /new/ # ocimagic",
    ]


def test_parents_from_a_stage(tree):
    text = "FROM scratch AS s\nCOPY --chmod=711 --parents d e /a/b/\nFROM scratch\n"
    listing = tree.listing(
        tree.build(f"{text}COPY --from=s --parents /a/./*/d/**/two /a/b/e /x/\n")
    )
    assert set(listing) == {
        "x",
        "x/b",
        "x/b/d",
        "x/b/d/sub",
        "x/b/d/sub/two",
        "x/a",
        "x/a/b",
        "x/a/b/e",
        "x/a/b/e/three",
    }
    assert listing["x/b/d/sub"][1] == 0o711


def test_parents_see_dockerignore_and_names_with_marks(tree):
    tree.write(".dockerignore", "**/two\nf\n")
    tree.write("m/!bang", "1")
    tree.write("!n/[x", "2")
    listing = tree.listing(tree.build("FROM scratch\nCOPY --parents d m/!b* !n /\n"))
    assert set(listing) == {"d", "d/one", "d/sub", "m", "m/!bang", "!n", "!n/[x"}
