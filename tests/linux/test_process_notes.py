"""Notes that a process takes of itself."""

import os

import pytest

from ocimagic.linux import notes
from ocimagic.spec.notes import parse_line


@pytest.fixture(autouse=True)
def _quiet():
    yield
    notes.end()


def test_nothing_is_noted_before_the_beginning_and_after_the_end():
    notes.note("early")
    assert not notes.are_taken()
    notes.begin()
    assert notes.are_taken()
    assert notes.end() == ""
    notes.note("late")
    assert notes.end() == ""


def test_lines_in_order_with_what_any_path_can_hold():
    notes.begin()
    details = (None, [1, 2], "mount ä on /x\udcff", "two\nlines", {"a": "b"})
    for each in details:
        notes.note("name", each)
    found = [parse_line(each) for each in notes.end().split("\n")]
    assert [detail for _, _, detail in found] == list(details)
    assert [at for at, *_ in found] == sorted(at for at, *_ in found)


def test_many_and_long_ones():
    notes.begin()
    for number in range(2000):
        notes.note("name", f"{number} {'x' * 50}")
    notes.note("long", "y" * 100_000)
    found = [parse_line(each) for each in notes.end().split("\n")]
    assert [each[2] for each in found[:-1]] == [f"{n} {'x' * 50}" for n in range(2000)]
    assert found[-1][2] == "y" * 100_000


def test_a_fork_begins_anew():
    notes.begin()
    notes.note("parent's")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        notes.begin()
        notes.note("child's")
        os.write(writer, notes.end().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, "rb") as file:
        assert file.read().endswith(b" child's")
    assert notes.end().endswith(" parent's")
