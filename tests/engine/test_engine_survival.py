"""Containers outlive what started them; what is lost is said truthfully."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keepers import kill_keepers

from ocimagic import Engine
from ocimagic.linux.identity import identify
from ocimagic.linux.processes import children
from ocimagic.model.state import Status
from ocimagic.shim.client import Started

KERNEL = """
import os, sys, time
from ocimagic import Engine
engine = Engine(sys.argv[1], environment={})
made = engine.containers.run(
    "busybox", ["sh", "-c", "echo before; sleep 1; echo after; exit 42"],
    network="none", detach=True, name=sys.argv[2])
print("ready", flush=True)
time.sleep(100)
"""
FOREGROUND = KERNEL.replace("detach=True", "detach=False")


def start_kernel(engine, name, program=KERNEL):
    """Start a process like a notebook kernel: leader of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", program, str(engine.home.data), name],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def wait_until_started(engine, name):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for each in engine.containers.list(all=True):
            if each.name == name and each.status is not Status.CREATED:
                return


def test_sigkill_of_the_kernels_process_group_does_not_touch_a_container(shared):
    kernel = start_kernel(shared, "orphan")
    assert kernel.stdout.readline() == b"ready\n"
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    assert shared.containers.get("orphan").status is Status.RUNNING
    assert shared.containers.wait("orphan").code == 42
    written = [data for _, _, data in shared.containers.logs("orphan")]
    assert written == [b"before\n", b"after\n"]
    shared.containers.remove("orphan")


def test_a_foreground_container_goes_on_too_when_its_kernel_is_killed(shared):
    kernel = start_kernel(shared, "front", FOREGROUND)
    wait_until_started(shared, "front")
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    assert shared.containers.wait("front").code == 42
    shared.containers.remove("front")


def test_a_new_engine_sees_and_stops_what_an_old_one_started(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    with Engine(shared.home.data, environment={}) as other:
        assert other.containers.get(made.name).pid == made.pid
        assert other.containers.stop(made.name, grace_s=0).code == 137
    assert shared.containers.get(made.name).exit.code == 137
    shared.containers.remove(made.name)


def test_a_killed_launcher_is_started_again_and_containers_do_not_notice(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    launcher = shared.containers.launcher
    launcher._process.kill()
    launcher._process.wait()
    assert shared.containers.get(made.name).status is Status.RUNNING
    again = shared.containers.run("busybox", ["echo", "again"], network="none", remove=True)
    assert again.stdout == b"again\n"
    shared.containers.remove(made.name, force=True)


def started_of(shared, made):
    state = shared.containers.directory(made.container_id) / "state.json"
    return Started.from_message(json.loads(state.read_bytes()))


def test_a_container_without_shim_and_holder_is_told_as_255_and_never_as_success(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    started = started_of(shared, made)
    kill_keepers(started)
    after = shared.containers.get(made.name)
    assert (after.status, after.exit.code) == (Status.EXITED, 255)
    assert not started.init.is_alive(), "nobody would read its streams"
    assert not list(Path("/sys/fs/cgroup").glob(f"*/ocimagic/{made.container_id}"))
    shared.containers.remove(made.name)


@pytest.mark.parametrize("delay_s", [0, 0.0005, 0.001, 0.002])
def test_a_holder_killed_while_its_shim_makes_room_for_another_loses_nothing(shared, delay_s):
    """A second after the start the shim ends, and a lighter one keeps the container."""
    made = [
        shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
        for _ in range(6)
    ]
    started = [started_of(shared, each) for each in made]
    shims = select.poll()
    holders = {}
    for each in started:
        holders[os.pidfd_open(each.shim.pid)] = each.holder
        shims.register(max(holders), select.POLLIN)
    while holders:
        for pidfd, _ in shims.poll():
            if delay_s:
                time.sleep(delay_s)
            holders.pop(pidfd).send(signal.SIGKILL)
            shims.unregister(pidfd)
            os.close(pidfd)
    for each in made:
        assert shared.containers.get(each.name).status is Status.RUNNING
        assert shared.containers.stop(each.name, grace_s=0).code == 137
        shared.containers.remove(each.name)


def test_rm_is_done_by_the_shim_when_no_engine_is_there(shared):
    program = KERNEL.replace("detach=True", "detach=True, remove=True")
    kernel = start_kernel(shared, "brief", program)
    assert kernel.stdout.readline() == b"ready\n"
    directory = shared.containers.directory(shared.containers.get("brief").container_id)
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    deadline = time.monotonic() + 10
    while directory.exists() and time.monotonic() < deadline:
        pass
    assert not directory.exists()
    assert "brief" not in [each.name for each in shared.containers.list(all=True)]


def test_a_reboot_is_noticed(shared):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    started = started_of(shared, made)
    kill_keepers(started)
    started.init.kill()
    path = shared.containers.directory(made.container_id) / "state.json"
    mine = identify(os.getpid())
    state = json.loads(path.read_bytes()) | {"pid": mine.pid, "start_ticks": mine.start_ticks}
    path.write_text(json.dumps(state | {"boot_id": "another boot"}))
    assert shared.containers.get(made.name).exit.code == 255, "and this process is not killed"
    shared.containers.remove(made.name, force=True)


@pytest.mark.parametrize("streams", ["stdout", "stderr"])
def test_output_to_a_closed_kernel_does_not_block_the_container(shared, streams):
    redirect = "" if streams == "stdout" else ">&2"
    program = FOREGROUND.replace("echo before; sleep 1;", f"yes | head -n 200000 {redirect};")
    kernel = start_kernel(shared, f"loud-{streams}", program)
    wait_until_started(shared, f"loud-{streams}")
    os.killpg(kernel.pid, signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    assert shared.containers.wait(f"loud-{streams}").code == 42
    shared.containers.remove(f"loud-{streams}")


def test_another_session_with_another_run_root_reaches_the_container(shared, tmp_path):
    made = shared.containers.run("busybox", ["sleep", "100"], network="none", detach=True)
    with Engine(shared.home.data, environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as other:
        assert other.containers.stop(made.name, grace_s=0).code == 137
    shared.containers.remove(made.name)


def test_nobody_keeps_what_nobody_could_find_again(shared, tmp_path):
    """A data root removed from under a container: no shim could live, so none is tried for ever."""
    made = shared.containers.run(
        "busybox", ["sleep", "100"], name="lost", detach=True, network="none"
    )
    directory = shared.containers.directory(made.container_id)
    started = Started.from_message(json.loads((directory / "state.json").read_bytes()))
    fds = [os.pidfd_open(each.pid) for each in (started.holder, started.init)]
    try:
        directory.rename(tmp_path / "gone")
        with contextlib.suppress(ProcessLookupError):
            deadline = time.monotonic() + 20
            while not all(select.select([fd], [], [], 0)[0] for fd in fds):
                assert time.monotonic() < deadline, "the holder tries for ever"
                for pid in children(started.holder.pid):
                    if Path(f"/proc/{pid}/comm").read_text() == "ocimagic-shim\n":
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
    finally:
        for fd in fds:
            os.close(fd)
        shutil.rmtree(shared.containers.run_directory(made.container_id))
    assert "lost" not in [each.name for each in shared.containers.list(all=True)]
