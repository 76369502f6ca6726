"""What a shim does about networks when its container is not there."""

import os
from types import SimpleNamespace

import pytest

pytest.importorskip("ocimagic.shim.networks", reason="needs Linux", exc_type=ImportError)

from ocimagic.network.plan import Plan
from ocimagic.shim.life import Life
from ocimagic.shim.networks import Networks


def test_a_process_that_has_ended_is_no_failure_of_its_own(tmp_path):
    """It ended because its command was not found, and said so: that is what is told."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    monitor = SimpleNamespace(
        loop=None,
        keeper=SimpleNamespace(groups={}),
        task=SimpleNamespace(container_id="c"),
        life=Life(),
    )
    Networks(monitor, Plan(room=str(tmp_path), table="t")).hold(pid)
    os.waitpid(pid, 0)
