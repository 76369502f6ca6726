"""Networks beside docker's: a run with a bridge and a port, TCP, and names.

Everything happens in a network namespace of its own, which both share: a dockerd there makes
its bridge and rules and nobody else's are touched.  Servers and clients are this program's own
sockets, made in the containers' namespaces, so that both sides are measured with the same.

As a program (``networks.py SCRATCH LAYOUT RUNS``) it measures and prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from peers import measure

from ocimagic import Engine
from ocimagic.model.network import NetworkOptions, published_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE, NET, SINK = "bench-busybox", "bench", 5001
STREAM_S, LOOKUPS = 1.5, 1000
_CHUNK = bytes(1 << 18)
Results = dict[str, dict[str, float]]


def network_times(scratch: Path, archive: Path, runs: int) -> Results:
    """Measure in a network namespace of its own; nothing where that or docker is missing.

    Args:
        scratch: a directory on a real disk.
        archive: an image with busybox, as ``docker save`` writes it.
        runs: of each short command.
    """
    if os.geteuid() or not (peers.find("dockerd") and peers.find("unshare")):
        return {}
    program = [sys.executable, __file__, str(scratch), str(archive), str(runs)]
    done = subprocess.run(
        ["unshare", "--net", *program], stdout=subprocess.PIPE, text=True, check=True
    )
    results: Results = json.loads(done.stdout)
    return results


class Side:
    """One of the two, as the measurements need it."""

    def __init__(self, name: str, run: Callable[[str, str, bool], None]) -> None:
        self.name = name
        self.run = run
        self.pid = 0
        self.port = 0
        self.address = ""


def main() -> int:
    """Measure and print."""
    scratch, archive, runs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_ours(scratch, archive))
        theirs = stack.enter_context(_docker(scratch, archive))
        sides = [ours, theirs]
        results: Results = {
            f"run with {what}": measure(
                {side.name: lambda side=side, way=way: side.run(way, "", True) for side in sides},
                runs,
            )
            for what, way in (("a bridge", "bridge"), ("a bridge and a port", "port"))
        }
        for what, target in (("TCP to a container", "direct"), ("TCP by a port", "published")):
            # Seconds for a gigabyte: less is better, as everywhere here.
            results[what] = {
                side.name: statistics.median(_stream(side, target) for _ in range(3))
                for side in sides
            }
        results[f"{LOOKUPS} lookups"] = {
            side.name: statistics.median(_lookups(side) for _ in range(3)) for side in sides
        }
    print(json.dumps(results))
    return 0


@contextlib.contextmanager
def _ours(scratch: Path, archive: str) -> Iterator[Side]:
    with Engine(scratch / "networks", environment={}) as engine:
        engine.images.load(archive)
        image = engine.images.list()[0].image_id
        engine.networks.create(NetworkOptions(name=NET))

        def run(way: str, name: str, remove: bool) -> None:
            ports = {"port": "80", "kept": f"{SINK}"}.get(way)
            engine.containers.run(
                str(image),
                ["true"] if remove else ["sleep", "1000"],
                network="bridge" if remove else NET,
                name=name or None,
                remove=remove,
                detach=not remove,
                ports=published_ports(ports) if ports else (),
            )

        side = Side("ocimagic", run)
        run("kept", "kept", False)
        kept = engine.containers.get("kept")
        side.pid, side.port = int(kept.pid or 0), kept.ports[0].host_port
        side.address = kept.places[0].addresses[0].partition("/")[0]
        yield side
        engine.containers.remove("kept", force=True)


@contextlib.contextmanager
def _docker(scratch: Path, archive: str) -> Iterator[Side]:
    base = scratch / "docker-networks"
    base.mkdir()
    socket_path = f"unix://{base}/docker.sock"
    command = [
        str(peers.find("dockerd")), "-H", socket_path, "--data-root", f"{base}/data",
        "--exec-root", f"{base}/exec", "-p", f"{base}/pid", "--userland-proxy=false",
    ]  # fmt: skip
    docker = [str(peers.find("docker")), "-H", socket_path]

    def call(*words: str) -> str:
        done = subprocess.run([*docker, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"docker {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(100):
            probe = subprocess.run([*docker, "version"], capture_output=True, check=False)
            if probe.returncode == 0 or daemon.poll() is not None:
                break
            time.sleep(0.2)
        call("load", "-q", "-i", archive)
        image = call("images", "-q").split()[0]
        call("network", "create", NET)

        def run(way: str, name: str, remove: bool) -> None:
            words = ["--rm"] if remove else ["-d", "--name", name, "--network", NET]
            ports = {"port": "80", "kept": f"{SINK}"}.get(way)
            words += ["-p", ports] if ports else []
            call("run", *words, image, *(["true"] if remove else ["sleep", "1000"]))

        side = Side("docker", run)
        run("kept", "kept", False)
        side.pid = int(call("inspect", "-f", "{{.State.Pid}}", "kept"))
        side.port = int(call("port", "kept", f"{SINK}/tcp").split("\n")[0].rpartition(":")[2])
        field = '{{(index .NetworkSettings.Networks "' + NET + '").IPAddress}}'
        side.address = call("inspect", "-f", field, "kept")
        yield side
        call("rm", "-f", "kept")
    finally:
        daemon.terminate()
        daemon.wait(30)


@contextlib.contextmanager
def _inside(pid: int) -> Iterator[None]:
    """Make sockets in a container's network namespace."""
    from ocimagic.linux import syscalls

    mine, theirs = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in ("thread-self", pid))
    syscalls.setns(theirs, syscalls.CLONE_NEWNET)
    try:
        yield
    finally:
        syscalls.setns(mine, syscalls.CLONE_NEWNET)
        os.close(mine)
        os.close(theirs)


def _stream(side: Side, target: str) -> float:
    """Send for a while; return how many seconds a gigabyte takes."""
    with _inside(side.pid):
        server = socket.create_server(("", SINK))
    received = [0]

    def drain() -> None:
        client, _ = server.accept()
        buffer = bytearray(len(_CHUNK))
        with client:
            while count := client.recv_into(buffer):
                received[0] += count

    thread = threading.Thread(target=drain)
    thread.start()
    where = (side.address, SINK) if target == "direct" else ("127.0.0.1", side.port)
    began = time.monotonic()
    with socket.create_connection(where, 5) as client:
        while time.monotonic() - began < STREAM_S:
            client.sendall(_CHUNK)
    thread.join()
    server.close()
    return (time.monotonic() - began) / (received[0] / 1e9)


def _lookups(side: Side) -> float:
    """Ask a thousand times, one after the other, for the container's own name."""
    with _inside(side.pid):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name = b"\x04kept\0"
    with client:
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        began = time.monotonic()
        for _ in range(LOOKUPS):
            number = random.randrange(1 << 16)
            client.send(struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")
            answer = client.recv(512)
            assert answer[:2] == number.to_bytes(2)
            assert answer[7] == 1, "no answer"
        return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
