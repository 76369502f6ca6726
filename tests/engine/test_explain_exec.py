"""What ``explain`` tells of a command in a container is held against /proc of that very run."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from ocimagic import Engine
from ocimagic.cli.explain import with_client
from ocimagic.errors import CommandNotFound, NotFound
from ocimagic.model.explanation import Party
from ocimagic.model.request import ExecOptions

NAMES = {"mnt": "mount", "net": "network"}


def facts(told, part):
    [found] = [each for each in told.steps if part in each.title]
    return dict(found.facts)


def step(told, part):
    [found] = [each for each in told.steps if part in each.title]
    return found


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def inodes_of(pid):
    return {
        kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino
        for kind in os.listdir("/proc/self/ns")
        if not kind.endswith("_for_children")
    }


@pytest.fixture(scope="module")
def box(shared):
    """Return a container that runs."""
    made = shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True,
                                 name="box")  # fmt: skip
    yield made
    shared.containers.remove("box", force=True)


@pytest.fixture(scope="module")
def executed(box, shared):
    """Return the pid of a command that still runs in it, and its story."""
    options = ExecOptions(command=("sleep", "999"), detach=True, env=("WORD=secret",),
                          working_dir="/tmp", user="1:1")  # fmt: skip
    shared.containers.exec("box", options)
    told = shared.explainer.explain()
    assert told.kind == "exec"
    return int(facts(told, "execve")["pid outside"]), told


def test_it_is_the_process_that_the_kernel_knows(executed, box, shared):
    pid, told = executed
    status, said = status_of(pid), facts(told, "execve")
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00999\x00"
    assert pid in {int(row[1]) for row in shared.containers.top("box").rows}
    assert said["pid inside"] == status["NSpid"].split()[-1] != "1"
    assert said["beside"] == f"process {box.pid}, the container's first"
    assert said["working directory"] == os.readlink(f"/proc/{pid}/cwd") == "/tmp"
    shim, holder = map(int, re.fullmatch(r"process (\d+), child of holder (\d+)",
                                         facts(told, "takes it")["shim"]).groups())  # fmt: skip
    assert said["child of"] == f"shim {shim}"
    assert status["PPid"] in (str(shim), str(holder))  # the shim gives way after a second
    assert status_of(box.pid)["PPid"] in (str(shim), str(holder))
    assert facts(told, "takes it")["engine"] == f"process {os.getpid()}"


def test_it_entered_the_namespaces_of_the_first_process(executed, box):
    pid, told = executed
    said = facts(told, "enters")
    theirs, mine, first = inodes_of(pid), inodes_of("self"), inodes_of(box.pid)
    assert theirs == first
    entered = {kind for kind in theirs if "entered" in said[f"{NAMES.get(kind, kind)} namespace"]}
    for kind, inode in theirs.items():
        words = said[f"{NAMES.get(kind, kind)} namespace"]
        assert words.startswith(f"{kind}:[{inode}] ")
        assert words.endswith(f", the one of first process {box.pid}")
        if kind in entered:
            assert inode != mine[kind]
            assert f"here: {mine[kind]}" in words
        elif os.geteuid() == 0:
            assert inode == mine[kind]
    assert {"mnt", "pid", "uts", "ipc"} <= entered
    title = f"process {pid} enters {len(entered)} namespaces"
    moments = step(told, title).moments
    calls = [(each.name, each.detail) for each in moments]
    flags = " | ".join(detail for name, detail in calls if name == "setns(2)")
    assert "CLONE_NEWPID" in flags
    assert "CLONE_NEWNS" in flags
    # Where a user namespace is to be entered too, a stage goes in first and makes it from there.
    made = {detail.rpartition(" = ")[2] for name, detail in calls if name == "clone3(2)"}
    assert str(pid) in made or "joined and ended" in said["by way of"]


def test_privileges_and_cgroup_are_those_of_the_process(executed):
    pid, told = executed
    status, said = status_of(pid), facts(told, "capabilities are left")
    assert said["CapEff, CapBnd"] == f"{status['CapEff']}, {status['CapBnd']}"
    assert said["seccomp"].startswith(f"mode {status['Seccomp']}")
    if os.geteuid() == 0:
        assert said["user, group"] == "1, 1"
        assert status["Uid"].split()[0] == "1"
    there = {line.split(":", 2)[1]: line.split(":", 2)[2].strip()
             for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}  # fmt: skip
    for name, path in facts(told, "a process for a container that runs").items():
        if name.startswith("cgroup ") and os.path.isabs(path):
            assert path.endswith(there[name.removeprefix("cgroup ").replace("version 2", "")])


def test_what_was_asked_is_told_and_no_secret_of_it(executed, box):
    _, told = executed
    said = facts(told, "config.json's process")
    assert said["args"] == "sleep 999"
    assert said["instead of"] == "sleep 1000"
    assert said["variables added"] == "WORD"
    assert (said["cwd"], said["user"]) == ("/tmp", "1:1")
    whole = with_client(told)
    assert whole.line == "docker container exec box sleep 999"
    assert "secret" not in json.dumps(whole.to_dict())
    requests = [
        dict(each.facts)["request"] for each in whole.steps if "request" in dict(each.facts)
    ]
    exec_id = facts(told, "one more process")["exec ID"]
    assert requests == [
        f"GET /v1.41/containers/{box.container_id}/json",
        f"POST /v1.41/containers/{box.container_id}/exec",
        f"POST /v1.41/exec/{exec_id}/start",
    ]


def test_times_are_in_order_and_of_this_run(executed):
    pid, told = executed
    times = [each.at_s for each in told.steps if each.at_s is not None]
    assert times[0] == 0.0
    assert times == sorted(times)
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    born = ticks / os.sysconf("SC_CLK_TCK")
    from datetime import datetime

    began = datetime.fromisoformat(told.began).timestamp()
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) - time.time()
    assert abs(began + step(told, "enters").at_s + uptime - born) < 0.1
    assert told.ending == "the command runs in container box"
    assert told.lacks == ()


def test_every_step_of_ours_says_where_its_code_is(executed):
    _, told = executed
    for each in told.steps:
        assert each.source
        assert each.source.code
    phases = [each.source.name for each in told.steps if each.party is Party.RUNC]
    assert {"enter_cgroup", "find_root", "become_user", "bear"} <= set(phases)


def test_one_that_ended_is_told_with_its_exit_code(box, shared):
    done = shared.containers.exec("box", ExecOptions(command=("sh", "-c", "exit 3")))
    assert done.exec_id
    told = shared.explainer.explain(done.exec_id)
    assert told.ending == "exit code 3 of the command, container running"
    assert facts(told, "exit code 3")["exit code"] == "3"
    assert 0 < told.seconds <= done.duration_s + 0.05
    assert shared.explainer.explain("last").kind == "exec"
    assert shared.explainer.explain("box").kind == "container"
    with Engine(shared.home.data, environment={"HOME": str(shared.home.data)}) as other:
        again = other.explainer.explain()
        assert [each.title for each in again.steps] == [each.title for each in told.steps]
        assert other.explainer.explain(done.exec_id[:12]).ending == told.ending


def test_there_are_never_many_files_and_they_are_written_when_there_is_time(box, shared):
    shared.explainer.explain()
    directory = shared.containers.directory(box.container_id)
    before = {each: each.stat().st_mtime_ns for each in directory.glob("exec-*.json")}
    for _ in range(20):
        done = shared.containers.exec("box", ExecOptions(command=("true",)))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # though nobody asks
        files = {each: each.stat().st_mtime_ns for each in directory.glob("exec-*.json")}
        if files != before:
            break
        time.sleep(0.05)
    assert files != before
    assert 1 < len(files) <= 16
    assert shared.explainer.explain(done.exec_id).ending.startswith("exit code 0")


def test_one_that_could_not_be_executed_has_no_story(box, shared):
    before = shared.explainer.explain("last")
    with pytest.raises(CommandNotFound):
        shared.containers.exec("box", ExecOptions(command=("nowhere",)))
    assert shared.explainer.explain("last") == before
    with pytest.raises(NotFound, match="no container or image"):
        shared.explainer.explain("f" * 64)


def test_it_goes_with_its_container(shared):
    shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True, name="brief")
    shared.containers.exec("brief", ExecOptions(command=("sleep", "999"), detach=True))
    exec_id = facts(shared.explainer.explain(), "one more process")["exec ID"]
    shared.containers.kill("brief")
    shared.containers.wait("brief")
    told = shared.explainer.explain(exec_id)
    assert told.ending == "exit code 137 of the command, container exited"
    shared.containers.start("brief")
    told = shared.explainer.explain(exec_id)
    assert told.ending == "the command ended when its container did, at the latest"
    assert any("How the command ended is not known" in each for each in told.lacks)
    assert "the one of first" not in facts(told, "enters")["pid namespace"]
    shared.containers.remove("brief", force=True)
    with pytest.raises(NotFound):
        shared.explainer.explain(exec_id)


@pytest.mark.parametrize("name", ["runc", "crun"])
def test_another_runtime_is_told_as_far_as_it_can_be_known(shared, name):
    program = shutil.which(name)
    if not program:
        pytest.skip(f"{name} is not installed")
    if name == "crun" and os.path.ismount("/sys/fs/cgroup/unified"):
        pytest.skip("this machine's cgroups are of both versions, which crun refuses")
    made = shared.containers.run("busybox", ["sleep", "1000"], network="none", detach=True,
                                 runtime=program)  # fmt: skip
    try:
        shared.containers.exec(made.name, ExecOptions(command=("sleep", "99"), detach=True))
        told = shared.explainer.explain()
        call, said = facts(told, f"{name} exec"), facts(told, "namespaces that are not ours")
        pid = int(said["pid it wrote"])
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0099\x00"
        assert call["its exit code"] == "0"
        assert not Path(f"/proc/{call['pid of the runtime']}").exists()
        assert said["CapEff, CapBnd"] == (f"{status_of(pid)['CapEff']}, {status_of(pid)['CapBnd']}")
        for kind in ("mnt", "pid", "uts"):
            inode = os.stat(f"/proc/{made.pid}/ns/{kind}").st_ino
            words = said[f"{NAMES.get(kind, kind)} namespace"]
            assert words.startswith(f"{kind}:[{inode}] entered")
        assert any("is another program" in each for each in told.lacks)
    finally:
        shared.containers.remove(made.name, force=True)
