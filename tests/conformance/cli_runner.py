"""Runs scenarios of docker's client against any engine, and makes what it says comparable."""

import contextlib
import io
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import tarfile
import time
from pathlib import Path

from cli_scenarios import SCENARIOS, Typed
from rootfs import MadeImage, busybox_tar

RECORDED = Path(__file__).parent / "recorded"
STEP_S = 90
CREATED = "2024-01-01T00:00:00Z"
# What htpasswd -B makes of teacher:secret.
HTPASSWD = "teacher:$2b$05$pKZ/uLoRVZ0Vowt94v6G2Ord3oxhFQcMApZo6rqCka3.F5mcoMUaW\n"
_SPAN = r"(?:About an?|Less than an?|\d+) (?:second|minute|hour|day|week|month|year)s?"
_PATTERNS = [
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(rf"{_SPAN} ago"), "<ago>"),
    (re.compile(rf"\bUp {_SPAN}"), "Up <span>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| ?[+-]\d\d:?\d\d)?(?: UTC)?"),
     "<time>"),
    (re.compile(r"(?<=\n)Host: .*|(?<=lookup )\S+( on \S+)?"), "<host>"),
    (re.compile(r"\b(?:\d+(?:\.\d+)?|<\d+>)(?:s|ms|µs)\b"), "<took>"),
    # What docker's own client of 20.10 says or not, as it happens.
    (re.compile(r'time="<time>" level=error msg="error waiting for container: .*\n'), ""),
    (re.compile(r"(?m)^See 'docker run --help'\.\n"), ""),
    (re.compile(r"(?m)^(?:24 80|stty: standard input)\n"), "<window>\n"),
    (re.compile(r"/ # \r(?=/ # )"), ""),  # a shell that was told of its window's size
    (re.compile(r"(digest: \S+ size: )\d+"), r"\1<size>"),  # of a manifest, OCI's or docker's
    (re.compile("runc create failed: "), ""),  # the name of a program that we are not
    # Steps of ours run in no container that could be named.
    (re.compile(r" ---> Running in \S+\n|Removing intermediate container \S+\n"), ""),
    (re.compile(r"(Sending build context to Docker daemon)[^\n]*"), r"\1"),
    (re.compile(r"[ \t]{2,}"), "   "),
    (re.compile(r"[ \t]+(?=\n)"), ""),
]  # fmt: skip
_ID = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")


def clients():
    """Return docker's clients on this machine by the first number of their version."""
    found = {}
    for directory in (*os.environ["PATH"].split(":"), "/usr/bin"):
        path = Path(directory, "docker")
        if path.exists():
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            version = re.search(r"version (\d+)\.", said.stdout)
            if version and "podman" not in said.stdout:
                found.setdefault(version[1], path.resolve())
    return found


def busybox_archive():
    """Return the image ``busybox`` as ``docker load`` takes it."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    image = MadeImage([busybox_tar()], {"Cmd": ["sh"], "Env": [path]}, compress=False,
                      created=CREATED)  # fmt: skip
    out = io.BytesIO()
    (layer,) = (image.blobs[each.digest] for each in image.layers)
    manifest = [{"Config": "c.json", "RepoTags": ["busybox:latest"], "Layers": ["layer.tar"]}]
    files = {"c.json": image.config_raw, "layer.tar": layer,
             "manifest.json": json.dumps(manifest).encode()}  # fmt: skip
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@contextlib.contextmanager
def registries(room, inside):
    """Run Debian's docker-registry twice, open and with a login; yield both host:port."""
    (room / "htpasswd").write_text(HTPASSWD)
    login = {"htpasswd": {"realm": "class", "path": str(room / "htpasswd")}}
    hosts = []
    with contextlib.ExitStack() as stack:
        for name, auth in (("open", {}), ("locked", {"auth": login})):
            with contextlib.closing(socket.socket()) as free:
                free.bind(("127.0.0.1", 0))
                hosts.append(f"127.0.0.1:{free.getsockname()[1]}")
            storage = {"filesystem": {"rootdirectory": str(room / name)}}
            config = {"version": "0.1", "log": {"level": "error"}, "http": {"addr": hosts[-1]},
                      "storage": storage} | auth  # fmt: skip
            (room / f"{name}.yml").write_text(json.dumps(config))
            log = stack.enter_context((room / f"{name}.log").open("wb"))
            clean = {key: value for key, value in os.environ.items() if "REGISTRY" not in key}
            process = subprocess.Popen(
                [*inside, "docker-registry", "serve", str(room / f"{name}.yml")],
                stdout=log, stderr=log, env=clean,
            )  # fmt: skip
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        yield hosts


class Runner:
    """One client against one engine.

    Args:
        version: of docker's client, the first number.
        host: DOCKER_HOST.
        room: a directory for the scenarios.
        inside: words that run a program where the registries are.
        hosts: of the open registry and the one with a login.
        archive: of busybox, as ``docker load`` takes it.
    """

    def __init__(self, version, host, room, inside, hosts, archive):
        self.version = version
        self._room, self._inside, self._hosts, self._archive = room, inside, hosts, archive
        self._host = host
        (room / "bin").mkdir(parents=True)
        (room / "bin/docker").symlink_to(clients()[version])
        self._environment = {
            "PATH": f"{room}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(room), "DOCKER_HOST": host, "TERM": "xterm", "LC_ALL": "C.UTF-8",
            "REGISTRY": hosts[0], "LOCKED": hosts[1],
        }  # fmt: skip

    def run(self, name):
        """Return what each step of a scenario said, comparable."""
        directory, config = self._room / name, self._room / f"{name}.config"
        directory.mkdir()
        self._environment["DOCKER_CONFIG"] = str(config)
        self._sh("docker load -q", directory, self._archive)
        same = Normaliser(
            {str(directory): "<dir>", str(config): "<config>", self._host: "<url>",
             self._host.removeprefix("unix://"): "<socket>", self._hosts[0]: "<registry>",
             self._hosts[1]: "<locked>"}
        )  # fmt: skip
        try:
            said = []
            for step in SCENARIOS[name]:
                if isinstance(step, Typed):
                    code, out, err = self._typed(step, directory)
                    line = step.line
                else:
                    code, out, err = self._sh(step, directory)
                    line = step
                said.append({"line": line, "code": code, "stdout": same(out), "stderr": same(err)})
            return said
        finally:
            self._clean(directory)
            shutil.rmtree(directory)

    def _sh(self, line, directory, data=b""):
        done = subprocess.run(
            [*self._inside, "sh", "-c", line], input=data, capture_output=True, cwd=directory,
            env=self._environment, check=False, timeout=STEP_S,
        )  # fmt: skip
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()

    def _typed(self, step, directory):
        """Run a line in a terminal of its own."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*self._inside, "setsid", "--ctty", "--wait", "sh", "-c",
             f"stty rows 24 cols 80; {step.line}"],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=self._environment,
        )  # fmt: skip
        os.close(theirs)
        talk, said, since = list(step.talk), b"", 0
        deadline = time.monotonic() + STEP_S
        try:
            while time.monotonic() < deadline:
                if talk and talk[0][0].encode() in said[since:]:
                    if not talk[0][0]:  # nothing to wait for but the client
                        time.sleep(1.5)
                    os.write(ours, talk.pop(0)[1].encode())
                    since = len(said)
                if select.select([ours], [], [], 0.1)[0]:
                    try:
                        said += os.read(ours, 1 << 16)
                    except OSError:  # the last who had the terminal is gone
                        break
            return process.wait(5), said.decode(errors="replace").replace("\r\n", "\n"), ""
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def _clean(self, directory):
        self._sh(
            "docker ps -aq | xargs -r docker rm -fv;"
            "docker volume ls -q | xargs -r docker volume rm;"
            "docker network prune -f; docker images -q | sort -u | xargs -r docker rmi -f;"
            "docker images -aq | xargs -r docker rmi -f; docker builder prune -af", directory
        )  # fmt: skip


class Normaliser:
    """Makes what is different each time the same, ids by the order in which they are seen."""

    def __init__(self, known):
        self._known = sorted(known.items(), key=lambda item: -len(item[0]))
        self._ids = {}

    def __call__(self, text):
        for value, name in self._known:
            text = text.replace(value, name)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _ID.sub(self._numbered, text)

    def _numbered(self, found):
        number = self._ids.setdefault(found[0][:12], len(self._ids) + 1)
        return f"<id{number}>" if len(found[0]) == 64 else f"<short{number}>"
