"""What ``explain`` says docker's client would send is what the real one sends."""

import shutil
import subprocess
import threading
from dataclasses import replace

import pytest
from docker_client import DockerClient, _Handler
from fake_engine import FakeEngine

from ocimagic.cli.explain import _requests
from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.engine.processes import asked_for
from ocimagic.model.explanation import Asked
from ocimagic.spec.reference import Reference
from ocimagic.wire.requests import build_request, exec_requests, pull_request, run_requests

ID = "0" * 64
LINES = (
    "busybox echo hello",
    "--name web -d -p 8080:80 -p 127.0.0.1::53/udp busybox",
    "-i --rm -e A=1 -e B -w /tmp -u 33:33 -h box busybox sh",
    "-v /tmp:/data:ro -v named:/kept -v /nameless --tmpfs /run:size=1m busybox",
    "-m 64m --cpus 1.5 --pids-limit 50 --cpuset-cpus 0 --ulimit nofile=10:20 busybox",
    "--network host --pid host --ipc host --privileged busybox",
    "--network none --read-only --cap-add NET_ADMIN --cap-drop ALL busybox true",
    "--entrypoint sh -l a=b --restart on-failure:3 --init --stop-signal INT busybox -c true",
    "--security-opt no-new-privileges --dns 1.1.1.1 --add-host a:1.2.3.4 busybox",
    "--sysctl net.core.somaxconn=5 --device /dev/null busybox",
    "--health-cmd true --health-interval 5s --shm-size 1m --oom-score-adj 5 busybox",
    "--stop-timeout 3 --log-opt max-size=1000 --log-opt max-file=2 --log-opt compress=true busybox",
    "--mount type=volume,src=v,dst=/x,volume-label=a=b,volume-nocopy=true,readonly busybox",
    "--mount type=bind,src=/tmp,dst=/x,bind-nonrecursive=true,bind-propagation=rslave busybox",
    "--mount type=volume,dst=/x,readonly busybox",
)
# What a newer client has and docker's API 1.41 has not.
NEWER = {"GwPriority", "DNSNames"}
# What Debian's client (20.10) still sends, always as nothing, and those of today do not.
OLDER = {"KernelMemory", "KernelMemoryTCP"}
TODAY = 23  # since then capabilities have their whole names, and images theirs


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    if not shutil.which("docker"):
        pytest.skip("docker's client is not installed")
    client = DockerClient(tmp_path_factory.mktemp("docker"), api="1.41")
    yield client
    client.close()


def asked(line):
    """Return the options that our grammar reads in a line of ``run``."""
    engine = FakeEngine()
    execute(["run", *line.split()], Session(engine=lambda: engine, env={}, cwd="/"))
    [call] = [each for each in engine.calls if each[0] in ("run", "run_attached")]
    return call[1]


@pytest.mark.parametrize("line", LINES)
def test_the_body_of_create(docker, line):
    theirs = docker.create([word for word in line.split() if word != "-d"])
    if isinstance(theirs, str):
        pytest.skip(f"docker client is older: {theirs}")
    ours = run_requests(options_of(line), ID)[0].body
    assert_alike(ours, theirs, detached="-d" in line.split())


def options_of(line):
    options = asked(line)
    bare = "--net" not in line and options.networks
    return replace(options, network=type(options.network)("default")) if bare else options


def assert_alike(ours, theirs, *, detached):
    for key in ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce") if detached else ():
        theirs = dict(theirs) | {key: ours[key]}
    config = {key: value for key, value in theirs.items()
              if key not in ("HostConfig", "NetworkingConfig")}  # fmt: skip
    mine = {key: value for key, value in ours.items() if key in config}
    for each in (config, mine):  # docker's client has them in any order, each time another
        each["Env"] = sorted(each["Env"] or ())
    assert {key: said(value) for key, value in mine.items()} == {
        key: said(value) for key, value in config.items()
    }
    for key, value in theirs["HostConfig"].items():
        found = ours["HostConfig"].get(key)
        if key == "Binds" and value:
            found, value = sorted(found), sorted(value)  # noqa: PLW2901
        if key in ("CapAdd", "CapDrop"):
            found, value = whole(found), whole(value)  # noqa: PLW2901
        if key in OLDER:
            assert not value
        elif key not in NEWER:
            assert (key, said(found)) == (key, said(value))


def whole(capabilities):
    """Return capabilities by their whole names."""
    return [f"CAP_{each.removeprefix('CAP_')}" for each in capabilities or ()]


def said(value):
    """Return what a field says: an older client writes null for a list or an object of nothing."""
    if isinstance(value, list | dict) and not value:
        return None
    return {key: said(each) for key, each in value.items()} if isinstance(value, dict) else value


def test_the_order_of_the_requests(tmp_path):
    """The real client against a daemon that has no image at first."""
    if not shutil.which("docker"):
        pytest.skip("docker's client is not installed")
    told = Told(tmp_path)
    theirs = told.run(["run", "--name", "web", "library/busybox:1", "true"])
    ours = run_requests(asked("--name web library/busybox:1 true"), ID,
                        pulled=Reference.parse("library/busybox:1"))  # fmt: skip
    assert [bare(each.path) for each in ours] == [bare(each) for each in theirs]
    pulls = [each.path for each in ours if "/images/" in each.path]
    if told.client.major >= TODAY:
        assert pulls == [each for each in theirs if "/images/" in each]


def bare(path):
    return path.partition("?")[0].split("/", 2)[2]


class Told:
    """A daemon that only listens: it lacks an image once, and its containers end at once."""

    def __init__(self, directory):
        self.client = DockerClient(directory, api="1.41")
        self.paths = []
        self.client.server.RequestHandlerClass = self.handler()

    def handler(self):
        paths, done = self.paths, threading.Event()

        class Handler(_Handler):
            def do_POST(self):  # noqa: N802  http.server's name
                paths.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if "/containers/create" in self.path and len(paths) == 1:
                    self.answer(404, {"message": "No such image: library/busybox:1"})
                elif "/images/create" in self.path:
                    self.answer(200, {"status": "done"})
                elif "/attach" in self.path:
                    self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n"
                                     b"Upgrade: tcp\r\n\r\n")  # fmt: skip
                    self.wfile.flush()
                    done.wait(5)
                    self.close_connection = True
                elif "/wait" in self.path:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.flush()
                    done.wait(5)
                    self.wfile.write(b'{"StatusCode": 0}')
                    self.close_connection = True
                else:
                    self.answer(204 if "/start" in self.path else 201, None if "/start" in self.path
                                else {"Id": ID, "Warnings": []})  # fmt: skip
                    if "/start" in self.path:
                        done.set()

        return Handler

    def run(self, words):
        try:
            subprocess.run(
                [self.client.program, "--config", self.client.config, "-H",
                 f"unix://{self.client.path}", *words],
                check=False, capture_output=True, timeout=20,
                env={"PATH": "/usr/bin:/bin", "HOME": self.client.config},
            )  # fmt: skip
        finally:
            self.client.close()
        return [each for each in self.paths if "/auth" not in each]


def test_a_pull_and_a_build():
    [pull] = _requests(Asked(reference="docker.io/library/busybox:1"))
    assert pull == pull_request(Reference.parse("busybox:1"))
    assert pull.path == "/v1.41/images/create?fromImage=docker.io%2Flibrary%2Fbusybox&tag=1"
    build = build_request({"target": "last", "nocache": True, "labels": {"a": "b"}}, ["x:1", "y"])
    assert build.path == (
        "/v1.41/build?t=x%3A1&t=y&target=last&nocache=1&labels=%7B%22a%22%3A+%22b%22%7D"
    )


def test_a_container_that_was_only_made():
    requests = _requests(Asked(options=asked("busybox"), container_id=ID, started=False))
    assert [each.operation for each in requests] == ["ContainerCreate"]


@pytest.mark.parametrize(
    "line",
    [
        "web true",
        "-e A=1 -u 33:33 -w /tmp web sh -c x",
        "-i --privileged web cat",
        "-d web sleep 1",
    ],
)
def test_the_requests_of_exec(docker, line):
    engine = FakeEngine()
    execute(["exec", *line.split()], Session(engine=lambda: engine, env={}, cwd="/", stdin=b""))
    [call] = [each for each in engine.calls if each[0] == "exec"]
    ours = exec_requests(asked_for(call[2]), "web", ID)
    theirs = docker.ask(["exec", *line.split()])
    assert isinstance(theirs, dict), theirs
    sent = [f"{each.method} {each.path}" for each in ours]
    # The server of this test breaks off an attached one before it could ask how that ended.
    assert sent[: len(docker.server.paths)] == docker.server.paths
    assert len(docker.server.paths) == 3
    ours = dict(ours[1].body)
    ours["Env"] = ["A=1"] if ours["Env"] == ["A=…"] else ours["Env"]
    assert {key: said(value) for key, value in theirs.items() if key not in NEWER} == {
        key: said(value) for key, value in ours.items() if key in theirs
    }
