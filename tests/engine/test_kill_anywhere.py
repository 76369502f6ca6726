"""Killed, interrupted or crowded at any moment: the next engine works, and nothing is left."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
from keepers import kill_keepers
from rootfs import MadeImage, tar_of

from ocimagic import Engine
from ocimagic.engine.names import new_name
from ocimagic.errors import ContainerNotFound, NameInUse, OcimagicError
from ocimagic.linux.identity import identify
from ocimagic.model.event import LayerProgress, Output
from ocimagic.model.options import BuildOptions, RunOptions
from ocimagic.model.state import Status
from ocimagic.shim.client import Started
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

VICTIM = """
import os, signal, sys
from ocimagic import Engine
from ocimagic.model.options import BuildOptions
engine = Engine(sys.argv[1], environment={})
host, op, delay = sys.argv[2], sys.argv[3], float(sys.argv[4])
dockerfile = f"FROM {host}/busybox\\nRUN echo x > /x; sleep 0.1\\nRUN echo %s > /y" % delay
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, delay)
while True:
    if op == "pull":
        engine.images.pull(f"{host}/large")
        engine.images.remove(f"{host}/large")
    elif op == "build":
        engine.images.build(BuildOptions(dockerfile=dockerfile, no_cache=True, tags=("t",)))
    else:
        engine.containers.run(f"{host}/busybox", ["true"], network="none", remove=True)
"""


@pytest.fixture(scope="module")
def host(registry, busybox_layer):
    chance = random.Random(5)
    layers = [tar_of((f"f{n}", chance.randbytes(3_000_000))) for n in range(3)]
    made = MadeImage([busybox_layer, *layers], {"Cmd": ["sh"]}, compress=False)
    made.serve(registry.source, "large", "latest")
    return registry.host


def unfinished(engine):
    """Return what only a kill can leave behind."""
    home = engine.home
    rows = {row.container_id for row in engine.containers.store.containers.all()}
    found = [*home.snapshots.glob("new-*"), *home.ingest.glob("build-*"), *home.run.iterdir()]
    found += [path for path in home.containers.iterdir() if path.name not in rows]
    found += [path for path in home.locks.iterdir() if path.name != "store"]
    return [str(path) for path in found]


@pytest.mark.parametrize("op", ["pull", "build", "run"])
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_engine_leaves_nothing_the_next_does_not_take(shared, host, tmp_path, op, seed):
    root, chance = tmp_path / "root", random.Random(f"{op}{seed}")
    with Engine(root, environment={}) as engine:
        engine.images.pull(f"{host}/busybox")
    words = [sys.executable, "-c", VICTIM, str(root), host, op, str(chance.uniform(0.1, 0.5))]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    with Engine(root, environment={}) as engine:
        for image in engine.images.list():
            assert image.size_bytes
        engine.images.pull(f"{host}/large")
        done = engine.containers.run(f"{host}/large", ["echo", "on"], network="none", remove=True)
        assert done.stdout == b"on\n"
        for each in engine.containers.list(all=True):
            engine.containers.remove(each.container_id, force=True)
    with Engine(root, environment={}) as engine:
        assert unfinished(engine) == []
        engine.containers.unpacker.remove_trees([engine.home.snapshots, engine.home.run])


def shim_of(engine):
    """Return a listener that kills shim and holder of the one container that writes something."""

    def kill(event):
        if isinstance(event, Output):
            found = [*engine.home.containers.glob("*/state.json")]
            found += engine.home.snapshots.glob("new-*/box/state.json")
            states = [Started.from_message(json.loads(path.read_bytes())) for path in found]
            seen.extend(state.init for state in states)
            for state in states:
                kill_keepers(state)

    seen = []
    return kill, seen


@pytest.mark.parametrize("remove", [True, False])
def test_a_container_does_not_outlive_its_shim_unseen(shared, remove):
    kill, inits = shim_of(shared)
    with pytest.raises(OcimagicError, match="shim"):
        shared.containers.run(
            "busybox",
            ["sh", "-c", "echo x; exec sleep 100"],
            network="none",
            remove=remove,
            on_event=kill,
        )
    assert [init.is_alive() for init in inits] == [False]
    assert len(shared.containers.list(all=True)) == (0 if remove else 1)
    for each in shared.containers.list(all=True):
        assert (each.status, each.exit.code) == (Status.EXITED, 255)
        shared.containers.remove(each.name)


def test_a_run_step_does_not_outlive_its_shim(shared):
    kill, inits = shim_of(shared)
    options = BuildOptions(dockerfile="FROM busybox\nRUN echo x; exec sleep 100", no_cache=True)
    with pytest.raises(OcimagicError, match="shim"):
        shared.images.build(options, on_event=kill)
    assert [init.is_alive() for init in inits] == [False]
    assert unfinished(shared) == []


def test_a_run_step_ends_with_the_engine_that_builds(shared, tmp_path):
    program = """
import sys
from ocimagic import Engine
from ocimagic.model.options import BuildOptions
engine = Engine(sys.argv[1], environment={})
text = "FROM busybox\\nRUN echo x; exec sleep 100"
engine.images.build(BuildOptions(dockerfile=text, no_cache=True), on_event=lambda event: (
    type(event).__name__ == "Output" and print("up", flush=True)))
"""
    words = [sys.executable, "-c", program, str(shared.home.data)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as builder:
        assert builder.stdout.readline() == b"up\n"
        (path,) = shared.home.snapshots.glob("new-*/box/state.json")
        state = Started.from_message(json.loads(path.read_bytes()))
        shim = os.pidfd_open(state.shim.pid)
        builder.kill()
    try:
        assert select.select([shim], [], [], 5)[0], "the shim goes on"
    finally:
        os.close(shim)
    assert not state.init.is_alive()
    Engine(shared.home.data, environment={}).close()
    assert unfinished(shared) == []


@contextlib.contextmanager
def interrupted(after_s):
    """Raise KeyboardInterrupt in this thread after a time."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, after_s)
            yield
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# An interrupt may come within open() itself: no code of ours can close that file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(6))
def test_an_interrupted_run_leaves_no_container_behind(shared, seed):
    with interrupted(random.Random(seed).uniform(0.005, 0.1)):
        shared.containers.run("busybox", ["sleep", "100"], network="none", remove=True)
    assert shared.containers.list() == ()
    for each in shared.containers.list(all=True):  # interrupted before it was started
        shared.containers.remove(each.name)
    assert shared.containers.run("busybox", ["true"], network="none", remove=True).exit_code == 0


def test_an_interrupted_pull_leaves_no_thread_behind(engine, host):
    once = threading.Lock()

    def interrupt(event):
        if isinstance(event, LayerProgress) and once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        engine.images.pull(f"{host}/large", on_event=interrupt)
    assert not [each for each in threading.enumerate() if each.name.startswith("ocimagic-pull")]
    assert engine.images.pull(f"{host}/large").layers == 4


def test_an_interrupt_within_a_transaction_leaves_the_database_usable(engine):
    database = engine.containers.store.database
    database._connection.execute("BEGIN IMMEDIATE")  # where the interrupt came
    engine.containers.store.images.untag(Digest.of(b""), [Reference.parse("nothing")])
    assert not database._connection.in_transaction


def test_a_listener_that_fails_stops_its_container(shared):
    def fail(event):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        shared.containers.run(
            "busybox", ["sh", "-c", "echo x; exec sleep 100"], remove=True, on_event=fail
        )
    assert shared.containers.list(all=True) == ()


def test_the_name_of_a_container_that_its_shim_removed_is_free(shared):
    made = shared.containers.create(RunOptions(image="busybox", name="again"))
    shared.containers.unpacker.remove_trees([shared.containers.directory(made.container_id)])
    with pytest.raises(ContainerNotFound):
        shared.containers.get(made.container_id)
    made = shared.containers.create(RunOptions(image="busybox", name="again"))
    shared.containers.unpacker.remove_trees([shared.containers.directory(made.container_id)])
    shared.containers.create(RunOptions(image="busybox", name="again"))
    shared.containers.remove("again")


def test_friendly_names_do_not_run_out():
    taken = set()
    for _ in range(3000):
        taken.add(new_name(taken))
    assert len(taken) == 3000


def test_twenty_at_once(shared):
    results = []

    def one(number):
        words = ["echo", str(number)]
        results.append(shared.containers.run("busybox", words, network="none", remove=True).stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(results) == sorted(f"{number}\n".encode() for number in range(20))


def test_one_name_for_one_container(shared):
    outcomes = []

    def one():
        try:
            shared.containers.create(RunOptions(image="busybox", name="only"))
            outcomes.append("made")
        except NameInUse:
            outcomes.append("in use")

    threads = [threading.Thread(target=one) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes) == ["in use"] * 5 + ["made"]
    shared.containers.remove("only")


def test_many_runs_leak_nothing(shared):
    shared.containers.run("busybox", ["true"], network="none", remove=True)
    launcher = shared.containers.launcher._process.pid

    def held():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", launcher)]

    def at_rest():
        """Return what is held once that has not changed for a while.

        The launcher hears a little later that a pair has ended, and then makes a spare one.
        """
        deadline, same, now = time.monotonic() + 10, 0, []
        while same < 25 and time.monotonic() < deadline:
            last, now = now, [*held(), threading.active_count()]
            same = same + 1 if now == last else 0
            time.sleep(0.02)
        return now

    before = at_rest()
    for _ in range(20):
        shared.containers.run("busybox", ["true"], network="none", remove=True)
    after = at_rest()
    # What an earlier test left to end by itself may have ended meanwhile.
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert unfinished(shared) == []


def test_a_process_is_killed_once_and_only_it():
    with subprocess.Popen(["sleep", "100"]) as process:
        other = identify(process.pid)
        wrong = type(other)(other.pid, other.start_ticks + 1, other.boot_id)
        wrong.kill()
        assert other.is_alive()
        other.kill()
        assert process.wait() == -signal.SIGKILL
        other.kill()
