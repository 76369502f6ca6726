"""The shim's parts by themselves: frames, the log, who a process is."""

import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidOption
from ocimagic.shim import protocol
from ocimagic.shim.client import signal_number
from ocimagic.shim.identity import ProcessIdentity, identify
from ocimagic.shim.logs import PIECE, LogWriter, parse_record

FRAMES = st.lists(st.tuples(st.sampled_from(sorted(protocol.KINDS)), st.binary(max_size=50)))


@given(FRAMES, st.integers(1, 7))
def test_frames_survive_any_cutting(frames, size):
    stream = b"".join(protocol.frame(kind, payload) for kind, payload in frames)
    cutter = protocol.Frames()
    got = []
    for start in range(0, len(stream), size):
        got += cutter.feed(stream[start : start + size])
    assert got == frames


@pytest.mark.parametrize(
    "bad", [b"X\0\0\0\1a", b"M\xff\xff\xff\xff", b"1" + (protocol.MAX_FRAME + 1).to_bytes(4, "big")]
)
def test_what_is_no_frame_is_refused(bad):
    with pytest.raises(protocol.ProtocolError):
        list(protocol.Frames().feed(bad))


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_message_is_refused(bad):
    with pytest.raises(protocol.ProtocolError):
        protocol.parse_message(bad)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_the_log_keeps_every_byte_of_valid_text(tmp_path_factory, pieces):
    path = tmp_path_factory.mktemp("log") / "log"
    log = LogWriter(str(path))
    for piece in pieces:
        log.write("stdout", piece)
    log.close()
    records = [parse_record(line) for line in path.read_bytes().splitlines()]
    written = b"".join(data for _, _, data in records)
    lines = b"".join(pieces).splitlines(keepends=True)
    assert written == b"".join(
        piece.decode(errors="replace").encode() for piece in _split_at_newline(b"".join(pieces))
    )
    assert len(records) == len(_split_at_newline(b"".join(pieces))), lines


def _split_at_newline(data):
    return (
        [part for part in data.replace(b"\n", b"\n\0\0").split(b"\0\0") if part]
        if (b"\0\0" not in data)
        else list(_lines(data))
    )


def _lines(data):
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def test_long_lines_are_cut_at_sixteen_kibibytes(tmp_path):
    log = LogWriter(str(tmp_path / "log"))
    log.write("stderr", b"x" * (PIECE * 2 + 5))
    log.write("stderr", b"\n")
    log.close()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [len(record["log"]) for record in records] == [PIECE, PIECE, 6]


def test_a_full_disk_loses_records_and_never_the_container(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    log = LogWriter("/dev/full")
    log.write("stdout", b"one\ntwo\n")
    log.close()
    assert log.dropped == 2


def test_identity_is_more_than_a_pid():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    it = identify(child.pid)
    assert it.is_alive()
    assert not ProcessIdentity(it.pid, it.start_ticks + 1, it.boot_id).is_alive()
    assert not ProcessIdentity(it.pid, it.start_ticks, "another boot").is_alive()
    child.stdin.close()
    deadline = time.monotonic() + 5
    while it.is_alive() and time.monotonic() < deadline:
        pass
    assert not it.is_alive(), "a zombie is not alive"
    child.wait()


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("sigkill", 9), ("9", 9), ("SIGUSR1", 10)]
)
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "99", "FOO", "SIGSIGTERM", "9; rm", "-9"])
def test_bad_signals(text):
    with pytest.raises(InvalidOption):
        signal_number(text)
