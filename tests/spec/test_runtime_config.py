"""config.json: every part there and back, and each MUST that the document itself can break."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import InvalidDocument, NotBuiltYet
from ocimagic.spec.isolation import IdMapping, sysctl_namespace, sysctl_path
from ocimagic.spec.process import Process, cpus
from ocimagic.spec.runtime import RuntimeConfig

RANGE = {"containerID": 0, "hostID": 100000, "size": 65536}
HOOK = {"path": "/bin/hook", "args": ["hook", "a"], "env": ["A=b"], "timeout": 3}
FULL = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 0o027},
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "EMPTY="],
        "cwd": "/work",
        "capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_CHOWN"],
            "permitted": ["CAP_CHOWN"],
            "ambient": ["CAP_CHOWN"],
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
        "noNewPrivileges": True,
        "oomScoreAdj": -7,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "execCPUAffinity": {"initial": "0-1", "final": "0,3"},
        "apparmorProfile": "acme",
        "selinuxLabel": "system_u:system_r:svirt_t:s0",
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "example.org",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/data",
            "type": "none",
            "source": "/srv",
            "options": ["rbind", "ro"],
            "uidMappings": [RANGE],
            "gidMappings": [RANGE],
        },
    ],
    "hooks": {
        kind: [HOOK, {"path": "/bin/other"}]
        for kind in (
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop",
        )
    },
    "annotations": {"org.example": "x"},
    "linux": {
        "namespaces": [
            *({"type": kind} for kind in ("pid", "mount", "ipc", "uts", "user", "cgroup", "time")),
            {"type": "network", "path": "/run/netns/a"},
        ],
        "uidMappings": [RANGE],
        "gidMappings": [RANGE],
        "timeOffsets": {
            "monotonic": {"secs": -5, "nanosecs": 7},
            "boottime": {"secs": 9, "nanosecs": 0},
        },
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438,
             "uid": 0, "gid": 0},
            {"path": "/run/pipe", "type": "p"},
        ],
        "cgroupsPath": "/a/b",
        "resources": {"pids": {"limit": 10}},
        "rootfsPropagation": "slave",
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1000"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0",
        "personality": {"domain": "LINUX32"},
    },
}  # fmt: skip
SMALL = {
    "ociVersion": "1.0.0",
    "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
}


def parse(document):
    return RuntimeConfig.parse(json.dumps(document).encode())


def changed(place, value, base=SMALL):
    """Return a copy of a document with one field set; None takes it away."""
    copy = json.loads(json.dumps(base))
    *way, last = place.split(".")
    spot = copy
    for each in way:
        spot = spot.setdefault(each, {})
    if value is None:
        del spot[last]
    else:
        spot[last] = value
    return copy


def test_every_part_comes_back():
    config = parse(FULL)
    assert config.to_json() == FULL
    assert RuntimeConfig.parse(config.encode()) == config


def test_what_is_absent_has_the_default_of_the_spec():
    config = parse(SMALL)
    assert config.process.user.umask is None
    assert not config.process.terminal
    assert not config.root_readonly
    assert config.namespaces == {}
    assert RuntimeConfig.parse(config.encode()) == config


def test_a_process_may_come_later():
    config = parse(changed("process", None))
    assert config.process.args == ()
    assert RuntimeConfig.parse(config.encode()) == config


def test_a_property_nobody_knows_is_ignored():
    assert parse(SMALL | {"org.example.future": {"a": [1]}, "windows": {}}) == parse(SMALL)


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.0.0-rc5+dev"])
def test_versions_that_are_read(version):
    config = parse(changed("ociVersion", version))
    assert config.oci_version == version
    assert config.warnings == ()


def test_a_newer_minor_version_is_read_with_a_warning():
    assert "1.3.0" in parse(changed("ociVersion", "1.3.0")).warnings[0]


@pytest.mark.parametrize("version", [None, "", "1", "1.0", "v1.0.0", "01.0.0", "0.5.0", "2.0.0", 1])
def test_versions_that_are_not(version):
    with pytest.raises(InvalidDocument):
        parse(changed("ociVersion", version))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("process", {}),
        ("root", None),
        ("root.path", None),
        ("process.args", []),
        ("process.args", [""]),
        ("process.args", ["a\0b"]),
        ("process.cwd", "work"),
        ("process.cwd", ""),
        ("process.env", ["NOVALUE"]),
        ("process.env", ["=x"]),
        ("process.user", {"uid": -1, "gid": 0}),
        ("process.user", {"uid": 1 << 32, "gid": 0}),
        ("process.user", {"uid": "root", "gid": 0}),
        ("process.rlimits", [{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}]),
        ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
        ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2),
        ("process.oomScoreAdj", 1001),
        ("process.scheduler", {"policy": "SCHED_NOPE"}),
        ("process.scheduler", {"policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_NOPE"]}),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_NOPE", "priority": 1}),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}),
        ("process.execCPUAffinity", {"initial": "0-"}),
        ("mounts", [{"type": "tmpfs"}]),
        ("mounts", [{"destination": "/a", "uidMappings": [RANGE]}]),
        ("mounts", [{"destination": "/a", "uidMappings": [RANGE | {"size": 0}]}]),
        ("hostname", "box"),
        ("domainname", "box"),
        ("hooks.prestart", [{"path": "bin/hook"}]),
        ("hooks.poststop", [{"path": "/h", "timeout": 0}]),
        ("hooks.poststop", [{"path": "/h", "timeout": -1}]),
        ("annotations", {"": "x"}),
        ("annotations", {"a": 1}),
        ("linux.namespaces", [{"type": "nope"}]),
        ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}]),
        ("linux.namespaces", [{"type": "pid", "path": "proc/1/ns/pid"}]),
        ("linux.namespaces", [{"type": "user"}]),
        ("linux.uidMappings", [RANGE]),
        ("linux.timeOffsets", {"monotonic": {"secs": 1}}),
        ("linux.timeOffsets", {"realtime": {"secs": 1}}),
        ("linux.devices", [{"path": "/dev/a", "type": "x", "major": 1, "minor": 1}]),
        ("linux.devices", [{"path": "dev/a", "type": "c", "major": 1, "minor": 1}]),
        ("linux.devices", [{"path": "/dev/a", "type": "c"}]),
        ("linux.sysctl", {"kernel.hostname": "x"}),
        ("linux.sysctl", {"vm.overcommit_memory": "1"}),
        ("linux.sysctl", {"net.core.somaxconn": "1"}),
        ("linux.sysctl", {"kernel.shmmax": "1"}),
        ("linux.sysctl", {"kernel.domainname": "x"}),
        ("linux.sysctl", {"net/../kernel/hostname": "x"}),
        ("linux.rootfsPropagation", "nope"),
        ("linux.maskedPaths", ["proc/kcore"]),
        ("linux.readonlyPaths", ["proc/sys"]),
        ("linux.personality", {"domain": "NOPE"}),
        ("linux.personality", {"domain": "LINUX", "flags": ["x"]}),
    ],
)
def test_what_the_spec_forbids_is_an_error(place, value):
    with pytest.raises(InvalidDocument):
        parse(changed(place, value))


def test_intel_rdt_is_refused_in_words():
    with pytest.raises(NotBuiltYet):
        parse(changed("linux.intelRdt", {"closID": "a"}))


def test_an_unknown_capability_is_a_warning_only():
    config = parse(changed("process.capabilities", {"bounding": ["CAP_NOPE", "CAP_KILL"]}))
    assert config.warnings == ("capability CAP_NOPE is unknown and ignored",)


def test_a_relative_destination_is_taken_as_absolute_with_a_warning():
    config = parse(changed("mounts", [{"destination": "data", "type": "tmpfs"}]))
    assert config.mounts[0].destination == "/data"
    assert "'data'" in config.warnings[0]


@pytest.mark.parametrize(
    ("name", "path", "owner"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding", "network"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"),
        ("kernel/sem", "kernel/sem", "ipc"),
        ("kernel.domainname", "kernel/domainname", "uts"),
        ("kernel.hostname", "kernel/hostname", ""),
        ("vm.swappiness", "vm/swappiness", ""),
    ],
)
def test_names_of_kernel_settings(name, path, owner):
    assert sysctl_path(name) == path
    assert sysctl_namespace(name) == owner


@given(st.text("./ab", max_size=8))
def test_no_name_of_a_setting_leads_out_of_proc_sys(name):
    try:
        path = sysctl_path(name)
    except InvalidDocument:
        return
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))


def test_lists_of_processors():
    assert cpus("") == ()
    assert cpus("0-3,7") == (0, 1, 2, 3, 7)
    for wrong in ("a", "1-", "-1", ",", "1,,2", "0-99999999"):
        with pytest.raises(InvalidDocument):
            cpus(wrong)


def test_a_mapping_knows_its_range():
    mapping = IdMapping(5, 100, 2)
    assert [mapping.covers(each) for each in (4, 5, 6, 7)] == [False, True, True, False]


def test_a_process_alone_is_a_document_of_its_own():
    from ocimagic.spec.codec import decode

    raw = json.dumps(FULL["process"]).encode()
    assert Process.parse(decode(raw, what="process")) == parse(FULL).process
