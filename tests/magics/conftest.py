"""A shell in this process, and cells run by a real kernel."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "render"))

LOAD = """
import sys
sys.path[:0] = {paths!r}
from ocimagic.magics import load
from stand_in import StandInEngine
load(get_ipython(), make_engine=StandInEngine)
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """An IPython shell with the magics over the stand-in engine."""
    from IPython.core.interactiveshell import InteractiveShell
    from stand_in import StandInEngine
    from traitlets.config import Config

    from ocimagic.magics import load, unload

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    # display() asks for the one shell of the process.
    monkeypatch.setattr(InteractiveShell, "_instance", shell)
    load(shell, make_engine=StandInEngine)
    yield shell
    unload(shell)


@pytest.fixture
def run_notebook(tmp_path, monkeypatch):
    """Run cells in a real kernel; return the cells with their outputs."""
    from nbclient import NotebookClient

    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))

    def run(*sources, allow_errors=False, load=None):
        paths = [str(HERE), str(HERE.parent / "render")]
        first = LOAD.format(paths=paths) if load is None else load
        cells = [nbformat.v4.new_code_cell(source) for source in (first, *sources)]
        notebook = nbformat.v4.new_notebook(
            cells=cells,
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        client = NotebookClient(
            notebook,
            timeout=60,
            allow_errors=allow_errors,
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute(env=dict(os.environ))
        run.notebook = notebook
        return notebook.cells[1:]

    return run
