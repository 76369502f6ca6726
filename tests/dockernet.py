"""dockerd in a network namespace of its own, and command lines that speak docker's words."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

PATIENCE_S = 20


class Docker:
    """A command line that speaks docker's words."""

    def __init__(self, name, words, environment=None):
        self.name = name
        self._words = words
        self._environment = os.environ | (environment or {})

    def call(self, *words, check=True):
        done = subprocess.run(
            [*self._words, *words], capture_output=True, text=True, check=False,
            env=self._environment, timeout=120,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (self.name, words, done.stdout, done.stderr)
            return done.stdout.strip()
        return done.returncode, done.stdout + done.stderr

    def sh(self, network, script, *options):
        return self.call(
            "run", "--rm", "--network", network, *options, "busybox", "sh", "-c", script
        )

    def until(self, network, script, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.call(
                "run", "--rm", "--network", network, "busybox", "sh", "-c", script, check=False
            )[1]
            if wanted in said or time.monotonic() > deadline:
                return said


@contextlib.contextmanager
def namespace(name):
    """Make a network namespace; yield the words that run a program in it."""
    for each in ("ip", "nsenter"):
        if not shutil.which(each):
            pytest.skip(f"{each} is not installed")
    subprocess.run(["ip", "netns", "add", name], check=True)
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        yield inside
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


class Daemon:
    """A dockerd with data of its own.

    Args:
        room: a directory for it.
        inside: words that run a program in its network namespace.
        options: more options of it.
    """

    def __init__(self, room, inside, *options):
        for each in ("dockerd", "docker"):
            if not shutil.which(each):
                pytest.skip(f"{each} is not installed")
        self._room, self._inside, self._options = room, inside, options
        self.docker = Docker("docker", ["docker", "-H", f"unix://{room}/socket"])
        self._process = None

    def start(self):
        room = self._room
        command = [
            *self._inside, "dockerd", "-H", f"unix://{room}/socket", "--data-root", room / "data",
            "--exec-root", room / "exec", "-p", room / "pid", "--userland-proxy=false",
            *self._options,
        ]  # fmt: skip
        with (room / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while self.docker.call("version", check=False)[0]:
            assert self._process.poll() is None, (room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def stop(self):
        self._process.terminate()
        self._process.wait(30)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, *_):
        for each in self.docker.call("ps", "-aq", check=False)[1].split():
            self.docker.call("rm", "-f", each, check=False)
        self._clean()

    def _clean(self):
        if self._process is not None:
            self.stop()
        mount = self._room / "exec/netns/default"
        if mount.exists():
            subprocess.run(["umount", "-l", mount], check=False, stderr=subprocess.DEVNULL)
