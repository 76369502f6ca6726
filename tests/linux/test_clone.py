"""``clone3`` in a process whose other threads are busy."""

import subprocess
import sys

PROGRAM = """
import os, threading, time
from ocimagic.linux import syscalls

def spin():
    while True:
        pass

for _ in range(2):
    threading.Thread(target=spin, daemon=True).start()
for _ in range(20):
    pid, pidfd = syscalls.clone3(0)
    if pid == 0:
        time.sleep(0)  # lets go of the interpreter's lock and takes it again
        os._exit(3)
    deadline = time.monotonic() + 5
    while not (ended := os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)):
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os._exit(1)
        time.sleep(0.001)
    assert ended.si_status == 3
    os.close(pidfd)
os._exit(0)
"""


def test_the_child_does_not_wait_for_a_lock_of_another_thread():
    """It did, for ever: the interpreter's own, which a thread of the parent had just then."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], timeout=100, check=False)
    assert done.returncode == 0
