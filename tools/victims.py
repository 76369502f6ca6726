"""What ``tools/soak_store.py`` hurts: verbs that write, and the process that does one of them."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import faults

from ocimagic import Engine
from ocimagic.engine import engine as engine_room
from ocimagic.errors import HostLacks, ImageNotFound, OcimagicError
from ocimagic.model.options import BuildOptions
from ocimagic.model.request import ImportOptions
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.shim.client import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable


# -- what is done to a store --------------------------------------------------------


class Place:
    """The directories of one round, and the registry that is there for all of them.

    Attributes:
        root: the engine's data root.
        shelf: our own registry's directory.
        things: archives and a build context, made once.
        host: of the registry that is pulled from and pushed to.
    """

    def __init__(self, root: Path, shelf: Path, things: Path, host: str) -> None:
        self.root, self.shelf, self.things, self.host = root, shelf, things, host


def serve(place: Place, act: Callable[[RegistryServer, Engine], None]) -> None:
    """Do something to our own registry, served from this process."""
    with (
        Engine(place.root, environment={}) as engine,
        RegistryDirectory(place.shelf) as source,
        RegistryServer(source, rules=Rules(may_delete=True)) as server,
    ):
        act(server, engine)


def upload(server: RegistryServer, engine: Engine) -> None:
    engine.images.tag("kept:1", f"{server.host}/there:2")
    engine.images.push(f"{server.host}/there:2")


def delete(server: RegistryServer, engine: Engine) -> None:
    import urllib.request

    digest = engine.containers.store.images.find("kept:2").manifest.digest
    request = urllib.request.Request(f"{server.url}/v2/there/manifests/{digest}", method="DELETE")
    with suppress(OSError):  # deleted in the round before
        urllib.request.urlopen(request).close()


def on_engine(act: Callable[[Engine, Place], object]) -> Callable[[Place], None]:
    def do(place: Place) -> None:
        with Engine(place.root, environment={}) as engine:
            act(engine, place)

    return do


def build(engine: Engine, place: Place) -> None:
    text = "FROM kept:1\nCOPY file /copied\nENV A=1\nLABEL l=2\nCOPY other /o\n"
    context = str(place.things / "context")
    engine.images.build(BuildOptions(dockerfile=text, context=context, tags=("new:1", "new:2")))


def archive(name: str) -> Callable[[Place], None]:
    return on_engine(lambda engine, place: engine.images.load(place.things / name))


def make_root_image(engine: Engine, place: Place) -> None:
    options = ImportOptions(reference="imported:1", changes=("CMD x",))
    engine.images.import_(place.things / "root.tar", options)


def take_away(*names: str) -> Callable[[Place], None]:
    def act(engine: Engine, _: Place) -> None:
        with suppress(ImageNotFound):  # the round before took it
            engine.images.remove(*names, force=True)

    return on_engine(act)


FIRST = "pull into nothing"
VERBS: dict[str, Callable[[Place], None]] = {
    FIRST: on_engine(lambda engine, place: engine.images.pull(f"{place.host}/kept:1")),
    "pull": on_engine(lambda engine, place: engine.images.pull(f"{place.host}/large")),
    "pull a moved tag": on_engine(lambda engine, place: engine.images.pull(f"{place.host}/moves")),
    "push": on_engine(lambda engine, place: engine.images.push(f"{place.host}/pushed:1")),
    "build": on_engine(build),
    "tag": on_engine(lambda engine, _: engine.images.tag("kept:1", "kept:9")),
    "untag": take_away("kept:1"),
    "rm": take_away("built:1"),
    "image prune": on_engine(lambda engine, _: engine.system.disk.prune_images(all=True)),
    "builder prune": on_engine(lambda engine, _: engine.system.disk.prune_cache()),
    "load docker": archive("large.tar"),
    "load oci": archive("large-oci.tar"),
    "import": on_engine(make_root_image),
    "registry upload": lambda place: serve(place, upload),
    "registry delete": lambda place: serve(place, delete),
}
ON_SHELF = ("registry upload", "registry delete")


# -- the process that is hurt -------------------------------------------------------


def nursery() -> None:
    """Fork a process ready to be told what to do, again and again, until the input ends."""
    import ocimagic.transfer.load
    import ocimagic.transfer.push  # noqa: F401  what is imported now is not imported each time

    while True:
        pid = os.fork()  # noqa: TID251  this process has one thread
        if not pid:
            victim()
        _, status = os.waitpid(pid, 0)
        tell({"ended": os.waitstatus_to_exitcode(status)})
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 3:
            return


def victim() -> None:
    log = Path(os.environ["SOAK_LOG"])
    launcher = Launcher(log)
    with suppress(HostLacks):
        _ = launcher.ids
    tell({"pid": os.getpid()})
    line = read_line()
    if not line:
        os._exit(3)
    asked = json.loads(line)
    place = Place(*(Path(each) for each in asked["place"][:3]), asked["place"][3])
    engine_room.Launcher = lambda *_, **__: launcher
    below = place.shelf if asked["verb"] in ON_SHELF else place.root
    hurt = faults.Faults(str(below), asked["at"], asked["mode"])
    faults.install(hurt)
    error = ""
    try:
        VERBS[asked["verb"]](place)
    except OcimagicError as err:
        error = f"typed {type(err).__name__}: {err}: {err.why}"
    except BaseException as err:  # noqa: BLE001  it is told
        error = f"UNTYPED {type(err).__name__}: {err}"
    tell({"error": error, "seen": hurt.seen})
    os._exit(0)


def tell(message: dict[str, Any]) -> None:
    """Write one line, whole."""
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(1, data) :]


def read_line() -> bytes:
    """Read one line and no byte more: the next one is for another process."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


if __name__ == "__main__":
    nursery()
