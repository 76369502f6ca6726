"""Cgroups on a machine that has version 2 alone; test_cgroup_v2_guest.py boots one for it.

The guest has two processors, one disk in memory at /dev/ram0, and swap.
"""

import mmap
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from ocimagic.errors import HostLacks, InvalidOption, InvalidState
from ocimagic.linux import mounting, syscalls
from ocimagic.runtime.cgroup import Cgroup, place
from ocimagic.runtime.cgroup_hierarchy import Hierarchies
from ocimagic.spec.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    HugepageLimit,
    Memory,
    Network,
    Resources,
    ThrottleDevice,
)

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20
RAM0 = {"major": 1, "minor": 0}
EAT = "b = bytearray({} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"


@pytest.fixture
def make():
    made = []

    def make(path):
        cgroup = place(path, "x")
        made.append(cgroup)
        cgroup.create()
        return cgroup

    yield make
    for each in reversed(made):
        each.kill(signal.SIGKILL)
        each.remove()
    for directory, _, _ in os.walk(ROOT, topdown=False):
        if directory != str(ROOT):
            Cgroup.from_paths({"": directory}).kill(signal.SIGKILL)
            Cgroup.from_paths({"": directory}).remove()


@pytest.fixture
def cgroup(make):
    return make("/test/c")


def read(cgroup, name):
    return (Path(cgroup.paths[""]) / name).read_text().strip()


def run_in(directory, function, *, timeout_s=60):
    """Run a function in a child that sits in a cgroup; raise what it raised."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (directory / "cgroup.procs").write_text("0")
            function()
        except BaseException:  # noqa: BLE001  the parent shows it
            os.write(writer, traceback.format_exc().encode()[-4000:])
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as said:
        trouble = said.read()
    os.waitpid(pid, 0)
    assert not trouble, trouble


def start(cgroup, *argv, **options):
    entrance = cgroup.entrance()
    # One thread, and the process has to be inside.
    enter = lambda: entrance.enter(cloned_into=False)  # noqa: E731
    process = subprocess.Popen(argv, preexec_fn=enter, **options)  # noqa: PLW1509
    entrance.close()
    return process


def inside(cgroup, *argv):
    """Run a program in a cgroup to its end; return its exit status."""
    process = start(cgroup, *argv, stderr=subprocess.DEVNULL)
    return process.wait(60)


def test_version_2_is_alone_here():
    assert Hierarchies.discover().is_pure_version2
    assert place("/x", "x").paths == {"": "/sys/fs/cgroup/x"}


def test_controllers_are_given_down_new_parents(make):
    cgroup = make("/test/deep/er/c")
    given = set(read(cgroup, "cgroup.controllers").split())
    assert {"cpu", "cpuset", "io", "memory", "pids", "hugetlb"} <= given


def test_every_limit_is_kept_by_the_kernel(cgroup):
    asked = Resources(
        memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB),
        cpu=Cpu(shares=2000, quota=20000, period=50000, burst=1000, cpus="0", mems="0"),
        pids_limit=33,
        block_io=BlockIO(
            weight=500,
            throttle_read_bps_device=(ThrottleDevice(**RAM0, rate=MIB),),
            throttle_write_iops_device=(ThrottleDevice(**RAM0, rate=77),),
        ),
        hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),),
        unified={"memory.high": str(60 * MIB), "cgroup.max.depth": "3"},
    )
    assert cgroup.apply(asked) == []
    expected = {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(32 * MIB),
        "memory.high": str(60 * MIB),
        "cpu.weight": "170",
        "cpu.max": "20000 50000",
        "cpu.max.burst": "1000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "33",
        "io.max": f"1:0 rbps={MIB} wbps=max riops=max wiops=77",
        "hugetlb.2MB.max": str(4 * MIB),
        "hugetlb.2MB.rsvd.max": str(4 * MIB),
        "cgroup.max.depth": "3",
    }
    assert {name: read(cgroup, name) for name in expected} == expected
    assert read(cgroup, "io.weight") == "default 4950"


def test_limits_are_taken_away(cgroup):
    cgroup.apply(Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB), cpu=Cpu(quota=10000),
                           pids_limit=3))  # fmt: skip
    assert read(cgroup, "memory.swap.max") == "0"
    gone = Resources(memory=Memory(limit=-1), cpu=Cpu(quota=-1), pids_limit=-1)
    cgroup.apply(gone, update=True)
    names = ("memory.max", "memory.swap.max", "pids.max")
    assert [read(cgroup, name) for name in names] == ["max"] * 3
    assert read(cgroup, "cpu.max") == "max 100000"


def test_nothing_asked_changes_nothing(cgroup):
    assert cgroup.apply(Resources(cpu=Cpu(shares=0), pids_limit=0)) == []
    assert read(cgroup, "cpu.weight") == "100"
    assert read(cgroup, "pids.max") == "max"


def test_swap_is_updated_alone(cgroup):
    cgroup.apply(Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB)))
    cgroup.apply(Resources(memory=Memory(swap=100 * MIB)), update=True)
    assert read(cgroup, "memory.swap.max") == str(36 * MIB)
    with pytest.raises(InvalidOption, match="is less than"):
        cgroup.apply(Resources(memory=Memory(limit=64 * MIB, swap=1)), update=True)


def test_a_limit_below_what_is_used_is_refused_if_asked_to(cgroup):
    code = EAT.format(40) + "\nprint(flush=True)\nimport time\ntime.sleep(60)"
    process = start(cgroup, sys.executable, "-c", code, stdout=subprocess.PIPE)
    process.stdout.readline()
    checked = Memory(limit=20 * MIB, check_before_update=True)
    with pytest.raises(InvalidState, match="not above what is in use"):
        cgroup.apply(Resources(memory=checked), update=True)
    assert read(cgroup, "memory.max") == "max"
    cgroup.kill(signal.SIGKILL)
    process.stdout.close()
    assert process.wait(20) == -signal.SIGKILL


def test_an_idle_one_gets_a_weight_again(cgroup):
    cgroup.apply(Resources(cpu=Cpu(shares=2000, idle=1)))
    assert read(cgroup, "cpu.idle") == "1"
    cgroup.apply(Resources(cpu=Cpu(shares=1024, idle=0)), update=True)
    assert (read(cgroup, "cpu.idle"), read(cgroup, "cpu.weight")) == ("0", "100")


def test_a_burst_is_raised_after_the_quota_and_lowered_before(cgroup):
    for quota, burst in ((10000, 10000), (50000, 40000), (5000, 1000), (5000, 0)):
        cgroup.apply(Resources(cpu=Cpu(quota=quota, period=100000, burst=burst)), update=True)
        assert read(cgroup, "cpu.max.burst") == str(burst)


@pytest.mark.parametrize(
    ("asked", "kind", "what"),
    [
        (Resources(cpu=Cpu(cpus="0,7777")), InvalidOption, "cpu.cpus = 0,7777"),
        (Resources(cpu=Cpu(quota=1)), InvalidOption, "cpu.quota = 1 100000"),
        (Resources(unified={"memory.max": "many"}), InvalidOption, "memory.max = many"),
        (Resources(unified={"cgroup.controllers": "x"}), InvalidOption, "cgroup.controllers = x"),
        (
            Resources(block_io=BlockIO(throttle_read_bps_device=(
                ThrottleDevice(major=99, minor=99, rate=1),))),
            HostLacks, "99:99 rbps=1",
        ),
    ],
)  # fmt: skip
def test_a_refused_value_is_named(cgroup, asked, kind, what):
    with pytest.raises(kind) as error:
        cgroup.apply(asked)
    assert error.value.what.startswith("the kernel refuses ")
    assert what in error.value.what
    assert "writing to /sys/fs/cgroup/test/c/" in error.value.why


@pytest.mark.parametrize(
    "asked",
    [
        Resources(network=Network(class_id=1)),
        Resources(cpu=Cpu(realtime_runtime=1)),
        Resources(unified={"memory.nothing": "1"}),
        Resources(unified={"nothing.max": "1"}),
    ],
)
def test_what_cannot_be_kept_is_an_error(cgroup, asked):
    with pytest.raises(HostLacks, match="cannot be kept here"):
        cgroup.apply(asked)


# Limits at work


def test_the_limit_on_processes_holds(cgroup):
    cgroup.apply(Resources(pids_limit=3))
    assert inside(cgroup, "sh", "-c", "for i in 1 2 3 4 5; do sleep 1 & done") != 0


def test_the_limit_on_swap_holds(cgroup):
    eat = [sys.executable, "-c", EAT.format(50)]
    cgroup.apply(Resources(memory=Memory(limit=40 * MIB, swap=80 * MIB)))
    assert inside(cgroup, *eat) == 0
    assert cgroup.oom_kills() == 0
    cgroup.apply(Resources(memory=Memory(limit=40 * MIB, swap=40 * MIB)), update=True)
    assert inside(cgroup, *eat) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_a_quota_holds(cgroup):
    cgroup.apply(Resources(cpu=Cpu(quota=10000, period=100000)))
    code = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    assert inside(cgroup, sys.executable, "-S", "-c", code) == 0
    stats = cgroup.stats()
    assert stats.cpu.throttled_periods > 2
    assert stats.cpu.usage_ns < 1_000_000_000


def write_direct(size_bytes):
    """Write to /dev/ram0 past the page cache."""
    disk = os.open("/dev/ram0", os.O_RDWR | os.O_DIRECT)
    block = mmap.mmap(-1, 1 << 16)
    for offset in range(0, size_bytes, len(block)):
        os.pwrite(disk, block, offset)
    os.close(disk)


def test_a_rate_of_a_disk_holds_and_is_counted(cgroup):
    limit = (ThrottleDevice(**RAM0, rate=4 * MIB),)
    devices = (DeviceRule(allow=True, type="b", **RAM0),)
    cgroup.apply(Resources(devices=devices, block_io=BlockIO(throttle_write_bps_device=limit)))
    started = time.monotonic()
    run_in(Path(cgroup.paths[""]), lambda: write_direct(8 * MIB))
    assert time.monotonic() - started > 1
    assert cgroup.stats().total_bytes("Write") == 8 * MIB


# Places


def test_below_processes_a_cgroup_has_no_limits(make):
    """Version 2's "no internal processes"; stopping and killing need no controller."""
    busy = ROOT / "busy"
    busy.mkdir()
    with subprocess.Popen(["sleep", "20"]) as process:
        (busy / "cgroup.procs").write_text(str(process.pid))
        cgroup = make("/busy/c")
        assert cgroup.apply(Resources(memory=Memory(limit=-1))) == []
        with pytest.raises(HostLacks) as error:
            cgroup.apply(Resources(memory=Memory(limit=64 * MIB)))
        assert "given by /sys/fs/cgroup/busy: it has processes of its own" in error.value.why
        assert read(cgroup, "cgroup.type") == "domain"
        assert inside(cgroup, "true") == 0
        cgroup.freeze()
        cgroup.thaw()
        process.kill()


def test_a_relative_path_is_beside_this_process(make):
    app = ROOT / "service" / "app"
    app.mkdir(parents=True)

    def check():
        cgroup = place("a/c", "x")
        assert cgroup.paths == {"": "/sys/fs/cgroup/service/a/c"}
        cgroup.create()
        cgroup.apply(Resources(memory=Memory(limit=64 * MIB)))
        assert read(cgroup, "memory.max") == str(64 * MIB)
        cgroup.remove()

    run_in(app, check)


def test_a_place_for_threads_is_refused(make):
    threads = ROOT / "threads" / "t"
    threads.mkdir(parents=True)
    (threads / "cgroup.type").write_text("threaded")
    with pytest.raises(HostLacks) as error:
        make("/threads/t/c")
    assert "is 'domain invalid': a cgroup above it is for threads only" in error.value.why
    assert not (threads / "c").exists()


def test_threads_in_a_cgroup_of_their_own_are_one_process(make):
    """There cgroup.procs cannot be read, nor cgroup.kill written."""
    plain = ROOT / "plain"
    (plain / "t").mkdir(parents=True)  # no controllers: with memory it could not be threaded
    (plain / "t" / "cgroup.type").write_text("threaded")
    cgroup = Cgroup.from_paths({"": str(plain)})
    with subprocess.Popen(["sleep", "20"]) as process:
        cgroup.add(process.pid)
        (plain / "t" / "cgroup.threads").write_text(str(process.pid))
        assert cgroup.processes() == [process.pid]
        cgroup.below("t").kill(signal.SIGKILL)
        assert process.poll() is None
        cgroup.kill(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL


def test_a_container_with_cgroups_of_its_own_takes_processes_only_there(cgroup):
    inner = cgroup.below("init.scope")
    inner.create()  # gives controllers to what is in the container
    with subprocess.Popen(["sleep", "20"]) as process:
        with pytest.raises(InvalidState, match="cannot be put into its cgroup"):
            cgroup.add(process.pid)
        inner.add(process.pid)
        assert Cgroup.of_process(process.pid).paths == inner.paths
        assert cgroup.processes() == [process.pid]
        cgroup.kill(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def test_in_a_cgroup_namespace_the_top_is_its_own(make):
    app = ROOT / "space" / "app"
    app.mkdir(parents=True)

    def check():
        syscalls.unshare(syscalls.CLONE_NEWCGROUP | syscalls.CLONE_NEWNS)
        mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)
        os.mkdir("/tmp/cgroups")
        mounting.mount("cgroup2", "/tmp/cgroups", "cgroup2")
        for said in ("/c", "c"):
            cgroup = place(said, "x", root="/tmp/cgroups")
            assert cgroup.paths == {"": "/tmp/cgroups/c"}
            cgroup.create()
            assert (app / "c").is_dir()
            # This process is at the top, which in a namespace is no exception from the rule.
            with pytest.raises(HostLacks, match="cannot be kept here"):
                cgroup.apply(Resources(memory=Memory(limit=64 * MIB)))
            cgroup.remove()

    run_in(app, check)


def become_rootless():
    """Be uid 1000 outside, root in a user namespace of its own."""
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text("0 1000 1")
    Path("/proc/self/gid_map").write_text("0 1000 1")


def test_an_ordinary_user_uses_what_is_delegated(make):
    user, app = ROOT / "user", ROOT / "user" / "app"
    app.mkdir(parents=True)
    (ROOT / "cgroup.subtree_control").write_text("+memory +pids")
    for each in (user, user / "cgroup.procs", user / "cgroup.subtree_control",
                 app, app / "cgroup.procs"):  # fmt: skip
        os.chown(each, 1000, 1000)

    def check():
        become_rootless()
        assert place("/elsewhere/c", "x").paths == {}
        cgroup = place("c", "x")
        assert cgroup.paths == {"": "/sys/fs/cgroup/user/c"}
        cgroup.create()
        cgroup.apply(Resources(memory=Memory(limit=64 * MIB), pids_limit=7,
                               devices=(DeviceRule(allow=False),)))  # fmt: skip
        assert read(cgroup, "pids.max") == "7"
        assert inside(cgroup, "true") == 0
        systemd = place("user.slice:libpod:abc", "abc")
        assert systemd.paths == {"": "/sys/fs/cgroup/user/user.slice/libpod-abc.scope"}
        cgroup.kill(signal.SIGKILL)
        cgroup.remove()

    run_in(app, check)


def test_pressure_is_told_where_the_kernel_counts_it(cgroup):
    if not Path(cgroup.paths[""], "cpu.pressure").exists():
        pytest.skip("this kernel counts no pressure")
    assert set(cgroup.stats().pressure) == {"cpu", "memory", "io"}
