"""The notebooks of the class: they run, what is stored is true, and it shows without a kernel."""

import base64
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

CLONE = Path(__file__).resolve().parents[2]
TOOL = CLONE / "tools" / "notebooks.py"
NOTEBOOKS = sorted((CLONE / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def run(*words):
    """Run the tool in a process of its own: a kernel's warnings are not ours."""
    return subprocess.run(
        [sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, check=False
    )


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def test_there_are_seven():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("chromium") is not None,
    reason="for accounts that are not root: root runs them in JupyterLab, and compares the same",
)
@each_notebook
def test_it_runs_as_it_is_stored(path):
    done = run("check", path)
    assert done.returncode == 0, done.stdout + done.stderr


@each_notebook
def test_stored_outputs_tell_nothing_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    text += "".join(base64.b64decode(picture).decode() for picture in pictures)
    assert not re.findall(r"127\.0\.0\.1:(?!50000)\d+", text), "a port of one run"
    assert not re.findall(r"ocimagic-(?:class|notebook)-\w+|/work/|/tmp/", text), "a path"
    assert "widget-view" not in text, "a widget without its kernel"
    assert "its summary takes this place" not in text, "a state of work that is over"
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all("execution" not in cell.metadata for cell in notebook.cells)


@each_notebook
def test_it_was_executed_from_top_to_bottom(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    executed = [cell.execution_count for cell in cells if cell.execution_count]
    assert executed == list(range(1, len(executed) + 1))
    assert len(executed) >= len(cells) - 1, "only the cell for the learner's lines is empty"


@each_notebook
def test_it_has_what_a_lesson_needs(path):
    cells = nbformat.read(path, 4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for heading in ("After this notebook you can", "## Set-up", "## Try it yourself", "## Recap"):
        assert heading in text
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert code.count("\nassert ") + code.count("\n    assert ") >= 5


def test_each_leads_to_its_neighbours():
    """The fifth led back to the first, past the sixth."""
    for number, path in enumerate(NOTEBOOKS):
        cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown"]
        [recap] = [cell.source for cell in cells if cell.source.startswith("## Recap")]
        links = re.findall(r"\[(\d) · ([^\]]+)\]\(([\w-]+\.ipynb)\)", recap)
        wanted = [*NOTEBOOKS[max(number - 1, 0) : number], *NOTEBOOKS[number + 1 : number + 2]]
        is_last = path is NOTEBOOKS[-1]
        assert [each for *_, each in links] == [
            each.name for each in [*wanted, *NOTEBOOKS[: 1 if is_last else 0]]
        ]
        for digit, title, name in links:
            there = nbformat.read(path.parent / name, 4).cells[0].source
            assert there.startswith(f"# {digit} · {title}\n")


@each_notebook
def test_solutions_are_folded_and_say_so(path):
    cells = nbformat.read(path, 4).cells
    [at] = [number for number, cell in enumerate(cells) if "<b>Solution</b>" in cell.source]
    found = 0
    for cell in cells[at + 1 :]:
        if cell.cell_type != "code":
            break
        assert cell.metadata.jupyter.source_hidden, cell.source
        assert cell.source.startswith(("# The solution", "%%")), cell.source
        found += 1
    assert found


@each_notebook
def test_no_line_is_cut_at_a_projector(path):
    """1280 pixels at 150 % show some 75 letters of a cell; what a learner types comes first."""
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code" or cell.metadata.get("jupyter", {}).get("source_hidden"):
            continue
        for line in cell.source.splitlines():
            is_command = re.match(r"docker |%|.* = %", line) is not None
            assert len(line) <= (79 if is_command else 90), line


@each_notebook
def test_marks_of_cells_are_explained_before_they_come(path):
    cells = nbformat.read(path, 4).cells
    code = "\n".join(cell.source for cell in cells[4:] if cell.cell_type == "code")
    for mark in set(re.findall(r"^# needs \w+", code, re.MULTILINE)):
        assert f"`{mark}`" in cells[1].source


class _Pictures(HTMLParser):
    """Finds the words of each picture."""

    def __init__(self, page):
        super().__init__()
        self.words = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.words.append(dict(attrs)["alt"])


@pytest.mark.filterwarnings("ignore")
@each_notebook
def test_html_shows_everything_without_a_kernel(path):
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "Error displaying widget" not in page
    assert "No description has been provided" not in page
    pictures = _Pictures(page).words
    assert all(len(words) >= 20 for words in pictures)
    stored = sum(
        output.get("data", {}).get("text/html", "").count("<img") for output in outputs(notebook)
    )
    drawn = sum(
        cell.source.count("<img") for cell in notebook.cells if cell.cell_type == "markdown"
    )
    assert len(pictures) == stored + drawn
    assert len(pictures) == {"01": 2, "02": 1, "03": 11, "04": 8, "05": 1, "06": 0, "07": 0}[path.name[:2]]


def test_the_search_box_is_stored_as_its_static_twin():
    shown = [
        output.data
        for cell in nbformat.read(NOTEBOOKS[1], 4).cells
        if cell.source.startswith("%explore")
        for output in cell.outputs
    ]
    assert [sorted(data) for data in shown] == [["text/html", "text/plain"]]
    assert "<details" in shown[0]["text/html"]


# -- the tool itself -----------------------------------------------------------


@pytest.fixture(scope="module")
def tool():
    import importlib.util
    import warnings

    spec = importlib.util.spec_from_file_location("notebooks_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def stable(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    return tool.Stable(tmp_path / "root", tmp_path / "work")


def test_equal_ids_stay_equal_and_long_ones_begin_as_short_ones(stable):
    one, two = "1f" * 32, "2e" * 32
    first, short, other = stable.text(f"{one} {one[:12]} {two}").split()
    assert first[:12] == short
    assert first not in {one, other}
    assert len(other) == 64


def test_what_compose_does_side_by_side_is_told_in_one_order(stable):
    """Two refreshes of the sixth notebook differed, though nothing else did."""

    def down(*lines):
        said = [f" Container shop-web-{line}" for line in lines]
        return "\n".join([*said, " Container shop-store-1  Stopped", " Network n  Removed", ""])

    wanted = down("1  Stopped", "2  Stopped", "1  Removed", "2  Removed")
    for order in (
        ("1  Stopped", "2  Stopped", "1  Removed", "2  Removed"),
        ("2  Stopped", "2  Removed", "1  Stopped", "1  Removed"),
        ("2  Stopped", "1  Stopped", "2  Removed", "1  Removed"),
    ):
        assert stable.text(down(*order)) == wanted


def test_what_a_run_brings_is_replaced(stable, tmp_path):
    said = stable.text(
        f"{tmp_path}/root/x 127.0.0.1:43121 2026-11-23T19:21:58.788966Z Up 3 seconds "
        "2 minutes ago 12.4s pid 99, pid 100, pid 99 pid:[4026532253] witty_bell"
    )
    assert said.startswith(
        "/var/lib/ocimagic/x 127.0.0.1:50000 2021-03-22T09:00:00.000000Z Up 1 second "
        "1 second ago 0.10s pid 4001, pid 4002, pid 4001 pid:[4026530001] "
    )
    assert "witty_bell" not in said


def test_columns_stay_aligned_and_text_around_them_is_replaced_too(stable):
    quick = "STEP    INSTRUCTION    TIME\n1       FROM a         0.01s\nmade in 0.02s"
    slow = "STEP    INSTRUCTION    TIME\n1       FROM a         12.3s\nmade in 12.5s"
    assert stable.text(quick) == stable.text(slow)
    young = "IMAGE ID      CREATED         SIZE\nabcdef123456  2 seconds ago   1kB"
    old = "IMAGE ID      CREATED                  SIZE\nabcdef123456  Less than a second ago   1kB"
    assert stable.text(young) == stable.text(old)


def test_pictures_are_made_stable_inside(stable):
    def picture(text):
        return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()

    one = stable.text(picture("<svg>127.0.0.1:40001</svg>"))
    assert one == picture("<svg>127.0.0.1:50000</svg>")


def notebook_of(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def code_cell(source, *found, tags=()):
    cell = nbformat.v4.new_code_cell(source, outputs=list(found))
    cell.metadata["tags"] = list(tags)
    return cell


def test_other_kinds_of_output_are_told(tool):
    text = nbformat.v4.new_output("stream", name="stdout", text="hello")
    before, after = notebook_of(code_cell("say()", text)), notebook_of(code_cell("say()"))
    [said] = tool.differences(before, after, set())
    assert said == "cell 1 (say()): stored is text on stdout, now came nothing"


def test_cells_that_need_containers_are_not_compared_where_there_are_none(tool):
    text = nbformat.v4.new_output("stream", name="stdout", text="hello")
    for mark in (tool.NEEDS, *tool.NEEDS_MORE.values()):
        before = notebook_of(code_cell(f"{mark}\nsay()", text))
        after = notebook_of(code_cell(f"{mark}\nsay()"))
        assert tool.differences(before, after, set())
        assert not tool.differences(before, after, {mark})


def test_an_error_is_a_fault_unless_it_is_on_purpose(tool):
    error = nbformat.v4.new_output("error", ename="Oops", evalue="", traceback=["what it says"])
    assert "what it says" in tool.faults(notebook_of(code_cell("x", error)))[0]
    assert not tool.faults(notebook_of(code_cell("x", error, tags=["raises-exception"])))


def test_a_picture_without_words_is_a_fault(tool):
    bare = nbformat.v4.new_markdown_cell('<img src="x" alt=" ">')
    assert "without words" in tool.faults(notebook_of(bare))[0]


@pytest.mark.slow
def test_check_fails_with_words(tmp_path):
    path = tmp_path / "bad.ipynb"
    nbformat.write(notebook_of(nbformat.v4.new_code_cell("1 / 0")), path)
    done = run("check", path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout
