"""Further processes in a container, and what else can be done to one that is there."""

import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from runtimebox import box, wait
from test_runtime_create import MAPPING, add_namespace, read_all, status

from ocimagic.errors import (
    CommandNotFound,
    HostLacks,
    InvalidDocument,
    InvalidOption,
    InvalidState,
    OcimagicError,
    StartFailed,
)
from ocimagic.linux import syscalls
from ocimagic.linux.identity import ProcessIdentity, identify
from ocimagic.runtime import birth, container
from ocimagic.runtime.execute import execute
from ocimagic.runtime.state import ContainerState
from ocimagic.spec.codec import Fields
from ocimagic.spec.process import CpuAffinity, Process, Rlimit, User
from ocimagic.spec.resources import Resources

__all__ = ["box"]  # the fixture


@pytest.fixture
def running(box):
    """A container that sleeps."""
    init = box.create("exec sleep 100")
    init.start()
    return init


def process(*args, **fields):
    return Process(args=args, env=("PATH=/bin",), **fields)


def run(box, init, *args, **options):
    """Execute a shell script in a container; return exit code and what it wrote."""
    fields = options.pop("fields", {})
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, encoding="utf-8") as file:
        try:
            made = execute(
                init.state, process("sh", "-c", *args, **fields), (-1, writer, writer), **options
            )
        finally:
            os.close(writer)
        made.start()
        said = file.read()
    return wait(made), said


def test_it_is_where_the_first_process_is(box, running):
    script = "for n in pid mnt ipc uts net cgroup; do readlink /proc/self/ns/$n; done"
    code, said = run(box, running, script)
    names = ("pid", "mnt", "ipc", "uts", "net", "cgroup")
    assert code == 0
    assert said.split() == [os.readlink(f"/proc/{running.pid}/ns/{name}") for name in names]


def test_it_waits_for_its_start_and_is_the_creators_child(box, running):
    made = execute(running.state, process("sleep", "50"), (-1, -1, -1))
    assert status(made.pid, "PPid") == str(os.getpid())
    assert made.pid in running.state.cgroup.processes(), "it is in the container's cgroup"
    assert status(made.pid, "NSpid").split()[-1] != "1"
    assert b"sleep" not in Path(f"/proc/{made.pid}/cmdline").read_bytes().split(b"\0")[0]
    made.start()
    signal.pidfd_send_signal(made.pidfd, signal.SIGTERM)
    assert wait(made) == 128 + signal.SIGTERM


def test_a_creator_that_lets_go_ends_it(box, running):
    made = execute(running.state, process("sleep", "50"), (-1, -1, -1))
    pidfd = os.dup(made.pidfd)
    made.close()
    assert select.select([pidfd], [], [], 10)[0]
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 125
    os.close(pidfd)


def test_exit_codes_and_errors(box, running):
    assert run(box, running, "exit 42")[0] == 42
    with pytest.raises(CommandNotFound):
        execute(running.state, process("nosuch"), (-1, -1, -1))
    with pytest.raises(InvalidDocument):
        execute(running.state, replace(process("x"), args=()), (-1, -1, -1))
    with pytest.raises(StartFailed, match="working directory"):
        execute(running.state, process("true", cwd="/nosuch"), (-1, -1, -1))
    with pytest.raises(HostLacks, match="apparmor"):
        execute(running.state, process("true", apparmor_profile="acme"), (-1, -1, -1))


def test_users_capabilities_and_limits(box, running):
    script = "id -u; id -G; grep CapEff /proc/self/status; grep 'core file' /proc/self/limits"
    fields = {
        "user": User(uid=1000, gid=1001, additional_gids=(7,)),
        "rlimits": (Rlimit(type="RLIMIT_CORE", soft=0, hard=8192),),
        "oom_score_adj": 300,
        "cwd": "/tmp",
    }
    _, said = run(box, running, f"{script}; cat /proc/self/oom_score_adj; pwd", fields=fields)
    lines = said.splitlines()
    assert lines[:3] == ["1000", "1001 7", "CapEff:\t0000000000000000"]
    assert lines[3].split()[-3:-1] == ["0", "8192"]
    assert lines[4:] == ["300", "/tmp"]


@pytest.mark.parametrize("text", ["alice", "alice:wheel", "1000:1001"])
def test_users_by_name(box, running, text):
    by_argument = run(box, running, "id -u", user=text)[1]
    document = {"args": ["id"], "cwd": "/", "user": {"uid": 0, "gid": 0, "username": text}}
    fields = {"user": Process.parse(Fields(document, "process")).user}
    assert by_argument == run(box, running, "id -u", fields=fields)[1] == "1000\n"


def test_unknown_users_are_told(box, running):
    with pytest.raises(StartFailed, match="unable to find user nobody"):
        run(box, running, "id", user="nobody")


def test_no_inheritable_capability(box, running):
    """CVE-2022-29162."""
    fields = {"capabilities": {"bounding": ("CAP_KILL",), "permitted": ("CAP_KILL",)}}
    _, said = run(box, running, "grep -E 'CapInh|CapAmb|CapBnd' /proc/self/status", fields=fields)
    assert said.split()[1::2] == ["0000000000000000", "0000000000000020", "0000000000000000"]


def test_a_terminal(box, running):
    made = execute(
        running.state, process("sh", "-c", "tty; stty size", terminal=True), (-1, -1, -1),
        console_size=(11, 22),
    )  # fmt: skip
    master = os.dup(made.console)
    made.start()
    assert read_all(master) == "/dev/pts/0\n11 22\n"
    os.close(master)
    assert wait(made) == 0


def test_into_a_user_namespace(box):
    add_namespace(box, "user")
    box.linux |= {"uidMappings": MAPPING, "gidMappings": MAPPING}
    os.chown(box.rootfs, 200000, 200000)
    init = box.create("exec sleep 100")
    init.start()
    _, said = run(box, init, "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user")
    assert said.split() == ["0", "0", "200000", "1000", os.readlink(f"/proc/{init.pid}/ns/user")]


def test_into_a_time_namespace(box):
    add_namespace(box, "time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 5_000_000}}
    init = box.create("exec sleep 100")
    init.start()
    _, said = run(box, init, "cat /proc/uptime")
    assert float(said.split()[0]) > 5_000_000


def test_the_seccomp_filter_of_the_container_or_none(box):
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}],
    }
    init = box.create("exec sleep 100")
    init.start()
    filters = {}
    assert "list too long" in run(box, init, "mkdir /tmp/a", filters=filters)[1]
    assert len(filters) == 1, "the compiled filter is kept for the next"
    assert run(box, init, "mkdir /tmp/a", unconfined=True)[0] == 0


def test_it_cannot_be_looked_into_from_inside(box):
    """CVE-2016-9962: until its execve nobody inside may see what it has open, root or not."""
    init = box.create("while :; do for p in /proc/[0-9]*; do ls -l $p/fd; done; done >/tmp/seen")
    init.start()
    for _ in range(5):
        made = execute(init.state, process("true"), (-1, -1, -1))
        number = status(made.pid, "NSpid").split()[-1]
        assert os.stat(f"/proc/{made.pid}/fd").st_uid == 0
        assert status(made.pid, "NSpid").split()[0] == str(made.pid)
        _, said = run(box, init, f"ls /proc/{number}/fd/ 2>&1; cat /proc/{number}/environ 2>&1")
        assert "ermission denied" in said
        made.start()
        assert wait(made) == 0
    assert "socket" not in (box.rootfs / "tmp/seen").read_text()


def test_below_the_containers_cgroup(box, running):
    if "cpuset" not in running.state.cgroup_paths:
        pytest.skip("needs root on a machine with cgroup v1")
    below = Path(running.state.cgroup_paths["pids"]) / "inner"
    for path in set(running.state.cgroup_paths.values()):
        os.mkdir(f"{path}/inner")
    with pytest.raises(HostLacks, match="takes no process"):  # a cpuset without processors
        run(box, running, "true", cgroup_path="inner")
    cpuset = Path(running.state.cgroup_paths["cpuset"])
    for name in ("cpuset.cpus", "cpuset.mems"):
        (cpuset / "inner" / name).write_text((cpuset / name).read_text())
    _, said = run(box, running, "cat /proc/self/cgroup", cgroup_path="inner")
    assert said.count("/inner\n") == len(set(running.state.cgroup_paths.values()))
    _, said = run(box, running, "cat /proc/self/cgroup", cgroup_path="pids:inner")
    assert said.count("/inner\n") == 1
    with pytest.raises(InvalidState, match="cannot enter the cgroup"):
        run(box, running, "true", cgroup_path="nosuch")
    with pytest.raises(InvalidOption):
        run(box, running, "true", cgroup_path="nosuch:inner")
    with pytest.raises(InvalidDocument):
        run(box, running, "true", cgroup_path="../../..")
    assert below.is_dir()


def test_processors(box, running):
    allowed = sorted(os.sched_getaffinity(0))
    fields = {"exec_cpu_affinity": CpuAffinity(initial=str(allowed[-1]), final=str(allowed[0]))}
    _, said = run(box, running, "grep Cpus_allowed_list /proc/self/status", fields=fields)
    assert said.split()[1] == str(allowed[0])
    assert sorted(os.sched_getaffinity(0)) == allowed


def test_into_one_without_a_mount_namespace(box):
    """Its root is only where its first process is; the machine's would be found otherwise."""
    box.linux["namespaces"] = [{"type": "uts"}]
    box.config["mounts"] = []
    init = box.create("exec sleep 100")
    init.start()
    (box.rootfs / "here").write_text("inside")
    assert run(box, init, "cat /here; pwd; ls /..")[1].startswith("inside/\nbin\n")


def test_limits_that_leave_nothing_to_open_files_with(box):
    tight = [{"type": f"RLIMIT_{name}", "soft": 3, "hard": 3} for name in ("NOFILE", "FSIZE")]
    box.process |= {"rlimits": tight, "user": {"uid": 1000, "gid": 1000}}
    init = box.create("while :; do :; done")
    init.start()
    limits = tuple(Rlimit(type=each["type"], soft=3, hard=3) for each in tight)
    fields = {"rlimits": limits, "user": User(uid=1000, gid=1000)}
    assert run(box, init, "ulimit -n", fields=fields)[0] == 0


def test_not_into_a_container_that_is_over(box, running):
    signal.pidfd_send_signal(running.pidfd, signal.SIGKILL)
    select.select([running.pidfd], [], [])
    with pytest.raises(InvalidState, match="stopped"):
        execute(running.state, process("true"), (-1, -1, -1))


def test_not_into_another_process_with_the_same_pid(box, running):
    """A pid is never enough: it is somebody else's sooner or later."""
    other = replace(running.state.process, start_ticks=1)
    with pytest.raises(InvalidState):
        execute(replace(running.state, process=other), process("true"), (-1, -1, -1))


def test_not_into_a_paused_one_unless_asked(box, running):
    container.pause(running.state)
    try:
        with pytest.raises(InvalidState, match="paused"):
            execute(running.state, process("true"), (-1, -1, -1))
    finally:
        container.resume(running.state)
    assert run(box, running, "echo on")[1] == "on\n"


# -- what else can be done to a container ------------------------------------------------


def test_pause_and_resume(box, running):
    container.pause(running.state)
    assert running.state.status() == "paused"
    with pytest.raises(InvalidState):
        container.pause(running.state)
    container.resume(running.state)
    assert running.state.status() == "running"
    with pytest.raises(InvalidState):
        container.resume(running.state)


def test_kill_and_delete(box, tmp_path):
    init = box.create("exec sleep 100", state_root=str(tmp_path / "state"))
    with pytest.raises(InvalidState):
        container.delete(init.state)
    init.start()
    with pytest.raises(InvalidState):
        container.delete(init.state)
    container.kill(init.state, signal.SIGKILL)
    assert select.select([init.pidfd], [], [], 10)[0]
    with pytest.raises(InvalidState, match="not running"):
        container.kill(init.state, signal.SIGKILL)
    container.delete(ContainerState.load(str(tmp_path / "state"), box.name))
    assert not (tmp_path / "state" / box.name).exists()
    assert not any(os.path.exists(path) for path in init.state.cgroup_paths.values())
    wait(init)
    box.made.remove(init)


def test_force_ends_whatever_it_does(box):
    for prepare in (lambda _: None, lambda init: init.start(),
                    lambda init: (init.start(), container.pause(init.state))):  # fmt: skip
        init = box.create("trap '' TERM; exec sleep 100")
        prepare(init)
        container.delete(replace(init.state, is_started=True), force=True)
        assert select.select([init.pidfd], [], [], 10)[0]
        wait(init)
        box.made.remove(init)


def test_all_processes_of_a_shared_pid_namespace(box):
    box.linux["namespaces"] = [each for each in box.linux["namespaces"] if each["type"] != "pid"]
    box.config["mounts"] = [each for each in box.config["mounts"] if each["type"] != "proc"]
    init = box.create("sleep 100 & sleep 101 & exec sleep 102")
    init.start()
    deadline = time.monotonic() + 10
    while len(pids := container.processes(init.state)) < 3:
        assert time.monotonic() < deadline
    container.kill(init.state, signal.SIGKILL)
    for pid in pids:
        if pid != init.pid:
            while identify(pid).start_ticks and identify(pid).is_alive():
                assert time.monotonic() < deadline, "it goes on though its container is killed"


def test_update_and_stats(box, running):
    resources = Resources.parse(Fields({"pids": {"limit": 77}}, "resources"))
    container.update(running.state, resources)
    if "pids" in running.state.cgroup_paths:
        path = running.state.cgroup_paths["pids"]
        assert Path(path, "pids.max").read_text() == "77\n"
    stats = container.stats(running.state).to_runc_json()
    assert stats["pids"]["current"] == 1
    assert container.processes(running.state) == [running.pid]


def test_statuses_in_the_course_of_a_life(box, tmp_path):
    root = str(tmp_path / "state")
    init = box.create("exec sleep 100", state_root=root, door=True)
    load = lambda: ContainerState.load(root, box.name)  # noqa: E731
    assert load().status() == "created"
    init.let_go()
    for _ in range(3):  # looking does not start it
        assert load().status() == "created"
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(f"{root}/{box.name}", os.O_PATH)
    with door:
        door.connect(f"/proc/self/fd/{directory}/start.sock")
        door.send(b'{"type": "start"}')
        assert door.recv(100) == b""
    os.close(directory)
    # Whoever started it was killed before it could write that down: it is true all the same.
    assert not load().is_started
    assert load().status() == "running"
    container.kill(load(), signal.SIGKILL)
    select.select([init.pidfd], [], [])
    assert load().status() == "stopped"
    assert load().to_oci_json()["pid"] == 0


def test_a_state_from_before_a_reboot(box, running):
    old = ProcessIdentity(running.pid, running.state.process.start_ticks, "another boot")
    assert replace(running.state, process=old).status() == "stopped"


def test_who_executes_keeps_its_own_pid_namespace(box, running):
    """Its children were sent to the container's for a moment; and it can be looked at again."""
    before = syscalls.prctl(syscalls.PR_GET_DUMPABLE)
    assert run(box, running, "true")[0] == 0
    assert os.readlink("/proc/self/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")
    assert syscalls.prctl(syscalls.PR_GET_DUMPABLE) == before


def test_into_a_pid_namespace_that_has_ended(box, running, monkeypatch):
    """It ends just before: no child can be born there; the next one can be born here."""
    find_way = birth._way_home

    def end_first():
        os.kill(running.pid, signal.SIGKILL)
        os.waitid(os.P_PIDFD, running.pidfd, os.WEXITED | os.WNOWAIT)
        return find_way()

    monkeypatch.setattr(birth, "_way_home", end_first)
    with pytest.raises(OcimagicError, match="no process can be made there"):
        execute(running.state, process("true"), (-1, -1, -1))
    assert subprocess.run(["true"], check=False).returncode == 0
