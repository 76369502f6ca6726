"""Containers beside the peers': exec, a hundred at once, memory, and the kernel's own share."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from peers import measure

from ocimagic import Engine
from ocimagic.model.request import ExecOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 8  # commands of a peer in flight; more only makes a daemon slower
HUNDRED = 100
SLEEP = ("sleep", "1000")
KEEPERS = {"docker": "containerd-shim", "podman": "conmon"}


def yardstick(scratch: Path, rounds: int = 50) -> dict[str, float]:
    """Time the same system calls in C, or nothing where no compiler is.

    Returns:
        Median seconds under the name ``C``.
    """
    compiler, busybox = shutil.which("cc") or shutil.which("gcc"), peers.find("busybox")
    if not (compiler and busybox):
        return {}
    base, program = scratch / "yardstick", scratch / "yardstick.bin"
    lower = base / "lower" / "bin"
    lower.mkdir(parents=True)
    shutil.copy(busybox, lower / "busybox")
    (lower / "true").symlink_to("busybox")
    source = Path(__file__).with_name("yardstick.c")
    subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    command = [str(program), str(lower.parent), str(base), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"C": float(done.stdout)}


def exec_times(engine: Engine, image: str, others: list[peers.Peer], runs: int) -> dict[str, float]:
    """Run ``true`` in a container that runs, from the call to the exit code."""
    with asleep(engine, image, others) as names:

        def ours() -> None:
            done = engine.containers.exec(names["ocimagic"], ExecOptions(command=("true",)))
            assert done is not None
            assert done.exit_code == 0

        ways = {"ocimagic": ours}
        for peer in others:
            ways[peer.name] = lambda peer=peer: peer.call("exec", names[peer.name], "true")
        return measure(ways, runs)


def hundred_times(
    engine: Engine, image: str, others: list[peers.Peer], rounds: int = 1
) -> dict[str, float]:
    """Start a hundred containers at once, see that all run, and stop and remove them all."""

    def ours() -> None:
        options = {"network": "none", "detach": True, "remove": True}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            started = list(
                pool.map(lambda _: engine.containers.run(image, SLEEP, **options), range(HUNDRED))
            )
            assert len(engine.containers.list()) == HUNDRED
            ids = [each.container_id for each in started]
            list(pool.map(lambda each: engine.containers.stop(each, grace_s=0), ids))
        assert not engine.containers.list(all=True)

    ways = {"ocimagic": ours}
    for peer in others:
        ways[peer.name] = lambda peer=peer: _hundred(peer, image)
    return measure(ways, rounds, before=peers.settle)


def _hundred(peer: peers.Peer, image: str) -> None:
    words = ("-d", "--rm", "--network", "none", image, *SLEEP)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = list(pool.map(lambda _: peer.call("run", *words).strip(), range(HUNDRED)))
        assert len(peer.call("ps", "-q").split()) == HUNDRED
        list(pool.map(lambda each: peer.call("stop", "-t", "0", each), ids))


def keeper_memory(root: Path, image: str, others: list[peers.Peer]) -> dict[str, float]:
    """Weigh what stays beside one container when whoever started it is gone: PSS in bytes."""
    with Engine(root, environment={}) as engine:
        mine = engine.containers.run(image, SLEEP, network="none", detach=True, name="weighed")
        directory = Path(engine.containers.inspect("weighed").log_path).parent
    try:
        state = _at_rest(directory / "state.json")
        found = {"ocimagic": sum(pss_bytes(state[key]) for key in ("shim_pid", "holder_pid"))}
        for peer in others:
            name = peer.call("run", "-d", "--network", "none", image, *SLEEP).strip()
            found[peer.name] = sum(map(pss_bytes, pids_of(KEEPERS[peer.name], name)))
            peer.call("rm", "-f", name)
    finally:
        with Engine(root, environment={}) as engine:
            engine.containers.remove(mine.container_id, force=True)
    return {who: float(size) for who, size in found.items()}


def _at_rest(path: Path) -> dict[str, int]:
    """Return who keeps a container once its shim has given back what making it took."""
    first = json.loads(path.read_bytes())
    deadline = time.monotonic() + 5
    state: dict[str, int] = first
    while state["shim_pid"] == first["shim_pid"] and time.monotonic() < deadline:
        select.select([], [], [], 0.05)
        state = json.loads(path.read_bytes())
    return state


def pss_bytes(pid: int) -> int:
    """Return a process's proportional share of memory: proc(5), smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


def pids_of(program: str, container_id: str) -> list[int]:
    """Find the processes of a program that name a container in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if program in words[0].decode() and container_id.encode() in words:
            found.append(int(entry.parent.name))
    if not found:
        raise SystemExit(f"no {program} keeps {container_id}")
    return found


@contextmanager
def asleep(engine: Engine, image: str, others: list[peers.Peer]) -> Iterator[dict[str, str]]:
    """Keep one sleeping container with everybody; yields their names."""
    mine = engine.containers.run(image, SLEEP, network="none", detach=True)
    names = {"ocimagic": mine.container_id}
    for peer in others:
        names[peer.name] = peer.call("run", "-d", "--network", "none", image, *SLEEP).strip()
    try:
        yield names
    finally:
        engine.containers.remove(mine.container_id, force=True)
        for peer in others:
            peer.call("rm", "-f", names[peer.name])
