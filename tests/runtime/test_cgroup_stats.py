"""What a container uses: read as runc reads it, and from the files of version 2."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ocimagic.runtime.cgroup import Cgroup
from ocimagic.runtime.cgroup_stats import UNLIMITED, _block_lines, _size_name, parse_list

# As Linux 6.1 writes them.
VERSION2 = {
    "cpu.stat": "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\nnr_periods 7\n"
    "nr_throttled 3\nthrottled_usec 40\nnr_bursts 0\nburst_usec 0\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "cpuset.cpus": "\n",
    "cpuset.cpus.effective": "0-1,3\n",
    "cpuset.mems": "0\n",
    "memory.current": "104857600\n",
    "memory.max": "209715200\n",
    "memory.peak": "150000000\n",
    "memory.events": "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n",
    "memory.swap.current": "1048576\n",
    "memory.swap.max": "max\n",
    "memory.swap.events": "high 0\nmax 2\nfail 0\n",
    "memory.stat": "anon 90000000\nfile 10000000\ninactive_file 4857600\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n8:16 \n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "4194304\n",
    "hugetlb.2MB.events": "max 1\n",
}


@pytest.fixture
def version2(tmp_path):
    for name, text in VERSION2.items():
        (tmp_path / name).write_text(text)
    return Cgroup.from_paths({"": str(tmp_path)})


def test_version_2_in_the_words_of_runc(version2, monkeypatch):
    monkeypatch.setattr("ocimagic.runtime.cgroup_stats.huge_page_sizes", lambda: ["2MB", "1GB"])
    stats = version2.stats()
    assert stats.memory.working_set == 104857600 - 4857600
    assert stats.memory.cache == 10000000
    assert stats.total_bytes("Write") == 8192
    flags = ("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate",
             "memory_spread_page", "memory_spread_slab", "memory_pressure",
             "sched_load_balance", "sched_relax_domain_level")  # fmt: skip
    assert stats.to_runc_json() == {
        "cpu": {
            "usage": {"total": 2500000, "kernel": 500000, "user": 2000000},
            "throttling": {"periods": 7, "throttledPeriods": 3, "throttledTime": 40000},
            "psi": {
                "some": {"avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 77},
                "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 5},
            },
        },
        "cpuset": {"cpus": [0, 1, 3], "mems": [0]} | dict.fromkeys(flags, 0),
        "memory": {
            "cache": 10000000,
            "usage": {"limit": 209715200, "usage": 104857600, "max": 150000000, "failcnt": 4},
            "swap": {"limit": UNLIMITED, "usage": 105906176, "failcnt": 2},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 90000000, "file": 10000000, "inactive_file": 4857600},
        },
        "pids": {"current": 5},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 4096},
                {"major": 8, "op": "Write", "value": 8192},
                {"major": 8, "op": "Discard"},
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 1},
                {"major": 8, "op": "Write", "value": 2},
                {"major": 8, "op": "Discard"},
            ],
        },
        "hugetlb": {"2MB": {"limit": 4194304, "usage": 2097152, "failcnt": 1}},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def test_a_limit_on_pids_and_swap_are_added_up(version2, tmp_path):
    (tmp_path / "pids.max").write_text("9\n")
    (tmp_path / "memory.swap.max").write_text("100\n")
    stats = version2.stats()
    assert stats.pids_limit == 9
    assert stats.memory.swap.limit == 209715300


def test_controllers_that_are_missing_are_none(tmp_path):
    stats = Cgroup.from_paths({"": str(tmp_path)}).stats()
    assert stats.memory is None
    assert stats.pids_current is None
    assert stats.to_runc_json()["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def test_lines_of_the_block_controller():
    found = _block_lines("8:0 Read 4096\n8:0 Total 4096\n8:16 12\nTotal 4108\n")
    assert [(each.major, each.minor, each.operation, each.value) for each in found] == [
        (8, 0, "Read", 4096),
        (8, 0, "Total", 4096),
        (8, 16, "", 12),
    ]


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("0", [0]), ("0-2,7\n", [0, 1, 2, 7]), ("1,3", [1, 3])]
)
def test_a_list_of_processors(text, numbers):
    assert parse_list(text) == numbers


@pytest.mark.parametrize(("kib", "name"), [(64, "64KB"), (2048, "2MB"), (1 << 20, "1GB")])
def test_page_sizes_are_named_as_the_kernel_does(kib, name):
    assert _size_name(kib) == name


@pytest.fixture
def runc(tmp_path):
    """Run a container under Debian's runc; return what calls runc about it."""
    program, busybox = shutil.which("runc"), Path("/bin/busybox")
    if not program or not busybox.exists() or os.geteuid() != 0:
        pytest.skip("runc and busybox-static are not installed, or this is not root")
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "rootfs/bin/sh")
    call = [program, "--root", str(tmp_path / "state")]
    subprocess.run([program, "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "rlimits": [], "args": ["sh", "-c", "read x"]}
    config["linux"]["cgroupsPath"] = f"/ocimagic-test-runc-{os.getpid()}"
    config["linux"]["resources"] |= {"memory": {"limit": 50 << 20}, "pids": {"limit": 55}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = f"stats-{os.getpid()}"
    reader, writer = os.pipe()
    quiet = {"stdin": reader, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        made = subprocess.run([*call, "run", "-d", name], cwd=tmp_path, check=False, **quiet)
        if made.returncode != 0:
            pytest.skip("runc cannot run a container here")
        yield lambda *argv: subprocess.check_output([*call, *argv, name])
    finally:
        os.close(reader)
        os.close(writer)
        subprocess.run([*call, "delete", "--force", name], check=False, stderr=subprocess.DEVNULL)


def test_the_same_container_seen_by_runc(runc):
    """The incumbent proves the keys and every number that stands still."""
    paths = Cgroup.of_process(json.loads(runc("state"))["pid"]).paths
    ours = Cgroup.from_paths(paths).stats().to_runc_json()
    theirs = json.loads(runc("events", "--stats"))["data"]
    again = Cgroup.from_paths(paths).stats().to_runc_json()
    with contextlib.suppress(KeyError):
        for part in ("cpu", "memory", "blkio"):
            ours[part].pop("psi")  # newer than runc 1.1
            again[part].pop("psi")
    assert ours.keys() == theirs.keys()
    assert ours["pids"] == theirs["pids"]
    assert ours["cpuset"] == theirs["cpuset"]
    assert ours["hugetlb"].keys() >= theirs["hugetlb"].keys()
    assert ours["memory"].keys() == theirs["memory"].keys()
    assert ours["memory"]["raw"].keys() == theirs["memory"]["raw"].keys()
    for part in ("usage", "swap", "kernel", "kernelTCP"):
        assert ours["memory"][part]["limit"] == theirs["memory"][part]["limit"]
    for reading in ("total", "kernel", "user"):
        first, last = (each["cpu"]["usage"].get(reading, 0) for each in (ours, again))
        assert first <= theirs["cpu"]["usage"].get(reading, 0) <= last
    assert ours["cpu"]["usage"].keys() == theirs["cpu"]["usage"].keys()
