"""What ``%load_ext ocimagic`` may load."""

import subprocess
import sys

from ocimagic.cli.grammar import docker_words
from ocimagic.magics import names

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
