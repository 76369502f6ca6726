"""What clients ask for when they create: their bodies against our own reading of the same words."""

import json
import random
import shlex
from dataclasses import replace

import pytest
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import recorded

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.errors import InvalidOption, NotBuiltYet, OcimagicError
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
from ocimagic.wire.create import container_create
from ocimagic.wire.requests import create_body, network_word

CASES = list(recorded())
CLI_CASES = [each for each in CASES if each[0].startswith("docker ")]


def created(body, name=None, platform=None):
    return container_create(body, name=name, platform=platform)


def ours(words):
    """Return what our command line makes of the words of ``create``."""
    engine = FakeEngine()
    execute(["create", *shlex.split(words)], Session(engine=lambda: engine, env={}, cwd="/"))
    return engine.calls[-1][1]


def capability(name):
    return name if name == "ALL" else f"CAP_{name.removeprefix('CAP_')}"


def alike(options):
    """Leave out what a body has no word for, and bring into one order what has none in it."""
    resources = options.resources
    unsaid = {"pids_limit": resources.pids_limit or None}
    return replace(
        options,
        detach=True,
        attach=None,
        name=None,
        platform=None,
        pull=PullPolicy.MISSING,
        cidfile=None,
        sig_proxy=True,
        detach_keys="",
        console_size=None,
        stop_timeout_s=min(options.stop_timeout_s, FOREVER_S),
        cap_add=tuple(map(capability, options.cap_add)),
        cap_drop=tuple(map(capability, options.cap_drop)),
        volumes=tuple(sorted(options.volumes, key=lambda each: each.target)),
        tmpfs=tuple(sorted(map(sorted_words, options.tmpfs), key=lambda each: each.target)),
        ports=tuple(sorted(options.ports, key=str)),
        exposed_ports=tuple(sorted(options.exposed_ports)),
        extra_hosts=tuple(sorted(options.extra_hosts)),
        dns=tuple(options.dns),
        env=tuple(sorted(options.env)),
        resources=replace(resources, **unsaid),
        network=NetworkMode.DEFAULT if on_bridge(options) else options.network,
        networks=() if on_bridge(options) else options.networks,
    )


def on_bridge(options):
    """Say whether the network is the one that a container has without a word, too."""
    return options.networks == (NetworkChoice(network="bridge"),)


def sorted_words(mount):
    return TmpfsMount(target=mount.target, options=tuple(sorted(mount.options)))


@pytest.mark.parametrize(
    ("client", "words", "body", "query"), CASES, ids=[f"{c}: {w}" for c, w, _, _ in CASES]
)
def test_a_client_is_read_as_our_own_command_line(client, words, body, query):
    found = created(body, query.get("name"), query.get("platform"))
    assert alike(found) == alike(ours(words))
    assert found.detach
    if client.startswith("docker "):
        mine = ours(words)
        assert (found.name, found.platform) == (mine.name, mine.platform)
        usual = ("stdin", "stdout", "stderr") if mine.interactive else ("stdout", "stderr")
        assert found.attach == (mine.attach or usual)


# What is written for a request, read again.

ROUND = sorted({words for _, words, _, _ in CASES})


@pytest.mark.parametrize("words", ROUND)
def test_what_explain_says_would_be_sent_is_read_as_what_was_meant(words):
    meant = ours(words)
    body = create_body(meant, network_word(meant))
    assert alike(created(body)) == alike(meant)
    attached = ("stdin", "stdout", "stderr") if meant.interactive else ("stdout", "stderr")
    assert created(body).attach == (meant.attach or attached)


word = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=8)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
path = word.map("/{}".format)
small = st.integers(0, 1 << 40)
address = st.ip_addresses().map(str)


def tuples(strategy, **more):
    return st.lists(strategy, max_size=3, **more).map(tuple)


volume = st.one_of(
    st.builds(VolumeMount, source=path, target=path, read_only=st.booleans(),
              propagation=st.sampled_from(["", "rslave", "shared"]),
              relabel=st.sampled_from(["", "z", "Z"])),
    st.builds(VolumeMount, source=path, target=path,
              recursion=st.sampled_from([BindRecursion.ENABLED, BindRecursion.DISABLED]),
              propagation=st.sampled_from(["", "rprivate"])),
    st.builds(VolumeMount, source=path, target=path, read_only=st.just(value=True),
              recursion=st.sampled_from(BindRecursion), propagation=st.just("rprivate")),
    st.builds(VolumeMount, kept=st.just(value=True), name=st.one_of(st.just(""), word),
              target=path, read_only=st.booleans(), no_copy=st.booleans(),
              labels=st.dictionaries(word, text, max_size=2),
              part=st.one_of(st.just(""), word)),
)  # fmt: skip
limit = st.builds(
    ResourceOptions,
    memory_bytes=small, memory_swap_bytes=st.one_of(st.just(-1), small),
    memory_reservation_bytes=small, memory_swappiness=st.one_of(st.none(), st.integers(0, 100)),
    oom_kill_disable=st.booleans(), nano_cpus=small, cpu_shares=small, cpu_period_us=small,
    cpu_quota_us=st.one_of(st.just(-1), small), cpu_realtime_period_us=small,
    cpu_realtime_runtime_us=small, cpuset_cpus=word, cpuset_mems=word,
    pids_limit=st.one_of(st.none(), st.just(-1), st.integers(1, 99)),
    blkio_weight=st.integers(0, 1000),
    blkio_weight_devices=tuples(st.builds(WeightDevice, path=path.map("/dev{}".format),
                                          weight=st.integers(10, 1000))),
    device_read_bps=tuples(st.builds(ThrottleDevice, path=path.map("/dev{}".format), rate=small)),
    device_write_iops=tuples(st.builds(ThrottleDevice, path=path.map("/dev{}".format), rate=small)),
    device_cgroup_rules=tuples(st.sampled_from(["c 1:3 rwm", "a *:* r"])), cgroup_parent=word,
)  # fmt: skip
health = st.one_of(
    st.none(),
    st.builds(
        HealthOptions,
        test=st.one_of(st.just(("NONE",)), text.map(lambda each: ("CMD-SHELL", each))),
        interval_s=st.integers(1, 10**6).map(lambda ms: ms / 1000),
        start_interval_s=st.integers(0, 10**6).map(float),
        retries=st.integers(0, 9),
    ),
)
private = {
    "network": st.sampled_from([NetworkMode.DEFAULT, NetworkMode.HOST, NetworkMode.NONE]),
}
joined = st.builds(
    lambda choices, ports, publish_all: {
        "network": NetworkMode.NETWORK,
        "networks": tuple(choices),
        "ports": tuple(ports),
        "publish_all": publish_all,
    },
    st.lists(
        st.builds(NetworkChoice, network=word.map("n{}".format), aliases=tuples(word),
                  ipv4=address, mac=st.just("02:42:0a:00:00:09")),
        min_size=1, max_size=3, unique_by=lambda each: each.network,
    ),
    st.lists(
        st.builds(PublishedPort, container_port=st.integers(1, 65535),
                  protocol=st.sampled_from(["tcp", "udp"]), host_port=st.integers(0, 65535),
                  host_address=st.one_of(st.just(""), address)),
        max_size=3,
    ),
    st.booleans(),
)  # fmt: skip
log = st.builds(
    LogOptions,
    driver=st.sampled_from(["json-file", "cri"]),
    max_size_bytes=st.one_of(st.none(), st.integers(1, 1 << 40)),
    max_files=st.integers(1, 9),
    compress=st.booleans(),
)
wanted = st.builds(
    RunOptions,
    image=word, command=tuples(text), entrypoint=st.one_of(
        st.none(), st.just(()), st.tuples(word, text)),
    env=tuples(st.builds("{}={}".format, word, text)), working_dir=st.one_of(st.none(), path),
    user=st.one_of(st.none(), word), groups=tuples(word),
    volumes=tuples(volume, unique_by=lambda each: each.target),
    volumes_from=tuples(st.builds(VolumesFrom, container=word, read_only=st.booleans())),
    shm_size_bytes=small,
    devices=tuples(st.builds(DeviceMapping, source=path, target=path,
                             permissions=st.sampled_from(["r", "rw", "rwm"]))),
    pid=st.sampled_from(["", "host", "container:a"]),
    ipc=st.sampled_from(["", "private", "shareable", "none", "host"]),
    uts=st.sampled_from(["", "host"]), userns=st.sampled_from(["", "host"]),
    cgroupns=st.sampled_from(["", "host", "private"]), hostname=st.one_of(st.none(), word),
    domainname=word, extra_hosts=tuples(st.tuples(word, address)), dns=tuples(address),
    dns_search=tuples(word.map("x{}.org".format)), dns_options=tuples(word),
    labels=st.dictionaries(text, text, max_size=3),
    annotations=st.dictionaries(word, text, max_size=3), read_only=st.booleans(),
    remove=st.booleans(), interactive=st.booleans(), tty=st.booleans(), init=st.booleans(),
    privileged=st.booleans(), no_new_privileges=st.booleans(), cap_add=tuples(word.map(str.upper)),
    security=st.builds(
        SecurityOptions, seccomp=st.sampled_from(["", "unconfined", '{"defaultAction":"x"}']),
        apparmor=st.one_of(st.just(""), word), label=tuples(word.map("type:{}".format)),
        unmask_paths=st.booleans(), writable_cgroups=st.booleans()),
    sysctls=st.dictionaries(word, text, max_size=3),
    ulimits=st.one_of(st.just(()), st.just((Ulimit(name="nofile", soft=5, hard=-1),))),
    oom_score_adj=st.integers(-1000, 1000), resources=limit,
    restart=st.one_of(
        st.builds(RestartPolicy, name=st.sampled_from(RestartName)),
        st.builds(RestartPolicy, name=st.just(RestartName.ON_FAILURE),
                  maximum_retry_count=st.integers(0, 9))),
    health=health, log=log, stop_signal=st.one_of(st.none(), word),
    stop_timeout_s=st.one_of(st.just(FOREVER_S), st.integers(0, 1000).map(float)),
    runtime=st.one_of(st.none(), st.just("runc")),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(wanted, st.one_of(joined, st.fixed_dictionaries(private)))
def test_any_request_is_read_as_it_was_written(options, network):
    meant = replace(options, **network)
    body = json.loads(json.dumps(create_body(meant, network_word(meant))))
    assert alike(created(body)) == alike(meant)


# Whatever is sent: refused in words or read, and never another exception.

STRANGE = (None, True, False, 0, -1, 1 << 70, 1.5, "", "x", "\0", "\ud800", "a:b:c:d", [], [None],
           ["x"], [[]], [{}], {}, {"x": None}, {"x": "y"}, {"": {}}, [1], {"x": [{}]})  # fmt: skip


def places(value, path=()):
    """Yield the path of each value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(each, (*path, key))


def with_other(document, path, value):
    if not path:
        return value
    head, *rest = path
    copied = dict(document) if isinstance(document, dict) else list(document)
    copied[head] = with_other(document[head], rest, value)
    return copied


def refused_or_read(read, body):
    refusal = None
    try:
        read(body)
    except OcimagicError as err:
        refusal = err
    if refusal is not None:
        assert str(refusal)
        assert refusal.http_status in (400, 404, 501)


@pytest.mark.parametrize("number", range(0, len(CASES), 6))
def test_any_other_value_anywhere_is_read_or_refused(number):
    dice = random.Random(number)
    _, _, body, _ = CASES[number]
    for place in places(body):
        for value in (*dice.sample(STRANGE, 3), *STRANGE[:3]):
            refused_or_read(created, with_other(body, place, value))


# Bodies that no recorded client sent.


def small_body(**more):
    return {"Image": "busybox", **more}


def hosted(**more):
    return small_body(HostConfig=more)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"image": "busybox", "CMD": ["a"], "Nobody": 1, "Volumes": None}, {"command": ("a",)}),
        (small_body(Cmd="ls -l", Entrypoint="sh"), {"command": ("ls -l",), "entrypoint": ("sh",)}),
        (small_body(Entrypoint=[]), {"entrypoint": ()}),
        (small_body(Entrypoint=[""]), {"entrypoint": ()}),
        (small_body(Entrypoint=None, Cmd=None, Env=None, Labels=None, HostConfig=None), {}),
        (small_body(NetworkDisabled=True), {"network": NetworkMode.NONE}),
        (small_body(ExposedPorts={"80-82/TCP": {}}),
         {"exposed_ports": ("80/tcp", "81/tcp", "82/tcp")}),
        (small_body(Healthcheck={}), {}),
        (small_body(StopTimeout=-1), {"stop_timeout_s": FOREVER_S}),
        (small_body(AttachStdin=True, AttachStderr=True), {"attach": ("stdin", "stderr")}),
        (small_body(Volumes={"/a": {}, "/b": {}}, HostConfig={"Binds": ["v:/a"]}),
         {"volumes": (VolumeMount(kept=True, name="v", target="/a"),
                      VolumeMount(kept=True, target="/b"))}),
        (small_body(MacAddress="02:42:0a:00:00:09", HostConfig={"NetworkMode": "web"}),
         {"network": NetworkMode.NETWORK,
          "networks": (NetworkChoice(network="web", mac="02:42:0a:00:00:09"),)}),
        (small_body(NetworkingConfig={"EndpointsConfig": {"web": None}}),
         {"network": NetworkMode.NETWORK, "networks": (NetworkChoice(network="web"),)}),
        (small_body(HostConfig={"NetworkMode": "web"},
                    NetworkingConfig={"EndpointsConfig": {"web": {"Links": ["db:db"]}}}),
         {"network": NetworkMode.NETWORK,
          "networks": (NetworkChoice(network="web", links=(("db", "db"),)),)}),
        (small_body(HostConfig={"NetworkMode": "host"},
                    NetworkingConfig={"EndpointsConfig": {"host": {"Aliases": ["a"]}}}),
         {"network": NetworkMode.HOST}),
        (hosted(Links=["a", "b:c", "/d:/me/e"]),
         {"links": (("a", "a"), ("b", "c"), ("d", "e"))}),
        (hosted(PortBindings={"80/tcp": None, "81": [{"HostPort": "0"}]}),
         {"network": NetworkMode.NETWORK, "networks": (NetworkChoice(network="bridge"),),
          "ports": (PublishedPort(container_port=81),)}),
        (hosted(Memory=-1, MemorySwappiness=-1, PidsLimit=0, RestartPolicy={"Name": ""}), {}),
        (hosted(LogConfig={"Type": "", "Config": None}, Runtime="ocimagic", CpuCount=4), {}),
        (hosted(ContainerIDFile="/etc/passwd", ConsoleSize=[24, 80]), {}),
        (small_body(Tty=True, HostConfig={"ConsoleSize": [24, 80]}),
         {"tty": True, "console_size": (24, 80)}),
        (hosted(MaskedPaths=[], ReadonlyPaths=[]),
         {"security": SecurityOptions(unmask_paths=True)}),
        (hosted(MaskedPaths=None, ReadonlyPaths=None), {}),
    ],
)  # fmt: skip
def test_bodies_as_dockers_own_server_reads_them(body, expected):
    assert created(body) == RunOptions(image="busybox", detach=True, **expected)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ({}, InvalidOption, "config cannot be empty in order to create a container"),
        (None, InvalidOption, "config cannot be empty"),
        ([], InvalidOption, "must be an object"),
        ({"Cmd": ["a"]}, InvalidOption, "no image"),
        (small_body(Env="A=1"), InvalidOption, "Env must be a list, not"),
        (small_body(Env=["=1"]), InvalidOption, "invalid environment variable: =1"),
        (small_body(Labels={"a": 1}), InvalidOption, "a must be a text, not 1"),
        (small_body(Tty="yes"), InvalidOption, "Tty must be true or false"),
        (small_body(User=0), InvalidOption, "User must be a text"),
        (small_body(StopTimeout=1.5), InvalidOption, "must be a whole number"),
        (small_body(ExposedPorts={"9" * 5000: {}}), InvalidOption, "is no port"),
        (small_body(Healthcheck={"Interval": 5}), InvalidOption, "cannot be less than 1ms"),
        (small_body(Healthcheck={"Test": ["curl"]}), InvalidOption, "begins no test"),
        (small_body(Cmd=["a\0b"]), InvalidOption, "holds what no text may hold"),
        (hosted(Binds=["./a:/b"]), InvalidOption, "use absolute path"),
        (hosted(Binds=["a/b:/c"]), InvalidOption, "no name for a volume"),
        (hosted(Memory=1 << 70), InvalidOption, "Memory must be between"),
        (hosted(Memory=True), InvalidOption, "Memory must be a whole number"),
        (hosted(PortBindings={"80/tcp": [{"HostPort": 80}]}), InvalidOption, "HostPort must be"),
        (hosted(PortBindings={"9" * 5000: [{}]}), InvalidOption, "is no port"),
        (hosted(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}), InvalidOption,
         "only on-failure takes"),
        (hosted(RestartPolicy={"Name": "on-failure:3"}), InvalidOption, "invalid restart policy"),
        (hosted(PidMode="private"), InvalidOption, "--pid"),
        (hosted(ConsoleSize=[1]), InvalidOption, "no height and width"),
        (hosted(Mounts=[{"Type": "bind", "Target": "/x"}]), InvalidOption, "source is missing"),
        (hosted(Mounts=[{"Type": "npipe", "Target": "/x"}]), NotBuiltYet, "npipe"),
        (hosted(Mounts=[{"Target": "/x", "Source": "v"}]), InvalidOption, "type '' is unknown"),
        (hosted(Links=["a:b:c"]), InvalidOption, "bad format for links: a:b:c"),
        (hosted(Links=[":b"]), InvalidOption, "bad format for links"),
        (hosted(Links=["a:b c"]), InvalidOption, "bad format for links"),
        (hosted(Links=["a:b\n1.2.3.4 c"]), InvalidOption, "bad format for links"),
        (hosted(MaskedPaths=["/proc/kcore"], ReadonlyPaths=[]), NotBuiltYet, "MaskedPaths"),
        (hosted(DeviceRequests=[{"Count": -1}]), NotBuiltYet, "graphics card"),
        (hosted(KernelMemory=5), NotBuiltYet, "the kernel gave this limit up"),
        (hosted(StorageOpt={"size": "1G"}), NotBuiltYet, "StorageOpt"),
        (hosted(LogConfig={"Type": "syslog"}), NotBuiltYet, "syslog"),
        (hosted(NetworkMode="none", PortBindings={"80/tcp": [{}]}), InvalidOption,
         "ports cannot be published"),
        (small_body(HostConfig={"NetworkMode": "host"},
                    NetworkingConfig={"EndpointsConfig": {"web": {}}}), InvalidOption,
         "do not go together"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(body, kind, words):
    with pytest.raises(kind) as refused:
        created(body)
    assert words in str(refused.value)
