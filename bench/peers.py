"""The programs we measure ourselves beside: installed, started and called the same way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGES = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "busybox": "busybox-static",
    "gcc": "gcc libc6-dev",
    "curl": "curl",
    "slirp4netns": "slirp4netns",
}
Clocks = dict[str, float]  # seconds by the name of a clock
RLIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def missing() -> list[str]:
    """Name the programs that are not here."""
    return [name for name in PACKAGES if not find(name)]


def find(name: str) -> str | None:
    """Find a program, the system directories included."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def install() -> None:
    """Install what is missing from Debian, if this account may."""
    wanted = sorted({each for name in missing() for each in PACKAGES[name].split()})
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing", *wanted)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-q"], check=False, **quiet)
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, env=environment, **quiet)


def measure(
    ways: dict[str, Callable[[], object]],
    runs: int,
    before: Callable[[], None] | None = None,
    uncounted: int = 1,
) -> dict[str, float]:
    """Return the median seconds of each way; they take turns, so that noise is shared.

    A way that returns a float has timed itself.  One turn of each goes before, uncounted.
    """

    def timed(way: Callable[[], object]) -> Clocks:
        began = time.perf_counter()
        own = way()
        return {"": own if isinstance(own, float) else time.perf_counter() - began}

    timers = {name: lambda way=way: timed(way) for name, way in ways.items()}
    return measure_clocks(timers, runs, before, uncounted).get("", {})


def measure_clocks(
    ways: dict[str, Callable[[], Clocks]],
    runs: int,
    before: Callable[[], None] | None = None,
    uncounted: int = 1,
) -> dict[str, dict[str, float]]:
    """Do the same with ways that time themselves by several clocks; medians by clock and way."""
    times: dict[str, dict[str, list[float]]] = {}
    left = dict(ways)
    for turn in range(-uncounted, runs):
        for name, way in list(left.items()):
            if before:
                before()
            try:
                clocks = way()
            except SystemExit as err:  # a peer that cannot do it is left out, and said so
                print(f"left out: {err}")
                del left[name]
                for by in times.values():
                    by.pop(name, None)
                continue
            for clock, seconds in clocks.items() if turn >= 0 else ():
                times.setdefault(clock, {}).setdefault(name, []).append(seconds)
    return {
        clock: {name: statistics.median(each) for name, each in by.items()}
        for clock, by in times.items()
    }


def clocked(work: Callable[[], object]) -> Clocks:
    """Do work that writes: the seconds until it is done, and until it is on disk."""
    began = time.perf_counter()
    work()
    ready = time.perf_counter() - began
    os.sync()
    return {"ready": ready, "on disk": time.perf_counter() - began}


def settle() -> None:
    """Let the disk come to rest, so that nobody pays for another's writes."""
    os.sync()
    time.sleep(0.5)


@dataclass
class Peer:
    """A command line that understands docker's words."""

    name: str
    prefix: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    run_options: list[str] = field(default_factory=list)

    def call(self, verb: str, *words: str) -> str:
        """Run one command to its end and return its output."""
        extra = self.run_options if verb == "run" else []
        is_remote = self.name == "podman" and verb in {"pull", "push"}
        insecure = ["--tls-verify=false"] if is_remote else []
        done = subprocess.run(
            [*self.prefix, verb, *extra, *insecure, *words],
            capture_output=True,
            check=False,
            env=os.environ | self.environment,
        )
        if done.returncode:
            raise SystemExit(f"{self.name} {verb}: {done.stderr.decode()}")
        return done.stdout.decode()

    def pull(self, image: str) -> Clocks:
        """Pull into a store without the image and run it once."""
        self.forget(image)
        settle()

        def pull() -> None:
            self.call("pull", image)
            self.call("run", "--rm", "--network", "none", image, "true")

        return clocked(pull)

    def end_all(self) -> None:
        """Take away every container, those of a run that was broken off too."""
        listed = subprocess.run([*self.prefix, "ps", "-aq"], capture_output=True, check=False)
        if ids := listed.stdout.decode().split():
            subprocess.run([*self.prefix, "rm", "-f", *ids], capture_output=True, check=False)

    def forget(self, image: str) -> None:
        """Take an image away, if it is there."""
        subprocess.run([*self.prefix, "rmi", "-f", image], capture_output=True, check=False)


@contextlib.contextmanager
def docker(scratch: Path) -> Iterator[Peer | None]:
    """Start a docker daemon of our own and stop it again."""
    if not (find("docker") and find("dockerd")):
        yield None
        return
    base = scratch / "docker"
    base.mkdir()
    address = f"unix://{base}/docker.sock"
    command = [
        find("dockerd"), "-H", address, "--data-root", f"{base}/data",
        "--exec-root", f"{base}/exec", "-p", f"{base}/pid",
        "--bridge=none", "--iptables=false", "--ip-masq=false",
    ]  # fmt: skip
    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    peer = Peer("docker", [find("docker") or "docker", "-H", address], {"DOCKER_BUILDKIT": "0"})
    try:
        for _ in range(100):
            probe = subprocess.run([*peer.prefix, "version"], capture_output=True, check=False)
            if probe.returncode == 0 or daemon.poll() is not None:
                break
            time.sleep(0.2)
        yield peer if daemon.poll() is None else None
    finally:
        daemon.terminate()
        daemon.wait(30)


def podman(scratch: Path) -> Peer | None:
    """Return podman over a store of our own."""
    if not find("podman"):
        return None
    base = scratch / "podman"
    base.mkdir()
    prefix = [
        "podman", "--root", f"{base}/root", "--runroot", f"{base}/run", "--runtime", "runc",
        "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
    ]  # fmt: skip
    return Peer("podman", prefix, run_options=RLIMITS)


def clear(scratch: Path) -> None:
    """Take the bench's directory away; podman leaves a mount there after a run that failed."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(places):
        if Path(place).is_relative_to(scratch):
            subprocess.run(["umount", place], check=False)
    shutil.rmtree(scratch, ignore_errors=True)


def runc_bundle(scratch: Path) -> Path | None:
    """Make a ready bundle that runs ``true`` in its own network namespace."""
    runc, busybox = find("runc"), find("busybox")
    if not (runc and busybox):
        return None
    bundle = scratch / "bundle"
    (bundle / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(busybox, bundle / "rootfs" / "bin" / "busybox")
    subprocess.run([runc, "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "true"], "rlimits": []}
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def run_bundle(bundle: Path) -> None:
    """``runc run`` of a ready bundle."""
    command = [find("runc") or "runc", "run", f"bench-{os.getpid()}"]
    subprocess.run(command, cwd=bundle, capture_output=True, check=True)


@contextlib.contextmanager
def registry(scratch: Path) -> Iterator[Registry]:
    """Start Debian's registry, with nothing in it."""
    for needed in ("docker-registry", "skopeo"):
        if not find(needed):
            raise SystemExit(f"the bench needs {needed}: apt-get install {PACKAGES[needed]}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = scratch / "registry"
    base.mkdir()
    (base / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {base}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    # REGISTRY_… would change its configuration, REGISTRY_AUTH_FILE of skopeo and podman too.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    command = [find("docker-registry"), "serve", str(base / "config.yml")]
    with (base / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=clean)
    try:
        await_port(port)
        yield Registry(f"127.0.0.1:{port}", server.pid)
    finally:
        server.terminate()
        server.wait(10)


def await_port(port: int, patience_s: float = 10.0) -> None:
    """Wait until somebody listens on a port of this machine."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@dataclass(frozen=True)
class Registry:
    """A registry that runs: its host:port and its process."""

    host: str
    pid: int

    def push(self, layout: Path, name: str) -> str:
        """Push the image of an OCI layout; return its name there."""
        command = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]
        target = f"docker://{self.host}/{name}:latest"
        subprocess.run([*command, f"oci:{layout}:latest", target], check=True)
        return f"{self.host}/{name}"


def debian(base: Path) -> bytes:
    """Return the tar of a minimal Debian, made once and kept in the cache directory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ocimagic-bench"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "debian.tar"
    if not path.exists():
        if not find("mmdebstrap"):
            raise SystemExit("the bench needs mmdebstrap: apt-get install mmdebstrap")
        print("making a Debian root with mmdebstrap")
        command = ["mmdebstrap", "--variant=minbase", "--quiet", "bookworm", str(base / "d.tar")]
        subprocess.run(command, check=True)
        shutil.move(base / "d.tar", path)
    return path.read_bytes()


def busybox_root(base: Path) -> bytes:
    """Return the tar of a root that holds a static busybox."""
    root = base / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(find("busybox") or "busybox", root / "bin" / "busybox")
    for name in ("sh", "true", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    command = ["tar", "-C", str(root), "--owner=0", "--group=0", "-cf", "-", "."]
    return subprocess.run(command, capture_output=True, check=True).stdout
