"""Peers: our services over an engine, and Debian's containerd on paths of its own."""

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass

import pytest

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # as the server does, before grpc is loaded
from ocimagic.containerd.server import Server

CONFIG = """
version = 2
root = "{room}/root"
state = "{room}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{room}/c.sock"
[ttrpc]
  address = "{room}/t.sock"
"""

# As an ordinary user it needs a namespace in which it may unmount, where it did not mount.
CTR = ("unshare", "-rm", "ctr") if os.geteuid() else ("ctr",)
_WITH_STREAMS = {("run",), ("tasks", "exec"), ("tasks", "start")}


@dataclass
class Peer:
    """Something that ctr can talk to, and the image that it can pull."""

    name: str
    address: str
    image: str
    room: object
    engine: object = None
    server: object = None
    program: tuple = CTR

    def ctr(self, *words, namespace="test", check=True, **how):
        """Run ctr; what it wrote is in the answer."""
        fifos = self.room / "fifo"
        fifos.mkdir(exist_ok=True)
        count = next((n for n in (1, 2) if words[:n] in _WITH_STREAMS), 0)
        if count:
            words = (*words[:count], "--fifo-dir", fifos, *words[count:])
        command = [*CTR, "-a", self.address, "-n", namespace, *map(str, words)]
        how = {"stdin": None if "input" in how else subprocess.DEVNULL, "text": True, **how}
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, **how)
        if check:
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def lines(self, *words, **how):
        """Return the rows of a table that ctr prints, without the heads."""
        return [line.split() for line in self.ctr(*words, **how).stdout.splitlines()[1:]]

    def pull(self, namespace="test"):
        return self.ctr("images", "pull", "--plain-http", self.image, namespace=namespace)

    def status(self, task, **how):
        """Return a task's status, None if there is none."""
        return next((row[2] for row in self.lines("tasks", "ls", **how) if row[0] == task), None)

    def until(self, task, status):
        deadline = time.monotonic() + 10
        while self.status(task) != status:
            assert time.monotonic() < deadline, (task, status, self.lines("tasks", "ls"))
            time.sleep(0.05)

    def call(self, service, method, request, answer, *, namespace="test", stream=False, **more):
        """Ask one method; returns the answer, or the gRPC code."""
        import grpc  # not everywhere: then the test modules are left out

        metadata = [("containerd-namespace", namespace)] if namespace else []
        metadata += [(f"containerd-{key}", value) for key, value in more.items() if value]
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            kind = channel.stream_stream if stream else channel.unary_unary
            ask = kind(
                f"/containerd.services.{service}/{method}",
                request_serializer=lambda each: each.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            try:
                if stream:
                    return list(ask(iter(request), metadata=metadata, timeout=10))
                return ask(request, metadata=metadata, timeout=10)
            except grpc.RpcError as err:
                return err.code().name


def _program(name):
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")


@contextlib.contextmanager
def serving(room, registry, engine):
    """Yield our own services over an engine."""
    server = Server(engine, str(room / "c.sock"))
    image = f"{registry.host}/busybox:latest"
    yield Peer("ocimagic", server.path, image, room, engine, server)
    server.close()
    end_tasks(engine)


def end_tasks(engine):
    """End and forget all tasks, and take away what clients left: a sweep does not end what runs."""
    from ocimagic.engine.crud.crud import Crud

    crud = Crud(engine)
    for task in engine._store.objects.everywhere("task"):
        with contextlib.suppress(Exception):
            crud.tasks.kill(task.namespace, task.name, "", 9, everyone=True)
        crud.tasks.wait(task.namespace, task.name, "", lambda: True)
        crud.tasks.delete(task.namespace, task.name)
    crud.close()
    engine.containers.unpacker.remove_trees([engine.home.objects])


@contextlib.contextmanager
def _real(room, registry):
    """Yield Debian's containerd."""
    (room / "config.toml").write_text(CONFIG.format(room=room))
    with (room / "log").open("wb") as log:
        process = subprocess.Popen(
            ["containerd", "--config", str(room / "config.toml")], stdout=log, stderr=log
        )
    peer = Peer("containerd", str(room / "c.sock"), f"{registry.host}/busybox:latest", room)
    try:
        deadline = time.monotonic() + 10
        while peer.ctr("version", check=False).returncode:
            assert process.poll() is None, (room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield peer
    finally:
        for row in peer.lines("tasks", "ls", check=False):
            peer.ctr("tasks", "rm", "-f", row[0], check=False)
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session", params=["ocimagic", "containerd"])
def peer(request, registry, tmp_path_factory):
    """Our services, and then Debian's containerd, each with busybox in namespace ``test``."""
    _program("ctr")
    room = tmp_path_factory.mktemp("peer")
    if request.param == "ocimagic":
        making = serving(room, registry, request.getfixturevalue("shared_by_all"))
    else:
        if os.geteuid():
            pytest.skip("containerd needs root")
        _program("containerd")
        _program("runc")
        making = _real(room, registry)
    with making as made:
        made.pull()
        yield made


@pytest.fixture(scope="session")
def ours(shared_by_all, registry, tmp_path_factory):
    """Our services alone, with busybox pulled by the engine."""
    _program("ctr")
    with serving(tmp_path_factory.mktemp("ours"), registry, shared_by_all) as made:
        yield made
