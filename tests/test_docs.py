"""The documents name what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "name", re.findall(r"`(ocimagic/[\w/.]+)`", (ROOT / "docs/flow.md").read_text())
)
def test_every_file_of_the_flow_exists(name):
    assert (ROOT / name).is_file()


def test_every_file_is_short_enough_to_read():
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "ocimagic").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 460
    }
    assert long == {}


def test_no_two_modules_of_the_tests_have_one_name():
    """Their directories are no packages: pytest, and an import, would take one for the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert [name for name in names if names.count(name) > 1] == []
