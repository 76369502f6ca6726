"""A short hour of the crowd's soak: many processes on one data root."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "tools" / "soak_crowd.py"


@pytest.mark.slow
def test_many_at_once_take_nothing_from_each_other():
    words = [sys.executable, str(PROGRAM), "--processes", "8", "--verbs", "8", "--pause", "0.1"]
    words += ["--patience", "60"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
