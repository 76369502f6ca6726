"""Work in a network namespace of its own: a thread's, so that the others keep theirs."""

import os
import shutil
import subprocess
import threading
from contextlib import contextmanager

import pytest

from ocimagic.linux import syscalls


def alone(job):
    """Call ``job`` where there is no network but an idle ``lo``; return what it returns."""
    if os.geteuid():
        pytest.skip("needs root")
    outcome = {}

    def run():
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            outcome["value"] = job()
        except BaseException as err:  # noqa: BLE001  raised again by who waits
            outcome["error"] = err

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


@contextmanager
def another():
    """Yield a descriptor of one more network namespace, which ends with it."""
    made = []
    ready, done = threading.Event(), threading.Event()

    def live():
        syscalls.unshare(syscalls.CLONE_NEWNET)
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        ready.set()
        done.wait()

    thread = threading.Thread(target=live)
    thread.start()
    ready.wait()
    try:
        yield made[0]
    finally:
        os.close(made[0])
        done.set()
        thread.join()


@contextmanager
def entered(netns_fd):
    """Be in another network namespace."""
    mine = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
        yield
    finally:
        syscalls.setns(mine, syscalls.CLONE_NEWNET)
        os.close(mine)


def told(program, *words):
    """Return what a peer's program writes; it sees the namespace of the calling thread."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
