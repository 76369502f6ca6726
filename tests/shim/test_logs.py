"""The log file: docker's form, each byte once whenever its writer is killed, rotated."""

import json
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.shim import rotation
from ocimagic.shim.logs import LogWriter
from ocimagic.shim.records import PIECE, cri_records, json_records, parse_record, pieces
from ocimagic.shim.rotation import compress, shift
from ocimagic.shim.task import LogOptions


def rotated(path):
    """Return the older files of a log, oldest first."""
    found = []
    while names := [each for each in (f"{path}.{len(found) + 1}", f"{path}.{len(found) + 1}.gz")
                    if os.path.exists(each)]:  # fmt: skip
        found.append(names[0])
    return found[::-1]


def writer(path, memory=None, **options):
    buffer = bytearray(LogWriter.size()) if memory is None else memory
    return LogWriter(str(path), LogOptions(**options), buffer)


def write_all(path, chunks, **options):
    log = writer(path, **options)
    for position, (stream, data) in enumerate(chunks):
        log.write(stream, data, position)
    log.flush()
    log.close(durable=False)
    return log


def read(path):
    with path.open("rb") as file:
        return [parse_record(line) for line in file]


TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\n\x7f"\\'))


@given(st.lists(TEXT.map(str.encode), max_size=20))
def test_every_byte_of_valid_text_is_kept(tmp_path_factory, chunks):
    for driver in ("json-file", "cri"):
        path = tmp_path_factory.mktemp("log") / "log"
        write_all(path, [(0, each) for each in chunks if each], driver=driver)
        text = b"".join(data for _, _, data in read(path))
        assert text == b"".join(chunks)


@given(st.binary(max_size=200))
def test_other_bytes_become_replacement_characters_line_by_line(data):
    lines = json_records("stdout", data + b"\n", "now").splitlines()
    wanted = (data + b"\n").splitlines() if b"\r" not in data else None
    text = "".join(json.loads(line)["log"] for line in lines)
    assert text == (data + b"\n").decode(errors="replace")
    if wanted is not None:
        assert len(lines) == data.count(b"\n") + 1


@given(st.text())
def test_a_record_is_what_the_json_module_would_write(text):
    data = text.encode(errors="replace").replace(b"\n", b"") + b"\n"
    record = {"log": data.decode(), "stream": "stderr", "time": "now"}
    wanted = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    assert json_records("stderr", data, "now") == wanted.encode()


def test_long_lines_are_cut_at_sixteen_kibibytes(tmp_path):
    write_all(tmp_path / "log", [(1, b"x" * (PIECE * 2 + 5)), (1, b"\n")])
    assert [len(data) for _, _, data in read(tmp_path / "log")] == [PIECE, PIECE, 6]


def test_a_character_is_never_cut_in_two(tmp_path):
    text = ("\u20ac" * PIECE + "\n").encode()
    write_all(tmp_path / "log", [(0, text[:7]), (0, text[7:])])
    records = read(tmp_path / "log")
    assert b"".join(data for _, _, data in records) == text
    assert all(len(data) <= PIECE for _, _, data in records)


def test_what_is_no_text_at_all_is_cut_too():
    data = b"\x80" * (3 * PIECE)
    assert list(pieces(data)) == [(0, PIECE), (PIECE, 2 * PIECE)]


def test_cri_marks_what_goes_on():
    assert cri_records("stdout", b"a\nb\n", "t") == b"t stdout F a\nt stdout F b\n"
    assert cri_records("stderr", b"a", "t") == b"t stderr P a\n"


def test_a_full_disk_loses_records_and_never_the_container(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    log = write_all("/dev/full", [(0, b"one\ntwo\n")])
    assert log.dropped == 2


def test_half_a_record_is_taken_back_when_the_disk_gets_full(tmp_path, monkeypatch):
    log = writer(tmp_path / "log")
    log.write(0, b"whole\n", 1)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    log.write(0, b"half\n", 2)
    monkeypatch.undo()
    log.write(0, b"again\n", 3)
    assert [data for _, _, data in read(tmp_path / "log")] == [b"whole\n", b"again\n"]
    assert log.dropped == 1


def test_none_writes_nothing(tmp_path):
    write_all(tmp_path / "log", [(0, b"x\n")], driver="none")
    assert not (tmp_path / "log").exists()


class Killed(Exception):
    """Stands for SIGKILL at a system call."""


@pytest.mark.parametrize("appended", [False, True])
def test_a_writer_killed_at_an_append_says_everything_once(tmp_path, monkeypatch, appended):
    memory = bytearray(LogWriter.size())
    first = writer(tmp_path / "log", memory)
    first.write(0, b"one\npart of ", 1)
    real = os.write

    def killed(fd, data):
        if appended:
            real(fd, data)
        raise Killed

    monkeypatch.setattr(os, "write", killed)
    with pytest.raises(Killed):
        first.write(0, b"two\n", 2)
    monkeypatch.undo()
    second = writer(tmp_path / "log", memory)
    assert second.position == 1  # so it is given what came after that
    second.write(0, b"two\n", 2)
    second.close(durable=True)
    assert [data for _, _, data in read(tmp_path / "log")] == [b"one\n", b"part of two\n"]


def test_rotation_keeps_so_many_files(tmp_path):
    path = tmp_path / "log"
    lines = [b"%06d\n" % number for number in range(200)]
    write_all(path, [(0, each) for each in lines], max_size_bytes=1000, max_files=3)
    files = [*rotated(str(path)), str(path)]
    assert files == [f"{path}.2", f"{path}.1", str(path)]
    assert all(os.path.getsize(each) < 1200 for each in files)
    kept = b"".join(data for each in files for _, _, data in read(Path(each)))
    assert b"".join(lines).endswith(kept)
    assert len(kept) > 100


def test_one_file_only_is_begun_anew(tmp_path):
    path = tmp_path / "log"
    write_all(path, [(0, b"%d\n" % n) for n in range(100)], max_size_bytes=1000)
    assert os.listdir(tmp_path) == ["log"]
    assert read(path)[-1][2] == b"99\n"


@pytest.mark.parametrize("after", range(4))
def test_a_rotation_that_was_cut_short_is_finished(tmp_path, monkeypatch, after):
    path = str(tmp_path / "log")
    for name in ("log", "log.1", "log.2"):
        (tmp_path / name).write_text(name)
    calls = 0
    real = os.rename

    def rename(*names):
        nonlocal calls
        if calls == after:
            raise Killed
        calls += 1
        real(*names)

    monkeypatch.setattr(rotation.os, "rename", rename)
    if after < 3:
        with pytest.raises(Killed):
            shift(path, 4)
        monkeypatch.undo()
    shift(path, 4)
    found = {name: (tmp_path / name).read_text() for name in os.listdir(tmp_path)}
    assert found == {"log.1": "log", "log.2": "log.1", "log.3": "log.2"}


def test_older_files_are_compressed(tmp_path):
    path = tmp_path / "log"
    log = writer(path, max_size_bytes=1000, max_files=3, compress=True)
    for number in range(60):
        log.write(0, b"%06d\n" % number, number)
        while log._compressor.is_busy():
            pass
    log.close(durable=False)
    assert rotated(str(path)) == [f"{path}.2.gz", f"{path}.1.gz"]
    content = zlib.decompress((tmp_path / "log.1.gz").read_bytes(), 31)
    assert content.endswith(b"}\n")
    subprocess.run(["gzip", "-t", f"{path}.1.gz"], check=True)


def test_a_full_disk_leaves_the_file_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "log.1"
    path.write_bytes(b"x")
    monkeypatch.setattr(rotation.os, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "")))
    with pytest.raises(OSError, match="28"):
        compress(str(path))
    assert os.listdir(tmp_path) == ["log.1"]


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("count", range(12))
def test_a_kill_at_any_call_of_a_rotation_loses_and_doubles_nothing(
    tmp_path, monkeypatch, count, done
):
    """One piece of output fills several files; each call to the kernel may be the last."""
    memory = bytearray(LogWriter.size())
    options = {"max_size_bytes": 500, "max_files": 50}
    lines = b"".join(b"%06d\n" % number for number in range(30))
    calls = 0

    def cut(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == count + 1 and not done:
                raise Killed
            result = real(*args, **kwargs)
            if calls == count + 1:
                raise Killed
            return result

        return call

    log = writer(tmp_path / "log", memory, **options)
    log.write(0, b"begun ", 1)
    for name in ("write", "rename", "open", "ftruncate"):
        monkeypatch.setattr(os, name, cut(name))
    try:
        log.write(0, lines, 2)
    except Killed:
        pass
    finally:
        monkeypatch.undo()
    log = writer(tmp_path / "log", memory, **options)
    if log.position < 2:
        log.write(0, lines, 2)
    log.flush()
    log.close(durable=False)
    files = [*rotated(str(tmp_path / "log")), tmp_path / "log"]
    assert b"".join(data for each in files for _, _, data in read(Path(each))) == b"begun " + lines
    assert all(os.path.getsize(each) <= 600 for each in files)


def test_many_lines_are_parsed_as_each_alone_would_be():
    """Also where halves of records, or lines of the other form, are among them."""
    from ocimagic.shim.records import parse_records

    moment = "2026-01-02T03:04:05.000000006Z"
    good = json_records("stdout", 'a\n"b"\\\n\u00e9\n'.encode(), moment).splitlines(keepends=True)
    whole = [(moment, "stdout", each) for each in (b"a\n", b'"b"\\\n', "\u00e9\n".encode())]
    assert parse_records(good) == whole
    assert parse_records([]) == []
    bad = [good[0][:9] + b"\n", good[0][:9] + good[0], b"[]\n", b"{}\n", b"1\n", b"\n", b"{},{}\n"]
    for each in bad:
        assert parse_records([*good, each]) == whole
        assert parse_records([each, *good]) == whole
    cri = cri_records("stderr", b"x\n", moment)
    assert parse_records([cri, *good]) == [(moment, "stderr", b"x\n"), *whole]
    assert parse_records([*good, cri]) == [*whole, (moment, "stderr", b"x\n")]
