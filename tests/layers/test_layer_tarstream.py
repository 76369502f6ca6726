from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile

import evil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocimagic.errors import LayerRefused
from ocimagic.layers import tarheader
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader, TarWriter

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1,
            max_size=80),
    st.binary(min_size=1, max_size=80).map(lambda raw: raw.replace(b"/", b"_").replace(
        b"\0", b"0").decode("utf-8", "surrogateescape")),
    st.text("abc/", min_size=90, max_size=300).map(lambda text: text.strip("/") or "x"),
)  # fmt: skip
XATTRS = st.dictionaries(
    st.text("abcäß.", min_size=1, max_size=8).map("user.".__add__), st.binary(max_size=300),
    max_size=3,
)  # fmt: skip


@st.composite
def entries(draw):
    kind = draw(st.sampled_from([kind for kind in Kind if kind in tarheader.TYPE_FLAGS]))
    linked = kind in (Kind.SYMLINK, Kind.HARDLINK)
    device = kind in (Kind.CHAR, Kind.BLOCK)
    return Entry(
        name=draw(NAMES),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, tarheader.MAX_ID)),
        gid=draw(st.integers(0, tarheader.MAX_ID)),
        mtime_ns=draw(st.integers(-(1 << 35), 1 << 35)) * 1_000_000_000,
        linkname=draw(NAMES) if linked else "",
        dev_major=draw(st.integers(0, 4095)) if device else 0,
        dev_minor=draw(st.integers(0, (1 << 20) - 1)) if device else 0,
        xattrs=draw(XATTRS),
    )


def written(*members: tuple[Entry, bytes]) -> bytes:
    pieces: list[bytes] = []
    writer = TarWriter(lambda piece: pieces.append(bytes(piece)))
    for entry, content in members:
        writer.add(entry._replace(size=len(content)), [content])
    size = writer.finish()
    tar = b"".join(pieces)
    assert size == len(tar)
    return tar


def read(tar: bytes, size: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    reader = TarReader(tar[at : at + size] for at in range(0, len(tar), size))
    return [(entry, b"".join(reader.content())) for entry in reader]


@given(st.lists(st.tuples(entries(), st.binary(max_size=2000)), max_size=5), st.integers(1, 3000))
def test_what_is_written_is_read(members, size):
    members = [(entry, content if entry.kind is Kind.FILE else b"") for entry, content in members]
    tar = written(*members)
    got = read(tar, size)
    assert [content for _, content in members] == [content for _, content in got]
    for (wrote, content), (back, _) in zip(members, got, strict=True):
        assert wrote._replace(size=len(content), offset=back.offset) == back
        assert content == tar[back.offset : back.offset + back.size]


@given(entries(), st.binary(max_size=2000))
def test_tarfile_reads_what_we_write(entry, content):
    content = content if entry.kind is Kind.FILE else b""
    with tarfile.open(fileobj=io.BytesIO(written((entry, content)))) as tar:
        (info,) = tar.getmembers()
        name = entry.name.rstrip("/") if entry.kind is Kind.DIR else entry.name
        assert (name.rstrip("/"), entry.mode, entry.uid, entry.gid) == (
            info.name.rstrip("/"), info.mode, info.uid, info.gid)  # fmt: skip
        assert (entry.mtime_ns // 10**9, entry.linkname) == (info.mtime, info.linkname)
        assert (info.uname, info.gname) == ("", "")
        if entry.kind is Kind.FILE:
            assert content == tar.extractfile(info).read()


@settings(deadline=None)
@given(entries(), st.binary(max_size=2000),
       st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))  # fmt: skip
def test_we_read_what_tarfile_writes(entry, content, style):
    content = content if entry.kind is Kind.FILE else b""
    info = tarfile.TarInfo(entry.name)
    info.type = tarheader.TYPE_FLAGS[entry.kind]
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.mtime = entry.mtime_ns // 10**9
    info.linkname, info.size = entry.linkname, len(content)
    info.devmajor, info.devminor = entry.dev_major, entry.dev_minor
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=style, encoding="utf-8",
                      errors="surrogateescape") as tar:  # fmt: skip
        tar.addfile(info, io.BytesIO(content))
    ((back, data),) = read(made.getvalue())
    expected = entry._replace(size=len(content), offset=back.offset, xattrs=back.xattrs)
    name = entry.name + "/" if entry.kind is Kind.DIR else entry.name
    assert expected._replace(name=name.rstrip("/")) == back._replace(name=back.name.rstrip("/"))
    assert content == data


def test_gnu_tar_agrees(tmp_path):
    long = "long-" * 45
    (tmp_path / "in" / long).mkdir(parents=True)
    (tmp_path / "in" / long / "file").write_text("content")
    (tmp_path / "in" / "link").symlink_to("x" * 150)
    for style in ("gnu", "pax", "ustar", "v7", "oldgnu"):
        where = tmp_path / f"{style}.tar"
        made = subprocess.run(
            ["tar", f"--format={style}", "--sort=name", "-cf", where, "-C", tmp_path / "in", "."],
            capture_output=True, check=False,
        )  # fmt: skip
        got = {entry.name: data for entry, data in read(where.read_bytes())}
        if made.returncode == 0:
            assert {"./", f"./{long}/", f"./{long}/file", "./link"} == got.keys()
            assert got[f"./{long}/file"] == b"content"


def test_equal_entries_give_equal_bytes_whatever_the_order_of_attributes():
    one = Entry("x", Kind.FILE, xattrs={"user.a": b"1", "user.b": b"2"})
    two = Entry("x", Kind.FILE, xattrs={"user.b": b"2", "user.a": b"1"})
    assert written((one, b"")) == written((two, b""))


def test_plain_entries_need_no_pax():
    tar = written((Entry("usr/bin/env", Kind.FILE), b"#!"))
    assert len(tar) == 4 * 512
    assert tar[257:265] == b"ustar\x0000"


def test_names_of_up_to_256_bytes_need_no_pax():
    name = "p" * 100 + "/" + "q" * 54 + "/" + "n" * 100
    assert len(written((Entry(name, Kind.FILE), b""))) == 3 * 512
    assert name == read(written((Entry(name, Kind.FILE), b"")))[0][0].name


def test_times_are_whole_seconds():
    ((back, _),) = read(written((Entry("x", Kind.FILE, mtime_ns=1_999_999_999), b"")))
    assert back.mtime_ns == 1_000_000_000


@pytest.mark.parametrize("content", [b"short", b"much too long"])
def test_content_of_another_size_is_refused(content):
    writer = TarWriter(lambda piece: None)
    with pytest.raises(LayerRefused, match="changed size"):
        writer.add(Entry("x", Kind.FILE, size=8), [content])


def test_attribute_that_no_record_can_name():
    with pytest.raises(LayerRefused, match="does not fit"):
        written((Entry("x", Kind.FILE, xattrs={"user.a=b": b""}), b""))


def test_content_not_asked_for_is_skipped():
    tar = written(*[(Entry(name, Kind.FILE), bytes(1000)) for name in "abc"])
    for size in (1, 100, 512, 10_000):
        reader = TarReader(tar[at : at + size] for at in range(0, len(tar), size))
        seen = []
        for entry in reader:
            seen.append(entry.name)
            if entry.name == "b":
                next(reader.content())
        assert seen == ["a", "b", "c"]


def test_reads_to_the_end_so_that_a_digest_is_whole():
    used = []

    def chunks():
        for chunk in (evil.file("a"), evil.END, b"after the end" * 100):
            used.append(chunk)
            yield chunk

    assert [entry.name for entry in TarReader(chunks())] == ["a"]
    assert len(used) == 3


def test_content_is_not_copied():
    chunk = evil.file("a", bytes(4096)) + evil.END
    reader = TarReader([chunk])
    next(iter(reader))
    (piece,) = reader.content()
    assert piece.obj is chunk


@given(st.binary(min_size=512, max_size=512))
def test_any_block_is_an_entry_or_refused(block):
    for raw in (block, evil.checksummed(block)):
        with contextlib.suppress(LayerRefused):
            list(TarReader([raw]))


@given(st.binary(min_size=512, max_size=512).map(evil.checksummed))
def test_checksum_is_the_sum_of_bytes(block):
    assert tarheader.checksum_is_right(block)
    assert tarheader.checksum_is_right(bytes(148) + b"000400\0 " + bytes(356))


def test_checksum_of_high_bytes_and_signed_sums():
    high = b"\xff" * 512
    assert tarheader.checksum_is_right(evil.checksummed(high))
    block = evil.header(b"\xe4\xf6\xfc")
    unsigned = tarheader.number(block[148:156])
    signed = block[:148] + b"%06o\0 " % (unsigned - 3 * 256) + block[156:]
    assert tarheader.checksum_is_right(signed)
    wrong = block[:148] + b"%06o\0 " % (unsigned + 1) + block[156:]
    assert not tarheader.checksum_is_right(wrong)


@given(st.binary(min_size=1, max_size=40).filter(lambda key: b"=" not in key),
       st.binary(max_size=1200))  # fmt: skip
def test_records_count_their_own_length(key, value):
    raw = tarheader.pax_record(key, value)
    assert evil.record(key, value) == raw
    assert [(key.decode("utf-8", "surrogateescape"), value)] == list(tarheader.pax_records(raw))


def test_global_values_hold_until_overridden_and_empty_takes_back():
    tar = (
        evil.pax({b"mtime": b"5", b"uid": b"7"}, b"g")
        + evil.file("a") + evil.pax({b"mtime": b"6"}) + evil.file("b")
        + evil.pax({b"uid": b""}) + evil.file("c", uid=3) + evil.END
    )  # fmt: skip
    got = [(entry.mtime_ns // 10**9, entry.uid) for entry, _ in read(tar)]
    assert got == [(5, 7), (6, 7), (5, 3)]
