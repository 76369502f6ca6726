"""Kill what keeps containers, at random moments, and see that nothing is lost: ``make soak``.

A round: another Python, in a process group of its own as Jupyter's kernels are, starts three
containers; this one runs a fourth, attached, and stops one of the three.  Meanwhile somebody is
killed with SIGKILL: that Python with its whole group (``kernel``), its launcher, or a shim, a
holder or a first process of one of the four, while it begins, runs or ends.  Then every
container that was told to have begun has to be there, with the exit code it ought to have and
each byte it wrote in its log once, and once with who is attached; and after their removal no
mount, process, zombie, cgroup, descriptor, lock, link or file may be left.  No network namespace
is either: it lives only as long as a process, a descriptor or a mount.

The same ``--seed`` makes the same choices, not the same moments.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic import Engine
from ocimagic.errors import OcimagicError
from ocimagic.model.options import BuildOptions
from ocimagic.shim.client import Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE = Path(__file__).resolve().parent.parent
IMAGE = "soak"
KINDS = ("kernel", "launcher", "shim", "holder", "init")
MOMENTS = ("beginning", "running", "ending")
LONGEST_WAIT_S = {"beginning": 0.04, "running": 0.25, "ending": 0.03}
LINES = 150
WRITTEN = b"".join(b"line %d of this container\n" % number for number in range(LINES))
WRITE = (
    f"i=0; while [ $i -lt {LINES} ]; do echo line $i of this container; "
    "[ $((i % 4)) = 0 ] && usleep 8000; i=$((i+1)); done; exit 7"
)
WAIT_TO_STOP = "trap 'exit 9' TERM; echo up; while :; do usleep 5000; done"
COMMANDS = {
    "writer": (["sh", "-c", WRITE], 7),
    "stopped": (["sh", "-c", WAIT_TO_STOP], 9),
    "sleeper": (["sleep", "1000"], 137),
    "attached": (["sh", "-c", WRITE], 7),
}
KILLED, TERMINATED = 137, 143
PATIENCE_S = 30
KERNEL = """
import json, sys
from ocimagic import Engine
from ocimagic.errors import OcimagicError

root, image, network, asked = *sys.argv[1:4], json.loads(sys.argv[4])
engine = Engine(root)
print("ready", engine.containers.launcher.ids, flush=True)
for name, command in asked.items():
    try:
        engine.containers.run(image, command, name=name, network=network, detach=True)
        print("started", name, flush=True)
    except OcimagicError as err:
        print("failed", name, err, flush=True)
sys.stdin.read()
"""


def main() -> int:
    """Do the rounds, print and write down what came of them."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rounds", type=int, default=200)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--network", default="", help="none, host or bridge; the best if not said")
    words.add_argument("--result", type=Path, help="JSON file for the counts")
    asked = words.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ocimagic-soak-", dir="/var/tmp") as directory:
        soak = Soak(Path(directory), asked.seed, asked.network)
        try:
            for number in range(asked.rounds):
                soak.round(number)
        finally:
            soak.close()
    soak.counts["seconds"] = round(time.monotonic() - began)
    told: dict[str, object] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "seed": asked.seed,
        **dict(sorted(soak.counts.items())),
    }
    print(json.dumps(told, indent=1))
    for each in soak.wrong:
        print(f"WRONG (seed {asked.seed})", each)
    if soak.wrong:
        print("launcher.log ends so:", soak.defects, sep="\n")
    if asked.result:
        asked.result.write_text(json.dumps(told | {"wrong": soak.wrong}, indent=1) + "\n")
    return 1 if soak.wrong else 0


class Soak:
    """All rounds, in one data root.

    Attributes:
        counts: what was done, by name.
        wrong: what should not be, in words.
        defects: the end of what launchers and shims wrote to their log.
    """

    def __init__(self, directory: Path, seed: int, network: str = "") -> None:
        self.root = directory / "root"
        self.seed = seed
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.defects = ""
        self.engine = Engine(self.root)
        # Where containers are changed roots, they have the machine's network only.
        usual = "host" if self.engine.system.info().snapshotter == "copy" else "none"
        self.network = network or usual
        self.links = links()
        self._make_image(directory / "context")
        # One run and one file job: all that lives as long as the engine is there now.
        self.engine.containers.run(IMAGE, ["sleep", "1000"], network=self.network, detach=True)
        if not self.inside():
            sys.exit("a container's process is not seen: one that is left would not be, either")
        self.engine.containers.remove(self.engine.containers.list()[0].container_id, force=True)
        with Engine(self.root):  # sqlite keeps its descriptor until ours is closed
            pass
        pause(0.2)
        self.fds = len(os.listdir("/proc/self/fd"))
        self.usual = len(self.processes())
        self.launcher_fds = self._launcher_fds()

    def _make_image(self, context: Path) -> None:
        (context / "bin").mkdir(parents=True)
        shutil.copy(
            shutil.which("busybox") or sys.exit("busybox-static is needed"), context / "bin"
        )
        for name in ("sh", "sleep", "true", "usleep"):
            (context / "bin" / name).symlink_to("busybox")
        options = BuildOptions(
            context=str(context), dockerfile="FROM scratch\nCOPY bin /bin\n", tags=(IMAGE,)
        )
        self.engine.images.build(options)

    def close(self) -> None:
        """Remove what is left, and end the engine."""
        with suppress(OcimagicError):
            for each in self.engine.containers.list(all=True):
                self.engine.containers.remove(each.container_id, force=True)
            self.engine.containers.unpacker.remove_trees([self.engine.home.snapshots])
        self.defects = (self.engine.home.own / "launcher.log").read_text(errors="replace")[-4000:]
        self.engine.close()

    def round(self, number: int) -> None:
        """Start, kill somebody, look."""
        chance = random.Random(f"{self.seed}/{number}")
        Round(self, number, chance).run()
        self._expect_nothing_left(number)
        self.counts["rounds"] += 1

    def complain(self, number: int, text: str) -> None:
        """Note what should not be."""
        self.wrong.append(f"round {number}: {text}")
        print(f"round {number}: {text}", flush=True)

    def processes(self) -> dict[int, str]:
        """Return all processes that launchers of this data root have forked, by pid."""
        log = str(self.engine.home.own / "launcher.log")
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "fd/1") == log:
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
        return found

    def inside(self) -> list[int]:
        """Return all processes that have a file system of this data root: our containers'."""
        found = []
        mine = os.readlink("/proc/self/ns/mnt")
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdigit():
                    continue
                is_other = os.readlink(entry / "ns/mnt") != mine
                is_other = is_other and str(self.root) in (entry / "mountinfo").read_text()
                is_other = is_other or os.readlink(entry / "root").startswith(str(self.root))
                if is_other or self._is_traced(entry):
                    found.append(int(entry.name))
        return found

    def _is_traced(self, entry: Path) -> bool:
        """Say whether a process is a tracer of ours, or the child of one."""
        parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        lines = [(each / "cmdline").read_bytes() for each in (entry, entry.parent / parent)]
        return any(b"proot\0" in each and os.fsencode(self.root) in each for each in lines)

    def _zombies(self) -> list[str]:
        """Return what has ended and has not been waited for by this process or one of ours."""
        ours = {os.getpid(), *self.processes()}
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit():
                    head, _, rest = (entry / "stat").read_text().rpartition(")")
                    state, above, *_ = rest.split()
                    if state == "Z" and int(above) in ours:
                        found.append(f"{head}) below {above}")
        return found

    def _launcher_fds(self) -> int:
        return len(os.listdir(f"/proc/{self.engine.containers.launcher.pid}/fd"))

    def _expect_nothing_left(self, number: int) -> None:
        home = self.engine.home
        with Engine(self.root):  # takes away what a killed one had begun to make
            pass
        looks: dict[str, Callable[[], object]] = {
            "mounts": lambda: sorted(each for each in mounts() if str(self.root) in each),
            # A sweep that meets somebody at work leaves it to the next.
            "links": lambda: self.engine.networks.sweep() or sorted(links() - self.links),
            "processes": lambda: len(self.processes()) > self.usual and self.processes(),
            "processes of containers": self.inside,
            "zombies": self._zombies,
            "the launcher's descriptors": lambda: self._launcher_fds() > self.launcher_fds,
            "descriptors": lambda: len(os.listdir("/proc/self/fd")) > self.fds,
            "files of containers": lambda: names(home.containers),
            "files of runs": lambda: names(home.run),
            "locks": lambda: [each for each in names(home.locks) if each != "store"],
            "cgroups": lambda: list(self._cgroups()),
            "snapshots": lambda: [each for each in names(home.snapshots) if each.startswith("new")],
        }
        for what, look in looks.items():
            if not until(lambda look=look: not look()):
                self.complain(number, f"left over: {what}: {look()}")
            self.counts[f"looked for {what}"] += 1

    def _cgroups(self) -> Iterator[str]:
        for name in self.ids:
            for place in Path("/sys/fs/cgroup").glob(f"*/ocimagic/{name}"):
                yield str(place)

    ids: tuple[str, ...] = ()


class Round:
    """One round."""

    def __init__(self, soak: Soak, number: int, chance: random.Random) -> None:
        self.soak = soak
        self.number = number
        self.chance = chance
        self.engine = soak.engine
        self.names = {kind: f"{kind}-{number}" for kind in COMMANDS}
        self.kind = chance.choice(KINDS)
        self.victim = chance.choice(list(COMMANDS))
        self.moment = chance.choice(MOMENTS)
        self.stopping = threading.Event()
        self.told: list[str] = []  # names that were said to have begun
        self.killed = ""  # whose first process was killed
        self.attached: object = None

    def run(self) -> None:
        """Do it all."""
        kernel = self._open_kernel()
        reader = threading.Thread(target=self._listen, args=(kernel,))
        runner = threading.Thread(target=self._run_attached)
        stopper = threading.Thread(target=self._stop_one)
        for each in (reader, runner, stopper):
            each.start()
        self._await_moment()
        self._strike(kernel)
        for each in (runner, stopper):
            each.join(PATIENCE_S)
            if each.is_alive():
                self._complain(f"{each.name} hangs")
        until(lambda: len(self.told) == 3 or kernel.poll() is not None, 10)
        self._look()
        with suppress(ProcessLookupError):
            os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()
        reader.join()
        for stream in (kernel.stdin, kernel.stdout):
            stream.close()
        self._remove()

    def _complain(self, text: str) -> None:
        self.soak.complain(self.number, f"({self.kind} of {self.victim}, {self.moment}) {text}")

    # -- what goes on ------------------------------------------------------------

    def _open_kernel(self) -> subprocess.Popen[str]:
        asked = {name: COMMANDS[kind][0] for kind, name in self.names.items() if kind != "attached"}
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                KERNEL,
                str(self.soak.root),
                IMAGE,
                self.soak.network,
                json.dumps(asked),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout.readline().startswith("ready")
        return process

    def _listen(self, kernel: subprocess.Popen[str]) -> None:
        for line in kernel.stdout:
            word, name, *why = line.split(maxsplit=2)
            if word == "started":
                self.told.append(name)
            elif self.kind != "launcher":
                self._complain(f"{name} did not start: {why}")

    def _run_attached(self) -> None:
        command, _ = COMMANDS["attached"]
        name = self.names["attached"]
        try:
            self.attached = self.engine.containers.run(
                IMAGE, command, name=name, network=self.soak.network
            )
        except OcimagicError as err:
            self._complain(f"{name}: {err} {err.why}")

    def _stop_one(self) -> None:
        name = self.names["stopped"]
        if until(lambda: name in self.told, 5) and until(lambda: self._log(name) == b"up\n", 5):
            self.stopping.set()
            self.engine.containers.stop(name, grace_s=20)
            self.soak.counts["stopped while somebody was killed"] += 1

    def _await_moment(self) -> None:
        """Wait for about the moment at which somebody is to die."""
        name = self.names[self.victim]
        until(lambda: self._is_there(name))
        if self.kind == "init" or self.moment != "beginning":
            until(lambda: self._started(name) is not None)
        if self.moment == "ending" and self.victim == "stopped":
            self.stopping.wait(5)
        elif self.moment == "ending" and self.victim != "sleeper":
            until(lambda: len(self._log(name)) > len(WRITTEN) * 0.96 or not self._lives(name))
        pause(self.chance.uniform(0, LONGEST_WAIT_S[self.moment]))

    def _strike(self, kernel: subprocess.Popen[str]) -> None:
        is_hit = False
        with suppress(ProcessLookupError):
            if self.kind == "kernel":
                os.killpg(kernel.pid, signal.SIGKILL)
                is_hit = True
            elif self.kind == "launcher":
                is_hit = self._kill_launcher(kernel)
            else:
                is_hit = self._kill_keeper()
        done = f"killed {self.kind}, {self.moment}" if is_hit else "came too late to kill"
        self.soak.counts[done] += 1

    def _kill_launcher(self, kernel: subprocess.Popen[str]) -> bool:
        for pid, name in self.soak.processes().items():
            if name == "ocimagic-launch" and parent(pid) == kernel.pid:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def _kill_keeper(self) -> bool:
        """Kill who keeps the victim, or its first process; one of the room if it is not known."""
        started = self._started(self.names[self.victim])
        if started is not None:
            getattr(started, self.kind).send(signal.SIGKILL)
            if self.kind == "init":
                self.killed = self.names[self.victim]
            return True
        word = {"shim": "ocimagic-shim", "holder": "ocimagic-hold"}.get(self.kind)
        there = self.soak.processes()
        # A first process has its shim's name until it takes its own.
        found = [
            pid for pid, name in there.items() if name == word and there.get(parent(pid)) != word
        ]
        if not found:
            return False
        os.kill(self.chance.choice(found), signal.SIGKILL)
        return True

    def _is_there(self, name: str) -> bool:
        with suppress(OcimagicError):
            return bool(self.engine.containers.get(name))
        return False

    def _lives(self, name: str) -> bool:
        started = self._started(name)
        return started is not None and started.init.is_alive()

    def _started(self, name: str) -> Started | None:
        with suppress(OcimagicError, OSError, ValueError):
            found = self.engine.containers.get(name).container_id
            path = self.engine.containers.directory(found) / "state.json"
            return Started.from_message(json.loads(path.read_bytes()))
        return None

    def _log(self, name: str) -> bytes:
        with suppress(OcimagicError):
            return b"".join(each[2] for each in self.engine.containers.logs(name))
        return b""

    # -- what has come of it -----------------------------------------------------

    def _look(self) -> None:
        there = {each.name: each for each in self.engine.containers.list(all=True)}
        for kind, name in self.names.items():
            is_told = name in self.told or (kind == "attached" and self.attached is not None)
            if name not in there:
                if is_told:
                    self._complain(f"{name} is lost")
                continue
            self.soak.counts["containers"] += 1
            if is_told or there[name].status.value in ("running", "exited"):
                self._look_at(kind, name)

    def _look_at(self, kind: str, name: str) -> None:
        if kind == "sleeper":
            self.engine.containers.stop(name, grace_s=0)
        elif kind == "stopped" and name not in self.told:
            self.engine.containers.kill(name)
        code = self._exit_code(name)
        wanted = {COMMANDS[kind][1]}
        if kind == "sleeper" and self.soak.network == "host":
            wanted.add(TERMINATED)  # only the first process of a pid namespace ignores SIGTERM
        if name == self.killed or (kind == "stopped" and name not in self.told):
            wanted.add(KILLED)
        if code not in wanted:
            self._complain(f"{name}: exit code {code}, not {wanted}")
        self.soak.counts["exit codes"] += 1
        if kind in ("writer", "attached"):
            self._compare(name, "the log", self._log(name), code)
            if kind == "attached" and self.attached is not None:
                self._compare(name, "who was attached", self.attached.stdout, code)

    def _exit_code(self, name: str) -> int:
        patience = threading.Event()
        timer = threading.Timer(PATIENCE_S, patience.set)
        timer.start()
        try:
            return self.engine.containers.wait(name, cancelled=patience).code
        except OcimagicError as err:
            self._complain(f"{name}: {err} {err.why}")
            return -1
        finally:
            timer.cancel()

    def _compare(self, name: str, who: str, found: bytes, code: int) -> None:
        self.soak.counts["bytes compared"] += len(found)
        is_right = WRITTEN.startswith(found) if code == KILLED else found == WRITTEN
        if not is_right:
            self._complain(
                f"{name}: {who} has {len(found)} bytes of {len(WRITTEN)}, {found[-60:]!r}"
            )

    def _remove(self) -> None:
        found = self.engine.containers.list(all=True)
        self.soak.ids = tuple(each.container_id for each in found)
        for each in found:
            self.engine.containers.remove(each.container_id, force=True)


def until(is_so: Callable[[], bool], patience_s: float = 10.0) -> bool:
    """Wait until something is so; return whether it is."""
    deadline = time.monotonic() + patience_s
    while not (found := is_so()) and time.monotonic() < deadline:
        pause(0.01)
    return bool(found)


def pause(seconds: float) -> None:
    """Let time pass: there is nothing to be waited for but a moment."""
    select.select([], [], [], seconds)


def names(directory: Path) -> list[str]:
    """Return what is in a directory that may not be there."""
    with suppress(FileNotFoundError):
        return sorted(each.name for each in directory.iterdir())
    return []


def links() -> set[str]:
    """Return the network interfaces of this network namespace."""
    return set(os.listdir("/sys/class/net"))


def mounts() -> set[str]:
    """Return the lines of this mount namespace's mounts."""
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def commit() -> str:
    """Return which state of the sources this is, with a + if they were changed since."""
    words = ("describe", "--always", "--dirty=+", "--exclude=*")
    done = subprocess.run(("git", *words), cwd=CLONE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def parent(pid: int) -> int:
    """Return a process's parent: proc(5), stat, the fourth word."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
