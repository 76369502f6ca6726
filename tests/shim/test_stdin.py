"""Input on its way to a process: each byte once, wherever a shim is killed."""

import array
import fcntl
import os
import termios

import pytest

from ocimagic.shim.loop import Loop
from ocimagic.shim.memory import Cell
from ocimagic.shim.stdin import FORM, Stdin
from ocimagic.shim.way import SentInput


class Killed(Exception):
    """Stands for SIGKILL."""


class Sink:
    """A process's stdin, and what outlives shims."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.sieve = os.pipe()
        self.memory = bytearray(Cell.size(FORM))
        self.closed = False
        self.loop = Loop()

    def stdin(self, *, is_terminal=False):
        return Stdin(
            self.loop,
            self.writer,
            self.sieve,
            Cell(self.memory, 0, FORM),
            is_terminal=is_terminal,
            on_progress=lambda: None,
            close_all=self.close_writer,
        )

    def close_writer(self):
        self.closed = True

    def read(self):
        waiting = array.array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, waiting)
        return os.read(self.reader, waiting[0]) if waiting[0] else b""

    def close(self):
        for fd in (self.reader, self.writer, *self.sieve):
            os.close(fd)


@pytest.fixture
def sink():
    made = Sink()
    yield made
    made.close()


def test_bytes_arrive_and_are_counted(sink):
    stdin = sink.stdin()
    stdin.feed(7, b"hello")
    assert (sink.read(), stdin.sender, stdin.delivered) == (b"hello", 7, 5)
    stdin.feed(7, b"")
    assert sink.closed
    assert not stdin.is_open


def test_what_is_not_read_waits_and_holds_its_senders_back(sink):
    stdin = sink.stdin()
    stdin.feed(1, bytes(500_000))
    assert stdin.is_full
    total = 0
    while total < 500_000:
        total += len(sink.read())
        stdin.pump()
    assert not stdin.is_full
    assert stdin.delivered == 500_000


def test_the_end_comes_after_what_waits(sink):
    stdin = sink.stdin()
    stdin.feed(1, bytes(100_000))
    stdin.feed(1, b"")
    assert not sink.closed
    while not sink.closed:
        sink.read()
        stdin.pump()


def test_a_terminal_is_told_the_end_by_a_key(sink):
    stdin = sink.stdin(is_terminal=True)
    stdin.feed(1, b"a")
    stdin.feed(1, b"")
    assert sink.read() == b"a\x04"
    assert not sink.closed


@pytest.mark.parametrize(
    "kill", ["before write", "after write", "before splice", "after splice", "at the end"]
)
def test_a_kill_loses_and_doubles_nothing(sink, monkeypatch, kill):
    first = sink.stdin()
    first.feed(9, b"one ")
    write, splice = os.write, os.splice

    def killed_write(fd, data):
        if kill == "after write":
            write(fd, data)
        if kill.endswith("write"):
            raise Killed
        return write(fd, data)

    def killed_splice(*args, **kwargs):
        if kill != "before splice":
            splice(*args, **kwargs)
        if kill.endswith("splice"):
            raise Killed

    monkeypatch.setattr(os, "write", killed_write)
    monkeypatch.setattr(os, "splice", killed_splice)
    if kill == "at the end":
        monkeypatch.setattr(first, "_left", lambda: 0 if first.delivered > 4 else 3)
        cell = first._cell
        monkeypatch.setattr(
            first,
            "_cell",
            type(
                "Cut",
                (),
                {
                    "write": lambda _, *numbers: (
                        cell.write(*numbers) if numbers[2] else killed_cell()
                    )
                },
            )(),
        )
        monkeypatch.setattr(first, "_left", Stdin._left.__get__(first))
    with pytest.raises(Killed):
        first.feed(9, b"two")
    monkeypatch.undo()
    second = sink.stdin()
    second.pump()
    # The client sends again what the next shim does not say it has.
    arrived = second.delivered
    second.feed(9, b"one two"[arrived:])
    assert sink.read() == b"one two"
    assert second.delivered == 7


def killed_cell():
    raise Killed


def test_a_client_remembers_what_has_not_arrived():
    sent = SentInput()
    for piece in (b"abc", b"def", b""):
        sent.add(piece)
    sent.acknowledge(3)
    assert list(sent.after(4)) == [b"ef", b""]
    assert list(sent.after(6)) == [b""]
