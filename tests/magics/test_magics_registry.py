"""``%registry_start`` and ``%registry_stop`` with the real engine."""

import urllib.request

import pytest

from ocimagic import Engine
from ocimagic.errors import InvalidState
from ocimagic.magics import load, unload


@pytest.fixture
def real(shell, tmp_path):
    """The shell, its magics over a real engine."""
    unload(shell)
    load(shell, make_engine=lambda *_: Engine(tmp_path / "root", environment={}))
    return shell


def run(shell, cell):
    result = shell.run_cell(cell, store_history=True)
    if result.error_before_exec or result.error_in_exec:
        raise result.error_before_exec or result.error_in_exec
    return result.result


def test_start_and_stop(real, capsys):
    served = run(real, "registry = %registry_start --port 0\nregistry")
    assert f"registry at {served.url}" in capsys.readouterr().out
    with urllib.request.urlopen(f"{served.url}/v2/", timeout=5) as answer:
        assert answer.read() == b"{}"
    assert run(real, f"%registry_stop {served.host}").lines == (served.url,)
    with pytest.raises(OSError):  # noqa: PT011  whatever a closed port gives
        urllib.request.urlopen(f"{served.url}/v2/", timeout=5)
    with pytest.raises(InvalidState):
        run(real, "%registry_stop")


def test_unloading_stops_them(real):
    served = run(real, "%registry_start --port 0")
    unload(real)
    assert not served.is_served
