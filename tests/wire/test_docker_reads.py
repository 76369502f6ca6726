"""The real docker client reads what is written here: documents, progress, errors."""

import json
import shutil
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest

from ocimagic.errors import StepFailed
from ocimagic.model.options import BuildOptions, NetworkMode, RunOptions
from ocimagic.wire import answers, disk
from ocimagic.wire.building import BuildLines
from ocimagic.wire.container import container_inspect, container_summary
from ocimagic.wire.image import history, image_inspect, image_list
from ocimagic.wire.network import network_inspect, network_list
from ocimagic.wire.progress import PullLines, failure
from ocimagic.wire.system import system_info, system_version
from ocimagic.wire.usage import container_stats
from ocimagic.wire.versions import parse_version, shaped
from ocimagic.wire.volume import volume_list


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(b"", "")

    def do_GET(self):
        path = urlsplit(self.path).path.removeprefix(f"/v{self.server.api}")
        for ends, (operation, make) in self.server.documents.items():
            if path.endswith(ends):
                made = shaped(operation, make(), parse_version(self.server.api))
                self._answer(json.dumps(made).encode())
                return
        self._answer(json.dumps(answers.error(f"no {path}")).encode(), status=404)

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = "".join(json.dumps(each) + "\r\n" for each in self.server.lines)
        self._answer(lines.encode())

    def _answer(self, body, kind="application/json", status=200):
        self.send_response(status)
        said = {"Api-Version": self.server.api, "Ostype": "linux", "Content-Type": kind}
        for name, value in (said | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Client:
    """docker's command line against documents by the end of their path."""

    def __init__(self, directory, api, documents):
        self.directory = directory
        self.server = socketserver.ThreadingUnixStreamServer(str(directory / "socket"), _Handler)
        self.server.daemon_threads = True
        self.server.api, self.server.documents, self.server.lines = api, documents, []
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __call__(self, *words, lines=(), check=True):
        self.server.lines = list(lines)
        done = subprocess.run(
            [shutil.which("docker"), "--config", str(self.directory), "-H",
             f"unix://{self.directory}/socket", *words],
            check=False, capture_output=True, text=True, timeout=20,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "LANG": "C.UTF-8",
                 "DOCKER_BUILDKIT": "0"},
        )  # fmt: skip
        assert (done.returncode == 0) == check, done.stderr
        return done.stdout if check else (done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def engine(shared):
    shared.containers.run_options(
        RunOptions(image="busybox", name="one", command=("sh", "-c", "echo x >/f; sleep 1000"),
                   detach=True, network=NetworkMode.NONE)
    )  # fmt: skip
    yield shared
    shared.containers.remove("one", force=True)


def documents(engine, api):
    """Return what is asked of a daemon, by the end of the path."""

    def usage():
        listed = engine.containers.list(all=True, size=True)
        return disk.system_df(engine.system.disk.usage(), engine.images.list(), listed,
                              engine.volumes.all(), lambda _: "Up 2 minutes")  # fmt: skip

    def one():
        return container_inspect(engine.containers.inspect("one"))

    return {
        "/version": ("SystemVersion", lambda: system_version(engine.system.info(), api, "1.24")),
        "/info": ("SystemInfo", lambda: system_info(engine.system.info())),
        "/system/df": ("SystemDataUsage", usage),
        "/images/json": ("ImageList", lambda: image_list(engine.images.list())),
        "/images/busybox/json": (
            "ImageInspect", lambda: image_inspect(engine.images.inspect("busybox")),
        ),
        "/history": ("ImageHistory", lambda: history(engine.images.history("busybox"))),
        "/containers/json": (
            "ContainerList",
            lambda: [container_summary(each, status="Up 2 minutes (healthy)")
                     for each in engine.containers.list()],
        ),
        "/containers/one/json": ("ContainerInspect", one),
        "/containers/one/stats": (
            "ContainerStats", lambda: container_stats(next(engine.containers.stats("one"))[0]),
        ),
        "/top": ("ContainerTop", lambda: answers.container_top(engine.containers.top("one"))),
        "/changes": (
            "ContainerChanges", lambda: answers.container_changes(engine.containers.diff("one")),
        ),
        "/volumes": ("VolumeList", lambda: volume_list(engine.volumes.all())),
        "/networks": ("NetworkList", lambda: network_list(engine.networks.all())),
        "/networks/host": (
            "NetworkInspect", lambda: network_inspect(engine.networks.inspect("host")),
        ),
    }  # fmt: skip


@pytest.fixture(params=["1.41", "1.50"])
def docker(request, engine, tmp_path_factory):
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    directory = tmp_path_factory.mktemp("d")  # a short name: there is a socket below it
    client = Client(directory, request.param, documents(engine, request.param))
    yield client
    client.server.shutdown()
    client.server.server_close()


def test_documents(docker, engine):
    short = engine.containers.get("one").container_id[:12]
    assert "Engine:" in docker("version")
    info = docker("info")
    assert "Running: 1" in info
    assert "Swarm: inactive" in info
    assert short in docker("ps")
    assert "busybox" in docker("images")
    assert "Build Cache" in docker("system", "df")
    assert "one" in docker("system", "df", "-v")
    assert "layer 0" in docker("history", "busybox")
    assert "sleep 1000" in docker("top", "one")
    assert docker("diff", "one") == "A /f\n"
    row = docker("stats", "--no-stream", "one").splitlines()[1].split()
    assert (row[0], row[1]) == (short, "one")
    assert row[2].endswith("%")
    assert docker("inspect", "one", "--format", "{{.State.Status}}") == "running\n"
    assert docker("image", "inspect", "busybox", "--format", "{{.Os}}") == "linux\n"
    docker("volume", "ls")
    assert "host" in docker("network", "ls")
    assert docker("network", "inspect", "host", "--format", "{{.Scope}}") == "local\n"


def test_progress(docker, make_engine, registry):
    lines, told = PullLines(), []
    name = f"{registry.host}/busybox"
    events = []
    result = make_engine().images.pull(name, on_event=events.append)
    told = [line for event in events for line in lines.lines(event)] + list(lines.done(result))
    said = docker("pull", name, lines=told)
    assert "Pull complete" in said
    assert f"Status: Downloaded newer image for {name}:latest" in said


def test_build(docker, engine, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo said && exit 3\n")
    options = BuildOptions(dockerfile=(tmp_path / "Dockerfile").read_text())
    lines, events = BuildLines(), []
    with pytest.raises(StepFailed) as caught:
        engine.images.build(options, on_event=events.append)
    told = [line for event in events for line in lines.lines(event)]
    told += [*lines.rest(), failure(caught.value)]
    code, said = docker("build", str(tmp_path), lines=told, check=False)
    assert code == 3  # that of RUN, as with docker
    assert "Step 2/2 : RUN echo said && exit 3\nsaid\n" in said
    assert "The command '/bin/sh -c echo said && exit 3' returned a non-zero code: 3" in said
