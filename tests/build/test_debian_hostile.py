"""What a mirror may say to hurt: names, numbers, dates, files of packages, keys."""

import io
import re
import tarfile

import pytest
from debianmirror import deb
from rootfs import tar_of

from ocimagic.build.debian import deb822, signature, version
from ocimagic.build.debian.closure import minimal
from ocimagic.build.debian.deb import data_tar
from ocimagic.build.debian.index import PackageIndex
from ocimagic.build.debian.release import Release
from ocimagic.build.debian.root import Root
from ocimagic.errors import InvalidDocument, PackageRefused, SignatureRefused
from ocimagic.layers.tarheader import Kind

MANY = "9" * 5000  # digits: more than int() takes


class Written:
    """Stands for the layer: what would be in it."""

    def __init__(self):
        self.entries = []

    def add(self, entry, content=()):
        self.entries.append((entry.name, entry.kind, b"".join(map(bytes, content))))


def unpacked(*entries):
    written = Written()
    Root(written, 0).package([tar_of(*entries)], "p")
    return written.entries


def link(target, kind=tarfile.SYMTYPE):
    return {"type": kind, "linkname": target}


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("../x", b"")], "'..' in it"),
        ([("a/../../x", b"")], "'..' in it"),
        ([("h", None, link("../../etc/shadow", tarfile.LNKTYPE))], "'..' in it"),
        ([("h", None, link("/etc/shadow", tarfile.LNKTYPE))], "hard link"),
        ([("s", None, link("/etc")), ("h", None, link("s", tarfile.LNKTYPE))], "hard link"),
        ([("a", None, link("b")), ("b", None, link("a")), ("a/x", b"")], "circles"),
        ([("c", None, {"type": tarfile.CHRTYPE})], "device or pipe"),
        ([("c", None, {"type": tarfile.FIFOTYPE})], "device or pipe"),
        ([(".wh.x", b"")], "delete another file"),
        ([("d", None), ("d", b"")], "replace a directory"),
        ([("f", b""), ("f/y", b"")], "no directory"),
    ],
)
def test_a_file_that_no_package_may_have(entries, reason):
    with pytest.raises(PackageRefused) as caught:
        unpacked(*entries)
    assert reason in caught.value.why


def test_absolute_names_and_links_stay_inside():
    assert unpacked(("/etc/x", b"1"))[-1] == ("etc/x", Kind.FILE, b"1")
    out = unpacked(("a", None, link("/../../..")), ("a/x", b"1"))
    assert out[-1] == ("x", Kind.FILE, b"1")


@pytest.mark.parametrize("member", [b"data.tar", b"control.tar"])
def test_a_member_larger_than_its_file(member):
    raw = deb(("./x", b"1"))
    at = raw.index(member) + 48  # ar(5): where the size stands
    raw = raw[:at] + b"9999999999" + raw[at + 10 :]
    with pytest.raises(PackageRefused) as caught:
        list(data_tar(io.BytesIO(raw), "p", max_bytes=1 << 20))
    assert "it ends" in caught.value.why


GOOD = {"Package": "aa", "Version": "1", "Essential": "yes", "Filename": "pool/a.deb",
        "Size": "3", "SHA256": "0" * 64}  # fmt: skip


def chosen(**fields):
    index = PackageIndex()
    said = GOOD | fields
    index.add("\n".join(f"{key}: {value}" for key, value in said.items()).encode(), 0)
    return minimal(index)


@pytest.mark.parametrize(
    "fields",
    [
        {"Package": "../../evil\nX-Package: good"},
        {"Package": "ok\n ../evil"},
        {"Package": "ok/evil"},
        {"Size": MANY},
        {"Size": "0"},
        {"Size": "٣"},
        {"Filename": "../x"},
        {"Filename": "/x"},
        {"SHA256": "1"},
        {"Version": ""},
    ],
)
def test_a_stanza_that_cannot_be_used(fields):
    with pytest.raises(InvalidDocument):
        chosen(**fields)


def test_a_line_ends_where_debian_says():
    assert chosen(Description="a\u2028b\x0bc\x85d")[0].name == "aa"
    assert deb822.stanza("A: 1\r\nB: 2\r", what="t") == {"a": "1", "b": "2"}


def test_numbers_of_any_length_are_ordered():
    assert version.satisfies(MANY, ">>", MANY[1:])
    assert version.satisfies(f"{MANY}:1", ">>", f"1:{MANY}")
    assert version.satisfies(f"{'0' * 5000}1", "=", "1")


@pytest.mark.parametrize("zone", ["+999999", "+" + "9" * 14])
def test_a_date_that_is_none(zone):
    text = f"Date: Thu, 01 Jan 2026 00:00:00 {zone}\nSHA256:\n {'0' * 64} 1 a\n"
    with pytest.raises(InvalidDocument, match="not valid") as caught:
        Release.parse(text)
    assert re.search("date cannot be read", caught.value.why)


def test_without_gpgv_nothing_is_believed(monkeypatch):
    monkeypatch.setattr(signature.shutil, "which", lambda _: None)
    with pytest.raises(SignatureRefused, match="cannot be checked") as caught:
        signature.check(b"x", None, [], where="w")
    assert "--no-check-gpg" in caught.value.hint


@pytest.mark.parametrize("is_directory", [True, False])
def test_a_keyring_that_cannot_be_read(monkeypatch, tmp_path, is_directory):
    """Also a fingerprint, which Signed-By may have: it is no file."""
    monkeypatch.setattr(signature.shutil, "which", lambda _: "gpgv")
    keyring = tmp_path if is_directory else tmp_path / ("A" * 40)
    with pytest.raises(SignatureRefused, match="keyring cannot be read"):
        signature.check(b"x", None, [keyring], where="w")
