"""The garbage collector, held back while modules are loaded, is as it was afterwards."""

import gc
import subprocess
import sys

import pytest

from ocimagic.magics.loading import loading


@pytest.fixture(autouse=True)
def _collector():
    yield
    gc.enable()


def test_held_back_within_and_back_on_after():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_back_on_after_a_failure():
    with pytest.raises(KeyError), loading():
        raise KeyError
    assert gc.isenabled()


def test_one_within_another():
    with loading():
        with loading():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_whoever_has_turned_it_off_keeps_it_off():
    gc.disable()
    with loading():
        pass
    assert not gc.isenabled()


FIRST_PICTURE = """
import gc
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
shell.run_line_magic("load_ext", "ocimagic")
from ocimagic import Engine  # opens the door
drawn, _ = shell.display_formatter.format(shell.run_line_magic("image_ls", ""))
assert "text/html" in drawn
print(gc.isenabled())
"""


def test_a_first_picture_leaves_it_on(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_PICTURE], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OCIMAGIC_ROOT": str(tmp_path / "o"),
             "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1:] == ["True"]
