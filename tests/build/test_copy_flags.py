"""COPY --chmod, --parents and --link, as BuildKit does them."""

import os

import pytest

from ocimagic.errors import DockerfileError
from ocimagic.layers.toc import independent, toc_from_bytes
from ocimagic.model.event import StepDone
from ocimagic.transfer.layer import layers_of


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


# -- --link ------------------------------------------------------------------------


LINKED = "COPY --link --chown=3:4 d /a/b/c\nADD --link f /todir/f\nCOPY --link <<x /h/\nhi\nx\n"


def test_a_link_layer_is_the_same_on_any_base(tree):
    first = tree.build(f"{tree.head}{LINKED}")
    second = tree.build(f"FROM scratch\nCOPY g /other\n{LINKED}")
    assert [step.cached for step in second.steps[-3:]] == [True, True, True]
    layers = [step.layer for step in first.steps[-3:]]
    assert layers == [step.layer for step in second.steps[-3:]]
    tree.write("d/one", "changed")
    third = tree.build(f"{tree.head}{LINKED}")
    assert [step.cached for step in third.steps[-3:]] == [False, True, True]


def test_a_link_layer_stands_alone(tree):
    result = tree.build(f"{tree.head}{LINKED}")
    image = tree.engine._store.images.load(result.digest)
    unpacker = tree.engine.images._unpacker
    tocs = [toc_from_bytes(unpacker.toc(each)) for each in layers_of(image)]
    assert all(independent(toc) for toc in tocs)
    linked = [{e.path: (e.mode, e.uid, e.gid) for e in toc} for toc in tocs[-3:]]
    assert linked[0] == {
        "a": (0o755, 3, 4),
        "a/b": (0o755, 3, 4),
        "a/b/c": (0o755, 3, 4),
        "a/b/c/one": (0o644, 3, 4),
        "a/b/c/sub": (0o755, 3, 4),
        "a/b/c/sub/two": (0o644, 3, 4),
    }
    assert linked[1] == {"todir": (0o755, 0, 0), "todir/f": (0o644, 0, 0)}
    assert linked[2] == {"h": (0o755, 0, 0), "h/x": (0o644, 0, 0)}


def test_link_does_not_follow_the_images_links(tree):
    listing = tree.listing(tree.build(f"{tree.head}COPY --link f /todir/f\nCOPY --link f /dir\n"))
    assert listing["todir"][0] == "d"
    assert "todir/f" in listing
    assert "dir/f" not in listing
    assert listing["dir"] == ("f", 0o644, (0, 0))


def test_link_with_chmod_is_not_linked(tree):
    """As with BuildKit: what is below is seen again."""
    listing = tree.listing(tree.build(f"{tree.head}COPY --link --chmod=600 f /todir\n"))
    assert listing["todir"][0] == "l"
    assert listing["dir/f"] == ("f", 0o600, (0, 0))


def test_link_knows_no_names_of_the_image(place, base):
    place.write("f", "f")
    with pytest.raises(DockerfileError, match="can't find uid for user app") as caught:
        place.build("FROM base\nCOPY --link --chown=app f /f\n")
    assert "--link" in caught.value.why
    assert (caught.value.line, caught.value.column) == (2, 21)


def test_run_on_link_layers(runs):
    """The kernel's overlay and our tables agree on what is there."""
    runs.write("d/one", "1")
    text = (
        "FROM base\nRUN ln -s tmp way\nCOPY --link d /way/\nCOPY --link --parents d /a/./x/\n"
        "RUN test ! -L way && cat way/one a/x/d/one && test ! -e tmp/one && "
        "stat -c %a.%u a way bin > modes && cat modes\n"
    )
    result = runs.build(text)
    assert runs.text(result, "modes").split() == ["755.0", "755.0", "755.0"]
    runs.build(text.replace("RUN ln", "RUN echo 2 > /new && ln"))
    assert [event.cached for event in runs.of(StepDone)] == [True, False, True, True, False]
