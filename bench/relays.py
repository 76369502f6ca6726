"""Networks of an ordinary account beside slirp4netns: TCP to a published port, and out of it.

Both carry the same bytes between the same two small programs, one on the machine, one in a
network namespace of a user namespace.  Root without capabilities is an ordinary account that
may open /dev/net/tun, which slirp4netns needs and our relay does not.

As a program (``relays.py SCRATCH ARCHIVE``) it measures and prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import peers

from ocimagic import Engine
from ocimagic.model.network import published_ports
from ocimagic.model.options import VolumeMount

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS, ROUNDS = 1.5, 5
_CHUNK = bytes(1 << 18)
_IN, _OUT = 5001, 5002
# In the namespace: take what comes to one port; asked by a line at another, send for a while.
_AGENT = f"""
import socket, threading, time
def drain(server):
    buffer = bytearray(1 << 18)
    while True:
        client, _ = server.accept()
        total = 0
        while count := client.recv_into(buffer):
            total += count
        client.close()
def send(server):
    while True:
        client, _ = server.accept()
        host, port = client.recv(100).decode().split()
        with socket.create_connection((host, int(port)), 5) as far:
            began = time.monotonic()
            while time.monotonic() - began < {SECONDS}:
                far.sendall(bytes(1 << 18))
        client.close()
threading.Thread(target=drain, args=(socket.create_server(("", {_IN})),)).start()
send(socket.create_server(("", {_OUT})))
"""
Results = dict[str, dict[str, float]]


def relay_times(scratch: Path, archive: Path) -> Results:
    """Measure as root without capabilities; nothing where that or slirp4netns is missing."""
    if os.geteuid() or not (peers.find("slirp4netns") and peers.find("setpriv")):
        return {}
    # To map root is a privilege of its own; none of the others is kept.
    bare = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]
    program = [sys.executable, __file__, str(scratch), str(archive)]
    done = subprocess.run([*bare, *program], stdout=subprocess.PIPE, text=True, check=True)
    results: Results = json.loads(done.stdout)
    return results


class Side:
    """One of the two: where it is reached, and what means the machine to it."""

    def __init__(self, name: str, ports: dict[int, int], machine: str) -> None:
        self.name, self.ports, self.machine = name, ports, machine


def main() -> int:
    """Measure and print."""
    scratch, archive = Path(sys.argv[1]), sys.argv[2]
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(_ours(scratch, archive)), stack.enter_context(_slirp(scratch))]
        for side in sides:
            _await(side)
        results: Results = {
            what: {side.name: statistics.median(way(side) for _ in range(ROUNDS)) for side in sides}
            for what, way in (("rootless TCP by a port", _inward), ("rootless TCP out", _outward))
        }
    print(json.dumps(results))
    return 0


@contextlib.contextmanager
def _ours(scratch: Path, archive: str) -> Iterator[Side]:
    environment = {"OCIMAGIC_WAY_OUT": "relay"}
    with Engine(scratch / "relays", environment=environment) as engine:
        engine.images.load(archive)
        programs = tuple(
            VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
            for each in ("/usr", "/lib", "/lib64")
            if os.path.exists(each)
        )
        engine.containers.run(
            str(engine.images.list()[0].image_id),
            ["/usr/bin/python3", "-I", "-c", _AGENT],
            network="bridge", detach=True, name="kept", volumes=programs,
            ports=(*published_ports(f"{_IN}"), *published_ports(f"{_OUT}")),
        )  # fmt: skip
        ports = {
            int(each.container_port.partition("/")[0]): each.host_port
            for each in engine.containers.ports("kept")
        }
        gateway = engine.networks.inspect("bridge").subnets[0].gateway
        yield Side("ocimagic", ports, gateway)
        engine.containers.remove("kept", force=True)


@contextlib.contextmanager
def _slirp(scratch: Path) -> Iterator[Side]:
    api = scratch / "slirp.sock"
    agent = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-I", "-c", _AGENT]
    )
    time.sleep(0.5)  # it has unshared by then; slirp4netns would say so if not
    words = ["slirp4netns", "--configure", "--mtu=65520", f"--api-socket={api}"]
    nothing = subprocess.DEVNULL
    slirp = subprocess.Popen([*words, str(agent.pid), "tap0"], stdout=nothing, stderr=nothing)
    try:
        ports = {_IN: _free(), _OUT: _free()}
        for inside, outside in ports.items():
            _forward(api, outside, inside)
        yield Side("slirp4netns", ports, "10.0.2.2")
    finally:
        for each in (slirp, agent):
            each.kill()
            each.wait()


def _forward(api: Path, outside: int, inside: int) -> None:
    asked = {
        "execute": "add_hostfwd",
        "arguments": {"proto": "tcp", "host_addr": "127.0.0.1", "host_port": outside,
                      "guest_port": inside},
    }  # fmt: skip
    for _ in range(100):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
            door.connect(str(api))
            door.sendall(json.dumps(asked).encode())
            door.shutdown(socket.SHUT_WR)
            if b"return" in door.recv(1000):
                return
        time.sleep(0.05)
    raise SystemExit("slirp4netns forwards no port")


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def _await(side: Side) -> None:
    """Wait until the program at the other end listens: it then takes what is said."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            if _inward(side, 0.05) < 1e3:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens behind {side.name}")


def _inward(side: Side, seconds: float = SECONDS) -> float:
    """Send to the published port for a while; return how many seconds a gigabyte takes."""
    sent, began = 0, time.monotonic()
    with socket.create_connection(("127.0.0.1", side.ports[_IN]), 5) as client:
        while time.monotonic() - began < seconds:
            sent += client.send(_CHUNK)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)  # all has arrived when the other end closes
    return (time.monotonic() - began) / (sent / 1e9)


def _outward(side: Side) -> float:
    """Have the other end send to the machine; return how many seconds a gigabyte takes."""
    server = socket.create_server(("", 0))
    found: list[float] = []

    def drain() -> None:
        client, _ = server.accept()
        began, total, buffer = time.monotonic(), 0, bytearray(len(_CHUNK))
        with client:
            while count := client.recv_into(buffer):
                total += count
        found.append((time.monotonic() - began) / (total / 1e9))

    thread = threading.Thread(target=drain)
    thread.start()
    with socket.create_connection(("127.0.0.1", side.ports[_OUT]), 5) as asking:
        asking.sendall(f"{side.machine} {server.getsockname()[1]}".encode())
        asking.recv(1)
    thread.join()
    server.close()
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
