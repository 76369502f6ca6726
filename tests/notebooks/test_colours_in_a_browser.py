"""Cells of other languages than Python: their colours in JupyterLab and Notebook."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Notebook, once, until, write_notebook

pytestmark = [pytest.mark.slow, once]

DOCKERFILE = '%%dockerfile -t web:1\n# a comment\nFROM busybox AS built\nRUN echo "hello"\n'
COMPOSE = "%%compose\nservices:\n  web:\n    image: busybox  # ours\n"
PYTHON = "def from_here(run):\n    return 'FROM busybox'"
# To Python, "import" and "is" are keywords.
LINES = "%load_ext ocimagic\ndocker import is.tar # ours\ndocker run \\\n  -it busybox"
MIXED = "docker = 'import'\nfor each in (1, 2):\n    docker run busybox"
CELLS = (DOCKERFILE, PYTHON, COMPOSE, LINES, MIXED)
# The class of a keyword, a comment and so on differs from version to version: the texts that
# have one at all tell the language.
_TOKENS = """cell => [...cell.querySelectorAll('.cm-line span')]
    .map(each => each.textContent.trim()).filter(each => each)"""


def tokens(notebook, number):
    return notebook.editor(number).evaluate(_TOKENS)


def look(notebook):
    until(lambda: "FROM" in tokens(notebook, 0))
    assert {"FROM", "RUN", "AS", "# a comment", '"hello"'} <= set(tokens(notebook, 0))
    until(lambda: "services" in "".join(tokens(notebook, 2)))
    assert "# ours" in tokens(notebook, 2)
    python = tokens(notebook, 1)
    assert {"def", "return", "'FROM busybox'"} <= set(python)
    assert "FROM" not in python
    until(lambda: "# ours" in tokens(notebook, 3))
    assert not {"import", "is"} & set(tokens(notebook, 3))
    assert {"for", "in", "'import'"} <= set(tokens(notebook, 4))


def test_lab(desk, lab):
    write_notebook(desk.room / "colours.ipynb", CELLS)
    notebook = Notebook.open(lab, "colours.ipynb")
    look(notebook)
    notebook.close()


def test_other_editors_keep_their_own(desk, lab):
    quoted = '"' * 3
    (desk.room / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    (desk.room / "plain.py").write_text(
        f"def f(): return 'FROM x'\n{quoted}\n{DOCKERFILE}\n{quoted}\n"
    )
    for name, wanted, unwanted in (
        ("Dockerfile", {"FROM", "RUN"}, set()),
        ("plain.py", {"def", "return", "'FROM x'"}, {"RUN"}),
    ):
        lab.evaluate(
            """async path => {
                const opened = await window.jupyterapp.commands.execute(
                    "docmanager:open", {path, factory: "Editor"});
                opened.node.dataset.path = path;
                window.editor = opened;
            }""",
            name,
        )
        editor = lab.locator(f'[data-path="{name}"] .cm-content')
        until(lambda: wanted <= set(editor.evaluate(_TOKENS)))  # noqa: B023  called here
        assert not unwanted & set(editor.evaluate(_TOKENS))
        lab.evaluate("window.editor.dispose()")


def test_a_cell_follows_what_is_typed(desk, lab):
    write_notebook(desk.room / "typed.ipynb", ["FROM = RUN = 1"])
    notebook = Notebook.open(lab, "typed.ipynb")
    assert "FROM" not in tokens(notebook, 0)
    notebook.editor(0).click()
    lab.keyboard.press("Control+Home")
    lab.keyboard.type("%%dockerfile\n")
    until(lambda: "FROM" in tokens(notebook, 0))
    lab.keyboard.press("Control+Home")
    lab.keyboard.type("x = 1\n")
    until(lambda: "FROM" not in tokens(notebook, 0))
    notebook.close()


def test_notebook(desk):
    write_notebook(desk.room / "colours-7.ipynb", CELLS)
    with desk.page("/notebooks/colours-7.ipynb") as page:
        look(Notebook.here(page))
