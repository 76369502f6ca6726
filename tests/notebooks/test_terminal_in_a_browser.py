"""``-it`` in a real JupyterLab in a real browser: keys, colours, size, leaving, what is saved."""

import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import axe
from desk import Notebook, until, write_notebook

CELLS = (
    "%load_ext ocimagic",
    "%docker run -it --rm --network none --name seen busybox sh",
    "%docker ps --format '{{.Names}} {{.Status}}'",
    "import pathlib, time\nwhile not pathlib.Path('typed').exists(): time.sleep(0.05)",
)


def shows(page, text):
    page.locator(".xterm-rows").filter(has_text=text).first.wait_for()


def saved(notebook, path):
    """Save the notebook; return what it holds of the terminal, by media type."""
    notebook.save()
    outputs = nbformat.read(path, 4).cells[1].outputs
    return outputs[0].data if outputs else {}


@pytest.mark.slow
def test_a_shell_in_a_cell(desk, lab):
    path = write_notebook(desk.room / "terminal.ipynb", CELLS, "python3")
    notebook, page = Notebook.open(lab, path.name), lab
    notebook.run(0)
    notebook.run(1)
    page.wait_for_selector(".xterm-screen")
    shows(page, "/ #")
    page.click(".xterm-screen")
    page.keyboard.type("echo hello-$((40+2)); stty size\n", delay=5)
    shows(page, "hello-42")
    rows = page.locator(".xterm-rows > div").count()
    shows(page, f"{rows} ")

    # The cell is over while the terminal goes on: others run.
    notebook.run(2)
    page.wait_for_function("document.body.textContent.includes('seen Up')")

    # While one runs keys are heard, too.
    notebook.run(3, wait=False)
    page.click(".xterm-screen")
    page.keyboard.type("echo busy-$((1+1))\n", delay=5)
    shows(page, "busy-2")
    prompt = notebook.cell(3).locator(".jp-InputPrompt").first
    assert prompt.inner_text() == "[*]:"
    (desk.room / "typed").touch()
    until(lambda: prompt.inner_text() != "[*]:")

    page.click(".xterm-screen")
    page.keyboard.type("printf '\\033[32mgreen\\033[0m\\n'\n", delay=5)
    green = page.locator(".xterm-rows span.xterm-fg-2").filter(has_text="green")
    green.first.wait_for()
    found = axe.read(page, f'[data-path="{notebook.path}"] .jp-OutputArea-output')
    assert not found["wrong"], "\n".join(found["wrong"])
    assert "aria-input-field-name" in found["passed"] or "label" in found["passed"]

    # What is saved while it goes on is no widget, which would be an error without its kernel.
    until(lambda: set(saved(notebook, path)) == {"text/plain", "text/html"})
    page.click(".xterm-screen")
    whole = page.viewport_size
    page.set_viewport_size({"width": 700, "height": 900})
    until(lambda: page.locator(".xterm-screen").evaluate("node => node.clientWidth") < 700)
    page.keyboard.type("stty size | tr ' ' x; exit 3\n", delay=5)

    # What is left is words, and they are saved.
    page.wait_for_selector(".xterm-screen", state="detached")
    page.set_viewport_size(whole)
    until(lambda: "hello-42" in saved(notebook, path).get("text/html", ""))
    notebook.close()
    assert not [each for each in desk.engine.containers.list(all=True) if each.name == "seen"]
