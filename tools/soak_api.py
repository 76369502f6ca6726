"""Two hundred clients at once of docker's API: the API's part of ``make soak``.

Each lists, runs, follows a log, listens to events or has a command run, as its own dice say, and
often leaves in the middle of it.  Nobody may be told of anything but what was asked for; when
all have left, memory, descriptors and threads are what they were after the first half.  Then
one client measures how long ``_ping`` and ``version`` take while this process computes, as a
notebook does; ``--seconds 0 --clients 0`` measures that alone.  What the machine itself takes
beside the same work is measured with a process that answers anything at once.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from rootfs import MadeImage, busybox_tar

from ocimagic import Engine
from ocimagic.api.server import Address, Server
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE, TICKING = "soak", ("tick-0", "tick-1", "tick-2")
PATIENCE_S = 120
FLAT_BYTES = 16 << 20


class Client:
    """One client, for one request after another."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(
        self, method: str, path: str, document: object = None, more: str = ""
    ) -> socket.socket:
        """Send a request; return the connection, of which nothing was read."""
        body = b"" if document is None else json.dumps(document).encode()
        head = f"{method} /v1.50{path} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n{more}"
        door = socket.socket(socket.AF_UNIX)
        door.connect(self._path)
        door.settimeout(PATIENCE_S)
        door.sendall(head.encode() + b"\r\n" + body)
        return door

    def call(self, method: str, path: str, document: object = None) -> bytes:
        """Return what is after the head of an answer that says that all is well."""
        with closing(self.open(method, path, document, "Connection: close\r\n")) as door:
            head, _, rest = b"".join(iter(lambda: door.recv(1 << 16), b"")).partition(b"\r\n\r\n")
        if head[9:10] != b"2":
            raise ValueError(f"{method} {path}: {head[9:12].decode()} {rest.decode()}")
        return rest

    def json(self, method: str, path: str, document: object = None) -> dict[str, object]:
        """Return the document of an answer."""
        found: dict[str, object] = json.loads(self.call(method, path, document))
        return found


def until(door: socket.socket, words: bytes, times: int = 1) -> None:
    """Read until something was said so often."""
    found = b""
    while found.count(words) < times:
        data = door.recv(1 << 16)
        if not data:
            raise ValueError(f"it ended before it said {words!r}: {found[-300:]!r}")
        found += data


class Member(threading.Thread):
    """One of the crowd."""

    def __init__(self, path: str, seed: str, until_s: float) -> None:
        super().__init__()
        self._client = Client(path)
        self._chance = random.Random(seed)
        self._until_s = until_s
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def run(self) -> None:
        """Do one thing after the other until the time is over."""
        doing = {"ps": 40, "run": 5, "logs": 20, "events": 15, "exec": 15, "wait": 5}
        while time.monotonic() < self._until_s:
            (name,) = self._chance.choices(list(doing), list(doing.values()))
            try:
                getattr(self, f"_{name}")()
                self.counts[name] += 1
            except (OSError, ValueError) as err:
                self.wrong.append(f"{name}: {type(err).__name__}: {err}")

    def _ps(self) -> None:
        names = [
            each["Names"][0] for each in json.loads(self._client.call("GET", "/containers/json"))
        ]
        if not {f"/{each}" for each in TICKING} <= set(names):
            raise ValueError(f"only {names}")

    def _run(self) -> None:
        config = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", "exit 7"],
            "HostConfig": {"NetworkMode": "none"},
        }
        name = self._client.json("POST", "/containers/create", config)["Id"]
        self._client.call("POST", f"/containers/{name}/start")
        if b'"StatusCode":7' not in self._client.call("POST", f"/containers/{name}/wait"):
            raise ValueError("another exit code")
        self._client.call("DELETE", f"/containers/{name}?force=1")

    def _logs(self) -> None:
        """Follow a log, and leave while it goes on."""
        path = f"/containers/{self._chance.choice(TICKING)}/logs?stdout=1&follow=1&tail=1"
        with closing(self._client.open("GET", path)) as door:
            until(door, b"tick", 1 + self._chance.randrange(3))

    def _events(self) -> None:
        with closing(self._client.open("GET", "/events")) as door:
            until(door, b"\r\n\r\n")
            door.settimeout(self._chance.random())
            try:
                while door.recv(1 << 16):
                    continue
            except TimeoutError:
                return
        raise ValueError("the events ended")

    def _wait(self) -> None:
        """Wait for what does not happen."""
        path = f"/containers/{self._chance.choice(TICKING)}/wait?condition=next-exit"
        with closing(self._client.open("POST", path)) as door:
            until(door, b"\r\n\r\n")

    def _exec(self) -> None:
        word = f"word-{self._chance.random()}"
        asked = {"Cmd": ["echo", word], "AttachStdout": True, "AttachStderr": True}
        name = self._chance.choice(TICKING)
        made = self._client.json("POST", f"/containers/{name}/exec", asked)["Id"]
        upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        with closing(self._client.open("POST", f"/exec/{made}/start", {}, upgrade)) as door:
            said = b"".join(iter(lambda: door.recv(1 << 16), b"")).partition(b"\r\n\r\n")[2]
        text = f"{word}\n".encode()
        if said != struct.pack(">BxxxI", 1, len(text)) + text:
            raise ValueError(f"it said {said!r}")


def crowd(asked: dict[str, str]) -> None:
    """Be all clients: the whole life of a process; tells what came of it."""
    until_s = time.monotonic() + float(asked["seconds"])
    members = [
        Member(asked["path"], f"{asked['seed']}/{number}", until_s)
        for number in range(int(asked["clients"]))
    ]
    for each in members:
        each.start()
    for each in members:
        each.join()
    counts = sum((each.counts for each in members), collections.Counter())
    print(json.dumps({"counts": counts, "wrong": [one for each in members for one in each.wrong]}))


def look(asked: dict[str, str]) -> None:
    """Measure ``HEAD _ping`` and ``GET version`` on a new connection, as docker's client begins."""
    times = []
    for _ in range(int(asked["pairs"])):
        began = time.perf_counter()
        with closing(Client(asked["path"]).open("HEAD", "/_ping")) as door:
            until(door, b"\r\n\r\n")
            door.sendall(b"GET /v1.50/version HTTP/1.1\r\nHost: d\r\n\r\n")
            until(door, b"}\n")
        times.append((time.perf_counter() - began) * 1000)
        select.select([], [], [], 0.003)
    hundredths = statistics.quantiles(times, n=100)
    print(json.dumps({"p50 ms": round(hundredths[49], 2), "p99 ms": round(hundredths[98], 2)}))


def echo(asked: dict[str, str]) -> None:
    """Answer whatever comes, two times for each client: what no server can be quicker than."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(asked["path"])
        door.listen()
        for _ in range(int(asked["pairs"])):
            with door.accept()[0] as client:
                for end in (b"", b"{}\n"):
                    client.recv(1 << 16)
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + end)


def other(role: str, **asked: object) -> subprocess.Popen[str]:
    """Start this program in another role."""
    words = [sys.executable, __file__, "--role", role, "--asked", json.dumps(asked, default=str)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def figures() -> dict[str, int]:
    """Return what this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def settled(server: Server, threads: int) -> dict[str, int]:
    """Return what this process has when everybody has left."""
    until_s = time.monotonic() + PATIENCE_S
    while server.clients or threading.active_count() > threads:
        if time.monotonic() > until_s:
            break
        select.select([], [], [], 0.1)
    return figures()


def latencies(path: str, pairs: int) -> dict[str, dict[str, float]]:
    """Measure how long one client waits while this process does what notebooks do."""
    numbers = [(each * 7919) % 300_007 for each in range(300_000)]
    work = {"a loop": lambda: sum(range(1000)), "long calls": lambda: sorted(numbers)}
    found = {}
    for what, computes in work.items():
        found[f"while it computes {what}"] = waited(path, computes, pairs)
        echoing = other("echo", path=f"{path}-echo", pairs=pairs)
        while not os.path.exists(f"{path}-echo"):
            select.select([], [], [], 0.01)
        found[f"of an echo beside {what}"] = waited(f"{path}-echo", computes, pairs)
        echoing.communicate()
        os.unlink(f"{path}-echo")
    return found


def waited(path: str, computes: Callable[[], object], pairs: int) -> dict[str, float]:
    """Compute until one client has measured how long it waits for answers."""
    looking = other("look", path=path, pairs=pairs)
    while looking.poll() is None:
        computes()
    found: dict[str, float] = json.loads(looking.communicate()[0])
    return found


def faults(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Say what has grown from one half to the other."""
    most = {"rss": before["rss"] + FLAT_BYTES, "descriptors": before["descriptors"],
            "threads": before["threads"]}  # fmt: skip
    return [
        f"{name}: {before[name]}, then {after[name]}" for name in most if after[name] > most[name]
    ]


def soak(engine: Engine, path: str, words: argparse.Namespace) -> dict[str, object]:
    """Serve the crowd twice, then a notebook's client; return what came of it."""
    told: dict[str, object] = {"clients": words.clients, "seconds": words.seconds}
    wrong: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    with Server(engine, Address(path=path), is_busy=True) as server:
        client = Client(path)
        for name in TICKING:
            ticks = {"Image": IMAGE, "Cmd": ["sh", "-c", "while :; do echo tick; sleep 0.2; done"]}
            options = {"HostConfig": {"NetworkMode": "none"}}
            client.call("POST", f"/containers/create?name={name}", ticks | options)
            client.call("POST", f"/containers/{name}/start")
        threads = threading.active_count()
        states = []
        for half in range(2):
            asked = {"path": path, "seconds": words.seconds / 2, "clients": words.clients}
            done = other("crowd", seed=f"{words.seed}/{half}", **asked)
            came = json.loads(done.communicate()[0])
            counts.update(came["counts"])
            wrong += came["wrong"]
            states.append(settled(server, threads))
            print(states[-1], dict(counts), flush=True)
        wrong += faults(*states)
        told["latency"] = latencies(path, words.pairs)
        left = [each.name for each in engine.containers.list(all=True)]
        wrong += [f"{each} is left" for each in left if each not in TICKING]
    for name in left:
        engine.containers.remove(name, force=True)
    return told | {"counts": counts, "states": states, "wrong": wrong}


def main() -> int:
    """Serve, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--result", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=300, help="answers that are measured")
    parser.add_argument("--seed", default="8")
    parser.add_argument("--role", choices=("crowd", "look", "echo"))
    parser.add_argument("--asked", type=json.loads)
    words = parser.parse_args()
    if words.role:
        {"crowd": crowd, "look": look, "echo": echo}[words.role](words.asked)
        return 0
    source = MemorySource()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    MadeImage([busybox_tar()], {"Cmd": ["sh"]}, architecture=machine).serve(source, IMAGE, "latest")
    with (
        tempfile.TemporaryDirectory(prefix="ocimagic-soak-", dir="/var/tmp") as base,
        Engine(Path(base, "root"), environment={}) as engine,
    ):
        with RegistryServer(source) as registry:
            engine.images.pull(f"{registry.host}/{IMAGE}")
            engine.images.tag(f"{registry.host}/{IMAGE}", IMAGE)
        told = soak(engine, f"{base}/api.sock", words)
    print(json.dumps(told, indent=2))
    if words.result:
        day = datetime.now(UTC).date().isoformat()
        words.result.write_text(json.dumps({"day": day} | told, indent=2) + "\n")
    return 1 if told["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
