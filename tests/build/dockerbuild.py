"""Builds by the real dockerd: a daemon of our own, several builds at a time."""

import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from built import Built
from flatten import flatten

TIMEOUT_S = 60
WORKERS = 3
MEMORY = "1g"


class _Socket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=TIMEOUT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self.path))


class Docker:
    """A dockerd that builds with BuildKit.

    Args:
        room: an empty directory.
        program: a docker command that can talk to the BuildKit inside dockerd by itself.
    """

    def __init__(self, room, program):
        self.room, self.program = room, program
        self.netns = f"ocimagic-corpus-{os.getpid()}"
        self.pool = ThreadPoolExecutor(WORKERS)
        self.jobs = {}

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        # In memory: dockerd waits for the disk at each step of a build.
        (self.room / "data").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={MEMORY}", "corpus", self.room / "data"]
        subprocess.run(mount, check=True)
        words = [
            "nsenter", f"--net=/run/netns/{self.netns}", "dockerd", "--data-root",
            self.room / "data", "--exec-root", self.room / "exec", "--host",
            f"unix://{self.room}/socket", "--bridge", "none", "--pidfile", self.room / "pid",
            "--iptables=false", "--log-level", "error",
        ]  # fmt: skip
        with (self.room / "log").open("wb") as log:
            self.daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT_S
        while not self._answers():
            assert self.daemon.poll() is None, self.log()
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)
        self.daemon.terminate()
        self.daemon.wait(TIMEOUT_S)
        subprocess.run(["ip", "netns", "del", self.netns], check=True)
        # A dockerd that fell over has unmounted nothing.
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if line.split()[4].startswith(f"{self.room}/"):
                subprocess.run(["umount", "-l", line.split()[4]], capture_output=True, check=False)
        shutil.rmtree(self.room / "data")

    def _answers(self):
        try:
            return self.ask("GET", "/_ping") == b"OK"
        except OSError:
            return False

    def log(self):
        return (self.room / "log").read_text()[-2000:]

    def ask(self, method, path, body=None, kind="application/x-tar"):
        connection = _Socket(self.room / "socket")
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status < 300, content[:500]
            return content
        finally:
            connection.close()

    def start(self, case):
        """Begin to build a case, unless that was done."""
        if case.name not in self.jobs:
            self.jobs[case.name] = self.pool.submit(self._build, case)
        return self.jobs[case.name]

    def build_input(self, name, raw):
        """Build from a context on standard input."""
        self._run(["build", "--network", "none", "--tag", name, "-"], input=raw, check=True)
        return self._read(name)

    def _run(self, words, *, check=False, **options):
        environment = os.environ | {
            "DOCKER_BUILDKIT": "1", "DOCKER_HOST": f"unix://{self.room}/socket",
            "DOCKER_CONFIG": str(self.room / "client"),
        }  # fmt: skip
        return subprocess.run(
            [self.program, *words], env=environment, capture_output=True, timeout=TIMEOUT_S,
            check=check, **options,
        )  # fmt: skip

    def _build(self, case):
        context = self.room / "contexts" / case.name
        case.lay_out(context)
        words = ["build", "--network", "none", "--progress", "plain", "--tag", case.name]
        words += ["--file", context / case.file]
        for name, value in case.build.get("args", {}).items():
            words += ["--build-arg", f"{name}={value}"]
        if "target" in case.build:
            words += ["--target", case.build["target"]]
        for name, value in case.build.get("secrets", {}).items():
            path = self.room / "contexts" / f"{case.name}.{name}"
            path.write_text(value)
            words += ["--secret", f"id={name},src={path}"]
        done = self._run([*words, context], stdin=subprocess.DEVNULL, text=True)
        shutil.rmtree(context)
        assert self.daemon.poll() is None, f"dockerd fell over: {self.log()}"
        if done.returncode:
            return Built(error=done.stderr)
        return self._read(case.name)

    def _read(self, name):
        """Read an image back as docker save writes it; it cannot write one without layers."""
        told = json.loads(self.ask("GET", f"/images/{name}/json"))
        if not told["RootFS"].get("Layers"):
            lines = json.loads(self.ask("GET", f"/images/{name}/history"))
            history = [
                {"created_by": each["CreatedBy"], "empty_layer": True} for each in reversed(lines)
            ]
            document = {"config": told["Config"], "author": told["Author"], "history": history}
            return Built.of(document | {"rootfs": {"diff_ids": []}}, {}, {})
        with tarfile.open(fileobj=io.BytesIO(self.ask("GET", f"/images/{name}/get"))) as tar:
            (manifest,) = json.load(tar.extractfile("manifest.json"))
            document = json.load(tar.extractfile(manifest["Config"]))
            layers = [_layer(tar, each) for each in manifest["Layers"]]
            return Built.of(document, *flatten(layers))


def _layer(tar, name):
    """Open a layer; equal ones are links to the first of them."""
    found = tar.getmember(name)
    if found.issym():
        found = tar.getmember(os.path.normpath(os.path.join(os.path.dirname(name), found.linkname)))
    return tar.extractfile(found)


def start_docker(room):
    """Return a `Docker` to enter; skip where there is none that builds with BuildKit."""
    if os.geteuid() != 0:
        pytest.skip("dockerd needs root")
    for program in ("dockerd", "ip", "nsenter"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    for program in dict.fromkeys(["/usr/bin/docker", shutil.which("docker")]):
        if program and os.path.exists(program) and _has_buildkit(program):
            return Docker(room, program)
    return pytest.skip("no docker command that builds with BuildKit without a plugin")


def _has_buildkit(program):
    """Say whether a docker command knows BuildKit: from 18.09 on, until it became a plugin."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    major = re.search(r"version (\d+)", told.stdout)
    if major is None or int(major[1]) < 18:
        return False
    if int(major[1]) < 23:
        return True
    plugin = subprocess.run([program, "buildx", "version"], capture_output=True, check=False)
    return plugin.returncode == 0
