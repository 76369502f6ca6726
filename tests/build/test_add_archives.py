"""ADD of local archives, told by their content."""

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
import zstandard

from ocimagic.errors import DockerfileError

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
    result = tree.build(f"{tree.head}ADD --chown=1:2 over.tar /\n")
    listing = tree.listing(result)
    assert listing["dir/new"] == ("f", 0o751, (11, 12))
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
