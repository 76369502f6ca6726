"""Seccomp, labels, hidden paths; options that contradict each other; health checks."""

import json

import pytest

from ocimagic.bundle.checks import check_options, check_sysctls, warnings
from ocimagic.bundle.health import health_check
from ocimagic.bundle.place import Place
from ocimagic.bundle.seccomp_profile import Conditions, convert_profile
from ocimagic.bundle.security import apparmor_profile, hidden_paths, seccomp, selinux_label
from ocimagic.errors import InvalidDocument, InvalidOption, NotBuiltYet
from ocimagic.model.options import (
    NetworkMode,
    RunOptions,
    SecurityOptions,
    VolumeMount,
)
from ocimagic.model.policy import HealthOptions, LogOptions, RestartName, RestartPolicy
from ocimagic.model.resources import DeviceMapping, ResourceOptions

PLACE = Place(machine="x86_64", rootless=False, hostname="box")
LABELLED = Place(machine="x86_64", rootless=False, hostname="box", selinux=True, apparmor=True)
MINE = Place(machine="x86_64", rootless=True, hostname="box")
READ_ONLY = DeviceMapping(source="/dev/null", target="/dev/n", permissions="r")
OTHERS = {"network": NetworkMode.CONTAINER, "network_container": "web"}
HERE = Conditions(("CAP_CHOWN", "CAP_SYS_ADMIN"), "x86_64", (6, 1))


def run(**fields):
    return RunOptions(image="x", **fields)


def secured(**fields):
    return run(security=SecurityOptions(**fields))


class TestSeccompProfile:
    def names(self, *rules, conditions=HERE):
        document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules)}
        found = convert_profile(json.dumps(document), conditions)
        return [name for rule in found["syscalls"] for name in rule["names"]]

    def rule(self, name, **fields):
        return {"names": [name], "action": "SCMP_ACT_ALLOW", **fields}

    @pytest.mark.parametrize(
        ("condition", "applies"),
        [
            ({}, True),
            ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
            ({"includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}}, False),
            ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, False),
            ({"excludes": {"caps": ["CAP_BPF"]}}, True),
            ({"includes": {"arches": ["amd64", "x32"]}}, True),
            ({"includes": {"arches": ["arm64"]}}, False),
            ({"excludes": {"arches": ["s390", "amd64"]}}, False),
            ({"includes": {"minKernel": "4.8"}}, True),
            ({"includes": {"minKernel": "6.1"}}, True),
            ({"includes": {"minKernel": "6.2"}}, False),
            ({"includes": {"minKernel": "10.0"}}, False),
            ({"excludes": {"minKernel": "6.0"}}, False),
            ({"excludes": {"minKernel": "6.2"}}, True),
            ({"includes": None, "excludes": {}, "comment": "words"}, True),
        ],
    )
    def test_conditions(self, condition, applies):
        assert self.names(self.rule("mount", **condition)) == (["mount"] if applies else [])

    def test_the_rest_is_copied(self):
        args = [{"index": 0, "value": 5, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"}]
        document = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "archMap": [
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                {
                    "architecture": "SCMP_ARCH_X86_64",
                    "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                },
            ],
            "syscalls": [
                {"name": "clone", "action": "SCMP_ACT_ALLOW", "args": args},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        }
        assert convert_profile(json.dumps(document), HERE) == {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            ],
        }

    def test_another_machine_has_its_own_entry_of_the_map(self):
        document = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
        }
        text = json.dumps(document)
        assert convert_profile(text, HERE)["architectures"] == ["SCMP_ARCH_X86_64"]
        other = Conditions((), "aarch64", (6, 1))
        assert "architectures" not in convert_profile(text, other)

    def test_one_that_says_nothing_is_none(self):
        assert convert_profile("{}", HERE) is None

    @pytest.mark.parametrize(
        "document",
        [
            "[]",
            "{",
            '{"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW"}]}',
            '{"defaultAction": "A", "architectures": ["B"], "archMap": [{"architecture": "B"}]}',
            '{"defaultAction": "A", "syscalls": [{"names": ["a"], "name": "b", "action": "A"}]}',
            '{"defaultAction": "A", "syscalls": [{"action": "A", "includes": {"minKernel": "x"}}]}',
            '{"defaultAction": "A", "syscalls": {}}',
            '{"defaultAction": "A", "defaultAction": "B"}',
        ],
    )
    def test_what_is_no_profile(self, document):
        with pytest.raises(InvalidDocument):
            convert_profile(document, HERE)


def test_which_filter_a_container_has():
    usual = seccomp(run(), ("CAP_CHOWN",), PLACE)
    assert usual["defaultAction"] == "SCMP_ACT_ERRNO"
    assert seccomp(secured(seccomp="unconfined"), (), PLACE) is None
    assert seccomp(run(privileged=True), (), PLACE) is None
    own = '{"defaultAction": "SCMP_ACT_LOG"}'
    asked = run(privileged=True, security=SecurityOptions(seccomp=own))
    assert seccomp(asked, (), PLACE) == {"defaultAction": "SCMP_ACT_LOG", "syscalls": []}


def test_hidden_paths():
    masked, readonly = hidden_paths(run())
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(masked)
    assert "/proc/sys" in readonly
    assert hidden_paths(run(privileged=True)) == ((), ())
    assert hidden_paths(secured(unmask_paths=True)) == ((), ())


def test_labels_where_the_kernel_has_them():
    assert apparmor_profile(secured(apparmor="mine"), LABELLED) == "mine"
    assert apparmor_profile(secured(apparmor="unconfined"), LABELLED) == ""
    assert apparmor_profile(secured(apparmor="mine"), PLACE) == ""
    asked = secured(label=("type:web_t", "level:s0:c1,c2"))
    assert selinux_label(asked, LABELLED) == "system_u:system_r:web_t:s0:c1,c2"
    assert selinux_label(asked, PLACE) == ""
    assert selinux_label(secured(label=("disable",)), LABELLED) == ""
    assert selinux_label(run(), LABELLED) == ""
    with pytest.raises(InvalidOption):
        selinux_label(secured(label=("colour:red",)), LABELLED)


@pytest.mark.parametrize(
    ("options", "place", "said"),
    [
        (run(), PLACE, []),
        (secured(apparmor="mine"), PLACE, ["AppArmor"]),
        (secured(apparmor="unconfined"), PLACE, []),
        (secured(label=("type:x",)), PLACE, ["SELinux"]),
        (secured(label=("disable",)), PLACE, []),
        (secured(apparmor="mine", label=("type:x",)), LABELLED, []),
        (run(privileged=True), MINE, ["user namespace"]),
        (run(devices=(READ_ONLY,)), MINE, ["/dev/null"]),
        (run(devices=(READ_ONLY,)), PLACE, []),
        (run(init=True, pid="host"), PLACE, ["--init"]),
        (run(init=True), PLACE, []),
    ],
)
def test_warnings(options, place, said):
    found = list(warnings(options, place))
    assert len(found) == len(said)
    for text, word in zip(found, said, strict=True):
        assert word in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"remove": True, "restart": RestartPolicy(name=RestartName.ALWAYS)}, "--rm"),
        ({"restart": RestartPolicy(name=RestartName.ALWAYS, maximum_retry_count=3)}, "always:3"),
        ({"restart": RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=-1)}, "-1"),
        ({"uts": "host", "hostname": "x"}, "--uts host"),
        ({"uts": "host", "domainname": "x"}, "--uts host"),
        ({**OTHERS, "hostname": "x"}, "--hostname"),
        ({**OTHERS, "dns": ("1.1.1.1",)}, "--dns"),
        ({**OTHERS, "extra_hosts": (("a", "1.1.1.1"),)}, "--add-host"),
        ({"oom_score_adj": 1001}, "-1000 to 1000"),
        ({"shm_size_bytes": -1}, "negative"),
        ({"stop_timeout_s": -1.0}, "negative"),
        ({"log": LogOptions(driver="syslog")}, "syslog"),
        ({"log": LogOptions(compress=True, max_size_bytes=5)}, "max-file"),
        ({"annotations": {"dev.ocimagic.user": "0"}}, "engine's own"),
        ({"resources": ResourceOptions(cgroup_parent="/a/../../b")}, "leads out"),
        ({"resources": ResourceOptions(cgroup_parent="a\0b")}, "leads out"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(fields, said):
    with pytest.raises(InvalidOption) as caught:
        check_options(run(**fields), PLACE)
    assert said in str(caught.value)


def test_options_that_can_be():
    check_options(run(), PLACE)
    restart = RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3)
    parent = ResourceOptions(cgroup_parent="/class/room..1")
    check_options(run(restart=restart, resources=parent, oom_score_adj=-1000), PLACE)


def test_relabelling_is_refused_only_where_it_would_mean_something():
    volume = VolumeMount(source="/a", target="/b", relabel="Z")
    check_options(run(volumes=(volume,)), PLACE)
    with pytest.raises(NotBuiltYet, match="SELinux"):
        check_options(run(volumes=(volume,)), LABELLED)


@pytest.mark.parametrize(
    ("name", "spaces", "said"),
    [
        ("net.ipv4.ip_forward", {"ipc": ""}, "--network none"),
        ("kernel.shmmax", {"network": ""}, "--ipc"),
        ("fs.mqueue.msg_max", {}, "--ipc"),
        ("kernel.hostname", {"uts": "", "ipc": "", "network": ""}, "whole machine"),
        ("vm.swappiness", {"ipc": "", "network": ""}, "whole machine"),
    ],
)
def test_sysctls_of_the_machine(name, spaces, said):
    with pytest.raises(InvalidOption) as caught:
        check_sysctls(run(sysctls={name: "1"}), spaces)
    assert said in str(caught.value)


def test_sysctls_of_the_container():
    spaces = {"network": "", "ipc": ""}
    names = ("net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max")
    check_sysctls(run(sysctls=dict.fromkeys(names, "1")), spaces)


IMAGE = {
    "Test": ["CMD-SHELL", "true"],
    "Interval": 10_000_000_000,
    "Timeout": 2_000_000_000,
    "StartPeriod": 1_500_000_000,
    "Retries": 5,
}


class TestHealth:
    def test_none(self):
        assert health_check(None, None) is None
        assert health_check({"Test": []}, None) is None
        assert health_check({"Test": ["NONE"]}, None) is None
        assert health_check(IMAGE, HealthOptions(test=("NONE",))) is None
        assert health_check(None, HealthOptions(interval_s=5)) is None, "nothing to run"

    def test_of_the_image(self):
        assert health_check(IMAGE, None) == HealthOptions(
            test=("CMD-SHELL", "true"),
            interval_s=10.0,
            timeout_s=2.0,
            start_period_s=1.5,
            start_interval_s=5.0,
            retries=5,
        )

    def test_what_is_asked_for_wins_and_the_rest_is_the_images(self):
        asked = HealthOptions(test=("CMD", "ls"), interval_s=1.0, start_interval_s=0.5)
        found = health_check(IMAGE, asked)
        assert (found.test, found.interval_s, found.timeout_s) == (("CMD", "ls"), 1.0, 2.0)
        assert (found.start_interval_s, found.retries) == (0.5, 5)

    def test_dockers_defaults(self):
        found = health_check(None, HealthOptions(test=("CMD-SHELL", "true")))
        assert (found.interval_s, found.timeout_s, found.start_period_s) == (30.0, 30.0, 0.0)
        assert (found.start_interval_s, found.retries) == (5.0, 3)

    @pytest.mark.parametrize(
        "asked",
        [
            HealthOptions(test=("SHELL", "x")),
            HealthOptions(test=("CMD",)),
            HealthOptions(test=("CMD", "x"), interval_s=0.0001),
            HealthOptions(test=("CMD", "x"), timeout_s=-1),
            HealthOptions(test=("CMD", "x"), start_period_s=-1),
            HealthOptions(test=("CMD", "x"), retries=-1),
        ],
    )
    def test_what_cannot_be(self, asked):
        with pytest.raises(InvalidOption):
            health_check(None, asked)

    def test_a_malformed_one_can_be_left_out(self):
        assert health_check({"Test": 5}, HealthOptions(test=("NONE",))) is None

    @pytest.mark.parametrize(
        "image", [{"Test": "true"}, {"Test": ["CMD", 5]}, {"Interval": "5s"}, {"Retries": -1}]
    )
    def test_a_malformed_one_in_an_image(self, image):
        with pytest.raises(InvalidDocument):
            health_check(image, None)
