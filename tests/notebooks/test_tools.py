"""Notebooks without a browser: what runs them, and that a failing cell fails each of these."""

import importlib.metadata
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import CLONE, once, write_notebook

import ocimagic

pytestmark = [pytest.mark.slow, once]

SHARE = CLONE / "share"
GOOD = ("%image_ls", "found = %image_ls\nassert found.names == []")
# Three ways to fail: what is not there, what cannot be understood, what a build meets.
BAD = {
    "nothing": ("%image_inspect nothing:1", "no such image: nothing:1"),
    "option": ("%image_ls --nonsense", "has no option --nonsense"),
    "build": ("%%dockerfile --check -\nFORM scratch", "unknown instruction: FORM"),
}
# Each starts a kernel for each notebook: all kinds of failure are told by one, as an example.
RUNS = {
    ("nbmake", "all"): "-m pytest -v -p no:cacheprovider --nbmake --nbmake-timeout=60 "
    "good.ipynb nothing.ipynb option.ipynb build.ipynb",
    **{
        ("nbconvert", name): f"-m nbconvert --to notebook --execute {name}.ipynb "
        f"--output {name}-nbconvert.ipynb"
        for name in ("good", "nothing")
    },
    **{
        ("papermill", name): f"-m papermill --no-progress-bar {name}.ipynb {name}-papermill.ipynb"
        for name in ("good", "build")
    },
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def run(room):
    """Run Python words in the room, with an empty home and an empty store."""
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
              "OCIMAGIC_ROOT", "HOME")  # fmt: skip
    own = {place: str(room / place.lower()) for place in places}
    for place in own.values():
        Path(place).mkdir()
    environment = os.environ | own | {"JUPYTER_PATH": str(SHARE / "jupyter")}

    def run(words, **more):
        return subprocess.run(
            [sys.executable, *words], env=environment, cwd=room, capture_output=True, text=True,
            check=False, timeout=120, **more,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def done(run, room):
    """What each tool makes of its notebooks."""
    write_notebook(room / "good.ipynb", GOOD)
    for name, (cell, _) in BAD.items():
        write_notebook(room / f"{name}.ipynb", [cell])
    with ThreadPoolExecutor(2) as pool:
        jobs = {key: pool.submit(run, line.split()) for key, line in RUNS.items()}
        return {key: job.result() for key, job in jobs.items()}


@pytest.mark.parametrize("tool", ["nbconvert", "papermill"])
def test_a_good_notebook_passes(done, room, tool):
    said = done[tool, "good"]
    assert said.returncode == 0, said.stderr[-2000:]
    [output] = nbformat.read(room / f"good-{tool}.ipynb", 4).cells[0].outputs
    assert {"text/plain", "text/html"} <= set(output.data)


@pytest.mark.parametrize(("tool", "name"), [("nbconvert", "nothing"), ("papermill", "build")])
def test_a_failing_cell_fails_the_notebook(done, tool, name):
    said = done[tool, name]
    assert said.returncode != 0
    assert BAD[name][1] in said.stdout + said.stderr


def test_nbmake_passes_the_good_one_only(done):
    said = done["nbmake", "all"].stdout
    assert "good.ipynb::good.ipynb PASSED" in said
    assert "3 failed, 1 passed" in said
    for name, (_, message) in BAD.items():
        assert f"{name}.ipynb::{name}.ipynb FAILED" in said
        assert message in said


def test_a_console_greets_and_answers(run):
    pytest.importorskip("jupyter_console", reason="jupyter-console is not installed")
    words = ["-m", "jupyter_console", "--kernel", "ocimagic", "--simple-prompt"]
    said = run(words, input="%image_ls\nexit\n")
    assert f"ocimagic {ocimagic.__version__}" in said.stdout
    assert "REPOSITORY" in said.stdout, said.stderr[-2000:]


def test_ipython_in_a_terminal_shows_text(run):
    said = run(["-m", "IPython", "--no-banner", "--ext", "ocimagic", "-c", "%image_ls"])
    assert "REPOSITORY" in said.stdout
    assert "<table" not in said.stdout


# -- what is shipped -----------------------------------------------------------


def test_the_extension_is_of_this_version():
    package = json.loads((SHARE / "jupyter/labextensions/ocimagic/package.json").read_text())
    assert package["version"] == ocimagic.__version__


def test_every_shared_file_is_named_for_the_wheel():
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read(CLONE / "setup.cfg", encoding="utf-8")
    named = {
        name: folder for folder, names in parser["options.data_files"].items()
        for name in names.split()
    }  # fmt: skip
    there = {str(path.relative_to(CLONE)) for path in SHARE.rglob("*") if path.is_file()}
    assert set(named) == there
    assert all(str(Path(name).parent) == folder for name, folder in named.items())


def test_an_editable_installation_has_them_too():
    """setuptools leaves data files out of these unless setup.py says otherwise."""
    # Beside the installed one there is what setuptools left in the clone.
    found = importlib.metadata.distributions(name="ocimagic")
    told = [json.loads(each.read_text("direct_url.json") or "{}") for each in found]
    if CLONE.as_uri() not in [each.get("url") for each in told]:
        pytest.skip("make did not make this environment from this clone")
    for path in SHARE.rglob("*"):
        copy = Path(sys.prefix) / path.relative_to(CLONE)
        assert path.is_dir() or copy.read_bytes() == path.read_bytes()
