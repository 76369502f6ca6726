"""``-it`` in a real terminal: keys, size, leaving, exit codes; with real containers."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

PATIENCE_S = 20
SIT_DOWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
LEAVE = b"\x10\x11"  # ctrl-p ctrl-q
PROMPT = re.compile(rb"[$#] (\x1b\[6n)?$")


class Window:
    """A terminal with a program in it, and somebody who types and reads."""

    def __init__(self, *command, rows=31, columns=97, env=None):
        self.master, self.slave = os.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        # A session of its own, and the terminal it is at: Ctrl-C and SIGWINCH go there.
        self.process = subprocess.Popen(
            [sys.executable, "-c", SIT_DOWN, *command],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env=os.environ | (env or {}),
        )
        self.seen = b""
        self.read_to = 0

    def size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    def expect(self, pattern):
        """Read until a pattern appears after what was expected before; return the match."""
        pattern = re.compile(pattern) if isinstance(pattern, bytes) else pattern
        deadline = time.monotonic() + PATIENCE_S
        while not (found := pattern.search(self.seen, self.read_to)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern.pattern!r} in {self.seen[self.read_to :]!r}"
            if select.select([self.master], [], [], min(left, 0.1))[0]:
                self.seen += os.read(self.master, 1 << 16)
        self.read_to = found.end()
        return found

    def end(self):
        """Wait for the program and return its exit code; the terminal must be as it was."""
        code = self.process.wait(PATIENCE_S)
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 1 << 16)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is left raw"
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def window(shared):
    """Start ``ocimagic ...`` in a terminal."""
    opened = []

    def start(*words, **options):
        root = ("--root", str(shared.home.data))
        env = {"XDG_RUNTIME_DIR": str(shared.home.run.parent)}
        command = (sys.executable, "-m", "ocimagic", *root, *words)
        opened.append(Window(*command, env=env, **options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def sleeper(shared):
    made = shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True)
    yield made.name
    shared.containers.remove(made.name, force=True)


RUN = ("run", "-it", "--network", "none")


def test_a_shell_from_prompt_to_exit_code(window, shared):
    at = window(*RUN, "--rm", "busybox", "sh")
    at.expect(PROMPT)
    at.type("stty size; tty; echo $TERM\r")
    at.expect(rb"31 97\r\n/dev/pts/0\r\nxterm\r\n")
    at.expect(PROMPT)
    at.type("exit 7\r")
    assert at.end() == 7
    assert shared.containers.list(all=True) == ()


def test_the_window_changes(window):
    script = "trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done"
    at = window(*RUN, "--rm", "--stop-timeout", "0", "busybox", "sh", "-c", script)
    at.expect(rb"up\r\n")
    at.size(40, 120)
    at.expect(rb"40 120\r\n")
    at.size(41, 121)
    at.expect(rb"41 121\r\n")
    at.type(b"\x03")
    assert at.end() == 130


def test_ctrl_c_is_for_the_container(window):
    # Not cat: a shell that is about to start it when it hears the signal waits for its end.
    script = "trap 'echo heard; exit 5' INT; echo up; while :; do sleep 0.1; done"
    at = window(*RUN, "--rm", "busybox", "sh", "-c", script)
    at.expect(rb"up\r\n")
    at.type(b"\x03")
    at.expect(rb"heard\r\n")
    assert at.end() == 5


def test_leaving_and_coming_back(window, shared):
    at = window(*RUN, "--name", "left", "busybox", "sh")
    at.expect(PROMPT)
    at.type(b"echo still $((1 + 1)) the" + LEAVE)
    assert at.end() == 0
    assert shared.containers.get("left").status.value == "running"
    again = window("attach", "left")
    time.sleep(0.3)
    again.type("re\r")
    again.expect(rb"still 2 there\r\n")
    again.type("exit 3\r")
    assert again.end() == 3
    shared.containers.remove("left")


def test_other_keys_to_leave(window, sleeper):
    at = window("exec", "-it", "--detach-keys", "ctrl-x,x", sleeper, "sh")
    at.expect(PROMPT)
    at.type(LEAVE + b"\x15echo no\r")  # ctrl-u: whatever the shell made of those two
    at.expect(rb"\r\nno\r\n")
    at.type(b"\x18x")
    assert at.end() == 0


def test_exec_has_its_own_terminal(window, sleeper, shared):
    at = window("exec", "-it", "-e", "A=1", "-w", "/tmp", sleeper, "sh", rows=20, columns=50)
    at.expect(PROMPT)
    at.type("stty size; echo $A $PWD $TERM; exit 9\r")
    at.expect(rb"20 50\r\n1 /tmp xterm\r\n")
    assert at.end() == 9
    assert shared.containers.get(sleeper).status.value == "running"


def test_the_container_ends_under_an_exec(window, sleeper, shared):
    at = window("exec", "-it", sleeper, "sh")
    at.expect(PROMPT)
    shared.containers.kill(sleeper)
    assert at.end() == 137


def test_start_again_with_a_terminal(window, shared):
    at = window(*RUN, "--name", "again", "busybox", "sh")
    at.expect(PROMPT)
    at.type("exit 2\r")
    assert at.end() == 2
    at = window("start", "-ai", "again")
    at.expect(PROMPT)
    at.type("stty size; exit 4\r")
    at.expect(rb"31 97")
    assert at.end() == 4
    shared.containers.remove("again")


def test_a_shim_that_is_killed_is_not_noticed(window, shared):
    at = window(*RUN, "--name", "kept", "busybox", "sh")
    at.expect(PROMPT)
    directory = shared.containers.directory(shared.containers.get("kept").container_id)
    state = json.loads((directory / "state.json").read_bytes())
    os.kill(state["shim_pid"], signal.SIGKILL)
    at.type("echo $((40 + 2))\r")
    at.expect(rb"\r\n42\r\n")
    at.type("exit 6\r")
    assert at.end() == 6
    shared.containers.remove("kept")


@pytest.mark.parametrize("verb", [("run", "-it", "busybox", "sh"), ("exec", "-it", "x", "sh")])
def test_without_a_terminal(shared, verb, sleeper):
    words = [sleeper if each == "x" else each for each in verb]
    command = [sys.executable, "-m", "ocimagic", "--root", str(shared.home.data), *words]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert done.returncode in (1, 125)
    assert b"the input device is not a TTY" in done.stderr
