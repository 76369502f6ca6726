"""What ``%load_ext ocimagic`` may load."""

import ast
import io
import subprocess
import sys
import tarfile

import pytest

from ocimagic import Engine
from ocimagic.cli.grammar import docker_words
from ocimagic.magics import names
from ocimagic.model.request import ImportOptions

HEAVY = {
    "asyncio.base_events",
    "graphviz",
    "http.client",
    "ipykernel",
    "ipywidgets",
    "isal",
    "nbclient",
    "nbformat",
    "numpy",
    "pandas",
    "sqlite3",
    "ssl",
    "tabulate",
    "click",
    "urllib3",
    "zstandard",
    "yaml",
    "ocimagic.cli",
    "ocimagic.compose",
    "ocimagic.dockerfile",
    "ocimagic.model",
    "ocimagic.render",
    "ocimagic.engine",
    "ocimagic.store",
    "ocimagic.registry",
    "ocimagic.shim",
    "ocimagic.runtime",
    "ocimagic.build",
    "ocimagic.widgets",
}

SCRIPT = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
before = set(sys.modules)
shell.run_line_magic("load_ext", "ocimagic")
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def test_the_extension_loads_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "OCIMAGIC_ROOT": str(tmp_path / "root"), "PATH": "/usr/bin"},
    )

    greeting, *loaded = done.stdout.splitlines()
    assert greeting.startswith("ocimagic ")
    assert "ocimagic.magics.registration" in loaded
    assert sorted(name for name in loaded if name in HEAVY) == []
    assert not (tmp_path / "root").exists()


SAME_CELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
watched = list(sys.meta_path)
shell.run_line_magic("load_ext", "ocimagic")
assert "ocimagic.model" not in sys.modules
from ocimagic import Engine
from ocimagic.model.result import ImageSummary
print(hasattr(ImageSummary, "to_dict"), hasattr(ImageSummary, "history"))
print(ImageSummary in shell.display_formatter.mimebundle_formatter)
print(sys.meta_path == watched)
shell.run_line_magic("unload_ext", "ocimagic")
print(hasattr(ImageSummary, "to_dict"), hasattr(ImageSummary, "history"))
"""
UNUSED = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
watched = list(sys.meta_path)
shell.run_line_magic("load_ext", "ocimagic")
shell.run_line_magic("unload_ext", "ocimagic")
print(sys.meta_path == watched)
"""


def _said(script, tmp_path):
    env = {"HOME": str(tmp_path), "OCIMAGIC_ROOT": str(tmp_path / "root"), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env
    )
    return done.stdout.splitlines()[1:]


def test_values_of_an_engine_that_no_magic_has_made_have_pictures_and_methods(tmp_path):
    assert _said(SAME_CELL, tmp_path) == ["True True", "True", "True", "False False"]


def test_an_extension_that_was_never_used_leaves_no_trace(tmp_path):
    assert _said(UNUSED, tmp_path) == ["True"]


def test_the_names_of_magics_are_those_of_the_grammar():
    assert docker_words() == names.OF_GRAMMAR


# What a picture of layers does not need, by what would want it: servers and clients, other tables
# and pictures, a Dockerfile's language and who builds it, other commands, live views.
NOT_FOR_A_PICTURE = {
    "anywidget",
    "asyncio.base_events",
    "decimal",
    "graphviz",
    "http.client",
    "http.server",
    "ipywidgets",
    "isal",
    "jsonschema",
    "numpy",
    "pandas",
    "psygnal",
    "ssl",
    "tomllib",
    "urllib3",
    "yaml",
    "zstandard",
    "ocimagic.api",
    "ocimagic.build.solve",
    "ocimagic.cli.compose",
    "ocimagic.cli.container",
    "ocimagic.cli.explain",
    "ocimagic.cli.image_build",
    "ocimagic.cli.inspecting",
    "ocimagic.cli.run_options",
    "ocimagic.cli.system",
    "ocimagic.client",
    "ocimagic.compose",
    "ocimagic.dockerfile.instructions",
    "ocimagic.dockerfile.parse",
    "ocimagic.engine.commit",
    "ocimagic.registry.client",
    "ocimagic.registry.server",
    "ocimagic.render.distribution",
    "ocimagic.render.explain",
    "ocimagic.render.insides",
    "ocimagic.render.report",
    "ocimagic.runtime",
    "ocimagic.shim.launcher",
    "ocimagic.widgets",
    "ocimagic.wire",
}
# Somebody is at the page, as in JupyterLab: then a terminal could be shown, too.
FIRST_PICTURE = """
import sys
get_ipython().kernel._allow_stdin = True
before = set(sys.modules)
report = %image_layers small
shown = get_ipython().display_formatter.format(report)[0]
loaded = sorted(set(sys.modules) - before)
"<img alt=" in shown["text/html"], loaded
"""


@pytest.mark.slow
def test_the_first_picture_loads_what_it_needs(tmp_path, run_notebook):
    with Engine(tmp_path / "root", environment={}) as engine:
        engine.images.import_(small_tar(), ImportOptions(reference="small"))

    [cell] = run_notebook(FIRST_PICTURE, load="%load_ext ocimagic")

    is_drawn, loaded = ast.literal_eval(cell.outputs[-1]["data"]["text/plain"])
    assert is_drawn
    assert "ocimagic.engine.images" in loaded
    assert "ocimagic.render.layer_svg" in loaded
    assert sorted(NOT_FOR_A_PICTURE.intersection(loaded)) == []


def small_tar():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        entry = tarfile.TarInfo("a file")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    return raw.getvalue()
