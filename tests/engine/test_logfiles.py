"""Logs of several files, read while they are written and rotated."""

import gzip
import json
import os

import pytest

from ocimagic.engine.logfiles import LogFiles


def record(number, stream="stdout"):
    moment = f"2026-03-21T12:00:{number // 1000:02}.{number % 1000:03}000000Z"
    return json.dumps({"log": f"{number}\n", "stream": stream, "time": moment}) + "\n"


def write(path, *numbers):
    with path.open("a") as file:
        file.writelines(record(number) for number in numbers)


def rotate(path, files=3, *, compress=False):
    for number in range(files - 1, 0, -1):
        old = path.with_name(f"{path.name}.{number}")
        for ending in ("", ".gz"):
            if (found := old.with_name(old.name + ending)).exists():
                found.rename(path.with_name(f"{path.name}.{number + 1}{ending}"))
    first = path.with_name(f"{path.name}.1")
    path.rename(first)
    path.touch()
    if compress:
        first.with_name(first.name + ".gz").write_bytes(gzip.compress(first.read_bytes()))
        first.unlink()


def numbers(entries):
    return [int(data) for _, _, data in entries]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def test_no_log_is_an_empty_one(path):
    with LogFiles(path) as files:
        assert list(files.records()) == []
        write(path, 1)
        assert numbers(files.more()) == [1]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("tail", [None, 0, 1, 2, 3, 4, 5, 9])
def test_all_files_oldest_first(tail, compress, path):
    write(path, 1, 2)
    rotate(path, compress=compress)
    write(path, 3, 4)
    rotate(path, compress=compress)
    write(path, 5, 6)
    with LogFiles(path) as files:
        everything = [1, 2, 3, 4, 5, 6]
        wanted = everything if tail is None else everything[max(0, 6 - tail) :]
        assert numbers(files.records(tail)) == wanted
        write(path, 7)
        assert numbers(files.more()) == [7]


def test_half_a_line_waits_for_the_rest(path):
    write(path, 1)
    whole = record(2)
    with path.open("a") as file:
        file.write(whole[:20])
    with LogFiles(path) as files:
        assert numbers(files.records()) == [1]
        assert numbers(files.more()) == []
        with path.open("a") as file:
            file.write(whole[20:])
        assert numbers(files.more()) == [2]
    with path.open("a") as file:
        file.write(record(3)[:20])
    with LogFiles(path) as files:
        assert numbers(files.records(1)) == [2]


def test_damaged_lines_are_left_out(path):
    write(path, 1)
    with path.open("a") as file:
        file.write("{half a rec\n[]\n{}\n\n")
    write(path, 2)
    with LogFiles(path) as files:
        assert numbers(files.records()) == [1, 2]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_nothing_is_lost_or_doubled_over_rotations(rotations, compress, path):
    write(path, 1, 2)
    with LogFiles(path) as files:
        assert numbers(files.records()) == [1, 2]
        expected = []
        for number in range(rotations):
            base = 10 * (number + 1)
            write(path, base)
            rotate(path, 4, compress=compress)
            write(path, base + 1)
            expected += [base, base + 1]
        assert numbers(files.more()) == expected
        write(path, 99)
        assert numbers(files.more()) == [99]


def test_the_end_of_a_long_log_is_read_from_the_end(path):
    with path.open("w") as file:
        file.writelines(record(number) for number in range(20_000))
    with LogFiles(path) as files:
        before = os.times().user
        assert numbers(files.records(3)) == [19_997, 19_998, 19_999]
        assert os.times().user - before < 0.05
        write(path, 20_000)
        assert numbers(files.more()) == [20_000]


def test_long_lines_at_the_end(path):
    with path.open("w") as file:
        for number in range(5):
            text = {"log": f"{number}" * 200_000, "stream": "stdout", "time": "2026"}
            file.write(json.dumps(text) + "\n")
    with LogFiles(path) as files:
        assert [data[:1] for _, _, data in files.records(2)] == [b"3", b"4"]
