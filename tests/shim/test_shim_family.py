"""Whose processes are a container's, where only descent and sessions say so."""

import os
import select
import signal

import pytest

pytest.importorskip("ocimagic.shim.family", reason="needs Linux", exc_type=ImportError)

from ocimagic.shim.family import kill_containers_own


def sleeper(*, apart):
    """Fork a process, in a session of its own or in ours; return its pid and pidfd."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if apart:
            os.setsid()
        os.write(writer, b"x")
        signal.pause()
        os._exit(1)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid, os.pidfd_open(pid)


def killed_right():
    """Say whether, with a holder that is gone, what is apart is killed and what is ours is not."""
    gone, _ = sleeper(apart=False)
    os.kill(gone, signal.SIGKILL)
    os.waitpid(gone, 0)
    _, theirs = sleeper(apart=True)
    number, ours = sleeper(apart=False)
    kill_containers_own(gone)
    found = bool(select.select([theirs], [], [], 5)[0]), bool(select.select([ours], [], [], 0)[0])
    os.kill(number, signal.SIGKILL)
    return found == (True, False)


def test_a_holder_that_was_killed_just_now_is_no_obstacle():
    pid = os.fork()
    if pid == 0:  # what the tests themselves have started is not below this one
        code = 1
        try:
            code = 0 if killed_right() else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
