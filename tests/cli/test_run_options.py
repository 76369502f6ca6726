"""Every flag of run and create: what it becomes, and what is said when it is wrong."""

import json
import shlex
import shutil
import threading

import pytest
from docker_client import DockerClient
from fake_engine import FakeEngine

from ocimagic.cli.grammar import complete, execute, find
from ocimagic.cli.session import Session
from ocimagic.errors import DriverNotFound, InvalidOption, InvalidPlatform, NotBuiltYet
from ocimagic.model.network import NetworkChoice, PublishedPort
from ocimagic.model.options import (
    FOREVER_S,
    BindRecursion,
    NetworkMode,
    PullPolicy,
    RunOptions,
    SecurityOptions,
    TmpfsMount,
    VolumeMount,
    VolumesFrom,
)
from ocimagic.model.policy import HealthOptions, LogOptions, RestartName, RestartPolicy
from ocimagic.model.resources import (
    DeviceMapping,
    ResourceOptions,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)
from ocimagic.spec.platform import Platform

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def session(tmp_path):
    engine = FakeEngine()
    return Session(
        engine=lambda: engine,
        env={"HOME": "/home/kim", "LANG": "C.UTF-8"},
        cwd=str(tmp_path),
        cancelled=threading.Event(),
    )


def options(line, session) -> RunOptions:
    words = line if isinstance(line, list) else shlex.split(line)
    execute(words, session)
    return session.engine().calls[-1][1]


def limits(**fields):
    return {"resources": ResourceOptions(**fields)}


def secured(**fields):
    return {"security": SecurityOptions(**fields)}


def sda(rate):
    return (ThrottleDevice(path="/dev/sda", rate=rate),)


BIND = VolumeMount(source="/tmp", target="/x")
HEALTH_LINE = (
    "--health-interval 1m30s --health-retries 3 --health-timeout 1.5s "
    "--health-start-period 100ms --health-start-interval 2s"
)

PUBLISHED = PublishedPort(container_port=80, host_port=8080)


def in_networks(*choices, **more):
    return {"network": NetworkMode.NETWORK, "networks": choices, **more}


GOOD = [
    ("", {}),
    # How docker writes options.
    ("--rm", {"remove": True}),
    ("--rm=true", {"remove": True}),
    ("--rm --rm=false", {"remove": False}),
    ("--rm=0", {"remove": False}),
    ("-id", {"interactive": True, "detach": True}),
    ("-it", {"interactive": True, "tty": True}),
    ("-itd --tty=false", {"interactive": True, "detach": True}),
    ("-i=false", {}),
    ("-ieA=1", {"interactive": True, "env": ("A=1",)}),
    ("-eA=1 -e B=2 --env C=3 --env=D=4 -e=E=5", {"env": ("A=1", "B=2", "C=3", "D=4", "E=5")}),
    ("-e --rm=x", {"env": ("--rm=x",)}),
    ("-m512m -c 5", limits(memory_bytes=512 * MIB, cpu_shares=5)),
    # Who and what.
    ("-e LANG -e NOPE", {"env": ("LANG=C.UTF-8", "NOPE")}),
    ("-e 'A B=1'", {"env": ("A B=1",)}),
    ("--name web -w /srv -u app:app -h box", {"name": "web", "working_dir": "/srv",
                                             "user": "app:app", "hostname": "box"}),
    ("--domainname example.com", {"domainname": "example.com"}),
    ("--entrypoint sh", {"entrypoint": ("sh",)}),
    ("--entrypoint=", {"entrypoint": ()}),
    ("--group-add audio --group-add 1000", {"groups": ("audio", "1000")}),
    ("-l a=1 --label b", {"labels": {"a": "1", "b": ""}}),
    ("--annotation a=1 --annotation b", {"annotations": {"a": "1", "b": ""}}),
    ("--cidfile id", {"cidfile": "{cwd}/id"}),
    ("--runtime runc", {"runtime": "runc"}),
    ("--platform linux/arm64 --pull always", {"pull": PullPolicy.ALWAYS,
                                              "platform": Platform("linux", "arm64")}),
    # Streams.
    ("-a stdout", {"attach": ("stdout",)}),
    ("-a STDOUT --attach stderr -a stdout", {"attach": ("stdout", "stderr")}),
    ("--detach-keys ctrl-x,x", {"detach_keys": "ctrl-x,x"}),
    ("--sig-proxy", {}),
    ("--sig-proxy=false", {"sig_proxy": False}),
    ("--sig-proxy=false --sig-proxy=true", {}),
    # Limits.
    ("--memory 512m", limits(memory_bytes=512 * MIB)),
    ("--memory '1.5 GiB'", limits(memory_bytes=3 * GIB // 2)),
    ("--memory 1e3", limits(memory_bytes=1000)),
    ("--memory 0", {}),
    ("--memory-swap -1", limits(memory_swap_bytes=-1)),
    ("--memory-swap 1g", limits(memory_swap_bytes=GIB)),
    ("--memory-reservation 8m", limits(memory_reservation_bytes=8 * MIB)),
    ("--memory-swappiness 0", limits(memory_swappiness=0)),
    ("--memory-swappiness -1", {}),
    ("--oom-kill-disable", limits(oom_kill_disable=True)),
    ("--oom-score-adj -500", {"oom_score_adj": -500}),
    ("--cpus 1.5", limits(nano_cpus=1_500_000_000)),
    ("--cpus 3/2", limits(nano_cpus=1_500_000_000)),
    ("--cpus 1e-1", limits(nano_cpus=100_000_000)),
    ("--cpu-shares 0x10", limits(cpu_shares=16)),
    ("--cpu-period 50000 --cpu-quota 25000", limits(cpu_period_us=50000, cpu_quota_us=25000)),
    ("--cpu-quota -1", limits(cpu_quota_us=-1)),
    ("--cpu-rt-period 5 --cpu-rt-runtime 3",
     limits(cpu_realtime_period_us=5, cpu_realtime_runtime_us=3)),
    ("--cpuset-cpus 0-1 --cpuset-mems 0", limits(cpuset_cpus="0-1", cpuset_mems="0")),
    ("--pids-limit -1", limits(pids_limit=-1)),
    ("--pids-limit 100", limits(pids_limit=100)),
    ("--blkio-weight 300", limits(blkio_weight=300)),
    ("--blkio-weight-device /dev/sda:300",
     limits(blkio_weight_devices=(WeightDevice(path="/dev/sda", weight=300),))),
    ("--device-read-bps /dev/sda:1mb", limits(device_read_bps=sda(MIB))),
    ("--device-write-bps /dev/sda:1k", limits(device_write_bps=sda(1024))),
    ("--device-read-iops /dev/sda:10", limits(device_read_iops=sda(10))),
    ("--device-write-iops /dev/sda:10", limits(device_write_iops=sda(10))),
    ("--device-cgroup-rule 'c 42:* rm'", limits(device_cgroup_rules=("c 42:* rm",))),
    ("--cgroup-parent /class", limits(cgroup_parent="/class")),
    ("--ulimit nofile=1024", {"ulimits": (Ulimit(name="nofile", soft=1024, hard=1024),)}),
    ("--ulimit nofile=5:-1", {"ulimits": (Ulimit(name="nofile", soft=5, hard=-1),)}),
    ("--ulimit nofile=1 --ulimit nofile=2:3 --ulimit core=0",
     {"ulimits": (Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=2, hard=3))}),
    ("--shm-size 64m", {"shm_size_bytes": 64 * MIB}),
    # Protection.
    ("--privileged", {"privileged": True}),
    ("--cap-add NET_ADMIN --cap-drop=ALL", {"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)}),
    ("--security-opt no-new-privileges", {"no_new_privileges": True}),
    ("--security-opt=no-new-privileges:true", {"no_new_privileges": True}),
    ("--security-opt no-new-privileges=false", {}),
    ("--security-opt seccomp=unconfined", secured(seccomp="unconfined")),
    ("--security-opt seccomp=builtin", {}),
    ("--security-opt apparmor=mine", secured(apparmor="mine")),
    ("--security-opt label:disable", secured(label=("disable",))),
    ("--security-opt label=type:web_t --security-opt label=level:s0:c1",
     secured(label=("type:web_t", "level:s0:c1"))),
    ("--security-opt systempaths=unconfined", secured(unmask_paths=True)),
    ("--security-opt writable-cgroups=true", secured(writable_cgroups=True)),
    ("--sysctl net.ipv4.ip_forward=1 --sysctl kernel.sem='1 2'",
     {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.sem": "1 2"}}),
    ("--read-only --init", {"read_only": True, "init": True}),
    ("--init=false", {}),
    # Devices and mounts.
    ("--device /dev/null", {"devices": (DeviceMapping(source="/dev/null", target="/dev/null"),)}),
    ("--device /dev/null:rw",
     {"devices": (DeviceMapping(source="/dev/null", target="/dev/null", permissions="rw"),)}),
    ("--device /dev/null:/dev/x",
     {"devices": (DeviceMapping(source="/dev/null", target="/dev/x"),)}),
    ("--device /dev/null:/dev/x:r",
     {"devices": (DeviceMapping(source="/dev/null", target="/dev/x", permissions="r"),)}),
    ("--device /dev/zer*", {"devices": (DeviceMapping(source="/dev/zero", target="/dev/zero"),)}),
    ("--tmpfs /run --tmpfs /x:size=64m,exec",
     {"tmpfs": (TmpfsMount(target="/run"),
                TmpfsMount(target="/x", options=("size=64m", "exec")))}),
    ("-v /srv/data:/data:ro -v /a:/b", {"volumes": (
        VolumeMount(source="/srv/data", target="/data", read_only=True),
        VolumeMount(source="/a", target="/b"))}),
    ("-v ~/x:/x", {"volumes": (VolumeMount(source="/home/kim/x", target="/x"),)}),
    ("-v ./data:/data -v .:/all", {"volumes": (
        VolumeMount(source="{cwd}/data", target="/data"),
        VolumeMount(source="{cwd}", target="/all"))}),
    ("-v /a:/b:ro,Z,rslave,cached", {"volumes": (
        VolumeMount(source="/a", target="/b", read_only=True, relabel="Z",
                    propagation="rslave"),)}),
    ("-v data:/data:ro,nocopy -v /nameless", {"volumes": (
        VolumeMount(kept=True, name="data", target="/data", read_only=True, no_copy=True),
        VolumeMount(kept=True, target="/nameless"))}),
    ("--mount src=v,dst=/x,volume-label=a=b,volume-label=c,volume-driver=local", {"volumes": (
        VolumeMount(kept=True, name="v", target="/x", labels={"a": "b", "c": ""}),)}),
    ("--mount type=volume,src=v,dst=/x,volume-subpath=a/b", {"volumes": (
        VolumeMount(kept=True, name="v", target="/x", part="a/b"),)}),
    ("--mount type=volume,dst=/x,readonly,volume-nocopy=true", {"volumes": (
        VolumeMount(kept=True, target="/x", read_only=True, no_copy=True),)}),
    ("-v data:/data:U -v /tmp:/x:U,z", {"volumes": (
        VolumeMount(kept=True, name="data", target="/data", own=True),
        VolumeMount(source="/tmp", target="/x", own=True, relabel="z"))}),
    ("--mount src=v,dst=/x,U --mount type=bind,src=/tmp,dst=/y,chown=true", {"volumes": (
        VolumeMount(kept=True, name="v", target="/x", own=True),
        VolumeMount(source="/tmp", target="/y", own=True))}),
    ("--mount src=v,dst=/x,volume-opt=type=tmpfs,volume-opt=device=tmpfs", {"volumes": (
        VolumeMount(kept=True, name="v", target="/x",
                    options={"type": "tmpfs", "device": "tmpfs"}),)}),
    ("--volumes-from web --volumes-from db:ro --volume-driver local", {"volumes_from": (
        VolumesFrom(container="web"), VolumesFrom(container="db", read_only=True))}),
    ("--mount type=bind,src=/tmp,dst=/x", {"volumes": (BIND,)}),
    ("--mount TYPE=bind,source=/tmp,target=/x,readonly=1",
     {"volumes": (VolumeMount(source="/tmp", target="/x", read_only=True),)}),
    ("--mount type=bind,src=/tmp,dst=/x,ro,ro=false", {"volumes": (BIND,)}),
    ("--mount 'type=bind,\"src=/tmp,a\",dst=/x'",
     {"volumes": (VolumeMount(source="/tmp,a", target="/x"),)}),
    ("--mount type=bind,src=/tmp,dst=/x,bind-propagation=rshared",
     {"volumes": (VolumeMount(source="/tmp", target="/x", propagation="rshared"),)}),
    ("--mount type=bind,src=/tmp,dst=/x,bind-nonrecursive",
     {"volumes": (VolumeMount(source="/tmp", target="/x", recursion=BindRecursion.DISABLED),)}),
    ("--mount type=bind,src=/tmp,dst=/x,bind-recursive=disabled,consistency=cached",
     {"volumes": (VolumeMount(source="/tmp", target="/x", recursion=BindRecursion.DISABLED),)}),
    ("--mount type=bind,src=/tmp,dst=/x,ro,bind-recursive=writable",
     {"volumes": (VolumeMount(source="/tmp", target="/x", read_only=True,
                              recursion=BindRecursion.WRITABLE),)}),
    ("--mount type=bind,src=/tmp,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate",
     {"volumes": (VolumeMount(source="/tmp", target="/x", read_only=True, propagation="rprivate",
                              recursion=BindRecursion.READONLY),)}),
    ("--mount type=tmpfs,dst=/x", {"tmpfs": (TmpfsMount(target="/x"),)}),
    ("--mount type=tmpfs,dst=/x,ro,tmpfs-size=64m,tmpfs-mode=1770",
     {"tmpfs": (TmpfsMount(target="/x", options=("ro", "mode=1770", f"size={64 * MIB}")),)}),
    # Names and namespaces.
    ("--network none", {"network": NetworkMode.NONE}),
    ("--net=host", {"network": NetworkMode.HOST}),
    ("--network default", {}),
    ("--network container:web",
     {"network": NetworkMode.CONTAINER, "network_container": "web"}),
    ("--network web", in_networks(NetworkChoice(network="web"))),
    ("--network web --network-alias a --net-alias b --ip 10.0.0.9 --mac-address 02-42-0A-00-00-09",
     in_networks(NetworkChoice(network="web", aliases=("a", "b"), ipv4="10.0.0.9",
                               mac="02:42:0a:00:00:09"))),
    ("--network name=web,alias=a,alias=b,ip6=fd00::9 --network other",
     in_networks(NetworkChoice(network="web", aliases=("a", "b"), ipv6="fd00::9"),
                 NetworkChoice(network="other"))),
    ("--link db --link other:alias", {"links": (("db", "db"), ("other", "alias"))}),
    ("--link db:data --network web",
     in_networks(NetworkChoice(network="web", links=(("db", "data"),)), links=(("db", "data"),))),
    ("-p 8080:80", in_networks(NetworkChoice(network="bridge"), ports=(PUBLISHED,))),
    ("-p8080:80 --network web", in_networks(NetworkChoice(network="web"), ports=(PUBLISHED,))),
    ("-p 8080:80 --network host", {"network": NetworkMode.HOST}),
    ("-P --expose 90 --expose 53/udp",
     in_networks(NetworkChoice(network="bridge"), publish_all=True,
                 exposed_ports=("90/tcp", "53/udp"))),
    ("--pid host --uts host --userns host --cgroupns host --ipc host",
     {"pid": "host", "uts": "host", "userns": "host", "cgroupns": "host", "ipc": "host"}),
    ("--pid container:web --ipc container:web --cgroupns private",
     {"pid": "container:web", "ipc": "container:web", "cgroupns": "private"}),
    ("--ipc shareable", {"ipc": "shareable"}),
    ("--ipc none", {"ipc": "none"}),
    ("--add-host a:1.2.3.4 --add-host b=::1 --add-host c:[::1] --add-host d:host-gateway",
     {"extra_hosts": (("a", "1.2.3.4"), ("b", "::1"), ("c", "::1"), ("d", "host-gateway"))}),
    ("--dns ' 0:0:0:0:0:0:0:1 ' --dns 9.9.9.9", {"dns": ("::1", "9.9.9.9")}),
    ("--dns-search example.com. --dns-search .", {"dns_search": ("example.com", ".")}),
    ("--dns-opt ndots:2 --dns-option rotate", {"dns_options": ("ndots:2", "rotate")}),
    # What the shim does.
    ("--restart no", {}),
    ("--restart ''", {}),
    ("--restart always", {"restart": RestartPolicy(name=RestartName.ALWAYS)}),
    ("--restart unless-stopped", {"restart": RestartPolicy(name=RestartName.UNLESS_STOPPED)}),
    ("--restart on-failure:", {"restart": RestartPolicy(name=RestartName.ON_FAILURE)}),
    ("--restart on-failure:3",
     {"restart": RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3)}),
    ("--health-cmd 'curl x'", {"health": HealthOptions(test=("CMD-SHELL", "curl x"))}),
    (HEALTH_LINE,
     {"health": HealthOptions(interval_s=90.0, retries=3, timeout_s=1.5, start_period_s=0.1,
                              start_interval_s=2.0)}),
    ("--health-interval 0", {}),
    ("--no-healthcheck", {"health": HealthOptions(test=("NONE",))}),
    ("--stop-signal INT --stop-timeout 3", {"stop_signal": "INT", "stop_timeout_s": 3.0}),
    ("--stop-timeout -1", {"stop_timeout_s": FOREVER_S}),
    ("--log-driver none", {"log": LogOptions(driver="none")}),
    ("--log-driver cri", {"log": LogOptions(driver="cri")}),
    ("--log-opt max-size=10m --log-opt max-file=3 --log-opt mode=blocking",
     {"log": LogOptions(max_size_bytes=10_000_000, max_files=3)}),
    ("--log-opt compress=true", {"log": LogOptions(compress=True)}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), GOOD, ids=[line for line, _ in GOOD])
def test_good_lines(line, expected, session, tmp_path):
    wanted = repr(RunOptions(**{"image": "busybox"} | expected)).replace("{cwd}", str(tmp_path))
    assert repr(options(f"run {line} busybox", session)) == wanted


def test_a_value_that_is_missing_is_said(session):
    with pytest.raises(InvalidOption, match="needs a value"):
        options("run --name", session)


def test_options_end_at_the_image(session):
    assert options("container run busybox ls -la --rm", session).command == ("ls", "-la", "--rm")
    assert options("run busybox -- -x", session).command == ("--", "-x")
    assert options("run -- busybox -x", session).command == ("-x",)


def test_create_takes_the_same_but_for_the_foreground(session):
    found = options("create -it --memory 8m busybox", session)
    assert (found.tty, found.detach, found.resources.memory_bytes) == (True, False, 8 * MIB)
    for option in ("-d", "--detach-keys x", "--sig-proxy"):
        with pytest.raises(InvalidOption, match="no option"):
            options(f"create {option} busybox", session)


def test_variables_from_files_come_first(session, tmp_path):
    (tmp_path / "vars").write_text("# words\nA=1\n\nLANG\nNOPE\n B=2\n")
    given = options("run --env-file vars -e A=2 busybox", session)
    assert given.env == ("A=1", "LANG=C.UTF-8", "B=2", "A=2")


def test_labels_from_files_come_first(session, tmp_path):
    (tmp_path / "labels").write_text("# words\na=1\n\nb\n c=3\n")
    given = options("run --label-file labels -l a=2 busybox", session)
    assert given.labels == {"a": "2", "b": "", "c": "3"}


def test_a_seccomp_profile_is_read_and_must_be_json(session, tmp_path):
    (tmp_path / "profile.json").write_text('{ "defaultAction": "SCMP_ACT_ALLOW" }\n')
    given = options("run --security-opt seccomp=profile.json busybox", session)
    assert json.loads(given.security.seccomp) == {"defaultAction": "SCMP_ACT_ALLOW"}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InvalidOption, match="not valid JSON"):
        options("run --security-opt seccomp=bad.json busybox", session)


BAD = [
    ("-p x:80", InvalidOption, "-p x:80: 'x' is no port"),
    ("-p 80:80 --network none", InvalidOption, "no way to this machine"),
    ("--network web --network none", InvalidOption, "do not go together"),
    ("--network name=web,speed=9", InvalidOption, "'speed=9' is not understood"),
    ("--network alias=x", InvalidOption, "names no network"),
    ("--network a/b", InvalidOption, "no name for a network"),
    ("--network none --ip 10.0.0.9", InvalidOption, "--ip needs a network"),
    ("--mac-address 03:00:00:00:00:01", InvalidOption, "address of a group"),
    ("--expose x", InvalidOption, "--expose x is no port"),
    ("--gpus=all", NotBuiltYet, "--gpus"),
    ("--volumes-from web:rx", InvalidOption, "cannot be understood"),
    ("--volumes-from ''", InvalidOption, "cannot be understood"),
    ("--volume-driver nfs", DriverNotFound, "no volume driver"),
    ("-v a/b:/data", InvalidOption, "is no name for a volume"),
    ("-v data:/data:rshared", InvalidOption, "for directories only"),
    ("-v data:/data:nocopy,nocopy", InvalidOption, "contradicts itself"),
    ("-v data", InvalidOption, "not absolute"),
    ("-v :/data", InvalidOption, "cannot be understood"),
    ("--link a:b:c", InvalidOption, "bad format for links: a:b:c"),
    ("--network container:", InvalidOption, "names no container"),
    ("-v /a:/b:ro,rw", InvalidOption, "contradicts itself"),
    ("-v /a:/b:rslvae", InvalidOption, "did you mean rslave?"),
    ("-v /a:b", InvalidOption, "not absolute"),
    ("-v /a:/", InvalidOption, "whole root"),
    ("--mount foo", InvalidOption, "does not know 'foo'"),
    ("--mount type=bind,src=/tmp,dst=/x,targt=1", InvalidOption, "did you mean target?"),
    ("--mount type=bind,src=/tmp", InvalidOption, "target is missing"),
    ("--mount type=bind,src=/tmp,dst=x", InvalidOption, "not absolute"),
    ("--mount type=bind,dst=/x", InvalidOption, "source is missing"),
    ("--mount type=bind,src=foo,dst=/x", InvalidOption, "not absolute"),
    ("--mount type=bind,src,dst=/x", InvalidOption, "needs a value"),
    ("--mount type=volume,src=v,dst=/x,volume-opt=o=ro", InvalidOption, "missing required option"),
    ("--mount type=volume,src=v,dst=/x,volume-driver=nfs", DriverNotFound, "no volume driver"),
    ("--mount type=volume,src=./v,dst=/x", InvalidOption, "is no name for a volume"),
    ("--mount type=bind,src=/tmp,dst=/x,volume-nocopy", InvalidOption, "does not go with"),
    ("--mount type=image,src=v,dst=/x", NotBuiltYet, "'image'"),
    ("--mount type=nosuch,dst=/x", InvalidOption, "unknown"),
    ("--mount type=bind,src=/tmp,dst=/x,ro=perhaps", InvalidOption, "true or false"),
    ("--mount type=bind,src=/tmp,dst=/x,tmpfs-size=5", InvalidOption, "does not go with"),
    ("--mount type=tmpfs,dst=/x,bind-nonrecursive", InvalidOption, "does not go with"),
    ("-v data:/data:U,U", InvalidOption, "contradicts itself"),
    ("--mount type=tmpfs,dst=/x,chown", InvalidOption, "does not go with"),
    ("--mount type=tmpfs,dst=/x,src=/y", InvalidOption, "no source"),
    ("--mount type=tmpfs,dst=/x,tmpfs-mode=999", InvalidOption, "not octal"),
    ("--mount type=tmpfs,dst=/x,tmpfs-size=big", InvalidOption, "invalid size"),
    ("--mount type=bind,src=/tmp,dst=/x,bind-propagation=foo", InvalidOption, "unknown"),
    ("--mount type=bind,src=/tmp,dst=/x,bind-recursive=foo", InvalidOption, "unknown"),
    ("--mount type=bind,src=/tmp,dst=/x,bind-recursive=writable", InvalidOption, "readonly too"),
    ("--mount type=bind,src=/tmp,dst=/x,ro,bind-recursive=readonly", InvalidOption, "rprivate"),
    ("--mount '\"type=bind'", InvalidOption, "cannot be understood"),
    ("--tmpfs run", InvalidOption, "not absolute"),
    ("--device null", InvalidOption, "not absolute"),
    ("--device /dev/null:x", InvalidOption, "not absolute"),
    ("--device /dev/null:/dev/x:rwx", InvalidOption, "not of r, w, m"),
    ("--device /dev/null:/dev/x:", InvalidOption, "not of r, w, m"),
    ("--device /dev/a:b:c:d", InvalidOption, "cannot be understood"),
    ("--device /dev/zer*:/dev/x", InvalidOption, "one target"),
    ("--device vendor.com/class=name", NotBuiltYet, "CDI"),
    ("--device-cgroup-rule 'd 1:3 rwm'", InvalidOption, "invalid rule"),
    ("--device-cgroup-rule a", InvalidOption, "invalid rule"),
    ("--blkio-weight 70000", InvalidOption, "0 to 65535"),
    ("--blkio-weight-device /dev/sda:5", InvalidOption, "10 to 1000"),
    ("--blkio-weight-device sda:50", InvalidOption, "/dev/NAME"),
    ("--device-read-bps /dev/sda", InvalidOption, "/dev/NAME:RATE"),
    ("--device-read-bps /dev/sda:fast", InvalidOption, "invalid size"),
    ("--device-read-iops /dev/sda:1m", InvalidOption, "invalid number"),
    ("--device-read-iops /dev/sda:-1", InvalidOption, "at least 0"),
    ("--memory -1", InvalidOption, "invalid size"),
    ("--memory lots", InvalidOption, "--memory 512m"),
    ("--memory 99999999999t", InvalidOption, "invalid size"),
    ("--memory-swap -2", InvalidOption, "invalid size"),
    ("--memory-swappiness 101", InvalidOption, "-1 to 100"),
    ("--cpus 1/3", InvalidOption, "too precise"),
    ("--cpus many", InvalidOption, "invalid number of CPUs"),
    ("--cpus 1/0", InvalidOption, "invalid number of CPUs"),
    ("--cpu-shares -5", InvalidOption, "at least 0"),
    ("--cpu-quota 1.5", InvalidOption, "invalid number"),
    ("--pids-limit many", InvalidOption, "invalid number"),
    ("--pids-limit 99999999999999999999", InvalidOption, "invalid number"),
    ("--ulimit nofile", InvalidOption, "nofile=1024"),
    ("--ulimit nofle=5", InvalidOption, "did you mean nofile?"),
    ("--ulimit nofile=a", InvalidOption, "invalid number"),
    ("--ulimit nofile=2:1", InvalidOption, "above the hard one"),
    ("--ulimit nofile=-1:5", InvalidOption, "above the hard one"),
    ("--ulimit nofile=1:2:3", InvalidOption, "nofile=1024:4096"),
    ("--shm-size -1", InvalidOption, "invalid size"),
    ("--security-opt secomp=x", InvalidOption, "did you mean seccomp?"),
    ("--security-opt seccomp", InvalidOption, "seccomp=VALUE"),
    ("--security-opt seccomp=nosuch.json", InvalidOption, "cannot read"),
    ("--security-opt systempaths=x", InvalidOption, "systempaths=unconfined"),
    ("--security-opt no-new-privileges:x", InvalidOption, "true or false"),
    ("--security-opt label=colour:red", InvalidOption, "label=type:NAME"),
    ("--sysctl net.x", InvalidOption, "NAME=VALUE"),
    ("--add-host a", InvalidOption, "NAME:ADDRESS"),
    ("--add-host a:b", InvalidOption, "not an IP address"),
    ("--add-host :1.2.3.4", InvalidOption, "NAME:ADDRESS"),
    ("--dns nosuch", InvalidOption, "not an IP address"),
    ("--dns-search 123", InvalidOption, "not a domain"),
    ("--dns-search a_b.c", InvalidOption, "not a domain"),
    ("--dns-search ''", InvalidOption, "not a domain"),
    ("--restart allways", InvalidOption, "did you mean always?"),
    ("--restart always:3", InvalidOption, "only on-failure"),
    ("--restart on-failure:x", InvalidOption, "invalid number"),
    ("--restart on-failure:-1", InvalidOption, "0 to"),
    ("--restart :3", InvalidOption, "invalid restart policy"),
    ("--health-interval 5", InvalidOption, "1m30s"),
    ("--health-interval 1m3", InvalidOption, "1m30s"),
    ("--health-interval -5s", InvalidOption, "negative"),
    ("--health-retries -1", InvalidOption, "at least 0"),
    ("--no-healthcheck --health-cmd x", InvalidOption, "conflicts"),
    ("--log-driver syslog", NotBuiltYet, "json-file"),
    ("--log-driver local", NotBuiltYet, "json-file"),
    ("--log-driver none --log-opt max-size=1m", InvalidOption, "makes no sense"),
    ("--log-opt max-size", InvalidOption, "has no value"),
    ("--log-opt max-size=0", InvalidOption, "more than nothing"),
    ("--log-opt max-file=0", InvalidOption, "1 to"),
    ("--log-opt max_size=1m", InvalidOption, "did you mean max-size?"),
    ("--log-opt tag=x", NotBuiltYet, "max-size and max-file are"),
    ("--pid container:", InvalidOption, "names no container"),
    ("--pid hots", InvalidOption, "did you mean host?"),
    ("--ipc sharable", InvalidOption, "did you mean shareable?"),
    ("--uts private", InvalidOption, "invalid value for --uts"),
    ("--userns keep-id", InvalidOption, "invalid value for --userns"),
    ("--cgroupns x", InvalidOption, "invalid value for --cgroupns"),
    ("-a stdon", InvalidOption, "not a stream"),
    ("-d -a stdout", InvalidOption, "-a and -d contradict"),
    ("--nmae web", InvalidOption, "did you mean --name?"),
    ("--rm=perhaps", InvalidOption, "true or false"),
    ("--stop-timeout soon", InvalidOption, "--stop-timeout"),
    ("--stop-timeout -2", InvalidOption, "-1 to"),
    ("--oom-score-adj x", InvalidOption, "--oom-score-adj"),
    ("--pull allways", InvalidOption, "did you mean always?"),
    ("-e =x", InvalidOption, "NAME=value"),
    ("--env-file none", InvalidOption, "cannot read"),
    ("-l =x", InvalidOption, "no key"),
    ("-l 'a b=c'", InvalidOption, "white space"),
    ("--label-file none", InvalidOption, "cannot read"),
    ("--annotation =x", InvalidOption, "no key"),
    ("--platform a/b/c/d", InvalidPlatform, "platform"),
    ("--storage-opt size=5g", NotBuiltYet, "cannot be limited"),
    ("--kernel-memory 5m", NotBuiltYet, "--memory"),
    ("--isolation hyperv", NotBuiltYet, "Windows"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kind", "said"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_lines(line, kind, said, session):
    with pytest.raises(kind) as caught:
        options(f"run {line} busybox", session)
    assert type(caught.value) is kind
    assert said in str(caught.value)


@pytest.mark.parametrize("flag", ["-v", "--mount", "--tmpfs", "--device"])
def test_a_nul_is_refused(flag, session):
    with pytest.raises(InvalidOption):
        options(["run", flag, "/a:/b\0c", "busybox"], session)


def test_every_run_option_of_docker_is_known():
    """docker 28.2 lists 104 with --help, and hides --net, --net-alias and --dns-opt."""
    known = find(["run"]).spellings()
    assert len({name for name in known if name.startswith("--")}) == 106


def test_completion_and_help_show_them(session):
    shown = {each.text: each.help for each in complete(["run"], "--")}
    for name in ("--memory", "--tty", "--restart", "--health-cmd", "--sig-proxy", "--mount"):
        assert shown[name]
    assert "--link-local-ip" not in shown
    text = execute(["run", "--help"], session).text
    assert "--sig-proxy  " in text
    assert "--no-sig-proxy" not in text
    assert "-m, --memory BYTES" in text


# The real client as the judge: what it sends for a line, and what we make of it.

# Lines that docker reads as we do since version 23; Debian's 20.10 read them otherwise.
SINCE_23 = frozenset(
    (
        "--memory 1e3",
        "--cap-add NET_ADMIN --cap-drop=ALL",
        "--add-host a:1.2.3.4 --add-host b=::1 --add-host c:[::1] --add-host d:host-gateway",
        "--restart on-failure:",
        "--restart :3",
    )
)


def need_reading_of(line, docker):
    if line in SINCE_23 and docker.major < 23:
        pytest.skip("this docker client is older than the way this line is read now")


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    if not shutil.which("docker"):
        pytest.skip("the docker client is not installed")
    client = DockerClient(tmp_path_factory.mktemp("docker"))
    yield client
    client.close()


def as_docker(found: RunOptions) -> dict[str, object]:
    """Return the fields of docker's request that these options mean."""
    limit = found.resources
    restart = found.restart

    def throttled(devices):
        return [{"Path": each.path, "Rate": each.rate} for each in devices] or None

    return {
        "Memory": limit.memory_bytes,
        "MemorySwap": limit.memory_swap_bytes,
        "MemoryReservation": limit.memory_reservation_bytes,
        "MemorySwappiness": limit.memory_swappiness,
        "OomKillDisable": limit.oom_kill_disable,
        "OomScoreAdj": found.oom_score_adj,
        "NanoCpus": limit.nano_cpus,
        "CpuShares": limit.cpu_shares,
        "CpuPeriod": limit.cpu_period_us,
        "CpuQuota": limit.cpu_quota_us,
        "CpuRealtimePeriod": limit.cpu_realtime_period_us,
        "CpuRealtimeRuntime": limit.cpu_realtime_runtime_us,
        "CpusetCpus": limit.cpuset_cpus,
        "CpusetMems": limit.cpuset_mems,
        "PidsLimit": limit.pids_limit,
        "BlkioWeight": limit.blkio_weight,
        "BlkioWeightDevice": [
            {"Path": each.path, "Weight": each.weight} for each in limit.blkio_weight_devices
        ],
        "BlkioDeviceReadBps": throttled(limit.device_read_bps),
        "BlkioDeviceWriteBps": throttled(limit.device_write_bps),
        "BlkioDeviceReadIOps": throttled(limit.device_read_iops),
        "BlkioDeviceWriteIOps": throttled(limit.device_write_iops),
        "DeviceCgroupRules": list(limit.device_cgroup_rules),
        "CgroupParent": limit.cgroup_parent,
        "Ulimits": [
            {"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in found.ulimits
        ],
        "ShmSize": found.shm_size_bytes,
        "Privileged": found.privileged,
        "Links": [name if name == alias else f"{name}:{alias}" for name, alias in found.links]
        or None,
        "CapAdd": [_capability(each) for each in found.cap_add],
        "CapDrop": [_capability(each) for each in found.cap_drop],
        "Sysctls": dict(found.sysctls),
        "ReadonlyRootfs": found.read_only,
        "Init": found.init or None,
        "Devices": [
            {
                "PathOnHost": each.source,
                "PathInContainer": each.target,
                "CgroupPermissions": each.permissions,
            }
            for each in found.devices
        ],
        "GroupAdd": list(found.groups),
        "PidMode": found.pid,
        "IpcMode": found.ipc,
        "UTSMode": found.uts,
        "UsernsMode": found.userns,
        "CgroupnsMode": found.cgroupns,
        "ExtraHosts": [f"{name}:{address}" for name, address in found.extra_hosts],
        "Dns": list(found.dns),
        "DnsSearch": list(found.dns_search),
        "DnsOptions": list(found.dns_options),
        "RestartPolicy": {
            "Name": restart.name.value,
            "MaximumRetryCount": restart.maximum_retry_count,
        },
        "AutoRemove": found.remove,
        "Runtime": found.runtime or "",
        "Annotations": dict(found.annotations),
    }


def _capability(name):
    return name if name == "ALL" else f"CAP_{name}"


# Said in another way: docker's server sorts these out, or its client sends what it was given.
_OTHERWISE = (
    "-id",
    "-itd",
    "--tmpfs",
    "-v ",
    "--mount",
    "--volumes-from",
    "--device /dev/zer",
    "--detach-keys",
    "--sig-proxy",
    "--log",
    "--security-opt",
    "--network",
    "--net",
    "--init=false",
    "--restart ''",
    "--pids-limit 0",
    "--cidfile",
    "--runtime",
    "--platform",
    "--stop-timeout -1",
)


def _same(ours, theirs):
    empty = (None, "", 0, False, [], {}, -1)
    if ours in empty and theirs in empty:
        return True
    return ours == theirs


@pytest.mark.parametrize("line", [line for line, _ in GOOD if not line.startswith(_OTHERWISE)])
def test_docker_reads_the_same(line, session, docker, tmp_path):
    need_reading_of(line, docker)
    said = docker.create([*shlex.split(line), "busybox"], cwd=tmp_path)
    if isinstance(said, str) and "unknown flag" in said:
        pytest.skip("this docker client is older than the flag")
    assert isinstance(said, dict), said
    found = options(f"create {line} busybox", session)
    theirs = said["HostConfig"]
    differing = {
        name: (value, theirs.get(name))
        for name, value in as_docker(found).items()
        if not _same(value, theirs.get(name))
    }
    assert differing == {}
    for name, value in {
        "User": found.user,
        "Tty": found.tty,
        "OpenStdin": found.interactive,
        "Hostname": found.hostname,
        "Domainname": found.domainname,
        "WorkingDir": found.working_dir,
        "Labels": dict(found.labels),
        "StopSignal": found.stop_signal,
    }.items():
        assert _same(value, said.get(name)), name
    assert sorted(found.env) == sorted(said.get("Env") or [])  # -e=A=1 comes first in theirs
    assert _same_health(found.health, said.get("Healthcheck"))


def _same_health(ours, theirs):
    theirs = theirs or {}
    ours = ours or HealthOptions()
    nano = 1_000_000_000
    return (
        list(ours.test) == (theirs.get("Test") or [])
        and round(ours.interval_s * nano) == theirs.get("Interval", 0)
        and round(ours.timeout_s * nano) == theirs.get("Timeout", 0)
        and round(ours.start_period_s * nano) == theirs.get("StartPeriod", 0)
        and round(ours.start_interval_s * nano) == theirs.get("StartInterval", 0)
        and ours.retries == theirs.get("Retries", 0)
    )


# Lines its client lets through; its server refuses most of them.
_THEIR_SERVERS = (
    "--tmpfs run", "--ulimit nofile=-2", "--restart allways", "--restart always:3",
    "--restart on-failure:-1", "--security-opt s", "--security-opt n", "--security-opt l",
    "--log", "--ipc", "-v ", "--mount type=bind,dst=/x", "--mount type=bind,src=foo",
    "--mount type=bind,src=/tmp,dst=x", "--mount type=tmpfs,dst=/x,src",
    "--mount type=nosuch", "--mount type=bind,src=/tmp,dst=/x,bind-propagation",
    "--cpu-shares -5",
    "--annotation =x", "--stop-timeout -2", "-a stdon", "-d", "--pull allways",
    "--memory 99999999999t", "--platform", "--nmae", "--device /dev/zer",
    "--volumes-from", "--volume-driver", "--mount type=volume",
    "-p 80:80 --network none", "--mac-address 03", "--network", "--dns-search ''",
)  # fmt: skip
_REFUSED = [
    line for line, kind, _ in BAD if kind is InvalidOption and not line.startswith(_THEIR_SERVERS)
]


@pytest.mark.parametrize("line", _REFUSED)
def test_docker_refuses_the_same(line, docker, tmp_path):
    need_reading_of(line, docker)
    said = docker.create([*shlex.split(line), "busybox"], cwd=tmp_path)
    assert isinstance(said, str), said
    assert said
