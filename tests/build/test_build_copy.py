"""COPY and ADD: what lands where, as BuildKit does it (facts/build.md 1.2 and 1.4)."""

import os

import pytest

from ocimagic.errors import DockerfileError

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
    ("exclude starts at the source", "COPY --exclude=sub d /x", {"x", "x/one"}),
    ("exclude of another place", "COPY --exclude=d d /x", {"x", "x/one", "x/sub", "x/sub/two"}),
    (
        "exclude brings back",
        "COPY --exclude=* --exclude=!sub/two d /x",
        {"x", "x/sub", "x/sub/two"},
    ),
    (
        "exclude among wildcards",
        "COPY --exclude=g --exclude=one ? /x/",
        {"x", "x/f", "x/sub", "x/sub/two", "x/three"},
    ),
    ("exclude all", "COPY --exclude=* d* /x", {"x"}),
    ("exclude everywhere", "COPY --exclude=**/two d /x", {"x", "x/one", "x/sub"}),
    ("variable", "ARG N=f\nCOPY $N /$N", {"f"}),
    ("add is copy", "ADD f /x", {"x"}),
    ("linked source file", "COPY tofile /x", {"x"}),
    ("linked source keeps its name", "COPY tofile /x/", {"x", "x/tofile"}),
    ("linked source directory", "COPY tod /x", {"x", "x/one", "x/sub", "x/sub/two"}),
    ("wildcard follows links", "COPY to* /x/", {"x", "x/tofile", "x/one", "x/sub", "x/sub/two"}),
    ("parents", "COPY --parents d/sub/two /x", {"x", "x/d", "x/d/sub", "x/d/sub/two"}),
    (
        "parents of a directory",
        "COPY --parents ./d/. /x",
        {"x", "x/d", "x/d/one", "x/d/sub", "x/d/sub/two"},
    ),
    ("parents after a pivot", "COPY --parents d/./sub /x", {"x", "x/sub", "x/sub/two"}),
    ("the first pivot counts", "COPY --parents ./d/./sub/./two /x", {"x", "x/sub", "x/sub/two"}),
    (
        "a pivot and nothing after it",
        "COPY --parents d/./ /x",
        {"x", "x/one", "x/sub", "x/sub/two"},
    ),
    (
        "parents of a wildcard",
        "COPY --parents ?/*e /x/",
        {"x", "x/d", "x/d/one", "x/e", "x/e/three"},
    ),
    (
        "wildcard before the pivot",
        "COPY --parents ?/./* /x",
        {"x", "x/one", "x/sub", "x/sub/two", "x/three"},
    ),
    (
        "any depth",
        "COPY --parents **/t* /x",
        {
            "x",
            "x/d",
            "x/d/sub",
            "x/d/sub/two",
            "x/e",
            "x/e/three",
            "x/tod",
            "x/tofile",
            "x/tree",
            "x/tree/dir",
            "x/tree/dir/old",
            "x/tree/file",
        },
    ),
    ("any depth below", "COPY --parents d/**/two /x", {"x", "x/d", "x/d/sub", "x/d/sub/two"}),
    ("any depth of nothing", "COPY --parents **/nope /x", set()),
    ("no any depth without parents", "COPY **/two /x", set()),
    (
        "parents without an excluded one",
        "COPY --parents --exclude=d/sub --exclude=**/old d tree /x",
        {"x", "x/d", "x/d/one", "x/tree", "x/tree/dir", "x/tree/file"},
    ),
    (
        "exclude starts at the pivot",
        "COPY --parents --exclude=sub/t* d/./ /x",
        {"x", "x/one", "x/sub"},
    ),
    ("parents in the workdir", "WORKDIR /w\nCOPY --parents d/one .", {"w", "w/d", "w/d/one"}),
    ("parents keep a link", "COPY --parents tod /x", {"x", "x/tod"}),
    ("parents clamped", "COPY --parents ../../d/one /x", {"x", "x/d", "x/d/one"}),
    ("link in the way to the source", "COPY tod/one /x", {"x"}),
]


@pytest.mark.parametrize(("text", "added"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_where_files_go(tree, text, added):
    result = tree.build(f"{tree.head}{text}\n")
    assert added == set(tree.listing(result)) - tree.before


def test_attributes(tree):
    (tree.context / "f").chmod(0o4751)
    os.utime(tree.context / "f", (1_500_000_000, 1_500_000_000))
    listing = tree.listing(result := tree.build("FROM scratch\nUSER 9\nCOPY f /n/f\nCOPY d /n/d\n"))
    assert listing["n/f"] == ("f", 0o4751, (0, 0))
    assert ("d", 0o755, (0, 0)) == listing["n"] == listing["n/d"]
    assert tree.files(result).find("n/f").mtime_ns == 1_500_000_000 * 10**9


def test_existing_directories_stay_as_they_are(tree):
    listing = tree.listing(tree.build(f"{tree.head}COPY f /dir/f\nCOPY d /dir\n"))
    assert listing["dir"] == ("d", 0o700, (5, 6))


def test_every_layer_stands_alone(tree):
    result = tree.build(f"{tree.head}COPY f /dir/deep/f\n")
    from ocimagic.layers.toc import independent, toc_from_bytes
    from ocimagic.transfer.layer import layers_of

    image = tree.engine._store.images.load(result.digest)
    unpacker = tree.engine.images._unpacker
    assert all(independent(toc_from_bytes(unpacker.toc(each))) for each in layers_of(image))


def test_content_and_deeper_links(tree):
    os.symlink("../../../etc/passwd", tree.context / "d" / "link")
    result = tree.build(f"{tree.head}COPY f /tofile\nCOPY d /x\n")
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
    ("COPY --parents d/[z-a /x", "syntax error in pattern", 5, 16),
    ("COPY --parents d/nope /x", '"d/nope": not found', 5, 16),
    ("COPY --parents nope/./d /x", '"nope/./d": not found', 5, 16),
    ("COPY --parents d e /file", "cannot copy to non-directory: /file", 5, None),
    ("COPY --from=0 f /x", "circular dependency", 5, None),
    ("COPY f/x /x", '"f/x": not found', 5, 6),
    ("\n\nCOPY \\\n  nope /x", '"nope": not found', 8, 3),
]


@pytest.mark.parametrize(("text", "message", "line", "column"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors_point_at_the_line(tree, text, message, line, column):
    tree.write("deep/dir", "a file where the image has a directory")
    tree.write("onlink/todir/x", "a directory where the image has a link")
    with pytest.raises(DockerfileError) as caught:
        tree.build(tree.head + text + "\n")
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
