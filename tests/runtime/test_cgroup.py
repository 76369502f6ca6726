"""Cgroups with this machine's kernel: real directories, processes and limits.

test_cgroup_v2_guest.py runs this file again on machines with version 2, or version 1, alone.
"""

import contextlib
import errno
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import typing
from pathlib import Path

import pytest

from ocimagic.errors import HostLacks, InvalidDocument, InvalidOption, InvalidState
from ocimagic.linux import syscalls
from ocimagic.runtime import cgroup_files
from ocimagic.runtime.cgroup import Cgroup, place
from ocimagic.runtime.cgroup_files import Directory
from ocimagic.runtime.cgroup_hierarchy import Hierarchies, process_cgroups
from ocimagic.runtime.cgroup_processes import signal_processes
from ocimagic.spec.resources import (
    BlockIO,
    Cpu,
    DeviceRule,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Resources,
    ThrottleDevice,
)

PARENT = f"/ocimagic-test-{os.getpid()}"
MIB = 1 << 20
FORK = "while :; do (:) & (:); done"
TRAP = "trap 'echo got' USR1; echo ready; while :; do sleep 0.05; done"
EAT = "b = bytearray(200 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"


def holding(size_mib):
    """Return a program that takes memory, says so, and stays."""
    return f"b = b'1' * ({size_mib} << 20)\nprint(flush=True)\nimport time\ntime.sleep(60)"


def hugetlb_is_on():
    """Say whether a hybrid machine gives hugetlb to all; the tests leave it as it was."""
    file = Path("/sys/fs/cgroup/unified/cgroup.subtree_control")
    return file.exists() and "hugetlb" in file.read_text()


HUGETLB_WAS_ON = hugetlb_is_on()
CAN_MAKE = place(f"{PARENT}/probe", "probe").paths
NOT_ALLOWED = "needs root: this user can make no cgroup here"
needs_cgroups = pytest.mark.skipif(not CAN_MAKE, reason=NOT_ALLOWED)


def other_machine(why):
    pytest.skip(f"this machine's cgroups: {why}")


def kinds():
    """Name the kinds of cgroup there are here; a hybrid machine has the two others too."""
    hybrid = "" in CAN_MAKE and len(CAN_MAKE) > 1
    return ["as found", "version 1", "version 2"] if hybrid else ["as found"]


@pytest.fixture
def make():
    if not CAN_MAKE:
        pytest.skip(NOT_ALLOWED)
    made = []

    def make(name="c", kind="as found", below=PARENT):
        paths = place(f"{below}/{name}", name).paths
        if kind != "as found":
            paths = {key: path for key, path in paths.items() if (key == "") == (kind[-1] == "2")}
        made.append(Cgroup.from_paths(paths))
        made[-1].create()
        return made[-1]

    yield make
    for each in made:
        end_all(each)
        each.remove()
        left = [path for path in each.paths.values() if os.path.exists(path)]
        assert left == []
    remove_parents()


def end_all(cgroup):
    """Kill what a test has left, more than once: a slow guest may be late with either."""
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(InvalidState):
            cgroup.thaw()
        cgroup.kill(signal.SIGKILL)
        reap()
        if not cgroup.processes() or time.monotonic() > deadline:
            return
        time.sleep(0.05)


def remove_parents():
    top = Path("/sys/fs/cgroup/unified")
    for each in Hierarchies.discover().all:
        base = each.mount + PARENT
        for directory, _, _ in os.walk(base, topdown=False):
            os.rmdir(directory)
    if top.exists() and not HUGETLB_WAS_ON:
        with contextlib.suppress(OSError):  # somebody else may need it by now
            (top / "cgroup.subtree_control").write_text("-hugetlb")


def reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


@pytest.fixture(params=kinds())
def cgroup(request, make):
    return make(kind=request.param)


@pytest.fixture
def inside():
    """Start processes in a cgroup, through its entrance."""
    started = []

    def inside(cgroup, *argv, **options):
        entrance = cgroup.entrance()
        # One thread, and the process has to be inside.
        enter = lambda: entrance.enter(cloned_into=False)  # noqa: E731
        process = subprocess.Popen(argv, preexec_fn=enter, **options)  # noqa: PLW1509
        entrance.close()
        started.append(process)
        return process

    yield inside
    for each in started:
        each.kill()
        each.wait(10)
        for pipe in (each.stdout, each.stderr):
            if pipe:
                pipe.close()


def read(cgroup, controller, file):
    return (Path(cgroup.paths[controller]) / file).read_text().strip()


def wait_until(said, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not said():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


# Being in it


def clone_into(fd):
    """Fork with clone3 and CLONE_INTO_CGROUP, struct clone_args in its version 2."""
    arguments = struct.pack("11Q", 0x200000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, fd)
    return syscalls.call("clone3", arguments, len(arguments))


def test_a_process_is_in_every_hierarchy(make, inside):
    cgroup = make("everywhere")
    process = inside(cgroup, "sleep", "60")
    where = process_cgroups(process.pid)
    assert {where[each] for each in cgroup.paths} == {f"{PARENT}/everywhere"}
    assert cgroup.processes() == [process.pid]
    assert Cgroup.of_process(process.pid).paths == cgroup.paths


def test_a_process_is_born_inside(make):
    cgroup = make("born")
    if "" not in cgroup.paths:
        other_machine("version 2 is not mounted")
    entrance = cgroup.entrance()
    reader, writer = os.pipe()
    pid = clone_into(entrance.cgroup_fd)
    if pid == 0:
        entrance.enter(cloned_into=True)
        with open("/proc/self/cgroup", "rb") as file:
            os.write(writer, file.read())
        os._exit(0)
    os.close(writer)
    entrance.close()
    os.waitpid(pid, 0)
    with open(reader, encoding="utf-8") as said:
        where = {line.strip().split(":", 2)[2] for line in said}
    assert where == {f"{PARENT}/born"}


def test_an_entrance_leaves_no_descriptor(make):
    cgroup = make("descriptors")
    before = os.listdir("/proc/self/fd")
    entrance = cgroup.entrance()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    entrance.close()
    entrance.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_running_process_is_added(cgroup):
    with subprocess.Popen(["sleep", "60"]) as process:
        cgroup.add(process.pid)
        assert cgroup.processes() == [process.pid]
        cgroup.kill(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(InvalidState, match="cannot be put into its cgroup"):
        cgroup.add(process.pid)


@needs_cgroups
def test_a_relative_path_is_below_this_process():
    own = process_cgroups("self")
    found = place("a/b", "x")
    for each in Hierarchies.discover().all:
        base = own[each.controllers[0]].rstrip("/")
        if each.controllers != ("",):
            assert found.paths[each.controllers[0]] == f"{each.mount}{base}/a/b"
    assert all(path.endswith("/x") for path in place("", "x").paths.values())


@needs_cgroups
def test_a_systemd_path_is_made_and_said():
    found = place("system-test.slice:docker:abc", "abc")
    expected = "/system.slice/system-test.slice/docker-abc.scope"
    assert all(path.endswith(expected) for path in found.paths.values())
    assert "systemd is not asked" in found.notice


def test_many_make_the_same_parents_at_once(make):
    made, failed = [], []

    def one(number):
        try:
            made.append(make(f"c{number}", below=f"{PARENT}/deep/er"))
        except Exception as err:  # noqa: BLE001  shown by the assertion below
            failed.append(err)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert len(made) == 8
    assert {len(each.paths) for each in made} == {len(CAN_MAKE)}


def test_nobody_else_may_make_cgroups_above(make):
    """Fails with os.makedirs, which gives parents all that the umask leaves."""
    before = os.umask(0)
    try:
        made = make("leaf", below=f"{PARENT}/one/two")
    finally:
        os.umask(before)
    for path in made.paths.values():
        for directory in (path, os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
            assert os.stat(directory).st_mode & 0o022 == 0


def test_two_may_remove_it_at_once(cgroup, inside):
    process = inside(cgroup, "sleep", "60")
    removers = [threading.Thread(target=cgroup.remove) for _ in range(4)]
    for each in removers:
        each.start()
    cgroup.kill(signal.SIGKILL)
    process.wait(10)
    for each in removers:
        each.join()
    assert not any(os.path.exists(path) for path in cgroup.paths.values())


def test_one_that_goes_while_it_is_written_to_is_gone(cgroup, monkeypatch):
    """Its file is open already when another remover is quicker: that is ENODEV."""

    def gone(self, name, value):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(type(cgroup._directories[0]), "write", gone)
    cgroup.thaw()


def test_processors_are_inherited_down_new_parents(make, inside):
    cgroup = make("leaf", below=f"{PARENT}/one/two")
    if "cpuset" not in cgroup.paths:
        other_machine("version 1 has no cpuset")
    assert read(cgroup, "cpuset", "cpuset.cpus")
    assert read(cgroup, "cpuset", "cpuset.mems")
    assert inside(cgroup, "true").wait(10) == 0


def test_one_in_use_is_refused(make, inside):
    cgroup = make("taken")
    cgroup.create()  # there, and empty: nobody's
    process = inside(cgroup, "sleep", "60")
    with pytest.raises(InvalidState) as error:
        cgroup.create()
    assert f"process {process.pid} is in it" in error.value.why
    assert cgroup.processes() == [process.pid]


def test_a_frozen_one_is_refused(make):
    cgroup = make("frozen")
    cgroup.freeze()
    with pytest.raises(InvalidState) as error:
        cgroup.create()
    assert "it is frozen" in error.value.why


@needs_cgroups
def test_a_file_of_the_kernel_is_no_cgroup():
    with pytest.raises(HostLacks, match="no cgroup can be made here"):
        place("/cgroup.procs", "x").create()


# Stop and go


def test_the_frozen_do_nothing(cgroup, inside):
    process = inside(cgroup, "sh", "-c", "while :; do :; done")
    wait_until(lambda: processor_time(process.pid) > 0)
    assert not cgroup.is_frozen()
    cgroup.freeze()
    assert cgroup.is_frozen()
    time.sleep(0.1)  # a tick may be put down to it a little later
    ticks = processor_time(process.pid)
    time.sleep(0.1)
    assert processor_time(process.pid) == ticks
    cgroup.thaw()
    cgroup.thaw()
    assert not cgroup.is_frozen()
    wait_until(lambda: processor_time(process.pid) > ticks)


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_what_forks_all_the_time_is_frozen_too(cgroup, inside):
    inside(cgroup, "sh", "-c", FORK)
    for _ in range(5):
        cgroup.freeze()
        before = cgroup.processes()
        time.sleep(0.02)
        assert cgroup.processes() == before
        cgroup.thaw()


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_outlives_a_kill(cgroup, inside, frozen):
    first = inside(cgroup, "sh", "-c", FORK)
    wait_until(cgroup.processes)
    if frozen:
        cgroup.freeze()
    cgroup.kill(signal.SIGKILL)
    assert first.wait(10) == -signal.SIGKILL
    wait_until(lambda: not cgroup.processes())
    cgroup.kill(signal.SIGKILL)  # nobody there: nothing happens
    assert cgroup.processes() == []


def test_nothing_outlives_a_kill_before_linux_5_14(cgroup, inside, monkeypatch):
    monkeypatch.setattr("ocimagic.runtime.cgroup._kill_file", lambda directory: False)
    test_nothing_outlives_a_kill(cgroup, inside, frozen=False)


def test_what_version_1_froze_can_be_killed(make, inside):
    """Fails without the thaw after the kill: the signal waits for as long as it is frozen."""
    cgroup = make("both")
    if "freezer" not in cgroup.paths:
        other_machine("version 1 has no freezer")
    process = inside(cgroup, "sleep", "60")
    Cgroup.from_paths({"freezer": cgroup.paths["freezer"]}).freeze()
    assert cgroup.is_frozen()
    cgroup.kill(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL


def test_who_has_left_gets_no_signal():
    """A pid looked up before is somebody else's by then; fails without the second look."""

    class LeftMeanwhile(Directory):
        looks: typing.ClassVar = [[os.getpid()], []]

        def processes(self):
            return self.looks.pop(0)

    assert signal_processes(LeftMeanwhile("/gone"), signal.SIGURG) == 0


def said(process, timeout_s=20):
    """Return the next line of a process; one that is silent fails with what the kernel says of it.

    Seen once in a guest: it never said that it had got a signal after a thaw.
    """
    if not select.select([process.stdout], [], [], timeout_s)[0]:
        about = [Path(f"/proc/{process.pid}/{each}") for each in ("status", "wchan", "stack")]
        pytest.fail("\n".join(each.read_text() for each in about))
    return process.stdout.readline()


def test_a_signal_reaches_all_and_those_below(cgroup, inside):
    inner = cgroup.below("inner")
    if len(inner.paths) > 1:
        inner.create()
    else:  # in version 2 create() would give controllers to it, and its parent no processes
        os.mkdir(inner.paths[""])
    both = [inside(each, "sh", "-c", TRAP, stdout=subprocess.PIPE) for each in (cgroup, inner)]
    assert [said(each) for each in both] == [b"ready\n"] * 2
    pids = {each.pid for each in both}
    assert pids <= set(cgroup.processes())
    cgroup.kill(signal.SIGUSR1)
    assert [said(each) for each in both] == [b"got\n"] * 2
    assert not cgroup.is_frozen()


def test_a_signal_leaves_the_frozen_frozen(cgroup, inside):
    process = inside(cgroup, "sh", "-c", TRAP, stdout=subprocess.PIPE)
    assert said(process) == b"ready\n"
    cgroup.freeze()
    cgroup.kill(signal.SIGUSR1)
    assert cgroup.is_frozen()
    assert select.select([process.stdout], [], [], 0.2)[0] == []
    cgroup.thaw()
    assert said(process) == b"got\n"


def test_one_that_is_gone_is_quiet(make):
    cgroup = make("gone")
    cgroup.remove()
    cgroup.remove()
    assert cgroup.processes() == []
    assert not cgroup.is_frozen()
    cgroup.thaw()
    cgroup.kill(signal.SIGKILL)
    assert cgroup.oom_kills() == 0
    assert cgroup.stats().pids_current is None
    with pytest.raises(InvalidState, match="this container is over"):
        cgroup.freeze()


# Removing


def test_it_goes_with_all_below_it(cgroup):
    cgroup.below("a/b").create()
    cgroup.below("c").create()
    cgroup.remove()
    assert not any(os.path.exists(path) for path in cgroup.paths.values())


def test_it_goes_while_the_killed_are_still_dying(cgroup, inside):
    """80 MiB of pages take a moment to be given back, and a cgroup is busy until then."""
    for _ in range(4):
        process = inside(cgroup, sys.executable, "-c", holding(80), stdout=subprocess.PIPE)
        process.stdout.readline()
    cgroup.kill(signal.SIGKILL)
    cgroup.remove()
    assert not any(os.path.exists(path) for path in cgroup.paths.values())


def test_it_stays_while_somebody_lives_in_it(cgroup, inside):
    process = inside(cgroup, "sleep", "60")
    with pytest.raises(InvalidState) as error:
        cgroup.remove(timeout_s=0.05)
    assert f"[{process.pid}]" in error.value.why


# Limits, where the controllers are in version 1


@pytest.fixture
def version1(make):
    cgroup = make("limits")
    if "memory" not in cgroup.paths:
        other_machine("the controllers are in version 2")
    return cgroup


def test_every_limit_is_kept_by_the_kernel(version1):
    disks = [path.read_text().split(":") for path in Path("/sys/block").glob("*/dev")]
    major, minor = map(int, disks[0])
    throttle = ThrottleDevice(major=major, minor=minor, rate=MIB)
    warnings = version1.apply(
        Resources(
            memory=Memory(
                limit=64 * MIB,
                swap=96 * MIB,
                reservation=32 * MIB,
                swappiness=10,
                kernel=8 * MIB,
                disable_oom_killer=True,
            ),
            cpu=Cpu(shares=512, quota=20000, period=50000, burst=1000, cpus="0", mems="0"),
            pids_limit=33,
            block_io=BlockIO(throttle_read_bps_device=(throttle,)),
        )
    )
    assert warnings == ["memory.kernel is ignored: Linux no longer limits it by itself"]
    assert read(version1, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert read(version1, "memory", "memory.memsw.limit_in_bytes") == str(96 * MIB)
    assert read(version1, "memory", "memory.soft_limit_in_bytes") == str(32 * MIB)
    assert read(version1, "memory", "memory.swappiness") == "10"
    assert "oom_kill_disable 1" in read(version1, "memory", "memory.oom_control")
    assert read(version1, "cpu", "cpu.shares") == "512"
    assert read(version1, "cpu", "cpu.cfs_quota_us") == "20000"
    assert read(version1, "cpu", "cpu.cfs_period_us") == "50000"
    assert read(version1, "cpu", "cpu.cfs_burst_us") == "1000"
    assert read(version1, "cpuset", "cpuset.cpus") == "0"
    assert read(version1, "pids", "pids.max") == "33"
    throttled = read(version1, "blkio", "blkio.throttle.read_bps_device")
    assert throttled == f"{major}:{minor} {MIB}"


def test_nothing_asked_changes_nothing(version1):
    before = read(version1, "memory", "memory.limit_in_bytes")
    nothing = Resources(cpu=Cpu(shares=0), pids_limit=0, block_io=BlockIO(weight=0))
    assert version1.apply(nothing) == []
    assert read(version1, "memory", "memory.limit_in_bytes") == before
    assert read(version1, "pids", "pids.max") == "max"
    assert read(version1, "cpu", "cpu.shares") == "1024"


def test_memory_and_swap_are_raised_and_lowered_in_the_right_order(version1):
    def limits():
        names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        return [int(read(version1, "memory", name)) // MIB for name in names]

    for limit, swap in ((64, 128), (256, 512), (32, 32), (300, 300), (20, 40)):
        asked = Resources(memory=Memory(limit=limit * MIB, swap=swap * MIB))
        version1.apply(asked, update=True)
        assert limits() == [limit, swap]
    version1.apply(Resources(memory=Memory(limit=30 * MIB)), update=True)
    assert limits() == [30, 40]
    with pytest.raises(InvalidOption) as error:
        version1.apply(Resources(memory=Memory(limit=50 * MIB)), update=True)
    assert "memory.swap is 41943040 bytes now; raise it too" in error.value.hint
    version1.apply(Resources(memory=Memory(limit=-1)), update=True)
    assert min(limits()) > 1 << 30


def test_quota_and_period_change_under_a_parent_with_a_quota(make):
    """The ratio may at no moment exceed the parent's: fails when the order is fixed."""
    parent = make("parent")
    if "cpu" not in parent.paths:
        other_machine("the cpu controller is in version 2")
    parent.apply(Resources(cpu=Cpu(quota=50000, period=100000)), update=True)
    child = parent.below("child")
    child.create()
    for quota, period in ((50000, 100000), (10000, 20000), (100000, 200000), (5000, 50000)):
        child.apply(Resources(cpu=Cpu(quota=quota, period=period)), update=True)
        assert read(child, "cpu", "cpu.cfs_quota_us") == str(quota)
        assert read(child, "cpu", "cpu.cfs_period_us") == str(period)
    with pytest.raises(InvalidOption, match=r"the kernel refuses cpu.quota = 60000"):
        child.apply(Resources(cpu=Cpu(quota=60000, period=100000)), update=True)


def test_a_burst_is_raised_after_the_quota_and_lowered_before(version1):
    for quota, burst in ((10000, 10000), (50000, 40000), (5000, 1000), (5000, 0)):
        version1.apply(Resources(cpu=Cpu(quota=quota, period=100000, burst=burst)), update=True)
        assert read(version1, "cpu", "cpu.cfs_burst_us") == str(burst)


def test_an_idle_one_gets_shares_again(version1):
    version1.apply(Resources(cpu=Cpu(shares=2000, idle=1)))
    assert read(version1, "cpu", "cpu.idle") == "1"
    version1.apply(Resources(cpu=Cpu(shares=3000, idle=0)), update=True)
    assert read(version1, "cpu", "cpu.shares") == "3000"


@pytest.mark.parametrize(
    ("asked", "what", "hint"),
    [
        (Cpu(cpus="0,777"), "cpu.cpus = 0,777", "are to be had here"),
        (Cpu(quota=1), "cpu.quota = 1", None),
        (Cpu(period=1), "cpu.period = 1", None),
    ],
)
def test_a_refused_value_is_named(version1, asked, what, hint):
    with pytest.raises(InvalidOption) as error:
        version1.apply(Resources(cpu=asked))
    assert error.value.what == f"the kernel refuses {what}"
    assert error.value.why.startswith("writing to /sys/fs/cgroup/cpu")
    assert hint is None or hint in error.value.hint


def test_memory_in_use_is_not_taken_away(version1, inside):
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        other_machine("what is in use can go to swap")
    process = inside(version1, sys.executable, "-c", holding(60), stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(InvalidState) as error:
        version1.apply(Resources(memory=Memory(limit=20 * MIB)), update=True)
    assert "memory.limit_in_bytes: Device or resource busy" in error.value.why
    assert "bytes are in use now" in error.value.hint


def test_the_limit_on_processes_holds(version1, inside):
    version1.apply(Resources(pids_limit=3))
    script = "for i in 1 2 3 4 5; do sleep 0.3 & done"
    process = inside(version1, "sh", "-c", script, stderr=subprocess.PIPE)
    assert b"fork" in process.stderr.read()
    assert process.wait(10) != 0


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (Resources(network=Network(class_id=1)), "network.classID and network.priorities"),
        (Resources(block_io=BlockIO(leaf_weight=500)), "the limit blockIO.leafWeight"),
        (
            Resources(hugepage_limits=(HugepageLimit(page_size="3MB", limit=MIB),)),
            "the limit hugepageLimits.3MB",
        ),
    ],
)
def test_a_limit_that_cannot_be_kept_is_an_error(version1, asked, what):
    if "net_cls" in version1.paths and asked.network.class_id:
        other_machine("net_cls is mounted")
    with pytest.raises(HostLacks) as error:
        version1.apply(asked)
    assert error.value.what == f"{what} cannot be kept here"


def test_packets_are_marked(version1):
    if "net_cls" not in version1.paths:
        other_machine("net_cls and net_prio are not mounted")
    priorities = (InterfacePriority(name="lo", priority=5),)
    version1.apply(Resources(network=Network(class_id=0x100001, priorities=priorities)))
    assert read(version1, "net_cls", "net_cls.classid") == str(0x100001)
    assert "lo 5" in read(version1, "net_prio", "net_prio.ifpriomap").splitlines()


def test_huge_pages_are_limited(version1):
    if "hugetlb" not in version1.paths:
        other_machine("hugetlb is not in version 1")
    version1.apply(Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),)))
    assert read(version1, "hugetlb", "hugetlb.2MB.limit_in_bytes") == str(4 * MIB)
    assert read(version1, "hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes") == str(4 * MIB)
    assert version1.stats().huge_pages["2MB"].limit == 4 * MIB


def test_a_weight_goes_to_the_scheduler_that_has_weights(version1):
    files = [
        name
        for name in ("blkio.bfq.weight", "blkio.weight")
        if os.path.exists(f"{version1.paths['blkio']}/{name}")
    ]
    asked = Resources(block_io=BlockIO(weight=300))
    if not files:
        with pytest.raises(HostLacks, match=r"the limit blockIO.weight cannot be kept here"):
            version1.apply(asked)
        return
    version1.apply(asked)
    assert read(version1, "blkio", files[0]).split()[-1] == "300"


def test_unified_is_for_version_2(version1):
    with pytest.raises(HostLacks, match=r"linux.resources.unified cannot be kept here"):
        version1.apply(Resources(unified={"memory.max": "1"}))


def test_a_controller_of_the_other_version_is_used(version1):
    """Hybrid: hugetlb is where version 2 is, and switched on only when somebody asks."""
    top = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if not top.exists() or "hugetlb" not in top.read_text():
        other_machine("not hybrid with hugetlb in version 2")
    asked = Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),))
    version1.apply(asked)
    assert read(version1, "", "hugetlb.2MB.max") == str(4 * MIB)
    assert read(version1, "", "hugetlb.2MB.rsvd.max") == str(4 * MIB)
    assert version1.stats().huge_pages["2MB"].limit == 4 * MIB


# Devices


def opened(cgroup, inside, path, mode):
    script = f"import os\nos.open({path!r}, os.{mode})"
    process = inside(cgroup, sys.executable, "-c", script, stderr=subprocess.DEVNULL)
    return process.wait(20) == 0


def test_devices_are_refused_by_the_kernel(cgroup, inside):
    kmsg = DeviceRule(allow=True, type="c", major=1, minor=11, access="w")
    try:
        warnings = cgroup.apply(Resources(devices=(kmsg,)))
    except HostLacks as err:
        if "bpf" in err.why:
            other_machine(err.why)
        raise
    assert warnings == []
    assert opened(cgroup, inside, "/dev/null", "O_RDWR")
    assert opened(cgroup, inside, "/dev/full", "O_RDWR")
    assert opened(cgroup, inside, "/dev/kmsg", "O_WRONLY")
    assert not opened(cgroup, inside, "/dev/kmsg", "O_RDONLY")
    # An update leaves the devices as they are.
    cgroup.apply(Resources(devices=(DeviceRule(allow=True),)), update=True)
    assert not opened(cgroup, inside, "/dev/kmsg", "O_RDONLY")
    # A privileged container has them all.
    cgroup.apply(Resources(devices=(DeviceRule(allow=True),)))
    assert opened(cgroup, inside, "/dev/kmsg", "O_RDONLY")


# Watching


def test_a_kill_for_want_of_memory_is_told(make, inside):
    cgroup = make("oom")
    cgroup.apply(Resources(memory=Memory(limit=20 * MIB, swap=20 * MIB)))
    watch = cgroup.watch_oom()
    assert cgroup.oom_kills() == 0
    assert select.select([watch], [], [], 0)[0] == []
    process = inside(cgroup, sys.executable, "-c", EAT)
    assert select.select([watch], [], [], 20)[0] == [watch]
    assert process.wait(20) == -signal.SIGKILL
    wait_until(lambda: cgroup.oom_kills() == 1)
    os.close(watch)


def test_a_kill_further_below_is_counted_too(make, inside):
    cgroup = make("oom-below")
    inner = cgroup.below("inner")
    inner.create()
    inner.apply(Resources(memory=Memory(limit=20 * MIB, swap=20 * MIB)))
    assert inside(inner, sys.executable, "-c", EAT).wait(20) == -signal.SIGKILL
    wait_until(lambda: cgroup.oom_kills() == 1)


def test_stats_of_a_busy_container(make, inside):
    cgroup = make("stats")
    cgroup.apply(Resources(memory=Memory(limit=200 * MIB), pids_limit=50))
    code = "b = b'1' * (30 << 20)\nprint(flush=True)\nwhile True: pass"
    process = inside(cgroup, sys.executable, "-c", code, stdout=subprocess.PIPE)
    process.stdout.readline()
    first = cgroup.stats()
    time.sleep(0.3)
    second = cgroup.stats()
    assert 50_000_000 < second.cpu.usage_ns - first.cpu.usage_ns < 2_000_000_000
    assert 30 * MIB < second.memory.usage.used < 60 * MIB
    assert second.memory.usage.limit == 200 * MIB
    assert (second.pids_current, second.pids_limit) == (1, 50)


# Where none can be made


@pytest.fixture
def without(tmp_path):
    return place("/x", "x", root=str(tmp_path))


def test_without_a_cgroup_only_what_needs_one_fails(without):
    assert without.paths == {}
    without.create()
    without.add(os.getpid())
    without.entrance().enter(cloned_into=False)
    assert without.apply(Resources()) == []
    relaxed = Resources(memory=Memory(limit=-1, swap=-1), cpu=Cpu(quota=-1), pids_limit=-1)
    assert without.apply(relaxed) == []
    with pytest.raises(HostLacks) as error:
        without.apply(Resources(memory=Memory(limit=64 * MIB)))
    assert error.value.what == "the limit memory.limit cannot be kept here"
    with pytest.raises(HostLacks, match="cannot be paused"):
        without.freeze()
    with pytest.raises(HostLacks, match="can be signalled"):
        without.kill(signal.SIGTERM)
    assert without.processes() == []
    assert without.watch_oom() == -1
    assert without.stats().memory is None
    assert without.stats().to_runc_json()["pids"] == {}
    without.remove()


def test_device_rules_that_nobody_keeps_are_said(without):
    [warning] = without.apply(Resources(devices=(DeviceRule(allow=False),)))
    assert "device rules are not kept" in warning


@pytest.mark.parametrize("path", ["/../x", "a/../../b", "..", "/", "a\0b", "/x/./y", "/a\nb"])
def test_a_path_that_leaves_its_place_makes_nothing(path):
    """CVE row "cgroup annotation '..'"; fails when checked_parts checks no names."""
    with pytest.raises(InvalidDocument, match="cannot be used"):
        place(path, "x")


def test_exec_cannot_leave_its_container(make):
    cgroup = make("exec")
    with pytest.raises(InvalidDocument):
        cgroup.below("../other")


def test_a_file_that_this_kernel_has_not_is_none(make):
    """In a directory that is gone reading fails with ENODEV, if it was open before."""
    directory = Directory(next(iter(make("none").paths.values())))
    assert directory.find("no.such.file") is None
    assert errno.ENODEV in cgroup_files._LACKING
