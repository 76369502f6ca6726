"""runc and crun under our shim: ``--runtime``, with the real ones."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from ocimagic.errors import CommandNotExecutable, CommandNotFound, StartFailed
from ocimagic.model.request import ExecOptions
from ocimagic.model.state import Status

# crun refuses a machine whose controllers are shared between both versions of cgroups.
WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -c '
mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified
exec crun "$@"' crun "$@"
"""


@pytest.fixture(scope="module", params=["runc", "crun"])
def runtime(request, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root: an ordinary user has no cgroups for runc and crun here")
    found = shutil.which(request.param)
    if not found:
        pytest.skip(f"{request.param} is not installed")
    if request.param == "runc" or not os.path.ismount("/sys/fs/cgroup/unified"):
        return found
    path = tmp_path_factory.mktemp("crun") / "crun"
    path.write_text(WRAPPER)
    path.chmod(0o755)
    return str(path)


def test_runc_as_an_ordinary_user(shared):
    """Without a cgroup that is delegated there are no limits, but containers all the same."""
    if os.geteuid() == 0:
        pytest.skip("root can have cgroups; run as an ordinary user")
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    options = {"network": "none", "runtime": "runc"}
    words = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    done = shared.containers.run("busybox", words, remove=True, **options)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    made = shared.containers.run("busybox", ["sleep", "100"], detach=True, **options)
    try:
        assert execute(shared, made.name, "echo", "inside").stdout == b"inside\n"
        assert shared.containers.stop(made.name, grace_s=0).code == 128 + signal.SIGKILL
    finally:
        shared.containers.remove(made.name, force=True)


@pytest.fixture
def start(shared, runtime):
    """Start a container in the background; it is removed afterwards."""
    made = []

    def begin(script, **options):
        words = {"network": "none", "detach": True, "runtime": runtime} | options
        made.append(shared.containers.run("busybox", ["sh", "-c", script], **words))
        return made[-1].name

    yield begin
    for each in made:
        shared.containers.remove(each.name, force=True)


@pytest.fixture
def run(shared, runtime):
    def do(*command, **options):
        words = {"network": "none", "remove": True, "runtime": runtime} | options
        return shared.containers.run("busybox", list(command), **words)

    return do


def state_of(shared, name):
    found = shared.containers.get(name).container_id
    return json.loads((shared.containers.directory(found) / "state.json").read_bytes())


def execute(shared, name, *command, stdin=None, **options):
    return shared.containers.exec(name, ExecOptions(command=command, **options), stdin=stdin)


def log_of(shared, name):
    return b"".join(each[2] for each in shared.containers.logs(name))


def until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_output_and_exit_code(run):
    done = run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_users_by_name(run):
    script = "id -u; id -g; id -G; echo $HOME"
    done = run("sh", "-c", script, user="alice")
    assert done.stdout.split() == [b"1000", b"1000", b"1000", b"10", b"/home/alice"]
    with pytest.raises(StartFailed, match="unable to find user bob"):
        run("true", user="bob")


def test_commands_that_are_none(run):
    with pytest.raises(CommandNotFound):
        run("nosuch")
    with pytest.raises(CommandNotExecutable):
        run("/etc/passwd")


def test_nothing_is_left(shared, run):
    before = Path("/proc/self/mountinfo").read_text()
    done = run("sh", "-c", "echo x > /made; mount | grep -c ' / '; cat /proc/self/cgroup")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert list(shared.home.run.iterdir()) == []
    assert not [*Path("/sys/fs/cgroup").glob(f"*/ocimagic/{done.container_id}")]


def test_it_is_that_runtime_that_does_it(shared, start, runtime):
    name = start("sleep 100")
    found = shared.containers.get(name).container_id
    root = shared.home.run / found[:12] / "runtime" / "root"
    assert (root / found).is_dir()
    assert shared.containers.inspect(name).options.runtime == runtime


def test_exec(shared, start):
    name = start("echo $$; sleep 100")
    done = execute(shared, name, "sh", "-c", "echo in; id -u; exit 5", user="alice")
    assert (done.exit_code, done.stdout) == (5, b"in\n1000\n")
    with pytest.raises(CommandNotFound):
        execute(shared, name, "nosuch")
    assert execute(shared, name, "cat", stdin=b"hello", interactive=True).stdout == b"hello"


def test_a_terminal(run, shared, start):
    assert run("tty", tty=True).stdout == b"/dev/pts/0\r\n"
    assert run("stty", "size", tty=True, console_size=(31, 97)).stdout == b"31 97\r\n"
    name = start("sleep 100")
    assert b"/dev/pts/" in execute(shared, name, "tty", tty=True).stdout


def test_pause_stats_and_top(shared, start):
    name = start("while :; do :; done")
    shared.containers.pause(name)
    assert shared.containers.get(name).status is Status.PAUSED
    shared.containers.unpause(name)
    assert shared.containers.get(name).status is Status.RUNNING
    (found,) = next(iter(shared.containers.stats(name)))
    assert found.processes >= 1
    assert any("while" in " ".join(row) for row in shared.containers.top(name).rows)


def test_stop_kill_and_restart(shared, start):
    name = start("trap 'exit 9' TERM; echo up; while :; do usleep 10000; done")
    until(lambda: log_of(shared, name))
    assert shared.containers.stop(name).code == 9
    shared.containers.start(name)
    shared.containers.kill(name)
    assert shared.containers.wait(name).code == 137


def test_a_killed_shim_is_not_noticed(shared, start):
    lines = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); usleep 1000; done; exit 7"
    name = start(f"sleep 0.1; {lines}")
    for _ in range(2):
        before = state_of(shared, name)["shim_pid"]
        os.kill(before, signal.SIGKILL)
        until(lambda before=before: state_of(shared, name)["shim_pid"] != before)
    assert execute(shared, name, "echo", "there").stdout == b"there\n"
    assert shared.containers.wait(name).code == 7
    assert log_of(shared, name) == b"".join(b"line %d\n" % number for number in range(300))
