"""Keep the notebooks of the class true: execute them, and store outputs that stay the same.

``refresh`` executes each notebook in a data root of its own and writes it back with outputs in
which everything that differs from run to run (IDs, times, ports, process numbers, paths) is
replaced by something that does not: a second refresh changes no byte.

``check`` executes them too and compares what came with what is stored: the same cells, the
same kinds of output, no error but those that are there on purpose, words for every picture,
and nothing left behind.  It ends with exit code 1 and says why when something differs.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from ocimagic import Engine
from ocimagic.engine import names as container_names
from ocimagic.errors import HostLacks, OcimagicError
from ocimagic.model.network import PREDEFINED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CELL_TIMEOUT_S = 120
AS_RECORDED = "as-recorded"  # tag of cells whose figures are true of one run: kept until cleared
WIDGET = "application/vnd.jupyter.widget-view+json"
NEEDS = "# needs containers"
NEEDS_MORE = {"networks": "# needs networks", "volumes": "# needs volumes"}

Cell = Any  # nbformat's nodes are dictionaries with attributes, and untyped
Notebook = Any

# -- executing -----------------------------------------------------------------


@contextmanager
def classroom() -> Iterator[Path]:
    """Give a fresh data root, on a file system where containers can run if there is one."""
    with ExitStack() as undo:
        first = None
        for place in (None, "/dev/shm", "/run", "/var/tmp"):
            if place and not os.access(place, os.W_OK):
                continue
            root = Path(tempfile.mkdtemp(prefix="ocimagic-class-", dir=place))
            undo.callback(wipe, root)
            first = first or root
            if can_run(root):
                yield root
                return
        assert first is not None
        yield first


def can_run(root: Path) -> bool:
    """Tell whether containers can run in a data root."""
    with Engine(root) as engine:
        info = engine.system.info()
    return info.isolation != "look" and not any("overlayfs" in each for each in info.lacks)


def lacking(root: Path) -> set[str]:
    """Return the marks of the cells that cannot be run in a data root."""
    if not can_run(root):
        return {NEEDS, *NEEDS_MORE.values()}
    with Engine(root) as engine:
        info = engine.system.info()
    found = {NEEDS_MORE["networks"]} if info.networks.why_not else set()
    return found | ({NEEDS_MORE["volumes"]} if info.isolation in ("chroot", "traced") else set())


def wipe(root: Path) -> None:
    """Remove a data root; some of its files may belong to the IDs of a user namespace."""
    with suppress(OcimagicError), Engine(root) as engine:
        for each in engine.containers.list(all=True):
            engine.containers.remove(each.container_id, force=True)
        with suppress(HostLacks):
            engine.containers.unpacker.remove_trees([engine.home.snapshots])
        shutil.rmtree(engine.home.run, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


def left_behind(root: Path) -> list[str]:
    """List images, containers, networks and volumes that a notebook did not tidy up."""
    with Engine(root) as engine:
        names = [f"image {each.name}" for each in engine.images.list()]
        names += [f"container {each.name}" for each in engine.containers.list(all=True)]
        made = (each.name for each in engine.networks.all() if each.name not in PREDEFINED)
        names += [f"network {each}" for each in made]
        names += [f"volume {each.name}" for each in engine.volumes.all()]
    return [f"left behind: {name}" for name in names]


def execute(path: Path, root: Path) -> Notebook:
    """Return an executed copy of a notebook; it works in a directory of its own.

    Raises:
        CellTimeoutError, DeadKernelError: it did not come to its end.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="ocimagic-notebook-") as folder:
        work = Path(folder) / "class"
        work.mkdir()
        own = {
            name: str(Path(folder) / name.lower())
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        }
        own |= {"IPYTHONDIR": f"{folder}/ipython", "OCIMAGIC_ROOT": str(root)}
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_S,
            kernel_name="python3",
            allow_errors=True,
            coalesce_streams=True,
            store_widget_state=False,
            extra_arguments=["--IPKernelApp.log_level=40"],
            resources={"metadata": {"path": str(work)}},
        )
        client.execute(env=os.environ | own)
        Stable(root, work).notebook(notebook)
    return notebook


# -- making outputs stable -----------------------------------------------------


class Stable:
    """Replaces what differs from run to run; equal things stay equal.

    Args:
        root: the data root of the run.
        work: the directory it ran in.
    """

    def __init__(self, root: Path, work: Path) -> None:
        with Engine(root) as engine:
            run = engine.home.run
        self._paths = {
            str(root): "/var/lib/ocimagic",
            str(run): "/run/ocimagic",
            str(work): "/home/learner/class",
            sys.prefix: "/home/learner/venv",
            str(Path.home()): "/home/learner" if str(Path.home()) != "/root" else "/root",
        }
        self._seen: dict[str, dict[str, str]] = {}
        self._rules: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
            *_SAME_FOR_ALL,
            (r"\b[0-9a-f]{64}\b|\b(?=\d*[a-f])[0-9a-f]{12}\b", self._hex),
            (r"(?<=\bpid )\d+", self._pid),
            (r"(?<=\"Pid\": )[1-9]\d*|(?<=<strong>Pid</strong>: )[1-9]\d*", self._pid),
            (r"(?<=:\[)\d{10}(?=\])", self._namespace),
            (r"(?<=\b172\.)(?:1[6-9]|2\d|3[01])(?=\.\d+\.\d+)", self._subnet),
            (rf"\b(?:{'|'.join(_MOODS)})_(?:{'|'.join(_PEOPLE)})\b", self._container),
        ]

    def notebook(self, notebook: Notebook) -> None:
        """Make all outputs and metadata stable, in place."""
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        for cell in notebook.cells:
            for key in ("execution", "ExecuteTime", "collapsed", "scrolled"):
                cell.metadata.pop(key, None)
            seen = self._seen
            if AS_RECORDED in cell.metadata.get("tags", ()):
                self._seen = {}  # its numbers are its own
            for output in cell.get("outputs", ()):
                self._output(output)
            self._seen = seen
            if "outputs" in cell:
                cell.outputs = list(_streams_in_order(cell.outputs))

    def _output(self, output: Cell) -> None:
        if output.output_type == "stream":
            output.text = self.text(output.text)
        elif output.output_type == "error":
            output.evalue = self.text(output.evalue)
            output.traceback = [self.text(line) for line in output.traceback]
        else:
            # Widgets live in a kernel; a stored notebook shows their static twin.
            output.data.pop(WIDGET, None)
            output.metadata = {}
            for kind, value in output.data.items():
                if isinstance(value, str):
                    output.data[kind] = self.text(value)

    def text(self, text: str) -> str:
        """Make one text stable: pictures inside it, then words, then columns."""
        text = _SIDE_BY_SIDE.sub(_in_steps, _PICTURE.sub(self._picture, text))
        parts, end = [], 0
        for table in _TABLE.finditer(text):
            parts += [self._words(text[end : table.start()]), self._columns(table[0])]
            end = table.end()
        return "".join([*parts, self._words(text[end:])])

    def _words(self, text: str) -> str:
        for path, said in sorted(self._paths.items(), key=lambda each: -len(each[0])):
            text = text.replace(path, said)
        for pattern, said_instead in self._rules:
            text = re.sub(pattern, said_instead, text)
        return text

    def _picture(self, found: re.Match[str]) -> str:
        drawn = base64.b64decode(found[2]).decode()
        return found[1] + base64.b64encode(self._words(drawn).encode()).decode()

    def _columns(self, table: str) -> str:
        """Make the cells of a text table stable, then align its columns anew."""
        lines = table.split("\n")
        starts = [found.start() for found in re.finditer(r"(?:(?<=  )|^)\S", lines[0])]
        ends = [*starts[1:], None]
        rows = [
            [self._words(line[start:end].rstrip()) for start, end in zip(starts, ends, strict=True)]
            for line in lines
        ]
        widths = [max(len(cell) for cell in column) + 4 for column in zip(*rows, strict=True)]
        return "\n".join(
            "".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _hex(self, found: re.Match[str]) -> str:
        return self._numbered("hex", found[0][:12], _fake_hex)[: len(found[0])]

    def _pid(self, found: re.Match[str]) -> str:
        return self._numbered("pid", found[0], lambda count: str(4000 + count))

    def _namespace(self, found: re.Match[str]) -> str:
        return self._numbered("namespace", found[0], lambda count: str(4026530000 + count))

    def _subnet(self, found: re.Match[str]) -> str:
        """Number subnets: which are free is this machine's affair."""
        return self._numbered("subnet", found[0], lambda count: str(17 + count))

    def _container(self, found: re.Match[str]) -> str:
        return self._numbered("name", found[0], _fake_name)

    def _numbered(self, kind: str, key: str, make: Callable[[int], str]) -> str:
        """Return the same for the same, by order of appearance."""
        seen = self._seen.setdefault(kind, {})
        if key not in seen:
            seen[key] = make(len(seen) + 1)
        return seen[key]


_MOODS, _PEOPLE = container_names._MOODS, container_names._PEOPLE  # noqa: SLF001
_SHORT = r"(?:Less than a second|\d+ seconds?|About a minute|\d+ minutes?)"
_IS = r"(: |</th><td[^>]*>)"  # between name and value, in text and in HTML
_SAME_FOR_ALL = (
    (r"\b(127\.0\.0\.1|localhost):\d{4,5}\b", r"\1:50000"),
    # The stand-ins carry the day of the class notes; that one stays.
    (r"\b20(?!21-03-21)\d\d-\d\d-\d\d([T ])\d\d:\d\d:\d\d", r"2021-03-22\g<1>09:00:00"),
    (r"(?<=09:00:00)\.\d+", ".000000"),
    (rf"\b{_SHORT}(?= ago)", "1 second"),
    (rf"\bUp {_SHORT}", "Up 1 second"),
    (r"\b\d+ (years|months)(?= ago)", "5 years"),
    (r"\b\d+\.\d{1,2}s\b", "0.10s"),
    (rf"\b(Free|Memory|Stored){_IS}[\d.]+[kMGT]?B", r"\1\g<2>10GB"),
    # Of others on this machine the notebooks tell nothing.
    (rf"(Packet rules|Forwarding){_IS}[^\n<]*", r"\1\g<2>as this machine has them"),
    (rf"\b(CPUs){_IS}\d+", r"\1\g<2>2"),
    (rf"\b(Kernel){_IS}[^\s<]+", r"\1\g<2>6.1.0"),
    (rf"\b(Operating system){_IS}[^\n<]+", r"\1\g<2>Debian GNU/Linux"),
    (r"(?<=programs of one machine )\([^()]*(\([^()]*\))?\)", "(Debian GNU/Linux)"),
    (r"0x[0-9a-f]{8,16}\b", "0x7f0000000000"),
)
_PICTURE = re.compile(r"(data:image/svg\+xml;base64,)([A-Za-z0-9+/=]+)")
# A line of heads in capitals, two blanks between them, and the lines below up to a blank one.
_TABLE = re.compile(
    r"^(?:STEP|REPOSITORY|NAME|CONTAINER ID|IMAGE(?: ID)?|DIGEST)"
    r"(?: {2,}[A-Z][A-Z ]*)+(?:\n[^\n]* {2}[^\n]*)*",
    re.MULTILINE,
)


# Containers of one service, which compose stops and removes side by side.
_SIDE_BY_SIDE = re.compile(
    r"^ Container (\S+-)\d+  \w+\n(?: Container \1\d+  \w+(?:\n|$))+", re.MULTILINE
)


def _in_steps(found: re.Match[str]) -> str:
    """Put the lines of each step together, in the order of the containers' numbers."""
    lines = found[0].splitlines()
    states = list(dict.fromkeys(line.split()[-1] for line in lines))
    ordered = sorted(lines, key=lambda line: (states.index(line.split()[-1]), line))
    return "\n".join(ordered) + ("\n" if found[0].endswith("\n") else "")


def _streams_in_order(outputs: list[Cell]) -> Iterator[Cell]:
    """Put stdout before stderr where they are neighbours: they race, and nothing else does."""
    for is_stream, group in groupby(outputs, lambda output: output.output_type == "stream"):
        found = list(group)
        yield from sorted(found, key=lambda each: each.name, reverse=True) if is_stream else found


def _fake_hex(count: int) -> str:
    return hashlib.sha256(f"ocimagic {count}".encode()).hexdigest()


def _fake_name(count: int) -> str:
    return f"{_MOODS[count % len(_MOODS)]}_{_PEOPLE[count % len(_PEOPLE)]}"


# -- comparing -----------------------------------------------------------------


class Pictures(HTMLParser):
    """Collects the words of every picture, None where there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.words.append(dict(attrs).get("alt"))


def shape(cell: Cell) -> list[str]:
    """Say what kinds of output a cell has."""
    return [_kind(output) for output in cell.get("outputs", ())]


def _kind(output: Cell) -> str:
    match output.output_type:
        case "stream":
            return f"text on {output.name}"
        case "error":
            return f"error {output.ename}"
        case kind:
            return f"{kind} of {', '.join(sorted(set(output.data) - {WIDGET}))}"


def differences(stored: Notebook, executed: Notebook, left_out: set[str]) -> list[str]:
    """Say where the outputs of an executed notebook are of other kinds than those stored.

    Args:
        stored: as it was read.
        executed: as it came out.
        left_out: marks of cells that this machine cannot run; they are not compared.
    """
    found = []
    for number, (before, after) in enumerate(zip(stored.cells, executed.cells, strict=True), 1):
        now, then = shape(after), shape(before)
        if now != then and not any(each in after.source for each in left_out):
            stored_is, now_is = (" + ".join(each) or "nothing" for each in (then, now))
            found.append(f"{_place(number, after)}: stored is {stored_is}, now came {now_is}")
    return found


def faults(notebook: Notebook) -> list[str]:
    """List errors that are not there on purpose, and pictures without words."""
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        found += [f"{_place(number, cell)}: {fault}" for fault in _errors(cell)]
        found += [f"{_place(number, cell)}: a picture without words" for _ in _wordless(cell)]
    return found


def _errors(cell: Cell) -> Iterator[str]:
    allowed = "raises-exception" in cell.metadata.get("tags", ())
    for output in cell.get("outputs", ()):
        if output.output_type == "error" and not allowed:
            yield "\n    ".join(["an error", *_plain(output.traceback)])


def _plain(lines: list[str]) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(lines)).splitlines()


def _wordless(cell: Cell) -> list[str | None]:
    pictures = Pictures()
    if cell.cell_type == "markdown":
        pictures.feed(cell.source)
    for output in cell.get("outputs", ()):
        pictures.feed(output.get("data", {}).get("text/html", ""))
    return [words for words in pictures.words if not (words and words.strip())]


def _place(number: int, cell: Cell) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip()]
    lines = [line for line in lines if line not in (NEEDS, *NEEDS_MORE.values())]
    return f"cell {number} ({lines[0][:50] if lines else 'empty'})"


# -- the two verbs -------------------------------------------------------------


def refresh(path: Path) -> list[str]:
    """Execute a notebook and write it back with stable outputs, unless something is wrong."""
    with classroom() as root:
        if missing := lacking(root):
            return [f"outputs would be incomplete here: {', '.join(sorted(missing))}"]
        executed = execute(path, root)
        found = faults(executed) + left_behind(root)
    if not found:
        keep_recorded(nbformat.read(path, as_version=4), executed)
        text = nbformat.writes(executed, version=4)
        path.write_text(f"{text.rstrip()}\n", encoding="utf-8")
    return found


def keep_recorded(stored: Notebook, executed: Notebook) -> None:
    """Leave outputs as they are whose figures are those of the run that they tell of.

    A cell that is tagged so is recorded anew when its stored output is cleared.
    """
    for before, after in zip(stored.cells, executed.cells, strict=True):
        is_kept = AS_RECORDED in after.metadata.get("tags", ()) and before.get("outputs")
        if is_kept and shape(before) == shape(after):
            after.outputs = before.outputs


def check(path: Path) -> list[str]:
    """Execute a notebook and say where it differs from what is stored."""
    with classroom() as root:
        stored = nbformat.read(path, as_version=4)
        executed = execute(path, root)
        found = differences(stored, executed, lacking(root))
        return found + faults(executed) + left_behind(root)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("verb", choices=("refresh", "check"))
    parser.add_argument(
        "notebooks", nargs="*", type=Path, help="all of notebooks/ if none is named"
    )
    given = parser.parse_args(arguments)
    verb = refresh if given.verb == "refresh" else check
    bad = 0
    for path in given.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        try:
            found = verb(path)
        except (CellTimeoutError, DeadKernelError) as err:
            found = [str(err)]
        print(f"{path.name}: {'as it should be' if not found else 'not as it should be'}")
        for fault in found:
            print(f"  {fault}")
        bad += bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
