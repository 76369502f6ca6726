"""The class's job from beginning to end, for real and without a network: ``make demo``.

Everything it writes is in ``build/demo`` of the clone, in the data root, and in the run
directory of this account.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocimagic import Engine
from ocimagic.engine.classroom import ClassRegistry
from ocimagic.errors import HostLacks, OcimagicError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbformat import NotebookNode

CLONE = Path(__file__).resolve().parent.parent
OUT = CLONE / "build" / "demo"
CELL_TIMEOUT_S = 300
WRITER = "demo-writer"

DOCKERFILE = """\
# A line that begins with # is a comment.
FROM ocimagic/base:latest
LABEL maintainer=learner@example.com
LABEL version=1.0
LABEL maintainer=learner@example.com version=1.0
COPY hello.sh /usr/local/bin/hello
RUN chmod 755 /usr/local/bin/hello && hello > /greeting
CMD ["hello"]
"""
HELLO = """\
#!/bin/sh
echo "Hello from process $$ in container $(hostname)"
"""


class Place(NamedTuple):
    """A data root and what can be done in it."""

    root: Path
    isolation: str
    lacks: tuple[str, ...]

    @property
    def has_overlay(self) -> bool:
        return not any("overlayfs cannot write" in each for each in self.lacks)

    @property
    def can_run(self) -> bool:
        return self.isolation != "look" and self.has_overlay

    @property
    def is_isolated(self) -> bool:
        """Say whether containers have more of their own than files."""
        return self.isolation not in ("chroot", "traced")


class Demo:
    """Says what it does, does it, and remembers what did not work."""

    def __init__(self, place: Place) -> None:
        self.root = place.root
        self.can_run = place.can_run
        self.is_isolated = place.is_isolated
        self.network = "--network none " if place.is_isolated else ""
        self.failed: list[str] = []
        self._part = 0
        self._work = OUT / "work"
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        self.engine = Engine(place.root)

    def heading(self, text: str) -> None:
        self._part += 1
        print(f"\n{'-' * 78}\n{self._part}. {text}\n{'-' * 78}", flush=True)

    def say(self, text: str) -> None:
        print(f"\n{textwrap.fill(' '.join(text.split()), 78)}", flush=True)

    def expect(self, what: str, is_so: bool) -> None:
        """Tell whether something that must be so is so."""
        print(f"  {'[ok]' if is_so else '[NOT SO]'} {what}", flush=True)
        if not is_so:
            self.failed.append(what)

    def command(self, line: str, *, exit_code: int = 0) -> str:
        """Type a command, show what it prints, and return its standard output."""
        print(f"\n  $ ocimagic {line}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "ocimagic", *shlex.split(line)],
            cwd=self._work,
            env=os.environ | {"OCIMAGIC_ROOT": str(self.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        # A build tells its steps on standard error, as docker's does.
        if shown := textwrap.indent(done.stderr + done.stdout, "    ").rstrip():
            print(shown, flush=True)
        if done.returncode or exit_code:
            print(f"    (exit code {done.returncode})")
        if done.returncode != exit_code:
            self.failed.append(f"{line}: exit code {done.returncode}, not {exit_code}")
        return done.stdout

    def write(self, name: str, text: str) -> None:
        """Write a file of the build context and show it."""
        (self._work / name).write_text(text, encoding="utf-8")
        print(f"\n  {name}:\n{textwrap.indent(text, '    | ')}".rstrip(), flush=True)

    # -- the parts, in the order of the class notes ----------------------------

    def base(self) -> None:
        self.heading("A base image, made from this machine")
        self.say(
            """There is no registry here, so the base image is made from programs this machine
            has: its shell, its core utilities, and the libraries they need. Nothing of the
            machine is changed."""
        )
        made = self.engine.images.assemble("ocimagic/base")
        print(f"\n  engine.images.assemble('ocimagic/base')  ->  image {made.image_id.short}")
        print(f"    {made.config.config.labels['org.opencontainers.image.description']}")
        again = self.engine.images.assemble("ocimagic/base")
        self.expect("made a second time it has the same image ID", again.image_id == made.image_id)
        self.command("image tag ocimagic/base:latest demo/base:v1")
        self.command("image ls")
        self.say("Two names, one image ID: a tag is a name for an image, not a copy of it.")

    def registry(self) -> None:
        self.heading("Pulling from a registry")
        self.say(
            """A small registry starts on this machine. It serves stand-ins with the names of
            the class notes (ubuntu, alpine, redis, tomcat, httpd); they are not the real ones
            and say so."""
        )
        with ClassRegistry() as registry:
            self.command(f"image pull {registry.host}/ubuntu:latest")
            self.command(f"image pull {registry.host}/tomcat:8")
            self.command(f"image pull {registry.host}/alpine")
            self.command(f"image tag {registry.host}/ubuntu:latest demo/ubuntu:latest")
        self.say("Without a tag, latest was meant. The ubuntu of the class notes has 3 layers:")
        self.command("image layers demo/ubuntu:latest")
        layers = len(self.engine.images.inspect("demo/ubuntu:latest").layers)
        self.expect("demo/ubuntu:latest has 3 layers", layers == 3)
        self.write(
            "Dockerfile.layerdemo", self._runnable("FROM demo/ubuntu:latest\nRUN apt update\n")
        )
        self.command("build -t demo/layerdemo -f Dockerfile.layerdemo .")
        self.command("image layers demo/ubuntu:latest demo/layerdemo")
        if self.can_run:
            grown = len(self.engine.images.inspect("demo/layerdemo").layers)
            self.expect("RUN made one layer more, the others are shared", grown == layers + 1)

    def build(self) -> None:
        self.heading("Building an image from a Dockerfile")
        self.write("hello.sh", HELLO)
        self.write("Dockerfile", self._runnable(DOCKERFILE))
        self.command("build --no-cache -t demo/hello:1 .")
        self.command("image ls")

    def look(self) -> None:
        self.heading("Looking into the image")
        self.command("image inspect --format '{{json .Config.Labels}}' demo/hello:1")
        self.command("image inspect --format '{{json .RootFS.Layers}}' demo/hello:1")
        self.command("image history demo/hello:1")
        details = self.engine.images.inspect("demo/hello:1")
        labels = details.config.config.labels
        wanted = {"maintainer": "learner@example.com", "version": "1.0"}
        self.expect("the labels are there", wanted.items() <= labels.items())
        self.expect(
            f"it remembers its base: {details.base_name}",
            details.base_name == "docker.io/ocimagic/base:latest",
        )

    def layers(self) -> None:
        self.heading("Layers: what the two images share")
        self.command("image layers ocimagic/base demo/hello:1")
        base = self.engine.images.inspect("ocimagic/base").layers
        built = self.engine.images.inspect("demo/hello:1").layers
        shared = [layer for layer in built if layer.from_base]
        self.expect(
            "the base's layers are the first layers of the new image, stored once",
            [layer.diff_id for layer in shared] == [layer.diff_id for layer in base],
        )
        if self.can_run:
            self.expect(
                "COPY and RUN made one layer each; FROM, LABEL and CMD made none",
                len(built) == len(base) + 2,
            )

    def run(self) -> None:
        self.heading("Running a container")
        out = self.command(f"run --rm {self.network}demo/hello:1")
        number = "1 " if self.is_isolated else ""
        self.expect(f"the container said hello as process {number}", f"process {number}" in out)
        self.command(f"run --rm {self.network}demo/hello:1 cat /greeting")
        self.say("The exit code of the command is the exit code of run:")
        self.command(f"run --rm {self.network}demo/hello:1 sh -c 'exit 7'", exit_code=7)
        self.command(f"run --rm {self.network}demo/hello:1 no-such-command", exit_code=127)

    def read_only(self) -> None:
        self.heading("The layers below are read-only")
        self.say(
            """A container writes into one file of the base image, deletes another, and adds a
            third. Where do these changes go?"""
        )
        before = {each: fingerprint(each) for each in self._layer_directories("demo/hello:1")}
        self.command(
            f"run --name {WRITER} --network none demo/hello:1 "
            "sh -c 'echo changed > /etc/os-release; rm /etc/group; echo new > /note; ls /etc'"
        )
        details = self.engine.containers.inspect(WRITER)
        print(f"\n  The container's own directory, {details.upper_dir}:")
        changes = sorted(changes_in(Path(details.upper_dir)))
        for path, what in changes:
            print(f"    {what:<8} /{path}")
        self.expect(
            "it holds the three changes",
            {("etc/os-release", "written"), ("etc/group", "deleted"), ("note", "written")}
            <= set(changes),
        )
        print(f"\n  The {len(before)} layer directories below it:")
        for directory, was in before.items():
            self.expect(f"{directory} is as it was: {was[:12]}", fingerprint(directory) == was)
        self.say("The next container of the same image sees the original files:")
        out = self.command(
            "run --rm --network none demo/hello:1 "
            "sh -c 'head -n 1 /etc/os-release; ls /etc/group; ls /note 2>&1 || true'"
        )
        self.expect("nothing of the changes is in the image", "home-made" in out)
        self.command(f"rm {WRITER}")
        self.say("With the container its changes are gone. The image was never touched.")

    def cache(self) -> None:
        self.heading("Building again: nothing to do")
        first = self.engine.images.inspect("demo/hello:1").image_id
        out = self.command("build -t demo/hello:1 .")
        last = self.engine.images.inspect("demo/hello:1").image_id
        steps = sum(not line.startswith("#") for line in DOCKERFILE.splitlines())
        self.expect("all steps came from the cache", f"{steps} of {steps} steps" in out)
        self.expect("the image is the same one", last == first)

    # -- the class -------------------------------------------------------------

    def notebooks(self) -> None:
        self.heading("The class itself: the notebooks, executed")
        found = sorted((CLONE / "notebooks").glob("*.ipynb"))
        if not found:
            self.say("There are no notebooks in notebooks/ yet.")
            return
        execute_notebooks(self, found)

    def _layer_directories(self, image: str) -> list[Path]:
        """Return the directories of an image's unpacked layers, top first."""
        name = self.engine.containers.run(image, ["true"], network="none", name="demo-layers").name
        lowers = self.engine.containers.inspect(name).lower_dirs
        self.engine.containers.remove(name)
        return [Path(each) for each in lowers]

    def _runnable(self, dockerfile: str) -> str:
        """Leave RUN out where nothing can run."""
        if self.can_run:
            return dockerfile
        lines = dockerfile.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("RUN"))


def fingerprint(directory: Path) -> str:
    """Name everything below a directory: names, modes, times and contents."""
    hasher = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        told = path.lstat()
        hasher.update(f"{path} {told.st_mode} {told.st_size} {told.st_mtime_ns}\n".encode())
        if stat.S_ISREG(told.st_mode):
            hasher.update(path.read_bytes())
    return hasher.hexdigest()


def changes_in(upper: Path) -> Iterable[tuple[str, str]]:
    """List what a container changed; overlayfs notes a deletion as a device 0:0."""
    for path in upper.rglob("*"):
        told = path.lstat()
        if stat.S_ISCHR(told.st_mode) and told.st_rdev == 0:
            yield str(path.relative_to(upper)), "deleted"
        elif stat.S_ISREG(told.st_mode):
            yield str(path.relative_to(upper)), "written"


# -- notebooks -----------------------------------------------------------------


def execute_notebooks(demo: Demo, found: list[Path]) -> None:
    """Execute copies of the notebooks in one fresh data root and write what came of them."""
    import nbformat

    folder = OUT / "class"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CLONE / "notebooks", folder, ignore=shutil.ignore_patterns(".ipynb_*"))
    root = class_root(demo.root)
    wipe(root)
    os.environ |= private_jupyter() | {"OCIMAGIC_ROOT": str(root)}
    for path in found:
        notebook = nbformat.read(path, as_version=4)
        failure = execute(notebook, folder, allow_errors=not demo.can_run)
        nbformat.write(notebook, OUT / path.name)
        (OUT / path.name).with_suffix(".html").write_text(as_html(notebook), encoding="utf-8")
        if demo.can_run:
            demo.expect(f"notebooks/{path.name} runs from top to bottom", not failure)
        else:
            print(f"  notebooks/{path.name}: {refusals(notebook)} cells say that they cannot run")
        if failure:
            print(textwrap.indent(failure, "    "))
    print(f"\n  What came of them: {OUT.relative_to(CLONE)}/*.ipynb and *.html")
    wipe(root)


def private_jupyter() -> dict[str, str]:
    """Keep Jupyter's own files out of the home directory."""
    own = OUT / "jupyter"
    own.mkdir(exist_ok=True)
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return {name: str(own / name.lower()) for name in names}


def execute(notebook: NotebookNode, folder: Path, *, allow_errors: bool) -> str:
    """Execute a notebook in place and return what stopped it, "" if nothing did."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        allow_errors=allow_errors,
        store_widget_state=False,  # the page then shows the static twin and asks no network
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: this is a narrative
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as err:
        return str(err)
    return ""


def refusals(notebook: NotebookNode) -> int:
    """Count the cells that ended with an error."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return sum(any(each.output_type == "error" for each in cell) for cell in outputs)


def as_html(notebook: NotebookNode) -> str:
    """Return a page that shows the notebook with its outputs."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_notebook_node(notebook)
    return str(page)


# -- where ---------------------------------------------------------------------


def find_place() -> Place:
    """Choose a data root where containers can run, or else the usual one to look only."""
    said = os.environ.get("OCIMAGIC_ROOT")
    roots = [Path(said).absolute()] if said else default_roots()
    first: Place | None = None
    for root in roots:
        try:
            if not said:
                clear(root)
            place = probe(root)
        except (OSError, OcimagicError) as err:
            print(f"{root} cannot be used: {err}")
            continue
        if place.has_overlay:
            return place
        first = first or place
        if not said:
            clear(root)
    if first is None:
        raise SystemExit("no directory can be written; set OCIMAGIC_ROOT to one")
    return first


def default_roots() -> list[Path]:
    """List places for images, the best first: overlayfs cannot write on every file system."""
    mine = f"ocimagic-demo-{os.getuid()}" if hasattr(os, "getuid") else "ocimagic-demo"
    others = [os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/run", "/var/tmp"]
    usable = [Path(each) for each in others if each and os.access(each, os.W_OK)]
    return [OUT / "store", *(each / mine for each in usable)]


def probe(root: Path) -> Place:
    """Make a data root and ask the engine what it can do there."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and root.stat().st_uid != os.getuid():
        raise PermissionError(1, "it belongs to somebody else")
    with Engine(root) as engine:
        info = engine.system.info()
    return Place(root, info.isolation, info.lacks)


def class_root(root: Path) -> Path:
    """Return where the notebooks keep their images: what was shown before is not theirs."""
    return root / "demo-class"


def clear(root: Path) -> None:
    """Remove what an earlier demo left."""
    wipe(class_root(root))
    wipe(root)


def wipe(root: Path) -> None:
    """Remove a data root; some of its files may belong to the ids of a user namespace."""
    if not root.exists():
        return
    with suppress(OcimagicError), Engine(root) as engine:
        for each in engine.containers.list(all=True):
            engine.containers.remove(each.container_id, force=True)
        with suppress(HostLacks):
            engine.containers.unpacker.remove_trees([engine.home.snapshots])
        with suppress(OSError):
            engine.home.run.rmdir()
    shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--wipe", action="store_true", help="remove what earlier demos left")
    if options.parse_args().wipe:
        for root in default_roots():
            clear(root)
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    place = find_place()
    demo = Demo(place)
    print(f"ocimagic: the class's job, for real. Images and containers are kept in\n{place.root}")
    elsewhere = place.root.parent != OUT and "OCIMAGIC_ROOT" not in os.environ
    if elsewhere:
        print("until the end, since overlayfs cannot write in the clone's build directory.")
    for lack in place.lacks:
        print(f"This machine lacks: {lack}")
    if not place.can_run:
        print("So nothing can run here; everything else is shown.")
    parts = [demo.base, demo.registry, demo.build, demo.look, demo.layers]
    if place.can_run:
        # Where each container is a copy, there is no directory that holds its changes only.
        parts += [demo.run, *([demo.read_only] if place.is_isolated else []), demo.cache]
    try:
        for part in [*parts, demo.notebooks]:
            part()
    except OcimagicError as err:
        demo.failed.append(str(err))
    finally:
        demo.engine.close()
        if elsewhere:
            clear(place.root)
    return verdict(demo)


def verdict(demo: Demo) -> int:
    print(f"\n{'=' * 78}")
    for failure in demo.failed:
        print(f"This did not work: {failure}")
    if not demo.failed:
        print("Everything that was promised here was seen to happen.")
    print("Now do it yourself: make lab opens JupyterLab on the notebooks.")
    return 1 if demo.failed else 0


if __name__ == "__main__":
    sys.exit(main())
