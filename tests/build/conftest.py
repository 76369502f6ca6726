"""Real parts: an Engine on a directory of its own, a busybox of this machine, no doubles."""

import os
import shutil
import tarfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ocimagic.build.image_files import ImageFiles
from ocimagic.engine.engine import Engine
from ocimagic.errors import HostLacks
from ocimagic.layers.mergedtree import MergedTree
from ocimagic.layers.toc import toc_from_bytes
from ocimagic.model.event import Notice, Output, StepDone, StepStarted
from ocimagic.model.options import BuildOptions
from ocimagic.transfer.layer import layers_of

BUSYBOX = shutil.which("busybox")
APPLETS = "sh cat echo ls true false mkdir touch rm sleep id env test stat chmod ln mv date head wc"


@dataclass
class Workplace:
    """An engine, a context directory, and the events of the last build."""

    engine: Engine
    context: Path
    events: list = field(default_factory=list)
    head: str = ""
    before: set = field(default_factory=set)

    def build(
        self, dockerfile, *tags, context=True, stdin=None, cancelled=None, listen=None, **options
    ):
        self.events.clear()

        def on_event(event):
            self.events.append(event)
            if listen:
                listen(event)

        return self.engine.images.build(
            BuildOptions(
                dockerfile=dockerfile,
                context=str(self.context) if context is True else context,
                tags=tags,
                **options,
            ),
            stdin=stdin,
            on_event=on_event,
            cancelled=cancelled,
        )

    def write(self, name, content="", mode=0o644):
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def notices(self):
        return [event.text for event in self.of(Notice)]

    def output(self, step=None):
        out = [e for e in self.of(Output) if step in (None, e.step)]
        return b"".join(e.data for e in out).decode()

    def cached(self):
        """Return text and cached of each step."""
        started = {event.number: event.text for event in self.of(StepStarted)}
        return {started[event.number].split()[0]: event.cached for event in self.of(StepDone)}

    def files(self, result):
        """Return the files of a built image."""
        store, unpacker = self.engine._store, self.engine.images._unpacker
        layers = layers_of(store.images.load(result.digest))
        merged = MergedTree(toc_from_bytes(unpacker.toc(layer)) for layer in layers)
        return ImageFiles(store, layers, merged)

    def listing(self, result):
        """Return path to (kind, mode, owner) of all files of an image."""
        merged = self.files(result).merged
        lines = (found.entry for found in merged.walk())
        return {e.path: (str(e.kind), e.mode, (e.uid, e.gid)) for e in lines if e.path}

    def text(self, result, path):
        return self.files(result).read(path, max_bytes=1 << 20).decode()

    def config(self, result):
        return self.engine._store.images.load(result.digest).config.config

    def leftovers(self):
        """Return what a build should have taken away."""
        home = self.engine.home
        # A download that was broken off is kept: the next one goes on from there.
        parts = [p.name for p in home.ingest.iterdir() if p.suffix != ".part"]
        parts += [p.name for p in home.snapshots.iterdir() if not p.name.isdigit()]
        parts += [p.name for p in home.run.iterdir()]
        parts += [p.name for p in home.containers.iterdir()]
        return [name for name in parts if name != "empty"]


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    with Engine(root=tmp_path_factory.mktemp("root")) as found:
        yield found


@pytest.fixture
def place(engine, tmp_path):
    """A context of one's own on the session's store; nothing may be left over."""
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    found = Workplace(engine, context)
    yield found
    assert found.leftovers() == []


@pytest.fixture
def fresh(tmp_path):
    """A store of one's own, with nothing in its cache."""
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    with Engine(root=tmp_path / "root") as engine:
        found = Workplace(engine, context)
        yield found
        assert found.leftovers() == []


# An image that has: a directory, a file, links to both, and a dangling one.
TREE = """FROM scratch
COPY --parents --chmod=700 --chown=5:6 tree/./dir /
COPY tree/file /file
ADD links.tar /
"""

FILES = {"f": "f", "g": "g", "d/one": "1", "d/sub/two": "2", "e/three": "3"}


@pytest.fixture
def tree(place):
    for name, content in FILES.items():
        place.write(name, content)
    place.write("tree/dir/old", "old")
    place.write("tree/file", "file")
    os.symlink("f", place.context / "tofile")
    os.symlink("/d", place.context / "tod")
    with tarfile.open(place.context / "links.tar", "w") as tar:
        for name, target in (("todir", "dir"), ("tofile", "/file"), ("dangling", "made")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    place.head = TREE
    place.before = set(place.listing(place.build(TREE)))
    return place


def make_base(workplace, scratch):
    """Build ``base:latest`` of the machine's static busybox, without RUN."""
    if BUSYBOX is None:
        pytest.skip("no busybox on this machine (apt install busybox-static)")
    root = scratch / "rootfs"
    if not root.exists():
        (root / "bin").mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "tmp").mkdir()
        shutil.copy(BUSYBOX, root / "bin" / "busybox")
        for applet in APPLETS.split():
            os.symlink("busybox", root / "bin" / applet)
        (root / "etc" / "passwd").write_text(
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\n"
        )
        (root / "etc" / "group").write_text("root:x:0:\nstaff:x:1001:app\nwheel:x:10:\n")
    text = 'FROM scratch\nCOPY rootfs /\nENV BASE=1\nCMD ["sh"]\n'
    return workplace.build(text, "base", context=str(scratch))


@pytest.fixture(scope="session")
def base_root(tmp_path_factory):
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="session")
def base(engine, base_root):
    """``base:latest`` in the session's store."""
    return make_base(Workplace(engine, base_root), base_root)


@pytest.fixture
def runs(place, base):
    """The session's store where containers run; skipped where they cannot."""
    need_containers(place.engine)
    return place


def need_containers(engine):
    try:
        _ = engine.containers.launcher.ids
    except HostLacks as err:
        pytest.skip(f"no containers here: {err.what}")


@pytest.fixture
def stop():
    return threading.Event()
