"""After a boot: what restart policies ask for is started by the next engine."""

import json
import os
import signal
import time

import pytest

from ocimagic import Engine
from ocimagic.model.options import RunOptions
from ocimagic.model.policy import RestartName, RestartPolicy
from ocimagic.model.request import UpdateOptions
from ocimagic.model.state import Status
from ocimagic.shim.client import Started

RUNNING, EXITED, CREATED = Status.RUNNING, Status.EXITED, Status.CREATED


def files(engine, name):
    return engine.containers.directory(engine.containers.get(name).container_id)


def pull_the_plug(engine, name):
    """End all that keeps a container without a word, as the end of the machine does."""
    started = Started.from_message(json.loads((files(engine, name) / "state.json").read_bytes()))
    everyone = [started.holder, started.shim, started.init]
    for each in everyone[:2]:  # neither is to help the other
        os.kill(each.pid, signal.SIGSTOP)
    for each in everyone:
        os.kill(each.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(each.is_alive() for each in everyone):
        assert time.monotonic() < deadline


def boot(engine, name):
    """Make what is known of a container be of an earlier boot."""
    path = files(engine, name) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"boot_id": "an earlier boot"}))


def start(engine, policy, name, script="while :; do sleep 0.05; done"):
    restart = RestartPolicy(name=RestartName(policy))
    engine.containers.run(
        "busybox", ["sh", "-c", script], network="none", detach=True, restart=restart, name=name
    )


def status_after_loading(engine, name):
    """Return what a container is once another engine has begun."""
    with Engine(engine.home.data, environment={"XDG_RUNTIME_DIR": str(engine.home.run.parent)}):
        return engine.containers.get(name).status


@pytest.mark.parametrize(
    ("policy", "status"),
    [("no", EXITED), ("on-failure", EXITED), ("always", RUNNING), ("unless-stopped", RUNNING)],
)
def test_the_machine_went_down(shared, policy, status):
    start(shared, policy, policy)
    pull_the_plug(shared, policy)
    boot(shared, policy)
    before = shared.containers.get(policy)
    assert (before.status, before.exit.code) == (EXITED, 255)
    assert status_after_loading(shared, policy) is status
    shared.containers.remove(policy, force=True)


@pytest.mark.parametrize(("policy", "status"), [("always", RUNNING), ("unless-stopped", EXITED)])
def test_what_was_stopped_before(shared, policy, status):
    start(shared, policy, "stopped")
    shared.containers.stop("stopped", grace_s=0)
    assert status_after_loading(shared, "stopped") is EXITED, "in the same boot it stays so"
    boot(shared, "stopped")
    assert status_after_loading(shared, "stopped") is status
    shared.containers.remove("stopped", force=True)


def test_shim_and_holder_were_killed_together(shared):
    start(shared, "always", "orphan")
    pid = shared.containers.get("orphan").pid
    pull_the_plug(shared, "orphan")
    assert status_after_loading(shared, "orphan") is RUNNING
    assert shared.containers.get("orphan").pid != pid
    shared.containers.remove("orphan", force=True)


def test_a_policy_given_later(shared):
    start(shared, "no", "later")
    policy = RestartPolicy(name=RestartName.ALWAYS)
    shared.containers.update("later", UpdateOptions(restart=policy))
    pull_the_plug(shared, "later")
    boot(shared, "later")
    assert status_after_loading(shared, "later") is RUNNING
    shared.containers.remove("later", force=True)


def test_one_that_cannot_start_keeps_nothing_back(shared, tmp_path):
    for name in ("aa", "bb"):
        start(shared, "always", name)
        pull_the_plug(shared, name)
        boot(shared, name)
    (files(shared, "aa") / "bundle" / "config.json").write_text("{}")
    assert status_after_loading(shared, "bb") is RUNNING
    assert shared.containers.get("aa").status is not RUNNING
    for name in ("aa", "bb"):
        shared.containers.remove(name, force=True)


def test_what_was_never_started_stays_so(shared):
    restart = RestartPolicy(name=RestartName.ALWAYS)
    shared.containers.create(
        RunOptions(image="busybox", command=("true",), name="new", restart=restart)
    )
    assert status_after_loading(shared, "new") is CREATED
    shared.containers.remove("new")
