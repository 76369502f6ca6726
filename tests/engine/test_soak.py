"""A short round of ``make soak``: the same program, few rounds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "soak.py"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["none", "bridge"])
def test_nothing_is_lost_whoever_is_killed(shared, network):
    """``shared`` skips where containers cannot run."""
    if network == "bridge" and os.geteuid():
        pytest.skip("needs root")
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    # A seed whose ten rounds are ten pairs of a victim and a moment, each victim among them.
    words = [sys.executable, str(PROGRAM), "--rounds", "10", "--seed", "2", "--network", network]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
