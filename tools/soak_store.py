"""Kill every verb that writes at every place where it does, and fill the disk there: the store's
part of ``make soak``.

A round: a copy of a small data root, one verb on it in a process of its own, and one fault
(tools/faults.py) at one of its points: SIGKILL before a change, SIGKILL after half of a write,
or a disk that is full from there on.  With strace there are rounds more: SIGKILL at the k-th
system call of a kind, of whichever thread or worker comes there first, SQLite's own included.

Afterwards the directory is a whole OCI layout, read by hand and by skopeo where there is one;
``image verify`` finds nothing; names and images are those before the verb or those after it.
The verb done again succeeds, and a sweep an hour later leaves nothing that nobody needs.

The same ``--seed`` chooses the same rounds; threads may take their turns in another order.
"""

# ruff: noqa: ANN401  what is wrapped takes and gives anything

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import faults
from victims import FIRST, ON_SHELF, VERBS, Place

from ocimagic import Engine
from ocimagic.engine import engine as engine_room
from ocimagic.errors import DiskFull, HostLacks
from ocimagic.model.options import BuildOptions
from ocimagic.model.request import ImportOptions
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer
from ocimagic.shim.client import Launcher
from ocimagic.store import gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.registry.inbox import Inbox

CLONE = Path(__file__).resolve().parent.parent
PATIENCE_S = 60
TRACED = [
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "utimensat"),
]


# -- the rounds -----------------------------------------------------------------------


class Shelf:
    """The registry everything is pulled from and pushed to; what it stands on is exchanged."""

    def __init__(self, source: RegistryDirectory) -> None:
        self.source = source

    @property
    def uploads(self) -> Inbox:
        """Return the blobs on their way."""
        return self.source.uploads


def _passed_on(name: str) -> Callable[..., Any]:
    return lambda self, *args, **named: getattr(self.source, name)(*args, **named)


# Python 3.12 looks for a protocol's methods in the class.
for _name in [each for each in vars(RegistryDirectory) if not each.startswith("_")]:
    if _name not in ("close", "uploads"):
        setattr(Shelf, _name, _passed_on(_name))


class Soak:
    """All rounds.

    Attributes:
        counts: what was done, by name.
        wrong: what should not be, in words.
    """

    def __init__(self, directory: Path, seed: int, stack: ExitStack) -> None:
        self.directory, self.seed = directory, seed
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.calls: dict[str, list[tuple[str, int]]] = {}
        (directory / "things").mkdir()
        self.launcher = Launcher(directory / "launcher.log")
        stack.callback(self.launcher.close)
        with suppress(HostLacks):
            _ = self.launcher.ids
        self._shared = lambda *_, **__: Kept(self.launcher)
        engine_room.Launcher = self._shared
        self.far = stack.enter_context(RegistryDirectory(directory / "far"))
        self.registry = Shelf(self.far)
        server = stack.enter_context(RegistryServer(self.registry))
        self.host = server.host
        self._make()
        environment = os.environ | {"SOAK_LOG": str(directory / "victims.log")}
        self.nursery = subprocess.Popen(
            [sys.executable, str(CLONE / "tools" / "victims.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        stack.callback(self._end)
        self.outcomes: dict[str, tuple[Any, Any]] = {}
        self.points: dict[str, list[str]] = {}

    # -- what there is in the beginning ------------------------------------------

    def _make(self) -> None:
        """Make the data root that each round begins with, and what comes from outside."""
        things = self.directory / "things"
        (things / "context").mkdir()
        (things / "context/file").write_bytes(b"f" * 3000)
        (things / "context/other").write_bytes(b"o" * 9000)
        chance = random.Random(7)
        with Engine(self.directory / "maker", environment={}) as maker:
            layers = [tar_of(f"layer-{n}/{m}", chance) for n in range(5) for m in range(1)]
            for number, layer in enumerate(layers):
                (things / f"layer-{number}.tar").write_bytes(layer)
                maker.images.import_(
                    things / f"layer-{number}.tar", ImportOptions(reference=f"l{number}")
                )
            (things / "root.tar").write_bytes(tar_of("root", chance))
            self._built(maker, f"{self.host}/kept:1", "FROM l0\nENV K=1\n")
            self._built(maker, f"{self.host}/moves:latest", "FROM l1\nENV OLD=1\n")
            copies = "".join(f"ADD layer-{n}.tar /{n}/\n" for n in range(1, 5))
            self._built(maker, f"{self.host}/large:latest", f"FROM l0\n{copies}")
            for name in ("kept:1", "moves", "large"):
                maker.images.push(f"{self.host}/{name}")
            root = self.directory / "old"
            with Engine(root, environment={}) as engine:
                engine.images.pull(f"{self.host}/kept:1")
                engine.images.tag(f"{self.host}/kept:1", "kept:1")
                engine.images.tag(f"{self.host}/kept:1", "kept:2")
                engine.images.pull(f"{self.host}/moves")
                text = "FROM kept:1\nCOPY file /one\nENV B=1\nCOPY other /two\n"
                context = str(things / "context")
                options = BuildOptions(dockerfile=text, context=context, tags=("built:1",))
                engine.images.build(options)
                engine.images.tag("built:1", f"{self.host}/pushed:1")
                engine.images.remove(f"{self.host}/pushed:1")
                text = "FROM kept:1\nCOPY other /pushed\n"
                names = (f"{self.host}/pushed:1",)
                engine.images.build(BuildOptions(dockerfile=text, context=context, tags=names))
                with (
                    RegistryDirectory(self.directory / "old-shelf") as shelf,
                    RegistryServer(shelf) as server,
                ):
                    engine.images.tag("kept:2", f"{server.host}/there:1")
                    engine.images.push(f"{server.host}/there:1")
                    engine.images.remove(f"{server.host}/there:1")
            self._built(maker, f"{self.host}/moves:latest", "FROM l2\nENV NEW=1\n")
            maker.images.push(f"{self.host}/moves:latest")
            for name, form in (("large.tar", "docker"), ("large-oci.tar", "oci")):
                with (things / name).open("wb") as file:
                    maker.images.save([f"{self.host}/large:latest"], file.write, format=form)

    def _built(self, engine: Engine, name: str, text: str) -> None:
        context = str(self.directory / "things")
        engine.images.build(BuildOptions(dockerfile=text, context=context, tags=(name,)))

    def _end(self) -> None:
        self.nursery.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.nursery.wait(PATIENCE_S)
        self.nursery.stdout.close()
        engine_room.Launcher = Launcher

    # -- one round ----------------------------------------------------------------

    def fresh(self, verb: str) -> Place:
        """Lay everything anew as it was in the beginning."""
        root, shelf = self.directory / "root", self.directory / "shelf"
        for each in (root, shelf):
            remove(each)
        words = ["cp", "-a", "--reflink=auto"]
        if verb != FIRST:
            subprocess.run([*words, self.directory / "old", root], check=True)
        subprocess.run([*words, self.directory / "old-shelf", shelf], check=True)
        return Place(root, shelf, self.directory / "things", self.host)

    def learn(self, verb: str) -> None:
        """Do a verb unhurt: what comes of it, and how many points there are."""
        place = self.fresh(verb)
        old = {"<none>": []} if verb == FIRST else self.state(verb, place)
        told = self.hurt(verb, place, 0, "kill")
        if told.get("error") or told["ended"]:
            sys.exit(f"{verb} fails unhurt: {told}")
        self.points[verb] = told["seen"]
        self.outcomes[verb] = old, self.state(verb, place)

    def hurt(
        self, verb: str, place: Place, at: int, mode: str, strace: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Let a verb be done and hurt; return what the process told."""
        if verb == "push":  # another registry each time, and all its layers are to be sent
            self._exchange()
        pid = json.loads(self.nursery.stdout.readline())["pid"]
        asked = {"verb": verb, "at": at, "mode": mode}
        asked["place"] = [*map(str, (place.root, place.shelf, place.things)), place.host]
        with tracing(pid, strace):
            self.nursery.stdin.write((json.dumps(asked) + "\n").encode())
            self.nursery.stdin.flush()
            told: dict[str, Any] = {}
            while "ended" not in told:
                told |= json.loads(self.nursery.stdout.readline())
        return told

    def _exchange(self) -> None:
        if self.registry.source is not self.far:
            self.registry.source.close()
        path = self.directory / "pushed"
        remove(path)
        self.registry.source = RegistryDirectory(path)

    def back(self) -> None:
        """Let the registry stand on what is pulled from it again."""
        if self.registry.source is not self.far:
            self.registry.source.close()
            self.registry.source = self.far

    def round(self, number: int) -> None:
        """Hurt one verb at one point, and look."""
        chance = random.Random(f"{self.seed}/{number}")
        verb = list(VERBS)[number * 4 % len(VERBS)]  # few rounds, verbs of all kinds
        if verb not in self.points:
            self.learn(verb)
            self.back()
        mode = chance.choice([*faults.MODES, "kill", "strace"])
        place = self.fresh(verb)
        if mode == "strace" and not shutil.which("strace"):
            mode = "kill"
        if mode == "strace":
            call, at = chance.choice(TRACED), 1 + int(chance.expovariate(0.4))
            where = f"{call} no. {at}"
            told = self.hurt(verb, place, 0, "kill", (call, str(at)))
        else:
            at = chance.randint(1, len(self.points[verb]))
            where = f"{at}: {self.points[verb][at - 1]}"
            told = self.hurt(verb, place, at, mode)
        self.back()
        said = f"round {number}: {verb}, {mode} at {where}"
        try:
            self._look(verb, place, told, mode, said)
        except Exception as err:  # noqa: BLE001  it is told, and the next round goes on
            self.complain(said, f"{type(err).__name__}: {err} {getattr(err, 'why', '')}")
        self.counts["rounds"] += 1

    def complain(self, said: str, text: str) -> None:
        """Note what should not be."""
        self.wrong.append(f"{said}: {text}")
        print(f"{said}: {text}", flush=True)

    def _look(self, verb: str, place: Place, told: dict[str, Any], mode: str, said: str) -> None:
        outcome = told.get("error", "")
        must_be_new = False
        if told["ended"] == -signal.SIGKILL:
            self.counts[f"killed: {mode}"] += 1
        elif mode == "full":
            # Where only room was to be made, nobody hears of it; a client hears in other words.
            self.counts["disk full" if outcome else "nothing more to write"] += 1
            is_told = outcome.startswith(f"typed {DiskFull.__name__}")
            if outcome and not is_told and verb not in ON_SHELF:
                self.complain(said, f"a full disk is not told: {outcome!r}")
            must_be_new = not outcome and verb not in ON_SHELF
        elif mode == "strace":
            self.counts["a worker killed" if outcome else "passed by strace"] += 1
        elif verb != "pull":  # threads may have taken another turn
            self.counts["passed"] += 1
        if outcome.startswith("UNTYPED"):
            self.complain(said, outcome)
        self._look_at_layout(verb, place, said)
        old, new = self.outcomes[verb]
        found = self.state(verb, place)
        if found not in ((new,) if must_be_new else (old, new)):
            self.complain(said, f"neither old nor new: {found}")
        self.counts["old state" if found == old else "new state"] += 1
        if verb == "push":
            self._exchange()
        VERBS[verb](place)
        self.back()
        before, found = found, self.state(verb, place)
        if verb == "import" and before == new:  # each has a time, and the first lost its name
            found["<none>"] = []
        if found != new:
            self.complain(said, f"done again it is {found}, not {new}")
        self._look_for_litter(place, said)

    def _look_at_layout(self, verb: str, place: Place, said: str) -> None:
        for root in (place.root, place.shelf):
            if verb == FIRST and not (root / "oci-layout").exists():
                continue  # it was not to be
            for wrong in faults_of_layout(root):
                self.complain(said, f"{root.name} is no whole layout: {wrong}")
            self.counts["layouts read"] += 1
        there = entries(place.root) if (place.root / "index.json").exists() else []
        names = [entry.get("annotations", {}) for entry in there]
        names = [each.get("org.opencontainers.image.ref.name") for each in names]
        if names and shutil.which("skopeo"):
            words = ["skopeo", "inspect", "--no-tags", f"oci:{place.root}:{names[-1]}"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                self.complain(said, f"skopeo cannot read {names[-1]}: {done.stderr}")
            self.counts["read by skopeo"] += 1

    def state(self, verb: str, place: Place) -> Any:
        """Return what a user sees; complains of what ``image verify`` finds."""
        with Engine(place.root, environment={}) as engine:
            store = engine.containers.store
            checked = engine.images.verify()
            for fault in checked.faults:
                self.complain(verb, f"image verify: {fault}")
            self.counts["images verified"] += checked.images
            seen: dict[str, Any] = {"<none>": []}
            for image in store.images.all():
                config = image.config.config
                what = [list(image.config.diff_ids), list(config.env), list(config.cmd or ())]
                for name in image.names:
                    is_pushed = verb == "push" and "pushed" in str(name.reference)
                    target = [name.target != name.manifest] if is_pushed else []
                    seen[str(name.reference)] = what + target
                if not image.names:
                    seen["<none>"].append(what)
            seen["<none>"].sort()
            if verb == "builder prune":
                seen["steps"] = store.database.rows("SELECT COUNT(*) FROM steps")[0][0]
        with RegistryDirectory(place.shelf) as shelf:
            tags = {each: shelf.tags(each) for each in shelf.repositories()}
        shown = {name: value for name, value in seen.items() if not name.endswith("/there:2")}
        return tags if verb in ON_SHELF else shown

    def _look_for_litter(self, place: Place, said: str) -> None:
        """Let an hour pass, sweep, and look for what nobody needs."""
        for each in place.root.rglob("*"):
            if not each.is_symlink() and "snapshots" not in each.parts[-3:-1]:
                with suppress(OSError):
                    os.utime(each, (time.time() - 3600,) * 2)
        with Engine(place.root, environment={}) as engine:
            store = engine.containers.store
            with store.alone() as held:
                assert held, "somebody is still at work"
                gc.sweep(store, engine.containers.unpacker.remove_trees)
                needed, _ = gc._needed(store)  # noqa: SLF001  the same question, of the outcome
            home = engine.home
            rows = {str(row[0]) for row in store.database.rows("SELECT number FROM snapshots")}
        left = [f"ingest/{each}" for each in names_in(home.ingest)]
        known = {"oci-layout", "index.json", "blobs", "ingest", "ocimagic"}
        left += sorted(set(names_in(home.data)) - known)
        left += [each for each in names_in(home.own) if each.startswith((".", "tmp"))]
        left += [f"locks/{each}" for each in names_in(home.locks) if each != "store"]
        left += [f"snapshots/{each}" for each in set(names_in(home.snapshots)) - rows - {"empty"}]
        left += [f"blobs/{each}" for each in names_in(home.blobs) if f"sha256:{each}" not in needed]
        with RegistryDirectory(place.shelf):
            pass
        left += [f"uploads/{each}" for each in names_in(place.shelf / "ocimagic/uploads")]
        hidden = [*place.shelf.glob(".*"), *place.shelf.glob("blobs/*/.*")]
        left += [f"shelf/{each.name}" for each in hidden]
        if left:
            self.complain(said, f"left over: {left}")
        self.counts["looked for litter"] += 1


class Kept:
    """The one launcher of all engines of this process; nobody closes it but its owner."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def close(self) -> None:
        """Leave it open."""


class tracing:  # noqa: N801  a context manager, as in contextlib
    """strace on a process and what it starts, with a fault at the k-th call of a kind."""

    def __init__(self, pid: int, point: tuple[str, ...]) -> None:
        self._process: subprocess.Popen[str] | None = None
        if not point:
            return
        call, at = point
        family = [pid, *children(pid)]
        words = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}"]
        words += ["-e", f"inject={call}:signal=KILL:when={at}"]
        words += [word for each in family for word in ("-p", str(each))]
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        attached = 0
        while attached < len(family):
            line = self._process.stderr.readline()
            assert line, "strace does not attach"
            attached += "attached" in line

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # it detaches
            self._process.communicate()


def children(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return [*found, *(each for child in found for each in children(child))]


def entries(root: Path) -> list[dict[str, Any]]:
    """Return what an index names."""
    found = json.loads((root / "index.json").read_bytes())["manifests"]
    assert isinstance(found, list)
    return found


def faults_of_layout(root: Path) -> list[str]:
    """Check an OCI layout without any code of ours: every blob that it leads to, by digest."""
    wrong: list[str] = []
    if json.loads((root / "oci-layout").read_bytes())["imageLayoutVersion"] != "1.0.0":
        wrong.append("oci-layout")
    waiting, seen = entries(root), set()
    while waiting:
        entry = waiting.pop()
        algorithm, _, digits = entry["digest"].partition(":")
        if digits in seen:
            continue
        seen.add(digits)
        path = root / "blobs" / algorithm / digits
        if not path.exists():
            wrong.append(f"{entry['digest']} ({entry['mediaType']}) is not there")
            continue
        raw = path.read_bytes()
        if hashlib.new(algorithm, raw).hexdigest() != digits or len(raw) != entry["size"]:
            wrong.append(f"{entry['digest']} is not what it is called")
        elif re.search("manifest|index", entry["mediaType"]):
            document = json.loads(raw)
            waiting += [*document.get("manifests", ()), *document.get("layers", ())]
            waiting += [document["config"]] if "config" in document else []
    return wrong


def names_in(directory: Path) -> list[str]:
    """Return what is in a directory that may not be there."""
    with suppress(FileNotFoundError):
        return sorted(each.name for each in directory.iterdir())
    return []


def remove(path: Path) -> None:
    """Take a tree away, whatever its modes are."""
    subprocess.run(["chmod", "-R", "u+rwX", path], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", path], check=True)


def tar_of(name: str, chance: random.Random) -> bytes:
    """Make a small layer: a directory, two files, a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        top = name.partition("/")[0]
        for each in (top, name) if "/" in name else (name,):
            directory = tarfile.TarInfo(each)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for number in range(2):
            info = tarfile.TarInfo(f"{name}/file-{number}")
            content = chance.randbytes(chance.randint(1, 20000))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(f"{name}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "file-0"
        tar.addfile(link)
    return out.getvalue()


def commit() -> str:
    """Return which state of the sources this is, with a + if they were changed since."""
    words = ("describe", "--always", "--dirty=+", "--exclude=*")
    done = subprocess.run(("git", *words), cwd=CLONE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> int:
    """Do the rounds, print and write down what came of them."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rounds", type=int, default=500)
    words.add_argument("--first", type=int, default=0, help="number of the first round")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--result", type=Path, help="JSON file for the counts")
    asked = words.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="ocimagic-soak-", dir="/var/tmp") as directory,
        ExitStack() as stack,
    ):
        soak = Soak(Path(directory), asked.seed, stack)
        for number in range(asked.first, asked.first + asked.rounds):
            soak.round(number)
        for each in ("old", "root", "maker"):
            remove(Path(directory) / each)
    soak.counts["seconds"] = round(time.monotonic() - began)
    told: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "seed": asked.seed,
        "points": {verb: len(points) for verb, points in soak.points.items()},
        **dict(sorted(soak.counts.items())),
    }
    print(json.dumps(told, indent=1))
    if asked.result:
        asked.result.write_text(json.dumps(told | {"wrong": soak.wrong}, indent=1) + "\n")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
