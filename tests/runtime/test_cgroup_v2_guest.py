"""Pure version 2, and pure version 1, of cgroups: a guest machine each, booted by qemu.

Each test here tells what became of one test in a guest: those of guest_cgroup_v2.py, which
need version 2 alone, and the ones of this directory that another kernel may answer otherwise.
"""

import os
import re
import subprocess

import guest
import pytest

CGROUPS = "tests/runtime/test_cgroup.py"
DEVICES = "tests/runtime/test_device_filter.py"
ONLY_VERSION2 = "tests/runtime/guest_cgroup_v2.py"

pytestmark = [
    pytest.mark.slow,
    # Any account can boot a guest, and is root in it: once is enough.
    pytest.mark.skipif(os.geteuid() != 0, reason="not root: it would only be the same again"),
    pytest.mark.skipif(bool(guest.why_not()), reason=guest.why_not() or "a guest can be run"),
]


def names(file, *, fixture="", without="-"):
    """Return the tests in a file: those that take a fixture, without those that take another."""
    text = (guest.REPOSITORY / file).read_text()
    found = re.findall(r"^def (test_\w+)\((.*)\):", text, re.MULTILINE)
    taken = {name: fixtures.split(", ") for name, fixtures in found}
    return [
        name
        for name, each in taken.items()
        if without not in each and (not fixture or fixture in each)
    ]


# What only computes is the same on every machine, and slow where the processor is emulated.
ON_VERSION2 = [
    *[(CGROUPS, name) for name in names(CGROUPS, without="version1")],
    *[(DEVICES, name) for name in names(DEVICES, fixture="version2")],
]
ON_VERSION1 = [(CGROUPS, name) for name in names(CGROUPS, without="version2")]


def outcomes(tests, mounts):
    found, console = guest.run(tests, mounts)
    assert "the end" in found, console[-4000:]
    assert len(found) - 1 >= found["the end"]["collected"], console[-4000:]
    return found


@pytest.fixture(scope="module")
def version2():
    tests = [f"{file}::{name}" for file, name in ON_VERSION2]
    return outcomes([ONLY_VERSION2, *tests], guest.VERSION2)


@pytest.fixture(scope="module")
def version1():
    return outcomes([f"{file}::{name}" for file, name in ON_VERSION1], guest.VERSION1)


def check(found, file, name):
    """Assert that all the cases of one test passed; skip where all were skipped."""
    whole = f"{file}::{name}"
    cases = [each for test, each in found.items() if test == whole or test.startswith(f"{whole}[")]
    assert cases, "it was not run"
    failed = [f"{each['test']}\n{each['text']}" for each in cases if each["outcome"] == "failed"]
    assert not failed, "\n".join(failed)
    if all(each["outcome"] == "skipped" for each in cases):
        pytest.skip(f"in the guest: {cases[0]['text']}")


@pytest.mark.parametrize("name", names(ONLY_VERSION2))
def test_version_2_alone(version2, name):
    check(version2, ONLY_VERSION2, name)


@pytest.mark.parametrize(("file", "name"), ON_VERSION2)
def test_anything_with_version_2_alone(version2, file, name):
    check(version2, file, name)


@pytest.mark.parametrize(("file", "name"), ON_VERSION1)
def test_anything_with_version_1_alone(version1, file, name):
    check(version1, file, name)


def test_the_guests_leave_nothing_behind(version2, version1):
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert guest.CACHE.name not in running.stdout
