"""Every option of run as the container itself sees it: real namespaces, cgroups, mounts."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import time
from pathlib import Path

import pytest
from rootfs import MadeImage

from ocimagic import Engine
from ocimagic.engine.record import Document
from ocimagic.engine.supervision import supervision
from ocimagic.errors import (
    ContainerNotFound,
    HostLacks,
    InvalidOption,
    InvalidState,
    OcimagicError,
    StartFailed,
)
from ocimagic.model.event import Notice
from ocimagic.model.options import (
    BindRecursion,
    NetworkMode,
    RunOptions,
    SecurityOptions,
    TmpfsMount,
    VolumeMount,
)
from ocimagic.model.policy import HealthOptions, LogOptions, RestartName, RestartPolicy
from ocimagic.model.resources import (
    DeviceMapping,
    ResourceOptions,
    ThrottleDevice,
    Ulimit,
)
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.model.state import Status

MIB = 1 << 20
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
ROOT = os.geteuid() == 0


@pytest.fixture
def run(shared):
    def run(*command, **options):
        options.setdefault("network", "none")
        options.setdefault("remove", True)
        return shared.containers.run("busybox", list(command), **options)

    return run


@pytest.fixture
def sh(run):
    def sh(script, **options):
        return run("sh", "-c", script, **options).stdout.decode()

    return sh


@pytest.fixture
def sleeper(shared):
    """Start containers that sleep; they go when the test ends."""
    made = []

    def start(**options):
        options.setdefault("network", "none")
        made.append(shared.containers.run("busybox", ["sleep", "1000"], detach=True, **options))
        return made[-1]

    yield start
    for each in made:
        with contextlib.suppress(ContainerNotFound):
            shared.containers.remove(each.container_id, force=True)


@pytest.fixture
def limited(shared):
    """Skip where this account has no cgroups of its own: limits are refused there in words."""
    if shared.containers.launcher.ids != 0:
        pytest.skip("root can: no cgroup is delegated to this account")


def limits(**fields):
    return {"resources": ResourceOptions(**fields)}


def knob(sh, v1, v2, **options):
    """Return what a file of the container's own cgroup says."""
    path = f"/sys/fs/cgroup/{v2}" if V2 else f"/sys/fs/cgroup/{v1}"
    return sh(f"cat {path}", **options).strip()


# Limits.


def test_memory(sh, limited):
    asked = limits(memory_bytes=64 * MIB)
    assert knob(sh, "memory/memory.limit_in_bytes", "memory.max", **asked) == str(64 * MIB)
    swap = knob(sh, "memory/memory.memsw.limit_in_bytes", "memory.swap.max", **asked)
    assert swap == str(64 * MIB if V2 else 128 * MIB), "as much swap as memory"


def test_memory_and_its_kin(sh, limited):
    asked = limits(
        memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB, memory_reservation_bytes=32 * MIB
    )
    assert knob(sh, "memory/memory.soft_limit_in_bytes", "memory.low", **asked) == str(32 * MIB)
    swap = knob(sh, "memory/memory.memsw.limit_in_bytes", "memory.swap.max", **asked)
    assert swap == ("0" if V2 else str(64 * MIB))
    if not V2:
        asked = limits(memory_swappiness=7)
        assert sh("cat /sys/fs/cgroup/memory/memory.swappiness", **asked) == "7\n"
        asked = limits(memory_bytes=64 * MIB, oom_kill_disable=True)
        assert "oom_kill_disable 1" in sh("cat /sys/fs/cgroup/memory/memory.oom_control", **asked)


def test_memory_that_runs_out_kills(shared, limited):
    made = shared.containers.run(
        "busybox",
        ["tail", "/dev/zero"],
        network="none",
        detach=True,
        **limits(memory_bytes=20 * MIB, memory_swap_bytes=20 * MIB),
    )
    ended = shared.containers.wait(made.name)
    assert (ended.code, ended.signal) == (137, 9)
    assert shared.containers.get(made.name).exit.oom_killed
    shared.containers.remove(made.name)


def test_cpus(sh, limited):
    found = knob(sh, "cpu/cpu.cfs_quota_us", "cpu.max", **limits(nano_cpus=500_000_000))
    assert found == ("50000 100000" if V2 else "50000")
    asked = limits(cpu_period_us=50_000, cpu_quota_us=20_000)
    found = knob(sh, "cpu/cpu.cfs_period_us", "cpu.max", **asked)
    assert found == ("20000 50000" if V2 else "50000")


def test_cpu_shares(sh, limited):
    found = knob(sh, "cpu/cpu.shares", "cpu.weight", **limits(cpu_shares=512))
    assert found in (("20", "59") if V2 else ("512",))


def test_cpuset(sh, limited):
    assert "Cpus_allowed_list:\t0\n" in sh("cat /proc/self/status", **limits(cpuset_cpus="0"))


def test_pids_limit(run, limited):
    asked = limits(pids_limit=8)
    done = run("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done", **asked)
    assert b"fork" in done.stderr
    assert run("true", **limits(pids_limit=-1)).exit_code == 0


def test_throttled_device(sh, limited):
    if not os.path.exists("/dev/loop0"):
        pytest.skip("root can: no loop device on this machine")
    told = os.stat("/dev/loop0").st_rdev
    asked = limits(device_read_bps=(ThrottleDevice(path="/dev/loop0", rate=MIB),))
    found = knob(sh, "blkio/blkio.throttle.read_bps_device", "io.max", **asked)
    assert found.startswith(f"{os.major(told)}:{os.minor(told)} ")
    assert str(MIB) in found


def test_cgroup_parent(shared, limited, sleeper):
    made = sleeper(**limits(cgroup_parent="/ocimagic-test-parent", pids_limit=50))
    with open(f"/proc/{made.pid}/cgroup", encoding="ascii") as file:
        assert f"/ocimagic-test-parent/{made.container_id}" in file.read()
    shared.containers.remove(made.name, force=True)
    parents = [
        *Path("/sys/fs/cgroup").glob("ocimagic-test-parent"),
        *Path("/sys/fs/cgroup").glob("*/ocimagic-test-parent"),
    ]
    assert parents
    for parent in parents:
        assert [each for each in parent.iterdir() if each.is_dir()] == []
        parent.rmdir()


def test_cgroup_is_the_engines(limited, sleeper):
    made = sleeper()
    with open(f"/proc/{made.pid}/cgroup", encoding="ascii") as file:
        assert f"/ocimagic/{made.container_id}" in file.read()


def test_limits_where_there_are_no_cgroups_are_refused_in_words(shared, run):
    if shared.containers.launcher.ids == 0:
        pytest.skip("root may")
    if V2:
        pytest.skip("root may: cgroup v2 can be delegated to this account")
    before = shared.containers.list(all=True)
    with pytest.raises(HostLacks) as caught:
        run("true", **limits(memory_bytes=64 * MIB))
    assert caught.value.why
    assert caught.value.hint
    assert shared.containers.list(all=True) == before
    assert run("true").exit_code == 0, "without a limit it runs"


def test_limits_of_processes(sh):
    asked = {"ulimits": (Ulimit(name="nofile", soft=64, hard=128),)}
    assert sh("ulimit -n; ulimit -Hn", **asked) == "64\n128\n"
    asked = {"ulimits": (Ulimit(name="core", soft=0, hard=0),)}
    assert sh("ulimit -c", **asked) == "0\n"


def test_a_limit_above_the_machines_is_lowered_and_not_fatal(sh):
    asked = {"ulimits": (Ulimit(name="nofile", soft=-1, hard=-1),)}
    assert int(sh("ulimit -n", **asked)) > 64


def test_oom_score(sh):
    assert sh("cat /proc/self/oom_score_adj", oom_score_adj=300) == "300\n"


# Devices and protection.


def test_a_device(run, limited):
    asked = {"devices": (DeviceMapping(source="/dev/zero", target="/dev/z", permissions="r"),)}
    found = run("sh", "-c", "head -c 3 /dev/z | wc -c; stat -c %t:%T /dev/z", **asked)
    assert found.stdout == b"3\n1:5\n"


@pytest.fixture
def closed_device():
    """Return a device that containers may not open, but whose driver lets anybody in."""
    for path in ("/dev/fuse", "/dev/loop-control"):
        if os.path.exists(path):
            return path
    return pytest.skip("root can: neither /dev/fuse nor /dev/loop-control on this machine")


def test_a_device_is_as_open_as_was_asked(run, limited, closed_device):
    asked = {"devices": (DeviceMapping(source=closed_device, target="/dev/k", permissions="r"),)}
    script = "exec 3</dev/k && echo read; (exec 4>/dev/k) 2>/dev/null || echo closed"
    assert run("sh", "-c", script, **asked).stdout == b"read\nclosed\n"


def test_a_device_of_an_ordinary_user(shared, run):
    if shared.containers.launcher.ids == 0:
        pytest.skip("root may")
    asked = {"devices": (DeviceMapping(source="/dev/zero", target="/dev/z"),)}
    assert run("sh", "-c", "head -c 3 /dev/z | wc -c", **asked).stdout == b"3\n"


def test_devices_that_were_not_asked_for_are_shut(run, limited, closed_device):
    number = os.stat(closed_device).st_rdev
    major, minor = os.major(number), os.minor(number)
    script = f"mknod /tmp/k c {major} {minor} && exec 3</tmp/k"
    done = run("sh", "-c", script)
    assert done.exit_code != 0
    assert b"not permitted" in done.stderr
    opened = limits(device_cgroup_rules=(f"c {major}:{minor} r",))
    assert run("sh", "-c", script, **opened).exit_code == 0


def test_privileged(run, sh, limited):
    status = sh("cat /proc/self/status", privileged=True)
    with open("/proc/self/status", encoding="ascii") as file:
        ours = re.search(r"CapBnd:\t(\w+)", file.read())[1]
    assert f"CapEff:\t{ours}" in status, "all that this machine has"
    assert "Seccomp:\t0" in status
    assert sh("mount -t tmpfs none /tmp && echo mounted", privileged=True) == "mounted\n"
    assert len(sh("ls /dev", privileged=True).split()) > len(sh("ls /dev").split())
    flags = sh("cat /proc/mounts", privileged=True)
    assert not re.search(r" /sys sysfs ro", flags)


def test_privileged_of_an_ordinary_user_runs_and_is_said(shared):
    if shared.containers.launcher.ids == 0:
        pytest.skip("root may")
    heard = []
    done = shared.containers.run(
        "busybox", ["true"], network="none", remove=True, privileged=True, on_event=heard.append
    )
    assert done.exit_code == 0
    assert any("user namespace" in each.text for each in heard if isinstance(each, Notice))


def test_seccomp(run, sh):
    unconfined = {"security": SecurityOptions(seccomp="unconfined")}
    assert "Seccomp:\t0" in sh("cat /proc/self/status", **unconfined)
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {
                "names": ["rmdir", "unlinkat"],
                "action": "SCMP_ACT_ERRNO",
                "includes": {"caps": ["CAP_SYS_BOOT"]},
            },
        ],
    }
    own = {"security": SecurityOptions(seccomp=json.dumps(profile))}
    done = run("sh", "-c", "mkdir /tmp/x || echo no; rmdir /home && echo yes", **own)
    assert done.stdout == b"no\nyes\n"
    assert b"not supported" in done.stderr


@pytest.mark.parametrize("init", [False, True])
def test_a_profile_that_knows_no_young_system_calls(run, init):
    """With --init, who waits for the command has no copy of its streams all the same."""
    rules = [{"names": ["close_range", "openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    own = {"security": SecurityOptions(seccomp=json.dumps(profile))}
    done = run("sh", "-c", "echo alive; exec >&- 2>&-; sleep 0.2; exit 3", init=init, **own)
    assert (done.stdout, done.exit_code) == (b"alive\n", 3)


def test_paths_can_be_unmasked(sh):
    def masks(**options):
        return len(re.findall(r" /proc/\w+", sh("cat /proc/mounts", **options)))

    assert masks() > 3
    assert masks(security=SecurityOptions(unmask_paths=True)) == 0


def test_sysctls(sh):
    asked = {"sysctls": {"net.ipv4.ip_forward": "1"}}
    assert sh("cat /proc/sys/net/ipv4/ip_forward", **asked) == "1\n"
    with pytest.raises(InvalidOption, match="--network none"):
        sh("true", network="host", **asked)
    asked = {"sysctls": {"kernel.shm_rmid_forced": "1"}}
    assert sh("cat /proc/sys/kernel/shm_rmid_forced", **asked) == "1\n"


def test_groups(shared, sh):
    if shared.containers.launcher.ids == 1:
        pytest.skip("root can: this account has one id only")
    groups = sh("id -G", user="alice", groups=("4242", "wheel")).split()
    assert {"1000", "4242", "10"} <= set(groups)
    with pytest.raises(StartFailed, match="nosuch"):
        sh("id", groups=("nosuch",))


# Mounts.


def test_tmpfs(run, sh):
    asked = {"tmpfs": (TmpfsMount(target="/run", options=("size=1m", "mode=700")),)}
    line = next(each for each in sh("cat /proc/mounts", **asked).splitlines() if " /run " in each)
    assert {"nosuid", "nodev", "noexec", "size=1024k", "mode=700"} <= set(re.split("[ ,]", line))
    done = run("sh", "-c", "head -c 3000000 /dev/zero > /run/x; stat -c %s /run/x", **asked)
    assert done.stdout == b"1048576\n"
    assert done.stderr
    runs = {"tmpfs": (TmpfsMount(target="/x", options=("exec",)),)}
    assert sh("cp /bin/busybox /x/echo && /x/echo yes", **runs) == "yes\n"


def test_shm_size(sh):
    assert "size=1024k" in sh("grep /dev/shm /proc/mounts", shm_size_bytes=MIB)
    assert sh("ls -d /dev/shm 2>/dev/null; grep -c /dev/shm /proc/mounts", ipc="none") == "0\n"


def test_a_bind_with_and_without_what_is_below(shared, sh, tmp_path):
    if not ROOT:
        pytest.skip("needs root to mount on the machine")
    (tmp_path / "sub").mkdir()
    assert os.system(f"mount -t tmpfs none {tmp_path}/sub") == 0
    try:
        (tmp_path / "sub" / "below").touch()
        bound = VolumeMount(source=str(tmp_path), target="/v")
        assert sh("ls /v/sub", volumes=(bound,)) == "below\n"
        alone = VolumeMount(source=str(tmp_path), target="/v", recursion=BindRecursion.DISABLED)
        assert sh("ls /v/sub", volumes=(alone,)) == ""
        shut = VolumeMount(source=str(tmp_path), target="/v", read_only=True)
        touch = "touch /v/x; touch /v/sub/x; ls /v/sub"
        assert sh(touch, volumes=(shut,)) == "below\n"
        half = VolumeMount(
            source=str(tmp_path), target="/v", read_only=True, recursion=BindRecursion.WRITABLE
        )
        assert sh(touch, volumes=(half,)) == "below\nx\n"
        assert not (tmp_path / "x").exists()
    finally:
        os.system(f"umount {tmp_path}/sub")


# Names and namespaces.


def test_names(sh):
    asked = {
        "hostname": "box",
        "domainname": "example.com",
        "extra_hosts": (("db", "192.0.2.7"),),
        "dns": ("192.0.2.53",),
        "dns_search": ("example.com",),
    }
    script = "hostname; cat /proc/sys/kernel/domainname; grep db /etc/hosts; cat /etc/resolv.conf"
    assert sh(script, **asked) == (
        "box\nexample.com\n192.0.2.7\tdb\nnameserver 192.0.2.53\nsearch example.com\n"
    )


def same(sh, kind, other_pid, **options):
    """Say whether a container with these options is in the namespace of a process."""
    ours = os.readlink(f"/proc/{other_pid}/ns/{kind}")
    return sh(f"readlink /proc/self/ns/{kind}", **options).strip() == ours


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"pid": "host"}, "pid"),
        ({"ipc": "host"}, "ipc"),
        ({"uts": "host"}, "uts"),
        ({"network": "host"}, "net"),
    ],
)
def test_namespaces_of_the_machine(sh, options, kind):
    assert same(sh, kind, "self", **options)
    if kind != "net":
        assert not same(sh, kind, "self")


def test_processes_of_the_machine_are_seen(sh):
    assert f"/proc/{os.getpid()}" in sh(f"ls -d /proc/{os.getpid()}", pid="host")
    assert sh("hostname", uts="host").strip() == socket.gethostname()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("pid", {"pid": "container:{}"}),
        ("ipc", {"ipc": "container:{}"}),
        ("net", {"network": "container:{}"}),
    ],
)
def test_namespaces_of_another_container(sh, sleeper, kind, options):
    donor = sleeper(ipc="shareable", hostname="donor")
    chosen = {key: value.format(donor.name) for key, value in options.items()}
    assert same(sh, kind, donor.pid, **chosen)
    if kind == "pid":
        assert "sleep 1000" in sh("ps", **chosen)
    if kind == "net":
        assert sh("hostname; grep -c donor /etc/hosts", **chosen) == "donor\n1\n"


def test_a_network_that_the_other_container_has_from_a_third(sh, sleeper):
    owner = sleeper(hostname="owner")
    between = sleeper(network=f"container:{owner.name}")
    script = "cat /etc/hostname; readlink /proc/self/ns/net"
    seen = sh(script, network=f"container:{between.name}")
    assert seen.split() == ["owner", os.readlink(f"/proc/{owner.pid}/ns/net")]


def test_what_the_other_container_has_from_the_machine(sh, sleeper):
    donor = sleeper(network="host", pid="host")
    asked = {"network": f"container:{donor.name}", "pid": f"container:{donor.name}"}
    assert same(sh, "net", "self", **asked)
    assert same(sh, "pid", "self", **asked)


def test_shared_memory_of_another_container(shared, sh, sleeper):
    donor = sleeper(ipc="shareable")
    joined = f"container:{donor.name}"
    sh("echo words > /dev/shm/box", ipc=joined)
    assert sh("cat /dev/shm/box; stat -c %a /dev/shm", ipc=joined) == "words\n1777\n"
    private = sleeper()
    with pytest.raises(InvalidOption, match="--ipc shareable"):
        sh("true", ipc=f"container:{private.name}")


def test_a_container_that_is_not_there_or_does_not_run(shared, sh, sleeper):
    with pytest.raises(ContainerNotFound):
        sh("true", pid="container:nosuch")
    donor = sleeper()
    shared.containers.stop(donor.name, grace_s=0)
    with pytest.raises(InvalidState, match="cannot join the pid namespace"):
        sh("true", pid=f"container:{donor.name}")


def test_a_container_finds_its_donor_again_after_both_restarted(shared, sleeper):
    donor = sleeper(name="donor")
    user = sleeper(name="user", pid="container:donor")
    for name in ("user", "donor"):
        shared.containers.stop(name, grace_s=0)
    with pytest.raises(InvalidState):
        shared.containers.start("user")
    again = shared.containers.start("donor")
    joined = shared.containers.start("user")
    links = {os.readlink(f"/proc/{each.pid}/ns/pid") for each in (again, joined)}
    assert len(links) == 1
    assert donor.pid != again.pid
    assert user.pid != joined.pid


def test_another_engine_joins_a_container_of_this_one(shared, sleeper):
    """An ordinary user's two launchers have two user namespaces."""
    donor = sleeper(ipc="shareable")
    other = Engine(shared.home.data)
    try:
        done = other.containers.run(
            "busybox", ["readlink", "/proc/self/ns/pid"], remove=True,
            network="none", pid=f"container:{donor.name}",
        )  # fmt: skip
        assert done.stdout.decode().strip() == os.readlink(f"/proc/{donor.pid}/ns/pid")
    finally:
        other.close()


def test_cgroup_namespace(sh, limited):
    paths = {line.split(":")[2] for line in sh("cat /proc/self/cgroup", cgroupns="private").split()}
    assert paths == {"/"}
    assert any(len(line) > 60 for line in sh("cat /proc/self/cgroup", cgroupns="host").split())


# The life of a container.


def test_a_terminal(shared):
    done = shared.containers.run(
        "busybox",
        ["sh", "-c", "test -t 0 && test -t 1 && stty size; echo $TERM"],
        network="none",
        remove=True,
        tty=True,
        console_size=(31, 97),
    )
    assert done.stdout == b"31 97\r\nxterm\r\n"


def test_init(sh):
    assert sh("echo $$").strip() == "1"
    script = "echo $$; (sleep 0.05 &) ; sleep 0.3; ps -o comm | grep -c '^sleep'"
    pid, zombies = sh(script, init=True).split()
    assert int(pid) > 1
    assert zombies == "0"


def test_restart_on_failure(shared):
    policy = RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=2)
    made = shared.containers.run(
        "busybox", ["sh", "-c", "echo try; exit 3"], network="none", detach=True, restart=policy
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and len(list(shared.containers.logs(made.name))) < 3:
        pass
    found = _wait_for(shared, made.name, Status.EXITED)
    assert (found.exit.code, found.restart_count) == (3, 2)
    assert [data for _, _, data in shared.containers.logs(made.name)] == [b"try\n"] * 3
    shared.containers.remove(made.name)


def _wait_for(shared, name, status):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = shared.containers.get(name)
        if found.status is status:
            return found
    pytest.fail(f"{name} is {found.status}")


def test_health(shared):
    check = HealthOptions(test=("CMD-SHELL", "test -e /ok"), interval_s=0.1, retries=2)
    made = shared.containers.run(
        "busybox",
        ["sh", "-c", "sleep 0.5; touch /ok; sleep 100"],
        network="none",
        detach=True,
        health=check,
    )
    seen = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and "healthy" not in seen:
        state = shared.containers.get(made.name).health
        if state and state.status not in seen:
            seen.append(state.status)
    assert seen[-1] == "healthy"
    assert "unhealthy" in seen or "starting" in seen
    shared.containers.remove(made.name, force=True)


def test_a_check_that_does_not_answer_is_told_as_docker_does(shared):
    check = HealthOptions(test=("CMD", "sleep", "9"), interval_s=0.05, timeout_s=0.05, retries=1)
    made = shared.containers.run(
        "busybox", ["sleep", "100"], network="none", detach=True, health=check
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        [found] = shared.containers.list()  # it could not be listed
        if found.health.log:
            break
    assert found.health.log[0].exit_code == -1
    shared.containers.remove(made.name, force=True)


def test_log_that_is_rotated(shared):
    made = shared.containers.run(
        "busybox",
        ["sh", "-c", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done"],
        network="none",
        detach=True,
        log=LogOptions(max_size_bytes=5000, max_files=2),
    )
    shared.containers.wait(made.name)
    path = shared.containers.inspect(made.name).log_path
    names = sorted(each for each in os.listdir(os.path.dirname(path)) if ".log" in each)
    assert len(names) == 2
    assert os.path.getsize(path) <= 5200
    shared.containers.remove(made.name)


def test_no_log(shared):
    made = shared.containers.run(
        "busybox", ["echo", "unseen"], network="none", detach=True, log=LogOptions(driver="none")
    )
    shared.containers.wait(made.name)
    path = shared.containers.inspect(made.name).log_path
    assert not os.path.exists(path) or os.path.getsize(path) == 0
    shared.containers.remove(made.name)


def test_stop_timeout_of_the_options(shared):
    made = shared.containers.run(
        "busybox", ["sleep", "100"], network="none", detach=True, stop_timeout_s=0.2
    )
    began = time.monotonic()
    assert shared.containers.stop(made.name).code == 137
    assert time.monotonic() - began < 5
    shared.containers.remove(made.name)


# What the caller sees.


def test_streams_that_are_followed(run):
    script = "echo out; echo err >&2"
    only = run("sh", "-c", script, attach=("stderr",))
    assert (only.stdout, only.stderr) == (b"", b"err\n")
    both = run("sh", "-c", script, attach=("stdout", "stderr"))
    assert (both.stdout, both.stderr) == (b"out\n", b"err\n")


def test_input_alone_is_given_and_left(shared):
    made = shared.containers.run(
        "busybox",
        ["cat"],
        network="none",
        interactive=True,
        attach=("stdin",),
        stdin=b"words\n",
    )
    assert isinstance(made, ContainerSummary)
    assert shared.containers.wait(made.name).code == 0
    assert [data for _, _, data in shared.containers.logs(made.name)] == [b"words\n"]
    shared.containers.remove(made.name)


def test_container_id_file(shared, run, tmp_path):
    path = tmp_path / "id"
    done = run("true", cidfile=str(path))
    assert isinstance(done, RunResult)
    assert path.read_text() == done.container_id
    with pytest.raises(InvalidOption, match="is there already"):
        run("true", cidfile=str(path))
    path.unlink()
    with pytest.raises(OcimagicError):
        run("true", cidfile=str(path), working_dir="relative")
    assert not path.exists(), "it goes with the container"


def test_warnings_are_events(shared):
    heard = []
    shared.containers.run(
        "busybox",
        ["true"],
        network="none",
        remove=True,
        on_event=heard.append,
        security=SecurityOptions(apparmor="mine"),
    )
    if not os.path.exists("/sys/module/apparmor/parameters/enabled"):
        assert any("AppArmor" in each.text for each in heard if isinstance(each, Notice))


def test_a_runtime_that_is_not_there(run):
    with pytest.raises(InvalidOption, match="did you mean runc"):
        run("true", runtime="rucn")
    with pytest.raises(HostLacks, match="no runtime /nosuch"):
        run("true", runtime="/nosuch")


@pytest.mark.parametrize(
    "options",
    [
        {"remove": True, "restart": RestartPolicy(name=RestartName.ALWAYS)},
        {"devices": (DeviceMapping(source="/dev/nosuch", target="/dev/nosuch"),)},
        {"runtime": "rucn"},
        limits(memory_bytes=1),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_fetched(shared, options):
    with pytest.raises(InvalidOption):
        shared.containers.run("127.0.0.1:1/not/there", ["true"], **options)


def test_a_device_that_is_not_there_leaves_nothing(shared, run):
    before = shared.containers.list(all=True)
    missing = DeviceMapping(source="/dev/nosuch", target="/dev/nosuch")
    with pytest.raises(InvalidOption, match="no device"):
        run("true", devices=(missing,))
    assert shared.containers.list(all=True) == before


def test_what_the_image_says_is_kept(shared, registry, busybox_layer):
    config = {
        "Cmd": ["sleep", "1000"],
        "Env": ["PATH=/bin", "A=image", "B=image"],
        "Labels": {"a": "image", "b": "image"},
        "StopSignal": "SIGUSR1",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Shell": ["/bin/busybox", "sh", "-c"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 7_000_000_000},
    }
    MadeImage([busybox_layer], config).serve(registry.source, "app", "latest")
    asked = RunOptions(
        image=f"{registry.host}/app",
        network=NetworkMode.NONE,
        labels={"a": "mine"},
        env=("A=mine", "B"),
        health=HealthOptions(retries=9),
        exposed_ports=("90/udp",),
    )
    made = shared.containers.create(asked)
    record = shared.containers.find(made.container_id)
    document = Document.decode(record.document)
    assert document.labels == {"a": "mine", "b": "image"}
    assert document.stop_signal == signal.SIGUSR1
    assert document.exposed_ports == ("80/tcp", "90/udp")
    assert (document.health.interval_s, document.health.retries) == (7.0, 9)
    told = supervision(document)
    assert told["health"]["test"] == ["CMD", "/bin/busybox", "sh", "-c", "true"]
    assert (told["stop_signal"], told["restart"]["name"]) == (signal.SIGUSR1, "no")
    env = shared.containers.inspect(made.name).runtime_config["process"]["env"]
    assert "A=mine" in env
    assert not any(each.startswith("B=") for each in env), "-e B takes it out"
    shared.containers.remove(made.name)


def test_documents_of_older_versions_are_read():
    old = {
        "image_id": "sha256:0",
        "command": ["sh"],
        "hostname": "h",
        "network": "none",
        "layers": ["1"],
        "options": {
            "image": "busybox",
            "network": "none",
            "pull": "missing",
            "platform": None,
            "labels": {"a": "1"},
            "volumes": [{"source": "/a", "target": "/b", "read_only": True}],
            "entrypoint": None,
            "stop_timeout_s": 10.0,
            "of_a_newer_version": {"x": 1},
        },
    }
    found = Document.decode(json.dumps(old))
    assert found.options == RunOptions(
        image="busybox",
        network=NetworkMode.NONE,
        labels={"a": "1"},
        volumes=(VolumeMount(source="/a", target="/b", read_only=True),),
    )
    assert (found.labels, found.stop_signal) == ({"a": "1"}, 0)
    assert Document.decode(found.encode()) == found


def test_nothing_is_readable_by_others(shared, sleeper):
    made = sleeper(ipc="shareable")
    path = shared.containers.run_directory(made.container_id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
