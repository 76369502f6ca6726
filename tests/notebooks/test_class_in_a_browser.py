"""The notebooks of the class as a learner sees them: run, saved, and opened by somebody else."""

import contextlib
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Notebook
from test_notebooks import NOTEBOOKS, tool  # noqa: F401  a fixture

pytestmark = [
    pytest.mark.slow,
    # The other account runs them by nbclient, in test_notebooks.
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

# What each cell shows: words, and of pictures their words and whether they can be drawn.
_SHOWN = """panel => [...panel.querySelectorAll('.jp-CodeCell')].map(cell =>
    [...cell.querySelectorAll('.jp-OutputArea-output')].map(output => ({
        // Not its innerText, which is another one while the tab is not shown.
        text: output.textContent.replace(/\\s+/g, ''),
        pictures: [...output.querySelectorAll('img')].map(each => each.alt.trim()),
        broken: [...output.querySelectorAll('img')].filter(
            each => !each.complete || !each.naturalWidth).length,
        widget: output.querySelector('.jupyter-widgets') !== null,
    })))"""


def prepare(desk, path, name):
    """Give a notebook a directory and a data root of its own; return its path below the room."""
    room = desk.room / name
    room.mkdir()
    (room / "root.txt").write_text(str(desk.room.parent / f"root-{name}"))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, room / path.name)
    return f"{name}/{path.name}"


def stranger(desk, path):
    """Copy an executed notebook as one that somebody else wrote: no signature of ours fits."""
    notebook = nbformat.read(desk.room / path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source += "\n"
            cell.metadata.pop("trusted", None)
    nbformat.write(notebook, desk.room / f"{path}.stranger.ipynb")
    return f"{path}.stranger.ipynb"


def shown(notebook):
    notebook.page.wait_for_function(
        "panel => [...panel.querySelectorAll('.jp-OutputArea-output img')].every(e => e.complete)",
        arg=notebook.panel.element_handle(),
    )
    return notebook.panel.evaluate(_SHOWN)


def as_it_should_be(desk, tool, stored, notebook):  # noqa: F811
    """Compare what has been saved with what the class has, and tell what is wrong."""
    root = Path((desk.room / notebook.path).parent.joinpath("root.txt").read_text())
    executed = nbformat.read(desk.room / notebook.path, as_version=4)
    found = tool.differences(nbformat.read(stored, as_version=4), executed, tool.lacking(root))
    return found + tool.faults(executed) + tool.left_behind(root)


def same_to_a_stranger(before, after):
    """Tell what a stranger sees that is not what was there."""
    found = []
    for number, (then, now) in enumerate(zip(before, after, strict=True), 1):
        for was, is_ in zip(then, now, strict=True):
            # A widget's place is taken by its static twin.
            if not was["widget"] and was["text"] != is_["text"]:
                found.append(f"cell {number}: {was['text'][:300]!r} became {is_['text'][:300]!r}")
            if not was["widget"] and was["pictures"] != is_["pictures"]:
                found.append(f"cell {number}: other pictures")
            if is_["broken"] or not all(is_["pictures"]):
                found.append(f"cell {number}: a picture that does not show, or without words")
    return found


def run_and_reopen(desk, tool, notebooks, reopen):  # noqa: F811
    """Run notebooks, save them, and look at each as a stranger does.

    One after the other: engines over several data roots may choose the same subnet at once.
    """
    live = {}
    for stored, notebook in notebooks.items():
        notebook.run_all()
        notebook.wait()
        notebook.save()
        found = as_it_should_be(desk, tool, stored, notebook)
        assert not found, "\n".join(found)
        live[stored] = shown(notebook)
        notebook.close()
    for stored, notebook in notebooks.items():
        with reopen(stranger(desk, notebook.path)) as again:
            found = same_to_a_stranger(live[stored], shown(again))
        assert not found, "\n".join(found)


@pytest.fixture
def wiping(desk, tool):  # noqa: F811
    """Take data roots away again."""
    yield
    for each in desk.room.glob("*/root.txt"):
        if (root := Path(each.read_text())).exists():
            tool.wipe(root)
        shutil.rmtree(each.parent)


def test_lab(desk, lab, tool, wiping):  # noqa: F811
    @contextlib.contextmanager
    def reopen(path):
        again = Notebook.open(lab, path)
        yield again
        again.close()

    paths = {stored: prepare(desk, stored, stored.stem) for stored in NOTEBOOKS}
    notebooks = {stored: Notebook.open(lab, path) for stored, path in paths.items()}
    run_and_reopen(desk, tool, notebooks, reopen)


def test_notebook(desk, tool, wiping):  # noqa: F811
    """Two are enough: it shows outputs by the same code."""

    @contextlib.contextmanager
    def reopen(path):
        with desk.page(f"/notebooks/{path}") as page:
            yield Notebook.here(page)

    with contextlib.ExitStack() as open_pages:
        notebooks = {}
        for stored in (NOTEBOOKS[1], NOTEBOOKS[3]):
            path = prepare(desk, stored, f"notebook-{stored.stem}")
            notebooks[stored] = Notebook.here(
                open_pages.enter_context(desk.page(f"/notebooks/{path}"))
            )
        run_and_reopen(desk, tool, notebooks, reopen)
