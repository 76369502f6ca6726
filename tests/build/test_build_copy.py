"""COPY and ADD: what lands where, as BuildKit does it (facts/build.md 1.2 and 1.4)."""

import bz2
import gzip
import io
import lzma
import os
import tarfile

import pytest
import zstandard

from ocimagic.errors import DockerfileError

# An image that has: a directory, a file, links to both, and a dangling one.
TREE = """FROM scratch
COPY --chmod=700 --chown=5:6 tree/dir /dir
COPY tree/file /file
ADD links.tar /
"""

FILES = {"f": "f", "g": "g", "d/one": "1", "d/sub/two": "2", "e/three": "3"}

# instruction → paths that are there afterwards and were not before
CASES = [
    ("file to name", "COPY f /x", {"x"}),
    ("file to new directory", "COPY f /x/", {"x", "x/f"}),
    ("missing parents", "COPY f /x/y/z", {"x", "x/y", "x/y/z"}),
    ("file onto existing directory goes into it", "COPY f /dir", {"dir/f"}),
    ("file through a link to a directory", "COPY f /todir", {"dir/f"}),
    ("file through a link in the middle", "COPY f /todir/n/x", {"dir/n", "dir/n/x"}),
    ("file through a dangling link", "COPY f /dangling", {"made"}),
    ("directory means its contents", "COPY d /x", {"x", "x/one", "x/sub", "x/sub/two"}),
    ("directory with slash", "COPY d/ /x/", {"x", "x/one", "x/sub", "x/sub/two"}),
    ("directory to root", "COPY d /", {"one", "sub", "sub/two"}),
    ("directory merges", "COPY d /dir", {"dir/one", "dir/sub", "dir/sub/two"}),
    ("whole context", "COPY d/sub .", {"two"}),
    ("several into a directory", "COPY f g /x/", {"x", "x/f", "x/g"}),
    ("several directories merge", "COPY d e /x/", {"x", "x/one", "x/sub", "x/sub/two", "x/three"}),
    ("several to one name: the last", "COPY f g /x", {"x"}),
    ("wildcard", "COPY ? /x/", {"x", "x/f", "x/g", "x/one", "x/sub", "x/sub/two", "x/three"}),
    ("wildcard in the middle", "COPY */one /x/", {"x", "x/one"}),
    ("class", "COPY [f-g] /x/", {"x", "x/f", "x/g"}),
    ("wildcard without match", "COPY *.nope /x/", set()),
    ("clamped", "COPY ../../f /x", {"x"}),
    ("clamped in the middle", "COPY d/../../f /x", {"x"}),
    ("absolute source", "COPY /f /x", {"x"}),
    ("json form", 'COPY ["f", "/x y"]', {"x y"}),
    ("relative to workdir", "WORKDIR /w\nCOPY f a/b", {"w", "w/a", "w/a/b"}),
    ("dot is the workdir", "WORKDIR /w\nCOPY f .", {"w", "w/f"}),
    ("dotdot leaves the workdir", "WORKDIR /w\nCOPY f ../x", {"w", "x"}),
    ("heredoc", "COPY <<EOF /x\nhi\nEOF", {"x"}),
    ("heredoc into a directory", "COPY <<name /x/\nhi\nname", {"x", "x/name"}),
    ("heredoc and file", "COPY f <<h /x/\nhi\nh", {"x", "x/f", "x/h"}),
    ("exclude", "COPY --exclude=d/sub d /x", {"x", "x/one"}),
    ("exclude everywhere", "COPY --exclude=**/two d /x", {"x", "x/one", "x/sub"}),
    ("variable", "ARG N=f\nCOPY $N /$N", {"f"}),
    ("add is copy", "ADD f /x", {"x"}),
    ("linked source file", "COPY tofile /x", {"x"}),
    ("linked source keeps its name", "COPY tofile /x/", {"x", "x/tofile"}),
    ("linked source directory", "COPY tod /x", {"x", "x/one", "x/sub", "x/sub/two"}),
    ("link in the way to the source", "COPY tod/one /x", {"x"}),
]


@pytest.fixture
def tree(place):
    for name, content in FILES.items():
        place.write(name, content)
    place.write("tree/dir/old", "old")
    place.write("tree/file", "file")
    os.symlink("f", place.context / "tofile")
    os.symlink("/d", place.context / "tod")
    with tarfile.open(place.context / "links.tar", "w") as tar:
        for name, target in (("todir", "dir"), ("tofile", "/file"), ("dangling", "made")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    place.before = set(place.listing(place.build(TREE)))
    return place


@pytest.mark.parametrize(("text", "added"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_where_files_go(tree, text, added):
    result = tree.build(f"{TREE}{text}\n")
    assert added == set(tree.listing(result)) - tree.before


def test_attributes(tree):
    (tree.context / "f").chmod(0o4751)
    os.utime(tree.context / "f", (1_500_000_000, 1_500_000_000))
    listing = tree.listing(result := tree.build("FROM scratch\nUSER 9\nCOPY f /n/f\nCOPY d /n/d\n"))
    assert listing["n/f"] == ("f", 0o4751, (0, 0))
    assert ("d", 0o755, (0, 0)) == listing["n"] == listing["n/d"]
    assert tree.files(result).find("n/f").mtime_ns == 1_500_000_000 * 10**9


def test_chown_and_chmod(tree):
    text = "FROM scratch\nCOPY --chown=3:4 --chmod=0640 f /new/f\nCOPY --chown=7 d /d\n"
    listing = tree.listing(tree.build(text))
    assert listing["new/f"] == ("f", 0o640, (3, 4))
    assert listing["new"] == ("d", 0o755, (3, 4))
    assert listing["d/sub/two"] == ("f", 0o644, (7, 7))
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


def test_existing_directories_stay_as_they_are(tree):
    listing = tree.listing(tree.build(f"{TREE}COPY f /dir/f\nCOPY d /dir\n"))
    assert listing["dir"] == ("d", 0o700, (5, 6))


def test_every_layer_stands_alone(tree):
    result = tree.build(f"{TREE}COPY f /dir/deep/f\n")
    from ocimagic.layers.toc import independent, toc_from_bytes
    from ocimagic.transfer.layer import layers_of

    image = tree.engine._store.images.load(result.digest)
    unpacker = tree.engine.images._unpacker
    assert all(independent(toc_from_bytes(unpacker.toc(each))) for each in layers_of(image))


def test_content_and_deeper_links(tree):
    os.symlink("../../../etc/passwd", tree.context / "d" / "link")
    result = tree.build(f"{TREE}COPY f /tofile\nCOPY d /x\n")
    assert tree.text(result, "file") == "f"
    found = tree.files(result).merged.lookup("x/link", follow=False)
    assert (str(found.kind), found.linkname) == ("l", "../../../etc/passwd")


def test_last_of_two_wins_with_a_notice(tree):
    result = tree.build("FROM scratch\nCOPY f g /x\n")
    assert tree.text(result, "x") == "g"
    assert any("several sources" in text for text in tree.notices())


def test_empty_wildcard_is_noticed_and_makes_no_layer(tree):
    result = tree.build("FROM scratch\nCOPY *.nope /x/\n")
    assert any("matches no file" in text for text in tree.notices())
    assert result.steps[-1].layer is None


def test_names(tree):
    tree.write("Dockerfile.d/new\nline", "1")
    os.mkdir(os.fsencode(tree.context / "odd"))
    (tree.context / "odd" / os.fsdecode(b"\xff\xfe")).write_text("2")
    tree.write("odd/" + "long" * 60, "3")
    listing = tree.listing(tree.build("FROM scratch\nCOPY Dockerfile.d odd /\n"))
    assert {"new\nline", os.fsdecode(b"\xff\xfe"), "long" * 60} == set(listing)


def test_chown_by_name(place, base):
    place.write("f", "f")
    text = (
        "FROM base\n"
        "COPY --chown=app f /a\nCOPY --chown=app:wheel f /b\nCOPY --chown=9:staff f /c\n"
        "COPY --chown=app:7 f /d\nUSER app\nWORKDIR /home/app/w\n"
    )
    listing = place.listing(place.build(text))
    owners = {path: listing[path][2] for path in ("a", "b", "c", "d", "home", "home/app/w")}
    assert owners == {
        "a": (1000, 1001),
        "b": (1000, 10),
        "c": (9, 1001),
        "d": (1000, 7),
        "home": (1000, 1001),
        "home/app/w": (1000, 1001),
    }


ERRORS = [
    ("COPY d /file", "cannot copy to non-directory: /file", 5, None),
    ("COPY f /file/x", "cannot copy to non-directory: /file", 5, None),
    ("COPY deep /", "cannot replace directory /dir with a file", 5, None),
    ("COPY onlink /", "cannot copy to non-directory: /todir", 5, None),
    ("COPY nope /x", '"nope": not found', 5, 6),
    ("COPY f nope /x/", '"nope": not found', 5, 8),
    ("COPY --chown=nobody:x f /x", "can't find uid for user nobody", 5, 14),
    ("COPY --chown=1:nobody f /x", "can't find gid for group nobody", 5, 14),
    ("COPY --chmod=u+rw,go f /x", "invalid chmod parameter: 'u+rw,go'", 5, 14),
    ("ARG M=u=q\nCOPY --chmod=$M f /x", "invalid chmod parameter: 'u=q'", 6, 6),
    ("COPY [z-a /x", "syntax error in pattern", 5, 6),
    ("COPY --from=0 f /x", "circular dependency", 5, None),
    ("COPY f/x /x", '"f/x": not found', 5, 6),
    ("\n\nCOPY \\\n  nope /x", '"nope": not found', 8, 3),
]


@pytest.mark.parametrize(("text", "message", "line", "column"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors_point_at_the_line(tree, text, message, line, column):
    tree.write("deep/dir", "a file where the image has a directory")
    tree.write("onlink/todir/x", "a directory where the image has a link")
    with pytest.raises(DockerfileError) as caught:
        tree.build(TREE + text + "\n")
    assert message in caught.value.what
    assert line == caught.value.line
    if column:
        assert column == caught.value.column


# -- from stages and images ------------------------------------------------------


def test_from_stage_keeps_owners_and_modes(tree):
    text = (
        "FROM scratch AS src\nCOPY --chown=3:4 --chmod=750 d /d\nWORKDIR /out\n"
        "FROM scratch\nCOPY --from=src /d /x\nCOPY --from=0 d/one /y\nCOPY --from=SRC /d/* /z/\n"
    )
    listing = tree.listing(tree.build(text))
    assert ("f", 0o750, (3, 4)) == listing["x/one"] == listing["y"]
    assert listing["x/sub"] == ("d", 0o750, (3, 4))
    assert listing["x"] == ("d", 0o755, (0, 0))
    assert {"z", "z/one", "z/two"} <= set(listing)


def test_from_image_reads_several_layers(tree):
    built = tree.build("FROM scratch\nCOPY f /a\nCOPY g /b\nCOPY --chown=1 f /c\n", "from-this")
    result = tree.build("FROM scratch\nCOPY --from=from-this / /all/\n")
    assert [tree.text(result, f"all/{name}") for name in "abc"] == ["f", "g", "f"]
    assert built.image_id != result.image_id


def test_from_stage_missing_file(tree):
    with pytest.raises(DockerfileError, match="not found") as caught:
        tree.build("FROM scratch AS a\nCOPY f /\nFROM scratch\nCOPY --from=a /nope /x\n")
    assert (caught.value.line, caught.value.why.split()[-1]) == (4, "a")


def test_from_same_file_twice(tree):
    text = "FROM scratch AS a\nCOPY f /f\nFROM scratch\n"
    text += "COPY --from=a f f /x/\nCOPY --from=a /f /f /y\n"
    assert tree.text(result := tree.build(text), "x/f") == "f"
    assert tree.text(result, "y") == "f"


# -- ADD and archives --------------------------------------------------------------

CODECS = {
    "tar": lambda raw: raw,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
    "two gz members": lambda raw: gzip.compress(raw[:700]) + gzip.compress(raw[700:]),
    "two bz2 streams": lambda raw: bz2.compress(raw[:700]) + bz2.compress(raw[700:]),
}


def archive(*entries):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, kind, value in entries:
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.mode = kind, 11, 12, 0o751
            if kind == tarfile.REGTYPE:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value.encode()))
            else:
                info.linkname = value
                tar.addfile(info)
    return raw.getvalue()


GOOD = (
    ("./", tarfile.DIRTYPE, ""),
    ("./sub", tarfile.DIRTYPE, ""),
    ("./sub/file", tarfile.REGTYPE, "text"),
    ("./sub/hard", tarfile.LNKTYPE, "./sub/file"),
    ("./soft", tarfile.SYMTYPE, "sub/file"),
    ("implied/deep/file", tarfile.REGTYPE, "deep"),
)


@pytest.mark.parametrize("codec", CODECS)
def test_add_unpacks_by_content(place, codec):
    place.write("whatever.bin", CODECS[codec](archive(*GOOD)))
    result = place.build("FROM scratch\nADD whatever.bin /to\n")
    listing = place.listing(result)
    assert listing == {
        "to": ("d", 0o755, (0, 0)),
        "to/sub": ("d", 0o751, (11, 12)),
        "to/sub/file": ("f", 0o751, (11, 12)),
        "to/sub/hard": ("f", 0o751, (11, 12)),
        "to/soft": ("l", 0o751, (11, 12)),
        "to/implied": ("d", 0o755, (0, 0)),
        "to/implied/deep": ("d", 0o755, (0, 0)),
        "to/implied/deep/file": ("f", 0o751, (11, 12)),
    }
    assert "text" == place.text(result, "to/sub/hard") == place.text(result, "to/soft")


def test_add_does_not_unpack_what_is_no_tar(place):
    place.write("a.tar.gz", gzip.compress(b"no tar in here" * 100))
    place.write("b.tar", "no tar")
    place.write("c.gz", gzip.compress(archive(*GOOD))[:-30][:40])
    place.write("d.tar", bytes(2048))
    result = place.build("FROM scratch\nADD a.tar.gz b.tar c.gz d.tar /x/\n")
    assert {"x", "x/a.tar.gz", "x/b.tar", "x/c.gz", "x/d.tar"} == set(place.listing(result))


def test_copy_and_unpack_false_do_not_unpack(place):
    place.write("a.tar", archive(*GOOD))
    assert {"a.tar"} == set(place.listing(place.build("FROM scratch\nCOPY a.tar /\n")))
    result = place.build("FROM scratch\nADD --unpack=false a.tar /\n")
    assert {"a.tar"} == set(place.listing(result))


def test_add_follows_the_images_links_and_replaces(tree):
    entries = (
        ("todir/new", tarfile.REGTYPE, "through the link"),
        ("file", tarfile.DIRTYPE, ""),
        ("dir/old", tarfile.REGTYPE, "newer"),
    )
    tree.write("over.tar", archive(*entries))
    result = tree.build(f"{TREE}ADD --chown=1:2 over.tar /\n")
    listing = tree.listing(result)
    assert listing["dir/new"] == ("f", 0o751, (1, 2))
    assert listing["file"][0] == "d"
    assert tree.text(result, "dir/old") == "newer"
    assert listing["dir"] == ("d", 0o700, (5, 6))


HOSTILE = [
    (("../out", tarfile.REGTYPE, "x"),),
    (("a/../../out", tarfile.REGTYPE, "x"),),
    (("x/.wh.y", tarfile.REGTYPE, ""),),
    ((".wh..wh..opq", tarfile.REGTYPE, ""),),
    (("hard", tarfile.LNKTYPE, "/etc/passwd"),),
    (("hard", tarfile.LNKTYPE, "../../etc/passwd"),),
    (("null", tarfile.CHRTYPE, ""),),
    (("l", tarfile.SYMTYPE, "/etc"), ("l/passwd", tarfile.REGTYPE, "x")),
]


@pytest.mark.parametrize("entries", HOSTILE, ids=[each[-1][0] for each in HOSTILE])
def test_hostile_archives_are_refused(place, entries):
    place.write("evil.tar", archive(("ok", tarfile.REGTYPE, "ok"), *entries))
    with pytest.raises(DockerfileError) as caught:
        place.build("FROM scratch\nADD evil.tar /to/\n")
    assert caught.value.line == 2


def test_absolute_names_stay_below_the_destination(place):
    place.write("a.tar", archive(("/etc/x", tarfile.REGTYPE, "x")))
    result = place.build("FROM scratch\nADD a.tar /to/\n")
    assert {"to", "to/etc", "to/etc/x"} == set(place.listing(result))


def test_damaged_archive(place):
    place.write("a.tgz", gzip.compress(archive(*GOOD, ("big", tarfile.REGTYPE, "x" * 99999)))[:-20])
    with pytest.raises(DockerfileError, match=r"cannot put a\.tgz into a layer"):
        place.build("FROM scratch\nADD a.tgz /to/\n")
