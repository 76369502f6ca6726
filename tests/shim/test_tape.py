"""The tape: bytes leave a pipe once and are there once, wherever a shim is killed."""

import os
import random

import pytest

from ocimagic.shim import protocol
from ocimagic.shim.memory import Blob, Cell
from ocimagic.shim.tape import CAPACITY, CHUNK, Tape


class Killed(Exception):
    """Stands for SIGKILL."""


class Source:
    """A process's two streams, and the memory and sieve that outlive shims."""

    def __init__(self):
        self.memory = bytearray(Tape.size())
        self.sieve = os.pipe()
        self.pipes = [os.pipe(), os.pipe()]
        for reader, _ in self.pipes:
            os.set_blocking(reader, False)

    def tape(self):
        return Tape(self.memory, 0, self.sieve)

    def write(self, stream, data):
        assert os.write(self.pipes[stream][1], data) == len(data)

    def take(self, tape, stream):
        return tape.take(stream, self.pipes[stream][0])

    def close(self):
        for pair in (self.sieve, *self.pipes):
            for fd in pair:
                os.close(fd)


@pytest.fixture
def source():
    made = Source()
    yield made
    made.close()


def streams_of(tape, position=0):
    out = [b"", b""]
    for stream, data, _ in tape.since(position):
        out[stream] += data
    return out


def test_what_is_taken_is_on_it_in_order(source):
    tape = source.tape()
    source.write(0, b"one")
    source.write(1, b"two")
    assert (source.take(tape, 0), source.take(tape, 1), source.take(tape, 0)) == (
        b"one",
        b"two",
        None,
    )
    assert [(stream, data) for stream, data, _ in tape.since(0)] == [(0, b"one"), (1, b"two")]
    frames = protocol.Frames()
    got = list(frames.feed(b"".join(tape.parts(0, tape.head))))
    assert got == [(b"1", b"one"), (b"2", b"two")]


def test_the_end_of_a_stream_is_told(source):
    os.close(source.pipes[0][1])
    assert source.take(source.tape(), 0) == b""
    source.pipes[0] = (source.pipes[0][0], os.open("/dev/null", os.O_WRONLY))


def test_a_ring_begins_anew_and_says_what_is_missed(source):
    tape = source.tape()
    chance, sent = random.Random(1), b""
    while len(sent) < CAPACITY + 5 * CHUNK:
        data = chance.randbytes(chance.randint(1, CHUNK))
        source.write(0, data)
        sent += source.take(tape, 0)
    kept = streams_of(tape)[0]
    assert sent.endswith(kept)
    assert CAPACITY - 2 * CHUNK < len(kept) < CAPACITY
    position, rest, missed = tape.resume({"stdout": 0})
    assert (position, rest, missed) == (tape.tail, b"", len(sent) - len(kept))
    assert tape.resume({"stdout": len(sent)}) == (tape.head, b"", 0)


@pytest.mark.parametrize("had", range(13))
def test_who_comes_back_gets_what_they_have_not_had(source, had):
    tape = source.tape()
    for piece in (b"abcd", b"efgh", b"ijkl"):
        source.write(0, piece)
        source.take(tape, 0)
    position, rest, missed = tape.resume({"stdout": had})
    frames = protocol.Frames()
    stream = rest + b"".join(tape.parts(position, tape.head - position))
    assert b"".join(data for _, data in frames.feed(stream)) == b"abcdefghijkl"[had:]
    assert missed == 0


def test_nobody_behind_lets_it_begin_anew_without_touching_all_memory(source):
    tape = source.tape()
    for _ in range(40):
        source.write(0, bytes(CHUNK))
        source.take(tape, 0)
        tape.settle()
    assert tape.head % CAPACITY < CAPACITY // 8


KILLS = ("before splice", "after splice", "before readv", "half of readv", "after readv")


@pytest.mark.parametrize("kill", KILLS)
def test_a_kill_loses_and_doubles_nothing(source, monkeypatch, kill):
    """Fails for "half of readv" if _recover forgets what the ring has already."""
    source.write(0, b"before")
    source.take(source.tape(), 0)
    tape = source.tape()
    source.write(1, b"0123456789")
    splice, readv = os.splice, os.readv

    def killed_splice(*args, **kwargs):
        if kill == "after splice":
            splice(*args, **kwargs)
        if kill.endswith("splice"):
            raise Killed
        return splice(*args, **kwargs)

    def killed_readv(fd, parts):
        if kill == "half of readv":
            readv(fd, [parts[0][:4]])
        elif kill == "after readv":
            readv(fd, parts)
        raise Killed

    monkeypatch.setattr(os, "splice", killed_splice)
    monkeypatch.setattr(os, "readv", killed_readv)
    with pytest.raises(Killed):
        source.take(tape, 1)
    monkeypatch.undo()
    second = source.tape()
    source.take(second, 1)
    assert streams_of(second) == [b"before", b"0123456789"]
    assert second.totals == [6, 10]
    third = source.tape()
    assert (third.head, third.totals) == (second.head, second.totals)


def test_a_terminal_is_read_exactly_too(source):
    master, slave = os.openpty()
    try:
        os.set_blocking(master, False)
        tape = source.tape()
        os.write(slave, b"$ ")
        assert tape.take(0, master) == b"$ "
        assert tape.take(0, master) is None
        os.close(slave)
        assert tape.take(0, master) == b"", "EIO is the end of a terminal"
    finally:
        os.close(master)


def test_a_cell_has_the_old_numbers_until_it_has_the_new(monkeypatch):
    memory = bytearray(Cell.size("=QQ"))
    Cell(memory, 0, "=QQ").write(1, 2)
    flag = memory[0]
    Cell(memory, 0, "=QQ").write(3, 4)
    assert Cell(memory, 0, "=QQ").read() == (3, 4)
    memory[0] = flag  # the byte that a killed writer would not have come to
    assert Cell(memory, 0, "=QQ").read() == (1, 2)


def test_a_blob_is_replaced_whole():
    memory = bytearray(Blob.size(8))
    blob = Blob(memory, 0, 8)
    assert blob.read() == b""
    for content in (b"first", b"2nd", b""):
        blob.write(content)
        assert Blob(memory, 0, 8).read() == content
    with pytest.raises(ValueError, match="9 bytes"):
        blob.write(bytes(9))
