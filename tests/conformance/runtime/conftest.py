"""One suite, three runtimes: ours, and Debian's runc and crun, which prove the tests.

A test is derived from the text of the runtime specification 1.2 (its docstring names the
section).  Where a peer is known to deviate, ``deviations.py`` says so, and the test must fail
there: a peer that passes unexpectedly is a failure too.
"""

import contextlib
import itertools
import os
import shutil
from pathlib import Path

import deviations
import pytest
from elsewhere import Elsewhere, runtime_of, write_report
from ocibox import CGROUPS, PARENT, Box, ConsoleSocket, find, remove_cgroup, subreaper

_numbers = itertools.count()
_NAMES = ("ours", "runc", "crun")
_HERE = Path(__file__).parent
_ELSEWHERE = pytest.StashKey()
_config = []  # the hook that reports are told by does not get it


def pytest_collection_modifyitems(config, items):
    _leave_out_other_accounts(config, items)
    for item in items:
        name = runtime_of(item)
        if name in deviations.VERSIONS:
            ids = item.callspec.id
            others = ids.removesuffix(f"-{name}").removeprefix(name).removeprefix("-")
            mark = deviations.mark(name, item.originalname, others)
            if mark:
                item.add_marker(mark)


def _leave_out_other_accounts(config, items):
    """Root runs all but what is for an ordinary user, who runs that only."""
    is_root = os.geteuid() == 0
    others = [
        item
        for item in items
        if item.path.parent == _HERE and (item.path.stem == "test_oci_rootless") == is_root
    ]
    if others:
        config.hook.pytest_deselected(items=others)
        left = set(others)
        items[:] = [item for item in items if item not in left]


def pytest_collection_finish(session):
    session.config.stash[_ELSEWHERE] = Elsewhere(session.config, session.items)


def pytest_runtest_protocol(item, nextitem):
    """Take the child's reports of a peer's test for those of this process."""
    elsewhere = item.config.stash[_ELSEWHERE]
    reports = elsewhere.result(item) if elsewhere.is_wanted else None
    if not reports:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for data in reports:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)  # a skip's, which JSON made a list
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # of the last test that ran here
    return True


def pytest_runtest_logreport(report):
    if _config:
        write_report(_config[0], report)


def pytest_configure(config):
    _config.append(config)


def pytest_sessionfinish(session):
    if elsewhere := session.config.stash.get(_ELSEWHERE, None):
        elsewhere.end()


@pytest.fixture(scope="session", autouse=True)
def _subreaper():
    with subreaper():
        yield
    for hierarchy in CGROUPS.iterdir():
        for left in hierarchy.glob(f"{PARENT}/t{os.getpid()}-*"):  # of peers that leave some
            remove_cgroup(left)
        with contextlib.suppress(OSError):
            (hierarchy / PARENT).rmdir()


@pytest.fixture(scope="session", params=_NAMES)
def runtime(request):
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    found = find(request.param)
    if not found:
        pytest.skip(f"{request.param} is not installed")
    return found


@pytest.fixture
def make_box(runtime, tmp_path):
    """Make boxes; each is a bundle of its own."""
    made = []

    def make():
        number = next(_numbers)
        box = Box(runtime, tmp_path / f"box{number}", f"t{os.getpid()}-{number}")
        made.append(box)
        return box

    # The way down to a root file system must be open to mapped users.
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    yield make
    for box in made:
        box.close()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def box(make_box):
    return make_box()


@pytest.fixture
def console(tmp_path):
    made = ConsoleSocket(tmp_path)
    yield made
    made.close()
