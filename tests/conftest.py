"""What all rooms' tests share: engines over fresh data roots, a registry with a busybox."""

import gc
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import contextlib

from rootfs import MadeImage, busybox_tar

from ocimagic import Engine
from ocimagic.errors import HostLacks
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

# Some tests fork to try system calls that a process with threads may not make, and gRPC would
# start its threads again in each child.  It reads this when it is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

PATH_ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def pytest_configure():
    """Hear ^C also when a shell without job control started this in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    """Let the interpreter end: each of IPython's shells looks through all objects once more."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_credentials(tmp_path_factory):
    """Keep the peers from this machine's logins: skopeo stops where it may not look for them."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("credentials") / "auth.json"
        path.write_text("{}")
        patch.setenv("REGISTRY_AUTH_FILE", str(path))
        yield


@pytest.fixture(scope="session")
def busybox_layer():
    """The uncompressed tar of a busybox root."""
    return busybox_tar()


@pytest.fixture(scope="session")
def busybox_image(busybox_layer):
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = {"Cmd": ["sh"], "Env": PATH_ENV}
    return MadeImage([busybox_layer], config, architecture=architecture)


@pytest.fixture(scope="session")
def registry(busybox_image):
    """Our own registry with ``busybox:latest``; tests may add to ``registry.source``."""
    source = MemorySource()
    busybox_image.serve(source, "busybox", "latest")
    with RegistryServer(source) as server:
        server.source = source
        yield server


@pytest.fixture(scope="session")
def debian_registry(tmp_path_factory):
    """Run Debian's docker-registry and return its ``host:port``."""
    program = shutil.which("docker-registry")
    if not program or not shutil.which("skopeo"):
        pytest.skip("docker-registry and skopeo are not installed")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    room = tmp_path_factory.mktemp("docker-registry")
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(room / "data")}},
        "http": {"addr": host},
        "compatibility": {"schema1": {"enabled": True}},  # for what has to be refused
    }
    (room / "config.yml").write_text(json.dumps(config))
    # REGISTRY_… would change its configuration, REGISTRY_AUTH_FILE of skopeo and podman too.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with (room / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(room / "config.yml")], stdout=log, stderr=log, env=clean
        )
    try:
        _wait_for(host, process)
        yield host
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(host, process):
    address, _, port = host.partition(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((address, int(port)), 0.2).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("docker-registry does not listen")


@pytest.fixture
def make_engine(tmp_path):
    """Make engines over data roots below tmp_path; what they leave is looked at and removed."""
    made = []

    def make(name="root", **environment):
        engine = Engine(tmp_path / name, environment={"HOME": str(tmp_path), **environment})
        made.append(engine)
        return engine

    yield make
    for engine in made:
        tear_down(engine)


@pytest.fixture
def engine(make_engine):
    return make_engine()


def _running(engine):
    return list(engine.home.run.iterdir()) if engine.home.run.exists() else []


def tear_down(engine):
    """Stop everything, then assert that nothing is left alive or mounted."""
    for each in engine.containers.list(all=True):
        engine.containers.remove(each.container_id, force=True)
    data = str(engine.home.data)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        assert data not in mounts.read(), "a mount is left on the machine"
    left = list(engine.home.containers.iterdir())
    assert left == [], "a container's directory is left"
    # A shim removes its container's links after it has told the end.
    deadline = time.monotonic() + 10
    while (running := _running(engine)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running == [], "a container's run directory is left"
    unfinished = [path.name for path in engine.home.snapshots.glob("new-*")]
    assert unfinished == [], "half an unpacked layer is left"
    remove = engine.containers.unpacker.remove_trees
    with contextlib.suppress(HostLacks):
        remove([path for path in (engine.home.snapshots, engine.home.run) if path.exists()])
    engine.close()


@contextlib.contextmanager
def with_busybox(registry, room):
    """Yield an engine with busybox in it; skips where containers cannot run."""
    engine = Engine(room / "root", environment={"HOME": str(room)})
    try:
        engine.containers.launcher.ids  # noqa: B018  the launcher starts here
    except HostLacks as err:
        engine.close()
        pytest.skip(f"containers cannot run here: {err.why}")
    engine.images.pull(f"{registry.host}/busybox")
    engine.images.tag(f"{registry.host}/busybox", "busybox")
    yield engine
    tear_down(engine)


@pytest.fixture(scope="module")
def shared(registry, tmp_path_factory):
    """One engine per test file, with busybox in it."""
    with with_busybox(registry, tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def shared_by_all(registry, tmp_path_factory):
    """One engine for all test files that ask for it, with busybox in it."""
    with with_busybox(registry, tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def no_leaks():
    """Assert that a test leaves no descriptor and no child process behind."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


# Where all parts must be there (OCIMAGIC_FULL=1, as CI sets it) only these skips are honest:
# the other half of each runs in the other account, and Debian has no docker of today.
HONEST_SKIPS = (
    "needs root", "root may", "root can", "no IPv6", "compared on x86_64", "not root",
    "this machine's cgroups", "docker client is older", "there is no docker 28 here",
    "cannot mount EROFS images", "has no binfmt_misc of its own", "the same in both accounts",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Let a test fail that was left out for want of a program that CI should have installed."""
    report = yield
    if os.environ.get("OCIMAGIC_FULL") == "1" and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if reason and not any(word in reason for word in HONEST_SKIPS):
            report.outcome, report.longrepr = "failed", f"{reason}: here nothing may be missing"
    return report
