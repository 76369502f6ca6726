"""What the cache takes for the same and what not (facts/build.md 2.3), and that a hit is free."""

import os
import time

import pytest

from ocimagic.errors import OcimagicError

TEXT = "FROM scratch\nARG V=1\nCOPY d /d\nWORKDIR /w\nLABEL a=b\n"


@pytest.fixture
def built(fresh):
    fresh.write("d/file", "content")
    fresh.write("unrelated", "1")
    fresh.first = fresh.build(TEXT, "cached")
    return fresh


def test_first_build_is_not_cached(built):
    assert (built.cached()) == {
        "FROM": True,
        "ARG": False,
        "COPY": False,
        "WORKDIR": False,
        "LABEL": False,
    }


def test_second_build_does_nothing(built):
    index = (built.engine.home.data / "index.json").stat()
    again = built.build(TEXT, "cached")
    assert built.first.image_id == again.image_id
    assert built.first.digest == again.digest
    assert set(built.cached().values()) == {True}
    assert index.st_ino == (built.engine.home.data / "index.json").stat().st_ino
    assert built.first.size_bytes == again.size_bytes == 7


def touch(place):
    os.utime(place.context / "d" / "file", (1, 1))


def rewrite_same_times(place):
    path = place.context / "d" / "file"
    before = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (before.st_size, before.st_mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


CHANGES = [
    ("nothing", lambda p: None, True),
    ("unrelated file", lambda p: p.write("unrelated", "2"), True),
    ("mtime of the file", touch, True),
    ("mtime of the directory", lambda p: os.utime(p.context / "d", (1, 1)), True),
    ("written anew with the same bytes", lambda p: p.write("d/file", "content"), True),
    ("mode of the top directory", lambda p: (p.context / "d").chmod(0o700), True),
    ("chmod +x", lambda p: (p.context / "d/file").chmod(0o755), False),
    ("rename", lambda p: (p.context / "d/file").rename(p.context / "d/other"), False),
    ("other content", lambda p: p.write("d/file", "longer content"), False),
    ("same size and mtime, other content", rewrite_same_times, False),
    ("new file", lambda p: p.write("d/new"), False),
    ("new empty directory", lambda p: (p.context / "d/new").mkdir(), False),
    ("link", lambda p: os.symlink("x", p.context / "d/new"), False),
    ("removed", lambda p: (p.context / "d/file").unlink(), False),
]


@pytest.mark.parametrize(("change", "hit"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_context_changes(built, change, hit):
    change(built)
    built.build(TEXT)
    assert hit is built.cached()["COPY"]
    assert hit is built.cached()["WORKDIR"]


def test_stale_content_is_seen_when_hashes_are_remembered(fresh):
    """The content cache keeps only what has settled; wait for that by setting the clock back."""
    from ocimagic.build import content

    fresh.write("d/file", "content")
    settled, content._SETTLED_NS = content._SETTLED_NS, 0
    try:
        first = fresh.build(TEXT)
        rewrite_same_times(fresh)
        second = fresh.build(TEXT)
    finally:
        content._SETTLED_NS = settled
    assert not fresh.cached()["COPY"]
    assert tuple(fresh.text(r, "d/file") for r in (first, second)) == ("content", "CONTENT")


def test_unchanged_files_are_not_read_again(fresh):
    from ocimagic.build import content, context

    fresh.write("d/file", "content")
    opened = []
    original = context.Context.open_file
    settled, content._SETTLED_NS = content._SETTLED_NS, 0
    try:
        fresh.build(TEXT)
        context.Context.open_file = lambda self, file: opened.append(file) or original(self, file)
        fresh.build(TEXT)
    finally:
        context.Context.open_file = original
        content._SETTLED_NS = settled
    assert opened == []


INSTRUCTIONS = [
    ("label", TEXT.replace("a=b", "a=c"), {"COPY": True, "WORKDIR": True, "LABEL": False}),
    ("arg default", TEXT.replace("V=1", "V=2"), {"ARG": False, "COPY": True, "WORKDIR": True}),
    ("env before copy", TEXT.replace("ARG V=1", "ENV V=1"), {"COPY": True, "WORKDIR": True}),
    ("destination", TEXT.replace("/d", "/e"), {"COPY": False}),
    ("chown", TEXT.replace("COPY d", "COPY --chown=1 d"), {"COPY": False}),
    ("chmod", TEXT.replace("COPY d", "COPY --chmod=700 d"), {"COPY": False}),
    ("another way to say it", TEXT.replace("COPY d /d", "COPY ./d/ /w/../d"), {"COPY": True}),
    ("other workdir", TEXT.replace("/w", "/x"), {"COPY": True, "WORKDIR": False}),
    ("order", TEXT.replace("COPY d /d\nWORKDIR /w", "WORKDIR /w\nCOPY d /d"), {"COPY": False}),
    ("after another file", TEXT.replace("COPY", "COPY unrelated /u\nCOPY", 1), {"COPY": False}),
]


@pytest.mark.parametrize(
    ("text", "expected"), [c[1:] for c in INSTRUCTIONS], ids=[c[0] for c in INSTRUCTIONS]
)
def test_instruction_changes(built, text, expected):
    built.build(text)
    assert expected == {key: built.cached()[key] for key in expected}


def test_no_cache(built):
    again = built.build(TEXT, "cached", no_cache=True)
    assert not any(step.cached for step in again.steps[1:])
    assert built.first.steps[2].layer == again.steps[2].layer
    assert built.first.image_id != again.image_id


def test_new_name_for_a_cached_image(built):
    again = built.build(TEXT, "second", "third:1")
    assert built.first.image_id == again.image_id
    assert {"cached:latest", "second:latest", "third:1"} == set(
        built.engine.images.inspect("second").tags
    )


def test_lost_blob_is_built_again(built):
    layer = built.first.steps[2].layer
    built.engine._store.blobs.path(layer).unlink()
    again = built.build(TEXT, "cached")
    assert not built.cached()["COPY"]
    assert built.text(again, "d/file") == "content"


def test_other_images_share_the_cache(built):
    built.build("FROM scratch\nENV X=1\nCOPY d /d\nCMD x\n", "other")
    assert built.cached()["COPY"]


def test_rebuilt_stage_with_equal_files_hits(built):
    text = (
        "FROM scratch AS src\nCOPY unrelated /u\nCOPY d /d\n"
        "FROM scratch\nCOPY --from=src /d /only\n"
    )
    built.build(text)
    built.write("unrelated", "changed")
    built.build(text)
    last = [event for event in built.events if hasattr(event, "cached")][-1]
    assert last.cached
    built.write("d/file", "changed")
    built.build(text)
    last = [event for event in built.events if hasattr(event, "cached")][-1]
    assert not last.cached


def test_one_path_of_a_stage_is_not_another(fresh):
    fresh.write("a/one", "1")
    fresh.write("a/two", "2")
    text = "FROM scratch AS src\nCOPY a /\nFROM scratch\nCOPY --from=src /NAME /n\n"
    for name, content in (("one", "1"), ("two", "2")):
        assert fresh.text(fresh.build(text.replace("NAME", name)), "n") == content


def test_cached_stage_is_not_read(built):
    text = "FROM cached AS src\nFROM scratch\nCOPY --from=src /d /only\n"
    built.build(text)
    unpacker = built.engine.images._unpacker
    asked = []
    original = unpacker.toc
    unpacker.toc = lambda layer: asked.append(layer) or original(layer)
    try:
        built.build(text)
    finally:
        unpacker.toc = original
    assert asked == []


def test_removed_image_takes_its_steps_with_it(built):
    built.engine.images.remove("cached")
    built.build(TEXT, "cached")
    assert not built.cached()["COPY"]


def test_changed_base_misses(built):
    built.build("FROM cached\nCOPY unrelated /u\n", "child")
    built.write("d/file", "new base")
    built.build(TEXT, "cached")
    built.build("FROM cached\nCOPY unrelated /u\n", "child")
    assert not built.cached()["COPY"]


def test_failed_build_changes_no_name(built):
    before = (built.engine.home.data / "index.json").read_bytes()
    with pytest.raises(OcimagicError):
        built.build(TEXT + "COPY nope /x\n", "cached")
    assert before == (built.engine.home.data / "index.json").read_bytes()
    assert built.first.image_id == built.engine.images.inspect("cached").image_id


def test_cached_build_is_fast(built):
    """Ten times the time it takes on a quiet machine: only a lost shortcut fails this."""
    for number in range(20):
        built.write(f"d/{number}", "x" * 10_000)
    text = "FROM scratch\nWORKDIR /w\nCOPY d .\nLABEL a=b\nCMD x\n"
    built.build(text, "fast")
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        built.build(text, "fast")
        best = min(best, time.perf_counter() - began)
    assert best < 0.05


def test_files_that_are_one_are_not_two_that_are_equal(fresh):
    fresh.write("d/a", "same")
    fresh.write("d/b", "same")
    text = "FROM scratch\nCOPY d /d\n"
    two = fresh.build(text)
    (fresh.context / "d/b").unlink()
    (fresh.context / "d/b").hardlink_to(fresh.context / "d/a")
    one = fresh.build(text)
    assert not fresh.cached()["COPY"]
    assert one.image_id != two.image_id
    fresh.build(text)
    assert fresh.cached()["COPY"]
