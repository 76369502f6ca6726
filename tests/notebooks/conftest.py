"""The one JupyterLab and the one browser of all tests here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import desk as desks


@pytest.fixture(scope="session")
def desk(shared_by_all, tmp_path_factory):
    """JupyterLab in a browser, over an engine with busybox."""
    room = tmp_path_factory.mktemp("desk")
    with desks.opened(room, shared_by_all) as opened:
        yield opened


@pytest.fixture(scope="session")
def lab(desk):
    """The one page with JupyterLab; tests open notebooks in it and close them again."""
    with desk.page("/lab?reset") as page:
        yield page


@pytest.fixture(autouse=True)
def _no_complaint(request):
    """Fail a test during which a page complained, or asked for anything of another machine."""
    yield
    if "desk" in request.fixturenames:
        complaints, request.getfixturevalue("desk").complaints[:] = (
            list(request.getfixturevalue("desk").complaints), [],
        )  # fmt: skip
        assert not complaints
