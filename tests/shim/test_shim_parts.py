"""The shim's parts by themselves: frames, who a process is, signals."""

import os
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidOption
from ocimagic.linux.identity import ProcessIdentity, identify
from ocimagic.shim import protocol
from ocimagic.shim.client import signal_number

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


FORKED = """
import mmap, os, sys
from ocimagic.shim.memory import own_pages
mine = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
mine.write(b"x" * (4 << 20))

def private_kb():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))

reader, writer = os.pipe()
if os.fork() == 0:
    before = private_kb()
    own_pages(lambda: True)
    unwanted = private_kb() - before
    own_pages(lambda: False)
    os.write(writer, f"{unwanted} {private_kb() - before} {mine[:1]}".encode())
    os._exit(0)
os.close(writer)
print(os.read(reader, 100).decode())
os.wait()
"""


def test_a_fork_takes_its_pages_before_it_writes_to_them():
    """And stops as soon as there is something better to do."""
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 14):
        pytest.skip("MADV_POPULATE_WRITE is of Linux 5.14")
    told = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, check=True
    )
    unwanted, taken, kept = told.stdout.split()
    assert int(unwanted) < 512
    assert int(taken) >= 4096
    assert kept == "b'x'"
