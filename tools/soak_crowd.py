"""Twenty processes at once on one data root: the crowd's part of ``make soak``.

Each pulls, builds, tags, removes, prunes, loads, saves and verifies images that have layers in
common with those of all others, as its own dice say; and somebody who knows nothing of our
locks reads the layout all the while.  Nobody may be told anything but that an image is not
there (any more); nobody may wait for ever; and in the end every image that has a name is whole,
can be unpacked, and what is left when all are removed is nothing.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from soak_store import commit, entries, faults_of_layout, names_in, remove, tar_of

from ocimagic import Engine
from ocimagic.errors import ImageNotFound, OcimagicError
from ocimagic.model.options import BuildOptions
from ocimagic.model.request import ImportOptions
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer
from ocimagic.transfer.layer import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable

REMOTE = ("one", "two", "three")
LOCAL = tuple(f"local:{number}" for number in range(6))


class Member:
    """One process of the crowd."""

    def __init__(self, root: Path, things: Path, host: str, chance: random.Random) -> None:
        self.things, self.host, self.chance = things, host, chance
        self.engine = Engine(root, environment={})
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.verbs: dict[str, Callable[[], object]] = {
            "pull": lambda: self.engine.images.pull(self._remote()),
            "build": self._build,
            "tag": lambda: self.engine.images.tag(self._any(), chance.choice(LOCAL)),
            "rm": lambda: self.engine.images.remove(self._any()),
            "rm local": lambda: self.engine.images.remove(chance.choice(LOCAL)),
            "image prune": lambda: self.engine.system.disk.prune_images(all=chance.random() < 0.2),
            "builder prune": self.engine.system.disk.prune_cache,
            "load": lambda: self.engine.images.load(self.things / "three.tar"),
            "save": lambda: self.engine.images.save([self._any()], lambda _: None),
            "ls": partial(self.engine.images.list, all=True),
            "verify": self._verify,
        }

    def _remote(self) -> str:
        return f"{self.host}/{self.chance.choice(REMOTE)}"

    def _any(self) -> str:
        names = [each.name for each in self.engine.images.list() if each.repository != "<none>"]
        return self.chance.choice(names or ["nothing"])

    def _build(self) -> None:
        copied = self.chance.choice(["a", "b", "c"])
        text = f"FROM {self._remote()}\nCOPY {copied} /{copied}\nENV WHO={self.chance.random()}\n"
        context = str(self.things / "context")
        tags = (self.chance.choice(LOCAL),)
        self.engine.images.build(BuildOptions(dockerfile=text, context=context, tags=tags))

    def _verify(self) -> None:
        self.wrong += [f"verify: {each}" for each in self.engine.images.verify().faults]

    def work(self, verbs: int, pause_s: float) -> None:
        """Do so many verbs, one after the other; a sweep needs a moment in which nobody works."""
        for _ in range(verbs):
            select.select([], [], [], self.chance.expovariate(1 / pause_s))
            name = self.chance.choice(list(self.verbs))
            try:
                done = self.verbs[name]()
                self.counts[name] += 1
                self.counts["sweeps that freed something"] += bool(getattr(done, "freed_bytes", 0))
            except ImageNotFound:
                self.counts[f"{name}: not there"] += 1
            except OcimagicError as err:
                self.wrong.append(f"{name}: {type(err).__name__}: {err}: {err.why}")
        self.engine.close()


def member(place: tuple[Path, Path, str], chance: random.Random, asked: dict[str, Any]) -> None:
    """Be one of the crowd: the whole life of a forked process; tells what came of it."""
    faulthandler.dump_traceback_later(asked["patience"], exit=True)
    one = Member(*place, chance)
    try:
        one.work(asked["verbs"], asked["pause"])
    except BaseException as err:  # noqa: BLE001  it is told
        one.wrong.append(f"UNTYPED {type(err).__name__}: {err}")
    told = {"counts": one.counts, "wrong": one.wrong}
    os.write(1, (json.dumps(told) + "\n").encode())
    os._exit(0)


def nursery() -> None:
    """Fork the crowd, wait for all of it: a process without threads, so that it may fork."""
    asked = json.loads(sys.stdin.readline())
    place = (Path(asked["root"]), Path(asked["things"]), asked["host"])
    pids = []
    for number in range(asked["processes"]):
        pid = os.fork()  # noqa: TID251  this process has one thread
        if not pid:
            chance = random.Random(f"{asked['seed']}/{number}")
            member(place, chance, asked)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.write(1, (json.dumps({"codes": codes}) + "\n").encode())


class Reader:
    """Somebody who reads the layout with nothing but the image-spec in hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.looks = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(0.01):
            # What was removed meanwhile is named no more; a name may come back in between.
            found = self._look()
            if found:
                found = [each for each in self._look() if each in found]
            self.wrong += [f"the layout, read meanwhile: {each}" for each in found]
            self.looks += 1

    def _look(self) -> list[str]:
        before = (self.root / "index.json").read_bytes()
        try:
            found = faults_of_layout(self.root)
        except FileNotFoundError as err:  # swept between two looks of its own
            found = [str(err)]
        return found if (self.root / "index.json").read_bytes() == before else []


def make_things(directory: Path, far: RegistryDirectory) -> None:
    """Put into a registry what the crowd pulls, and beside it what it copies and loads."""
    chance = random.Random(11)
    things = directory / "things"
    (things / "context").mkdir(parents=True)
    for name in "abc":
        (things / "context" / name).write_bytes(chance.randbytes(5000))
    with (
        RegistryServer(far) as server,
        Engine(directory / "maker", environment={}) as maker,
    ):
        for number in range(4):
            (things / f"{number}.tar").write_bytes(tar_of(f"layer-{number}", chance))
        maker.images.import_(things / "0.tar", ImportOptions(reference="base"))
        for number, name in enumerate(REMOTE):
            adds = "".join(f"ADD {each}.tar /\n" for each in range(1, number + 2))
            options = BuildOptions(
                dockerfile=f"FROM base\n{adds}",
                context=str(things),
                tags=(f"{server.host}/{name}",),
            )
            maker.images.build(options)
            maker.images.push(f"{server.host}/{name}")
        with (things / "three.tar").open("wb") as file:
            maker.images.save([f"{server.host}/three"], file.write)


def look(root: Path) -> list[str]:
    """Return what is wrong with a store that nobody uses any more; all images are removed."""
    wrong = [f"the layout: {each}" for each in faults_of_layout(root)]
    with Engine(root, environment={}) as engine:
        wrong += [f"verify: {each}" for each in engine.images.verify().faults]
        store, unpacker = engine.containers.store, engine.containers.unpacker
        named = {each.get("annotations", {}).get("dev.ocimagic.manifest") for each in entries(root)}
        if named != {str(each.manifest) for each in store.images.names()}:
            wrong.append("the view is not what the database says")
        for image in store.images.all():
            if unpacker.launcher is not None:
                unpacker.ensure(layers_of(image))
        engine.system.disk.prune_images(all=True)
        engine.system.disk.prune_cache()
        home = engine.home
        left = {each: names_in(each) for each in (home.blobs, home.ingest, home.snapshots)}
        left[home.locks] = [each for each in names_in(home.locks) if each != "store"]
        for where, found in left.items():
            if set(found) - {"empty"}:
                wrong.append(f"left in {where.name}: {found}")
    return wrong


def main() -> int:
    """Let the crowd in, print and write down what came of it."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--processes", type=int, default=20)
    words.add_argument("--verbs", type=int, default=100, help="of each process")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--pause", type=float, default=0.5, help="seconds between two, on average")
    words.add_argument("--patience", type=int, default=900, help="seconds until it hangs")
    words.add_argument("--result", type=Path, help="JSON file for the counts")
    words.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.nursery:
        nursery()
        return 0
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ocimagic-crowd-", dir="/var/tmp") as name,
        ExitStack() as stack,
    ):
        directory = Path(name)
        far = stack.enter_context(RegistryDirectory(directory / "far"))
        make_things(directory, far)
        server = stack.enter_context(RegistryServer(far))
        Engine(directory / "root", environment={}).close()
        reader = Reader(directory / "root")
        counts, wrong = crowd(directory, server.host, asked, reader)
        wrong += look(directory / "root")
        for each in ("root", "maker"):
            remove(directory / each)
    told: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "seed": asked.seed,
        "processes": asked.processes,
        "layouts read meanwhile": reader.looks,
        **dict(sorted(counts.items())),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(told, indent=1))
    for each in wrong:
        print("WRONG", each)
    if asked.result:
        asked.result.write_text(json.dumps(told | {"wrong": wrong}, indent=1) + "\n")
    return 1 if wrong else 0


def crowd(
    directory: Path, host: str, asked: argparse.Namespace, reader: Reader
) -> tuple[collections.Counter[str], list[str]]:
    """Run the processes; return what they did and what was wrong."""
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    words = [sys.executable, str(Path(__file__).resolve()), "--nursery"]
    known = ("processes", "verbs", "seed", "pause", "patience")
    order: dict[str, Any] = {name: getattr(asked, name) for name in known}
    order |= {"root": str(directory / "root"), "things": str(directory / "things"), "host": host}
    with (
        reader,
        subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        told = ""
        try:
            told, _ = process.communicate(json.dumps(order) + "\n", asked.patience + 30)
        except subprocess.TimeoutExpired:
            wrong.append("it hangs")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    codes: list[int] = []
    for line in map(json.loads, told.splitlines()):
        counts.update(line.get("counts", {}))
        wrong += line.get("wrong", [])
        codes += line.get("codes", [])
    if codes != [0] * asked.processes:
        wrong.append(f"processes ended with {codes}")
    wrong += reader.wrong
    return counts, wrong


if __name__ == "__main__":
    sys.exit(main())
