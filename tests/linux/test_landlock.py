"""Who is confined opens nothing else, and signals nobody else."""

import os
import signal

import pytest

from ocimagic.linux import landlock, syscalls


def confined(directory, attempt):
    """Do something in a confined child; return the errno it met, 0 for none."""
    child = os.fork()
    if child == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            landlock.confine(os.open(directory, os.O_PATH | os.O_DIRECTORY))
            attempt()
        except OSError as err:
            os._exit(err.errno or 255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(autouse=True)
def _has_landlock():
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")


def test_files_outside_are_out_of_reach(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for each in (inside, outside):
        each.mkdir()
        (each / "file").write_text("x")
    assert confined(inside, (inside / "file").read_text) == 0
    assert confined(inside, lambda: (inside / "new").write_text("y")) == 0
    assert confined(inside, (outside / "file").read_text) == 13
    assert confined(inside, lambda: (outside / "file").write_text("y")) == 13
    assert (outside / "file").read_text() == "x"


def test_a_rename_between_directories_inside_is_allowed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/file").write_text("x")
    if landlock.version() < 2:
        pytest.skip("this kernel has no Landlock that allows it (Linux 5.19)")
    assert confined(tmp_path, lambda: (tmp_path / "a/file").rename(tmp_path / "b/file")) == 0


def test_no_signal_leaves(tmp_path):
    if landlock.version() < 6:
        pytest.skip("this kernel has no Landlock that knows signals (Linux 6.12)")
    assert confined(tmp_path, lambda: os.kill(os.getppid(), signal.SIG_DFL)) == 1
