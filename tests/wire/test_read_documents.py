"""What is written as docker's documents is read back as the same values: real ones of an engine."""

import contextlib
import os
import re
import time
from dataclasses import replace

import pytest

from ocimagic.errors import ContainerNotFound, InvalidDocument
from ocimagic.model.event import LayerPhase, LayerProgress, TransferStarted
from ocimagic.model.network import NetworkChoice, NetworkOptions, PublishedPort, Subnet
from ocimagic.model.options import NetworkMode, RunOptions, VolumeMount
from ocimagic.model.policy import HealthOptions, RestartName, RestartPolicy
from ocimagic.model.report import ChangeKind, FileChange, PathInfo, ProcessTable
from ocimagic.model.request import ExecOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions, Ulimit
from ocimagic.model.volume import VolumeOptions
from ocimagic.spec.codec import Fields
from ocimagic.spec.digest import Digest
from ocimagic.wire import asked, create_network
from ocimagic.wire.answers import container_changes, container_top, path_stat
from ocimagic.wire.container import container_inspect
from ocimagic.wire.create import container_create
from ocimagic.wire.image import history, image_inspect, image_list
from ocimagic.wire.network import network_inspect
from ocimagic.wire.progress import PullLines
from ocimagic.wire.read_answers import file_changes, path_info, process_table
from ocimagic.wire.read_container import container_details, container_summary
from ocimagic.wire.read_image import history_lines, image_details, image_rows
from ocimagic.wire.read_network import network_summary
from ocimagic.wire.read_progress import TransferReader
from ocimagic.wire.read_system import disk_usage, system_event, system_info
from ocimagic.wire.read_usage import container_stats
from ocimagic.wire.read_volume import volume_summary
from ocimagic.wire.requests import create_body, network_word
from ocimagic.wire.sent import connect_body, exec_body, network_body, update_body, volume_body
from ocimagic.wire.system import event_message
from ocimagic.wire.system import system_info as info_document
from ocimagic.wire.usage import container_stats as stats_document
from ocimagic.wire.volume import volume_inspect

BRIDGE = NetworkMode.DEFAULT if os.geteuid() == 0 else NetworkMode.NONE
PLAIN = RunOptions(image="busybox", command=("sleep", "60"), detach=True, network=NetworkMode.NONE)
RICH = RunOptions(
    image="busybox",
    command=("-c", "sleep 60"),
    entrypoint=("sh",),
    name="rich",
    env=("A=1", "B=x y"),
    working_dir="/tmp",
    user="0:0",
    hostname="box",
    labels={"a": "b"},
    cap_add=("CAP_NET_ADMIN",),
    cap_drop=("CAP_MKNOD",),
    ulimits=(Ulimit(name="nofile", soft=64, hard=128),),
    restart=RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=2),
    health=HealthOptions(test=("CMD", "true"), interval_s=1.0, timeout_s=2.0, retries=4),
    volumes=(VolumeMount(kept=True, name="data", target="/data"),
             VolumeMount(source="/etc", target="/host", read_only=True)),
    exposed_ports=("80/tcp",),
    stop_signal="SIGINT",
    stop_timeout_s=4.0,
    init=True,
    detach=True,
    network=NetworkMode.NONE,
)  # fmt: skip


@pytest.fixture
def made(shared):
    names = []

    def make(options, *, starts=True):
        found = shared.containers.create(options)
        names.append(found.container_id)
        if starts:
            shared.containers.start(found.container_id)
        return shared.containers.inspect(found.container_id, size=True)

    yield make
    for each in names:
        with contextlib.suppress(ContainerNotFound):
            shared.containers.remove(each, force=True, volumes=True)


def fields(document):
    return Fields(document, "test")


def known(summary):
    """Return what a document says: no signal of an exit, no link's name."""
    places = tuple(replace(each, inside="") for each in summary.places)
    ended = summary.exit and replace(summary.exit, signal=None)
    return replace(summary, places=places, exit=ended)


@pytest.mark.parametrize("options", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_containers(shared, made, options, state):
    details = made(options, starts=state != "created")
    if state == "exited":
        shared.containers.kill(details.summary.container_id)
        shared.containers.wait(details.summary.container_id)
        details = shared.containers.inspect(details.summary.container_id, size=True)
    document = container_inspect(details)
    assert container_summary(fields(document)) == known(details.summary)
    read = container_details(fields(document), details.image_config)
    assert container_inspect(read) == document
    # Written anew from what was read it is the same, but for what the engine adds by itself.
    again = container_inspect(replace(read, document=None))
    differ = {key for key in document if again.get(key) != document[key]}
    assert differ <= {"Config", "HostConfig"}
    config = {key for key, value in document["Config"].items() if again["Config"].get(key) != value}
    assert config <= {"AttachStdout", "AttachStderr", "Image", "Env", "Volumes"}
    assert read.hostname == details.hostname
    assert read.lower_dirs == details.lower_dirs


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_container_in_networks_with_ports(shared, made):
    shared.networks.create(
        NetworkOptions(name="read1", subnets=(Subnet(subnet="10.91.0.0/24"),), labels={"l": "1"})
    )
    try:
        details = made(
            replace(
                PLAIN,
                network=NetworkMode.NETWORK,
                networks=(NetworkChoice(network="read1", aliases=("web",)),),
                ports=(PublishedPort(container_port=80),),
            )
        )
        document = container_inspect(details)
        assert container_summary(fields(document)) == known(details.summary)
        network = shared.networks.inspect("read1")
        told = {"addresses", "mac"}
        read = network_summary(fields(network_inspect(network)))
        assert replace(read, endpoints=()) == replace(network, endpoints=())
        for field in (*told, "container", "container_id", "network"):
            assert getattr(read.endpoints[0], field) == getattr(network.endpoints[0], field)
    finally:
        for each in shared.containers.list(all=True):
            shared.containers.remove(each.container_id, force=True)
        shared.networks.remove("read1")


def test_networks(shared):
    for each in shared.networks.all():
        assert network_summary(fields(network_inspect(each))) == replace(each, endpoints=())


def test_volumes(shared):
    made = shared.volumes.create(VolumeOptions(name="read2", labels={"a": "b"}))
    try:
        read = volume_summary(fields(volume_inspect(made)))
        assert read == replace(made, created=made.created.replace(microsecond=0))
    finally:
        shared.volumes.remove("read2")


def test_images(shared):
    for row in shared.images.list():
        details = shared.images.inspect(str(row.image_id))
        document = image_inspect(details)
        read = image_details(fields(document))
        assert image_inspect(read) == document
        for field in ("image_id", "tags", "digests", "size_bytes", "base_name"):
            assert getattr(read, field) == getattr(details, field), field
        assert read.config.config == details.config.config
        assert read.config.diff_ids == details.config.diff_ids
        assert read.config.platform == details.config.platform


def test_lists_of_images(shared):
    rows = shared.images.list()
    read = image_rows(map(fields, image_list(rows, shared_size=True)))
    whole = [replace(each, created=each.created and each.created.replace(microsecond=0))
             for each in rows]  # fmt: skip
    assert {each.name: each for each in read} == {each.name: each for each in whole}


def test_history(shared):
    lines = shared.images.history("busybox")
    read = history_lines(map(fields, history(lines)))
    told = ("image_id", "created_by", "size_bytes", "comment")
    assert [[getattr(each, name) for name in told] for each in read] == [
        [getattr(each, name) for name in told] for each in lines
    ]


def test_stats(shared, made):
    details = made(PLAIN)
    [row] = next(shared.containers.stats(details.summary.container_id))
    read = container_stats(fields(stats_document(row)), row.status)
    told = ("container_id", "name", "status", "memory_bytes", "memory_limit_bytes", "read_bytes",
            "written_bytes", "processes", "received_bytes", "sent_bytes")  # fmt: skip
    for name in told:
        assert getattr(read, name) == getattr(row, name), name
    assert abs(read.cpu_percent - row.cpu_percent) < 1
    assert read.now.cpu == row.now.cpu
    assert read.now.memory == row.now.memory


def test_info(shared):
    info = shared.system.info()
    read = system_info(fields(info_document(info)))
    silent = {"run_root": "", "store_bytes": None, "free_bytes": None}
    told = replace(info, **silent, networks=read.networks, host=read.host)
    assert read == told
    assert read.networks.kinds == info.networks.kinds
    assert read.host.name == info.host.name
    assert read.host.system_id == info.host.system_id


def test_events(shared, made):
    since = time.time_ns()
    made(PLAIN)
    events = list(shared.system.events(since_ns=since, until_ns=time.time_ns()))
    assert events
    for each in events:
        assert system_event(fields(event_message(each))) == each


def test_short_answers():
    changes = (FileChange(ChangeKind.ADDED, "/a"), FileChange(ChangeKind.DELETED, "/b"))
    assert file_changes(map(fields, container_changes(changes))) == changes
    table = ProcessTable(("PID", "CMD"), (("1", "sh"), ("2", "a b")))
    assert process_table(fields(container_top(table))) == table


@pytest.mark.parametrize("mode", [0o040755, 0o100644, 0o120777, 0o104755, 0o041777, 0o020666,
                                  0o060660, 0o010644, 0o140755, 0o102711])  # fmt: skip
@pytest.mark.parametrize("at_ns", [0, 1, 1_700_000_000_123_456_789, 1_700_000_000_000_000_000])
def test_paths(mode, at_ns):
    path = PathInfo(name="n", size_bytes=3, mode=mode, modified_ns=at_ns, link_target="t")
    assert path_info(path_stat(path)) == path


def test_what_is_no_document():
    with pytest.raises(InvalidDocument):
        container_summary(fields({}))
    with pytest.raises(InvalidDocument):
        image_details(fields({"Id": "sha256:" + "0" * 64, "Size": "many"}))
    with pytest.raises(InvalidDocument):
        path_info("???")
    with pytest.raises(InvalidDocument):
        disk_usage(fields({}))


def test_requests_are_read_as_they_were_written():
    options = replace(RICH, volumes=RICH.volumes[:1])
    read = container_create(create_body(options, network_word(options)), name="rich", platform=None)
    assert read == options
    execute = ExecOptions(command=("a", "b"), env=("A=1",), working_dir="/x", user="1",
                          interactive=True, tty=True, console_size=(3, 4),
                          privileged=True)  # fmt: skip
    assert asked.exec_create(exec_body(execute)) == execute
    limits = ResourceOptions(memory_bytes=1 << 20, nano_cpus=5, cpuset_cpus="0")
    update = UpdateOptions(resources=limits, restart=RestartPolicy(name=RestartName.ALWAYS))
    assert asked.container_update(update_body(update)) == update
    network = NetworkOptions(
        name="n", subnets=(Subnet(subnet="10.0.0.0/24", gateway="10.0.0.1",
                                  reserved={"a": "10.0.0.2"}),),
        internal=True, labels={"a": "b"},
    )  # fmt: skip
    assert create_network.network_create(network_body(network)) == network
    choice = NetworkChoice(network="n", aliases=("x",), ipv4="10.0.0.9")
    assert create_network.network_connect(connect_body("c", choice), "n") == ("c", choice)
    volume = VolumeOptions(name="v", labels={"a": "b"})
    assert asked.volume_create(volume_body(volume)) == volume


def test_a_pulls_lines_are_its_events():
    writer, reader = PullLines(), TransferReader("busybox", "pulling")
    digest = Digest.of(b"layer")
    events = [
        TransferStarted("docker.io/library/busybox:latest", digest, ((digest, 10),)),
        LayerProgress(digest, LayerPhase.DOWNLOADING, 5, 10),
        LayerProgress(digest, LayerPhase.EXTRACTING, 5, 10),
        LayerProgress(digest, LayerPhase.DONE, 10, 10),
    ]
    lines = [line for event in events for line in writer.lines(event)]
    read = [event for line in lines for event in reader.events(fields(line))]
    phases = [each.phase for each in read if isinstance(each, LayerProgress)]
    kept = list(dict.fromkeys(phases))
    assert kept == [
        LayerPhase.WAITING,
        LayerPhase.DOWNLOADING,
        LayerPhase.EXTRACTING,
        LayerPhase.DONE,
    ]
    assert reader.moved_bytes == 10
    assert re.fullmatch(r"[0-9a-f]{12}", reader.layers[0].name)
