"""Image config and request become a runtime config as docker combines them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.bundle.convert import (
    command_line,
    environment,
    runtime_config,
    working_dir,
)
from ocimagic.bundle.place import HostDevice, Place
from ocimagic.errors import InvalidOption
from ocimagic.model.options import NetworkMode, RunOptions, SecurityOptions, VolumeMount
from ocimagic.model.resources import DeviceMapping, ResourceOptions, Ulimit
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.runtime import RuntimeConfig

PLACE = Place(
    machine="x86_64",
    rootless=False,
    hostname="box",
    container_id="c1",
    devices={"/dev/x": (HostDevice(path="/dev/x", type="c", major=4, minor=2, mode=0o600, gid=5),)},
)


def options(**fields):
    return RunOptions(image="x", **fields)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "new_entrypoint", "command", "expected"),
    [
        (None, ("sh",), None, (), ("sh",)),
        (None, ("sh",), None, ("ls", "-l"), ("ls", "-l")),
        (("e",), ("c",), None, (), ("e", "c")),
        (("e",), ("c",), None, ("x",), ("e", "x")),
        (("e",), None, None, (), ("e",)),
        (("e",), ("c",), ("n",), (), ("n",)),
        (("e",), ("c",), ("n",), ("x",), ("n", "x")),
        (("e",), ("c",), (), ("x",), ("x",)),
    ],
)
def test_entrypoint_and_command(entrypoint, cmd, new_entrypoint, command, expected):
    config = ContainerConfig(entrypoint=entrypoint, cmd=cmd)
    assert command_line(config, options(entrypoint=new_entrypoint, command=command)) == expected


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (ContainerConfig(), options()),
        (ContainerConfig(entrypoint=("e",), cmd=("c",)), options(entrypoint=())),
        (ContainerConfig(cmd=("a\0b",)), options()),
    ],
)
def test_nothing_to_run_is_said(config, asked):
    with pytest.raises(InvalidOption):
        command_line(config, asked)


def test_environment_order_and_overrides():
    env = environment(("PATH=/p", "A=1"), ("A=2", "B=", "HOSTNAME=h"), hostname="box")
    assert env == ("PATH=/p", "HOSTNAME=h", "A=2", "B=")
    assert environment((), (), hostname="b")[0].startswith("PATH=/usr/local/sbin:")
    with pytest.raises(InvalidOption):
        environment((), ("=x",), hostname="b")


@given(st.text(alphabet="/.ab", min_size=1, max_size=12))
def test_a_working_directory_of_the_image_is_always_absolute_and_clean(path):
    found = working_dir(ContainerConfig(working_dir=path), options())
    assert found.startswith("/")
    assert ".." not in found.split("/")


def test_the_config_is_the_same_every_time_and_valid():
    config = ContainerConfig(cmd=("sh",), user="1000:50")
    asked = options(
        network=NetworkMode.NONE,
        volumes=(
            VolumeMount(source="/h/inner", target="/a/b", read_only=True),
            VolumeMount(source="/h/outer", target="/a"),
        ),
    )
    first = runtime_config(config, asked, PLACE)
    assert first.encode() == runtime_config(config, asked, PLACE).encode()
    again = RuntimeConfig.parse(first.encode())
    assert (again.process.user.uid, again.process.user.gid) == (1000, 50)
    assert [m.destination for m in again.mounts[-2:]] == ["/a", "/a/b"], "outer before inner"
    assert "ro" in again.mounts[-1].options
    assert again.namespaces == dict.fromkeys(("mount", "pid", "ipc", "uts", "network"), "")


def test_host_network_has_no_network_namespace_and_no_sysctls():
    found = runtime_config(ContainerConfig(cmd=("sh",)), options(), PLACE)
    assert "network" not in found.namespaces
    assert found.sysctl == {}


CONFIG = ContainerConfig(cmd=("sh",), user="app")


def process(**fields):
    found = runtime_config(CONFIG, options(**fields), PLACE)
    return RuntimeConfig.parse(found.encode()).to_json()["process"]


def linux(**fields):
    fields.setdefault("network", NetworkMode.NONE)
    found = runtime_config(CONFIG, options(**fields), PLACE)
    return RuntimeConfig.parse(found.encode()).to_json()["linux"]


@pytest.mark.parametrize(
    ("fields", "key", "expected"),
    [
        ({"tty": True}, "terminal", True),
        ({"tty": True, "console_size": (24, 80)}, "consoleSize", {"height": 24, "width": 80}),
        ({"console_size": (24, 80)}, "consoleSize", None),
        ({"no_new_privileges": True}, "noNewPrivileges", True),
        ({"oom_score_adj": -5}, "oomScoreAdj", -5),
        ({}, "oomScoreAdj", None),
        ({"ulimits": (Ulimit(name="nofile", soft=5, hard=-1),)}, "rlimits",
         [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": (1 << 64) - 1}]),
        ({"user": "5:7", "groups": ("9", "audio", "9")}, "user",
         {"uid": 5, "gid": 7, "additionalGids": [9]}),
        ({"user": "4294967296", "groups": ("4294967295",)}, "user", {"uid": 0, "gid": 0}),
        ({"working_dir": "/a/../b/"}, "cwd", "/b"),
    ],
)  # fmt: skip
def test_the_process(fields, key, expected):
    assert process(**fields).get(key) == expected


def test_a_terminal_has_a_name():
    assert "TERM=xterm" in process(tty=True)["env"]
    assert "TERM=vt100" in process(tty=True, env=("TERM=vt100",))["env"]
    assert not any(each.startswith("TERM=") for each in process()["env"])


def test_capabilities_of_the_process():
    held = process(cap_drop=("ALL",), cap_add=("CHOWN",))["capabilities"]
    assert held == {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    assert len(process(privileged=True)["capabilities"]["bounding"]) == 41


@pytest.mark.parametrize(
    "limit",
    [
        Ulimit(name="nosuch", soft=1, hard=1),
        Ulimit(name="nofile", soft=2, hard=1),
        Ulimit(name="nofile", soft=-1, hard=1),
        Ulimit(name="nofile", soft=-2, hard=1),
    ],
)
def test_limits_of_processes_that_cannot_be(limit):
    with pytest.raises(InvalidOption):
        process(ulimits=(limit,))


def test_who_is_resolved_inside():
    found = runtime_config(CONFIG, options(groups=("audio", "5")), PLACE)
    assert found.annotations == {"dev.ocimagic.user": "app", "dev.ocimagic.groups": "audio,5"}
    asked = options(user="7", annotations={"org.example": "1"})
    assert runtime_config(CONFIG, asked, PLACE).annotations == {
        "org.example": "1",
        "dev.ocimagic.user": "7",
    }


@pytest.mark.parametrize(
    ("fields", "key", "expected"),
    [
        ({}, "cgroupsPath", "/ocimagic/c1"),
        ({"resources": ResourceOptions(cgroup_parent="/class")}, "cgroupsPath", "/class/c1"),
        ({"resources": ResourceOptions(cgroup_parent="class")}, "cgroupsPath", "/class/c1"),
        ({"security": SecurityOptions(seccomp="unconfined")}, "seccomp", None),
        ({"privileged": True}, "seccomp", None),
        ({"privileged": True}, "maskedPaths", None),
        ({"privileged": True}, "readonlyPaths", None),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}}, "sysctl",
         {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647",
          "net.ipv4.ip_forward": "1"}),
        ({"network": NetworkMode.HOST}, "sysctl", None),
        ({"volumes": (VolumeMount(source="/a", target="/b", propagation="rshared"),)},
         "rootfsPropagation", "shared"),
        ({"volumes": (VolumeMount(source="/a", target="/b", propagation="slave"),)},
         "rootfsPropagation", "rslave"),
        ({}, "rootfsPropagation", None),
        ({"devices": (DeviceMapping(source="/dev/x", target="/dev/y"),)}, "devices",
         [{"path": "/dev/y", "type": "c", "major": 4, "minor": 2, "fileMode": 0o600, "uid": 0,
           "gid": 5}]),
    ],
)  # fmt: skip
def test_what_is_linuxs(fields, key, expected):
    assert linux(**fields).get(key) == expected


def test_limits_and_devices_go_together():
    found = linux(resources=ResourceOptions(pids_limit=5))["resources"]
    assert found["pids"] == {"limit": 5}
    assert found["devices"][0] == {"allow": False, "type": "a", "access": "rwm"}


def test_the_host_name_is_the_machines_with_its_uts_namespace():
    found = runtime_config(CONFIG, options(uts="host"), PLACE)
    assert (found.hostname, "uts" in found.namespaces) == ("", False)
    named = runtime_config(CONFIG, options(domainname="example.com"), PLACE)
    assert (named.hostname, named.domainname) == ("box", "example.com")


def test_an_ordinary_user_gets_the_settings_its_namespace_allows():
    mine = Place(machine="x86_64", rootless=True, hostname="box", container_id="c1")
    found = runtime_config(CONFIG, options(network=NetworkMode.NONE), mine)
    assert found.sysctl == {"net.ipv4.ip_unprivileged_port_start": "0"}
    assert found.resources.devices == ()
