"""Reading ahead in a thread: the same pieces, the same failure, and never far ahead."""

import threading
from collections.abc import Iterator

import pytest

from ocimagic.shim.ahead import read_ahead


def test_pieces_come_in_order_and_whole() -> None:
    pieces = [b"%d" % number for number in range(1000)]
    assert list(read_ahead(pieces)) == pieces


def test_nothing_is_nothing() -> None:
    assert list(read_ahead([])) == []


def test_a_failure_comes_after_the_pieces_before_it() -> None:
    def failing() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise ValueError("the third is broken")

    ahead = read_ahead(failing())
    assert next(ahead) == b"one"
    assert next(ahead) == b"two"
    with pytest.raises(ValueError, match="the third is broken"):
        next(ahead)


def test_it_reads_a_few_pieces_ahead_and_no_more() -> None:
    given: list[int] = []
    several = threading.Event()

    def counted() -> Iterator[bytes]:
        for number in range(100):
            given.append(number)
            if number == 5:
                several.set()
            yield b"x"

    ahead = read_ahead(counted())
    next(ahead)
    assert several.wait(10)  # nobody asked for the sixth
    assert len(given) < 40
    assert len(list(ahead)) == 99
