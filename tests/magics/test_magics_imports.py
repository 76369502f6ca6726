"""What ``%load_ext ocimagic`` may load."""

import subprocess
import sys

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
    "urllib3",
    "zstandard",
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
