"""A short round of ``make soak``'s crowd at the API: the same program."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "soak_api.py"


@pytest.mark.slow
def test_two_hundred_clients_leave_nothing(shared):
    """``shared`` skips where containers cannot run."""
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    words = [sys.executable, str(PROGRAM), "--seconds", "14", "--pairs", "40"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
