"""The same command line for an ordinary user: a user namespace with one id, and no cgroup."""

import json
import os
import shutil
import signal

import pytest
from ocibox import Box, subreaper, until


@pytest.fixture
def box(runtime, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("needs an ordinary user: this one is root, and root can do more")
    if len(runtime.command) > 1 and runtime.name == "crun":
        pytest.skip("needs root on a machine with both cgroup versions")
    made = Box(runtime, tmp_path / "box", f"t{os.getpid()}-{tmp_path.name[-30:]}")
    ids = {"uid": os.getuid(), "gid": os.getgid()}
    made.namespace("user")
    for kind, number in ids.items():
        made.linux[f"{kind}Mappings"] = [{"containerID": 0, "hostID": number, "size": 1}]
    del made.linux["cgroupsPath"]
    with subreaper():
        yield made
        made.close()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_run(box):
    """config-linux.md, "User namespace mappings": root inside, oneself outside."""
    (box.rootfs / "made").touch()
    told = box.run("id -u; cat /proc/self/uid_map; stat -c %u:%g /made; hostname").split()
    assert told[:4] == ["0", "0", str(os.getuid()), "1"]
    assert told[4] == "0:0"


def test_a_whole_life(box):
    """runtime.md, "Lifecycle": create, start, exec, kill, delete."""
    box.config["hostname"] = "mine"
    box.ready()
    assert box.status() == "running"
    assert box.execute("hostname; id -u; cat /proc/1/cmdline") == "mine\n0\nsleep\x00100\x00"
    box.call("kill", box.name, "KILL")
    assert box.wait() == 128 + signal.SIGKILL
    box.call("delete", box.name)
    assert box.left_behind() == []


def test_devices_and_mounts(box):
    """config-linux.md, "Default Devices": there, though nobody here may make any."""
    box.mount("/home", "tmpfs", "t", "size=1m")
    told = box.run("echo x >/dev/null; stat -c %t:%T /dev/null /dev/zero; touch /home/x && echo ok")
    assert told == "1:3\n1:5\nok\n"


def test_masked_and_read_only(box):
    """config-linux.md, "Masked Paths", "Readonly Paths"; config.md, "Root"."""
    box.config["root"]["readonly"] = True
    box.linux |= {"maskedPaths": ["/etc"], "readonlyPaths": ["/tmp"]}
    told = box.run("ls /etc; touch /x 2>/dev/null || echo no; touch /tmp/x 2>/dev/null || echo no")
    assert told == "no\nno\n"


def test_a_user_without_an_id(box):
    """config.md, "User": ids are the container's; this one it has not: an error in words."""
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert box.run_refused("true")
    assert box.left_behind() == []


def test_the_spec_for_an_ordinary_user_runs(box):
    """``spec --rootless`` of runc."""
    box.call("spec", "--rootless", cwd=box.bundle)
    document = json.loads((box.bundle / "config.json").read_text())
    document["process"] |= {"terminal": False, "args": ["echo", "it runs"]}
    box.config = document
    assert box.run() == "it runs\n"


def test_nothing_is_seen_of_the_machine(box):
    """runtime.md: what is made is gone afterwards, also the mounts."""
    box.ready()
    until(lambda: "ready" in box.output())
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        assert str(box.directory) not in mounts.read()
