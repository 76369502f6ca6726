"""Each document that is written has all that dockerd's own always has, with the same types.

Docker's side was recorded by tools/record_api.py; ours is of an engine that runs containers.
"""

import base64
import json
import re
import threading

import pytest
from golden import GOLDEN, differences, faults

from ocimagic.model.distribution import SearchHit
from ocimagic.model.execs import ExecDetails
from ocimagic.model.network import NetworkChoice, NetworkOptions
from ocimagic.model.options import NetworkMode, RunOptions, VolumeMount
from ocimagic.model.policy import HealthOptions
from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.result import LoggedIn
from ocimagic.model.volume import VolumeOptions
from ocimagic.wire import answers, disk, distribution
from ocimagic.wire.container import container_inspect, container_summary
from ocimagic.wire.image import history, image_inspect, image_list
from ocimagic.wire.network import network_created, network_inspect, network_list
from ocimagic.wire.system import event_message, system_info, system_version
from ocimagic.wire.usage import container_stats
from ocimagic.wire.versions import shaped
from ocimagic.wire.volume import volume_inspect, volume_list


def same(operation, document, without=()):
    """Return a document as API 1.41 has it, and see that docker's own has nothing more.

    ``without`` are keys that docker has on some machines only.
    """
    document = shaped(operation, json.loads(json.dumps(document)), (1, 41))
    found = differences(operation, document)
    assert [each for each in found if not set(without) & set(re.split("[.:]", each))] == []
    assert list(faults(operation, document)) == []
    return document


@pytest.fixture(scope="module")
def lives(shared):
    """One container that runs and has much, one that has ended."""
    shared.volumes.create(VolumeOptions(name="kept", labels={"a": "b"}))
    much = shared.containers.run_options(
        RunOptions(
            image="busybox",
            name="much",
            command=("sleep", "1000"),
            detach=True,
            labels={"a": "b"},
            env=("A=b",),
            exposed_ports=("80/tcp",),
            volumes=(VolumeMount(source="", target="/data", name="kept", kept=True),
                     VolumeMount(source="/etc", target="/other", read_only=True)),
            health=HealthOptions(test=("CMD", "true"), interval_s=0.1),
        )
    )  # fmt: skip
    ended = shared.containers.run_options(
        RunOptions(
            image="busybox",
            name="ended",
            command=("sh", "-c", "echo x >/f; rm /etc/group; exit 3"),
            network=NetworkMode.NONE,
        )
    )
    yield much, ended
    for name in ("much", "ended"):
        shared.containers.remove(name, force=True)
    shared.volumes.remove("kept")


def test_system(shared):
    info = shared.system.info()
    document = same("SystemInfo", system_info(info))
    assert document["Swarm"]["LocalNodeState"] == "inactive"
    assert document["Name"]
    same("SystemVersion", system_version(info, "1.50", "1.24"))
    assert info.host.system_id == shared.system.info().host.system_id


def test_containers(shared, lives):
    for each in ("much", "ended"):
        same("ContainerInspect", container_inspect(shared.containers.inspect(each)))
        document = container_inspect(shared.containers.inspect(each, size=True))
        same("ContainerInspect size", shaped("ContainerInspect", document, (1, 41)))
    listed = [
        container_summary(each, status="Up") for each in shared.containers.list(all=True, size=True)
    ]
    same("ContainerList", listed)
    same("ContainerList size", listed)


def test_processes_and_changes(shared, lives):
    same("ContainerTop", answers.container_top(shared.containers.top("much")))
    changes = same("ContainerChanges", answers.container_changes(shared.containers.diff("ended")))
    assert changes == [
        {"Path": "/etc", "Kind": 0}, {"Path": "/etc/group", "Kind": 2}, {"Path": "/f", "Kind": 1},
    ]  # fmt: skip


def test_stats(shared, lives):
    (row,) = next(shared.containers.stats("much"))
    # Docker's were recorded with version 1 of cgroups, in a network of the container's own.
    without = () if row.now.cgroup_version == 1 else ("percpu_usage", "max_usage")
    without += () if row.now.links else ("networks",)
    document = same("ContainerStats", container_stats(row), without)
    once = container_stats(row, one_shot=True)
    assert once["preread"] == "0001-01-01T00:00:00Z"
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert client_percent(document) == pytest.approx(row.cpu_percent)
    details = document["memory_stats"]["stats"]
    inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
    assert document["memory_stats"]["usage"] - inactive == row.memory_bytes
    (row,) = next(shared.containers.stats("ended"))
    same("ContainerStats ended", container_stats(row))


def test_percent_is_that_of_what_is_busy(shared):
    shared.containers.run_options(
        RunOptions(
            image="busybox", name="busy", detach=True, command=("sh", "-c", "while :; do :; done")
        )
    )
    try:
        (row,) = next(shared.containers.stats("busy"))
        assert client_percent(container_stats(row)) == pytest.approx(row.cpu_percent)
        assert row.now.cpu.total_ns > row.before.cpu.total_ns
    finally:
        shared.containers.remove("busy", force=True)


def client_percent(document):
    """Do what docker's client does with a document."""
    now, before = document["cpu_stats"], document["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now["system_cpu_usage"] - before["system_cpu_usage"]
    return used / passed * now["online_cpus"] * 100


def test_small_answers(shared, lives):
    same("ContainerCreate", answers.container_created(lives[0].container_id))
    same("ContainerExec", answers.exec_created("1"))
    same("Error", answers.error("No such container: x"))
    ended = shared.containers.wait("ended")
    assert same("ContainerWait", answers.container_waited(ended)) == {
        "Error": None, "StatusCode": 3,
    }  # fmt: skip
    change = UpdateOptions(resources=ResourceOptions())
    same("ContainerUpdate", answers.container_updated(shared.containers.update("much", change)))


def test_path_stat(shared, lives):
    raw = base64.b64decode(answers.path_stat(shared.containers.stat("much", "/bin/sh")))
    found = same("ContainerArchiveInfo", json.loads(raw))
    assert (found["name"], found["mode"], found["linkTarget"]) == ("sh", 0o1000000777, "busybox")
    raw = base64.b64decode(answers.path_stat(shared.containers.stat("much", "/tmp")))
    assert json.loads(raw)["mode"] == 1 << 31 | 1 << 20 | 0o777


def test_exec(lives):
    options = ExecOptions(command=("sleep", "9"), user="1000")
    found = ExecDetails(exec_id="1", container_id=lives[0].container_id, options=options)
    document = same("ExecInspect", answers.exec_inspect(found))
    assert document["ProcessConfig"] == {
        "tty": False, "entrypoint": "sleep", "arguments": ["9"], "privileged": False,
        "user": "1000",
    }  # fmt: skip


def test_images(shared, registry):
    same("ImageInspect", image_inspect(shared.images.inspect("busybox")))
    found = same("ImageList", image_list(shared.images.list()))
    tags = [tag for each in found for tag in each["RepoTags"]]
    assert len(found) < len(tags)  # one image with two names
    details = shared.images.inspect("busybox")
    document = same("ImageHistory", history(shared.images.history("busybox"), details.tags))
    assert set(document[0]["Tags"]) == set(details.tags)
    about = shared.manifests.details(f"{registry.host}/busybox")
    document = same("DistributionInspect", distribution.distribution_inspect(about))
    assert document["Platforms"][0]["os"] == "linux"


def test_commit_and_removal(shared, lives):
    shared.containers.commit("ended", CommitOptions(reference="made", changes=("CMD sh",)))
    same("ImageInspect", image_inspect(shared.images.inspect("made")))
    document = same("ImageDelete", disk.image_deleted(shared.images.remove("made")))
    assert document[0] == {"Untagged": "made:latest"}
    assert {"Deleted"} in [set(each) for each in document]


def test_volumes(shared, lives):
    volume = shared.volumes.inspect("kept")
    same("VolumeInspect", volume_inspect(volume))
    same("VolumeCreate", volume_inspect(volume))
    same("VolumeList", volume_list(shared.volumes.all()))


def test_networks(shared):
    if shared.system.info().networks.why_not:
        names = ("host",)
    else:
        made = shared.networks.create(NetworkOptions(name="own", labels={"a": "b"}))
        same("NetworkCreate", network_created(made))
        shared.containers.run_options(
            RunOptions(
                image="busybox",
                name="there",
                detach=True,
                command=("sleep", "1000"),
                network=NetworkMode.NETWORK,
                networks=(NetworkChoice(network="own", aliases=("other",)),),
            )
        )
        names = ("own", "host", "bridge")
    try:
        same("NetworkList", network_list(shared.networks.all()))
        for name in names:
            same("NetworkInspect", network_inspect(shared.networks.inspect(name)))
        if "own" in names:
            document = container_inspect(shared.containers.inspect("there"))
            short = document["Id"][:12]
            old = same("ContainerInspect", document)["NetworkSettings"]["Networks"]["own"]
            assert (old["Aliases"], old.get("DNSNames")) == (["other", short], None)
            new = document["NetworkSettings"]["Networks"]["own"]
            assert (new["Aliases"], new["DNSNames"]) == (["other"], ["there", "other", short])
    finally:
        if "own" in names:
            shared.containers.remove("there", force=True)
            shared.networks.remove("own")


def test_disk_usage(shared, lives):
    system = shared.system
    document = disk.system_df(
        system.disk.usage(),
        shared.images.list(),
        shared.containers.list(all=True, size=True),
        shared.volumes.all(),
        lambda _: "Up",
    )
    document = same("SystemDataUsage", document)
    (volume,) = document["Volumes"]
    assert volume["UsageData"]["RefCount"] == 1
    assert sum(each["Containers"] for each in document["Images"]) == 2


def test_prunes(make_engine):
    """Nothing is there to take, and what could be taken is told the same way."""
    engine = make_engine()
    same("ContainerPrune", disk.containers_pruned(engine.containers.prune()))
    same("VolumePrune", disk.volumes_pruned(engine.volumes.prune()))
    same("NetworkPrune", disk.networks_pruned(engine.networks.prune()))
    same("ImagePrune", disk.images_pruned(engine.system.disk.prune_images()))
    same("BuildPrune", disk.cache_pruned(engine.system.disk.prune_cache()))


def test_events(shared, lives):
    until = threading.Event()
    until.set()
    kinds = set()
    for event in shared.system.events(since_ns=0, until_ns=1 << 62, cancelled=until):
        operation = f"SystemEvents {event.kind}"
        if operation in GOLDEN:
            document = same(operation, event_message(event))
            assert list(faults("SystemEvents", document)) == []
            kinds.add(event.kind)
    assert {"container", "image"} <= kinds


def test_search_and_login():
    hit = SearchHit(name="a/b", description="", stars=2, is_official=True)
    (document,) = same("ImageSearch", distribution.search_results([hit]))
    assert document == {
        "star_count": 2, "is_official": True, "name": "a/b", "is_automated": False,
        "description": "",
    }  # fmt: skip
    login = LoggedIn(registry="r", username="u", kept_in="f", is_readable=True)
    same("SystemAuth", distribution.logged_in(login))
