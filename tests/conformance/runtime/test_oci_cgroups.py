"""config-linux.md, "Control groups" on cgroup v1 (and what a hybrid machine has of v2)."""

import os
import signal

import pytest
from ocibox import CGROUPS, PARENT, collect, controllers, until

MIB = 1 << 20


def needs(controller, file=None):
    found = controllers().get(controller)
    if not found:
        pytest.skip(f"needs root on a kernel with the v1 controller {controller}")
    if file and not (found / file).exists() and not list(found.glob(f"*/{file}")):
        pytest.skip(f"needs root on a kernel with {file}")


@pytest.fixture(autouse=True)
def _v1():
    needs("pids")


# -- the path --------------------------------------------------------------------------


def test_absolute_path(box):
    """config-linux.md, "Cgroups Path": absolute: relative to the cgroups mount point."""
    box.started()
    for controller in controllers():
        if "=" not in controller:
            text = (box.cgroup(controller) / "cgroup.procs").read_text()
            assert str(box.pid) in text.split(), controller


def test_relative_path(box):
    """config-linux.md, "Cgroups Path": relative: consistently one place, the runtime's choice."""
    places = []
    for _ in range(2):
        box.linux["cgroupsPath"] = f"{PARENT}/{box.name}"
        box.started()
        places.append(own_cgroups(box.pid))
        box.kill()
        box.call("delete", box.name)
    assert places[0] == places[1]
    assert places[0]["pids"].endswith(f"{PARENT}/{box.name}")


def own_cgroups(pid):
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return {line.split(":", 2)[1]: line.strip().split(":", 2)[2] for line in file}


def test_no_path(box):
    """config-linux.md, "Cgroups Path": the runtime's own default, none shared by two containers."""
    del box.linux["cgroupsPath"]
    box.started()
    place = own_cgroups(box.pid)["pids"]
    assert box.name in place
    box.kill()
    box.call("delete", box.name)
    assert not (CGROUPS / "pids" / place[1:]).exists()


def test_from_the_first_moment(box):
    """The process is in its cgroup before it can start others."""
    told = box.run("cat /proc/1/cgroup; (cat /proc/self/cgroup)").splitlines()
    half = len(told) // 2
    assert told[:half] == told[half:]
    assert any(box.name in line for line in told)


OUTSIDE = f"/tmp/ocimagic-dots-{os.getpid()}"


@pytest.mark.parametrize(
    "path",
    [f"/{PARENT}/../../../..{OUTSIDE}", "../../x", f"/{PARENT}/dots/../b"],
    ids=["outside", "above", "inside"],
)
def test_a_path_with_dots_stays_in_the_hierarchy(box, path):
    """config-linux.md, "Cgroups Path": some values MAY be invalid; none may lead outside."""
    box.linux["cgroupsPath"] = path
    done = box.create(check=False)
    assert not os.path.exists(OUTSIDE)
    if done.returncode == 0:
        with open(f"/proc/{box.pid}/cgroup", encoding="utf-8") as file:
            assert ".." not in file.read()
        box.call("delete", "--force", box.name)


def test_an_existing_cgroup_keeps_its_limits(box):
    """config-linux.md, "Cgroups Path": without resources, limits of an existing one stay."""
    box.cgroup("pids").mkdir(parents=True)
    (box.cgroup("pids") / "pids.max").write_text("77")
    box.started()
    assert box.cgroup_value("pids", "pids.max") == "77"


# -- memory ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "file", "told"),
    [
        ("limit", 64 * MIB, "memory.limit_in_bytes", str(64 * MIB)),
        ("reservation", 32 * MIB, "memory.soft_limit_in_bytes", str(32 * MIB)),
        ("kernelTCP", 16 * MIB, "memory.kmem.tcp.limit_in_bytes", str(16 * MIB)),
        ("swappiness", 17, "memory.swappiness", "17"),
        ("disableOOMKiller", True, "memory.oom_control", "oom_kill_disable 1"),
    ],
)
def test_memory(box, key, value, file, told):
    """config-linux.md, "Memory": each property sets its file of the memory controller."""
    box.linux["resources"] = {"memory": {key: value}}
    box.create()
    assert told in box.cgroup_value("memory", file).splitlines()[0]


def test_memory_and_swap(box):
    """config-linux.md, "Memory": swap is memory+swap, and is never set below limit."""
    needs("memory", "memory.memsw.limit_in_bytes")
    box.linux["resources"] = {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}
    box.create()
    assert box.cgroup_value("memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert box.cgroup_value("memory", "memory.memsw.limit_in_bytes") == str(128 * MIB)


def test_memory_without_limits(box):
    """config-linux.md, "Memory": -1 is unlimited."""
    box.linux["resources"] = {"memory": {"limit": -1, "reservation": -1, "swap": -1}}
    box.create()
    assert int(box.cgroup_value("memory", "memory.limit_in_bytes")) > 1 << 60


def test_memory_swap_below_the_limit(box):
    """The kernel refuses memory+swap below memory: an error, and nothing is left."""
    box.linux["resources"] = {"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}
    box.create_refused()
    assert box.left_behind() == []


def test_swappiness_out_of_range(box):
    """config-linux.md, "Memory": swappiness is from 0 to 100."""
    box.linux["resources"] = {"memory": {"swappiness": 1000}}
    box.create_refused()


def test_the_memory_limit_is_in_force(box):
    """config-linux.md, "Memory": a task that wants more is killed by the OOM killer."""
    box.linux["resources"] = {"memory": {"limit": 8 * MIB, "swap": 8 * MIB}}
    done = box.run_whole("head -c 30000000 /dev/zero | tail >/dev/null; exit $?", check=False)
    assert done.returncode == 128 + signal.SIGKILL


# -- cpu -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "controller", "file"),
    [
        ("shares", 513, "cpu", "cpu.shares"),
        ("quota", 30000, "cpu", "cpu.cfs_quota_us"),
        ("period", 50000, "cpu", "cpu.cfs_period_us"),
        ("realtimePeriod", 900000, "cpu", "cpu.rt_period_us"),
        ("idle", 1, "cpu", "cpu.idle"),
        ("cpus", "0", "cpuset", "cpuset.cpus"),
        ("mems", "0", "cpuset", "cpuset.mems"),
    ],
)
def test_cpu(box, key, value, controller, file):
    """config-linux.md, "CPU": each property sets its file of cpu or cpuset."""
    needs(controller, file)
    box.linux["resources"] = {"cpu": {key: value}}
    box.create()
    assert box.cgroup_value(controller, file) == str(value)


def test_cpu_quota_period_and_burst(box):
    """config-linux.md, "CPU": burst is no larger than quota; together, in an order that works."""
    needs("cpu", "cpu.cfs_burst_us")
    box.linux["resources"] = {"cpu": {"quota": 400000, "period": 200000, "burst": 300000}}
    box.create()
    assert box.cgroup_value("cpu", "cpu.cfs_quota_us") == "400000"
    assert box.cgroup_value("cpu", "cpu.cfs_period_us") == "200000"
    assert box.cgroup_value("cpu", "cpu.cfs_burst_us") == "300000"


def test_a_burst_larger_than_quota(box):
    """config-linux.md, "CPU": burst MUST be no larger than any positive quota."""
    needs("cpu", "cpu.cfs_burst_us")
    box.linux["resources"] = {"cpu": {"quota": 10000, "burst": 20000}}
    box.create_refused()


def test_the_processors_are_in_force(box):
    """config-linux.md, "CPU": cpus is the list of those the container will run on."""
    box.linux["resources"] = {"cpu": {"cpus": "1" if os.cpu_count() > 1 else "0"}}
    box.ready()
    wanted = {1} if os.cpu_count() > 1 else {0}
    assert os.sched_getaffinity(box.pid) == wanted


@pytest.mark.parametrize("cpus", ["99999", "x", "0-"])
def test_processors_that_are_none(box, cpus):
    """config-linux.md, "CPU": a list the kernel refuses is an error."""
    box.linux["resources"] = {"cpu": {"cpus": cpus}}
    box.create_refused()


# -- the others --------------------------------------------------------------------------


def test_pids(box):
    """config-linux.md, "PIDs": limit is the maximum number of tasks."""
    box.linux["resources"] = {"pids": {"limit": 5}}
    script = "(sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 &) 2>/dev/null || echo no"
    box.started(f"{script}; exec sleep 100")
    assert box.cgroup_value("pids", "pids.max") == "5"
    until(lambda: "no" in box.output())


@pytest.mark.parametrize("limit", [-1, 0])
def test_pids_without_limit(box, limit):
    """As in runc: a limit of no positive number is no limit."""
    box.linux["resources"] = {"pids": {"limit": limit}}
    box.create()
    assert box.cgroup_value("pids", "pids.max") == "max"


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ],
)
def test_block_io(box, key, file):
    """config-linux.md, "Block IO": limits of a device, in bytes or operations a second."""
    device = os.stat("/").st_dev
    numbers = {"major": os.major(device), "minor": 0}
    needs("blkio", file)
    box.linux["resources"] = {"blockIO": {key: [numbers | {"rate": 1234567}]}}
    box.create()
    assert box.cgroup_value("blkio", file) == f"{numbers['major']}:0 1234567"


def test_block_io_weight(box):
    """config-linux.md, "Block IO": weight, where the kernel has a scheduler that knows it."""
    file = next(
        (name for name in ("blkio.weight", "blkio.bfq.weight")
         if (controllers()["blkio"] / name).exists()
         or list(controllers()["blkio"].glob(f"*/{name}"))),
        None,
    )  # fmt: skip
    if not file:
        pytest.skip("needs root on a kernel with blkio.weight")
    box.linux["resources"] = {"blockIO": {"weight": 321}}
    box.create()
    assert box.cgroup_value("blkio", file).split()[-1] == "321"


def test_huge_pages(box):
    """config-linux.md, "Huge page limits": wherever this machine has the controller."""
    known = CGROUPS / "unified/cgroup.controllers"
    if not known.exists() or "hugetlb" not in known.read_text():
        pytest.skip("needs root on a kernel with hugetlb in the unified hierarchy")
    box.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    box.create()
    place = CGROUPS / "unified" / PARENT / box.name
    values = [
        (place / name).read_text().strip() for name in ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max")
    ]
    assert str(4 * MIB) in values


@pytest.mark.parametrize("size", ["3MB", "2mb", "x", ""])
def test_huge_pages_of_no_size(box, size):
    """config-linux.md, "Huge page limits": pageSize must match one of the kernel's."""
    box.linux["resources"] = {"hugepageLimits": [{"pageSize": size, "limit": 0}]}
    box.create_refused()


@pytest.mark.parametrize(
    "resources",
    [
        {"network": {"classID": 1048577}},
        {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
        {"unified": {"nonsense.max": "1"}},
    ],
)
def test_what_the_machine_cannot_do(box, resources):
    """runtime.md, "Lifecycle" 2: unable to create the environment: it MUST generate an error."""
    if "net_cls" in controllers() or "rdma" in controllers():
        pytest.skip("needs root on a kernel without net_cls and rdma")
    box.linux["resources"] = resources
    box.create_refused()
    assert box.left_behind() == []


def test_sub_cgroups_are_removed_too(box):
    """runtime.md, "Delete": also what the container made below its own cgroup."""
    box.started()
    inner = box.cgroup("pids") / "a/b"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text(str(box.pid))
    box.kill()
    box.call("delete", box.name)
    assert not box.cgroup("pids").exists()


# -- pause, resume, update, events ---------------------------------------------------------


def test_pause_and_resume(box):
    """``pause`` of runc: the freezer stops every process; ``resume`` lets them go on."""
    box.ready("while :; do echo tick; sleep 0.01; done")
    box.call("pause", box.name)
    assert box.status() == "paused"
    size = len(box.output())
    box.refused("start", box.name)
    assert len(box.output()) == size, "it went on"
    box.call("resume", box.name)
    assert box.status() == "running"
    until(lambda: len(box.output()) > size)


def test_pause_refuses(box):
    """``pause`` needs a container that runs, ``resume`` one that is paused."""
    box.refused("pause", "nobody")
    box.refused("resume", "nobody")
    box.started()
    box.kill()
    box.refused("pause", box.name)


def test_a_paused_container_can_be_killed(box):
    """SIGKILL reaches a frozen process when it thaws: ``kill KILL`` and ``delete -f`` see to it."""
    box.ready()
    box.call("pause", box.name)
    box.call("delete", "--force", box.name)
    assert box.wait() == 137
    assert box.left_behind() == []


def test_kill_of_a_paused_container(box):
    """runtime.md, "Kill": MUST send the signal to the process, paused or not."""
    box.ready()
    box.call("pause", box.name)
    box.call("kill", box.name, "KILL")
    try:
        assert box.wait(timeout_s=1) == 137
    finally:
        (box.cgroup("freezer") / "freezer.state").write_text("THAWED")


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_update_by_a_document(box, way):
    """``update --resources`` of runc: a document of linux.resources, by file or on stdin."""
    box.ready()
    text = (
        '{"memory": {"limit": 67108864, "reservation": 33554432},'
        ' "cpu": {"shares": 333, "quota": 25000, "period": 50000, "cpus": "0"},'
        ' "pids": {"limit": 44}}'
    )
    if way == "stdin":
        box.call("update", "--resources", "-", box.name, stdin=text)
    else:
        (box.directory / "resources.json").write_text(text)
        box.call("update", "--resources", box.directory / "resources.json", box.name)
    assert box.cgroup_value("memory", "memory.limit_in_bytes") == "67108864"
    assert box.cgroup_value("memory", "memory.soft_limit_in_bytes") == "33554432"
    assert box.cgroup_value("cpu", "cpu.shares") == "333"
    assert box.cgroup_value("cpu", "cpu.cfs_quota_us") == "25000"
    assert box.cgroup_value("cpu", "cpu.cfs_period_us") == "50000"
    assert box.cgroup_value("cpuset", "cpuset.cpus") == "0"
    assert box.cgroup_value("pids", "pids.max") == "44"


def test_update_keeps_what_is_not_said(box):
    """``update`` changes only what the document holds."""
    box.linux["resources"] = {"pids": {"limit": 55}, "cpu": {"shares": 222}}
    box.ready()
    box.call("update", "--resources", "-", box.name, stdin='{"memory": {"limit": 67108864}}')
    assert box.cgroup_value("pids", "pids.max") == "55"
    assert box.cgroup_value("cpu", "cpu.shares") == "222"


@pytest.mark.parametrize(
    ("words", "controller", "file", "told"),
    [
        (("--memory", "67108864"), "memory", "memory.limit_in_bytes", "67108864"),
        (("--memory-reservation", "33554432"), "memory", "memory.soft_limit_in_bytes", "33554432"),
        (("--cpu-share", "444"), "cpu", "cpu.shares", "444"),
        (("--cpu-quota", "20000"), "cpu", "cpu.cfs_quota_us", "20000"),
        (("--cpu-period", "40000"), "cpu", "cpu.cfs_period_us", "40000"),
        (("--cpuset-cpus", "0"), "cpuset", "cpuset.cpus", "0"),
        (("--cpuset-mems", "0"), "cpuset", "cpuset.mems", "0"),
        (("--pids-limit", "66"), "pids", "pids.max", "66"),
    ],
)
def test_update_by_flags(box, words, controller, file, told):
    """The flags of ``update`` that runc and crun have in common."""
    box.ready()
    box.call("update", *words, box.name)
    assert box.cgroup_value(controller, file) == told


def test_update_refuses(box):
    """``update`` of nothing there, of what has ended, and with what is no document."""
    box.refused("update", "--memory", "67108864", "nobody")
    box.ready()
    box.refused("update", "--resources", "-", box.name, stdin="{")
    box.refused("update", "--resources", "-", box.name, stdin='{"cpu": {"cpus": "9999"}}')
    box.kill()
    box.refused("update", "--memory", "67108864", box.name)
    collect()


def test_update_raises_memory_and_swap_in_the_right_order(box):
    """memory may not exceed memory+swap at any moment: up and down need opposite orders."""
    needs("memory", "memory.memsw.limit_in_bytes")
    box.linux["resources"] = {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}
    box.ready()
    for size in (96 * MIB, 48 * MIB):
        text = f'{{"memory": {{"limit": {size}, "swap": {size}}}}}'
        box.call("update", "--resources", "-", box.name, stdin=text)
        assert box.cgroup_value("memory", "memory.limit_in_bytes") == str(size)
        assert box.cgroup_value("memory", "memory.memsw.limit_in_bytes") == str(size)
