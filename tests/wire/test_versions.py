"""What clients of older and newer versions of docker's API get."""

from dataclasses import replace

import pytest
import samples

from ocimagic.model.network import NetworkChoice
from ocimagic.model.options import VolumeMount
from ocimagic.model.usage import BlockUse, CpuUse, MemoryUse, ResourceUse
from ocimagic.wire.container import container_inspect, container_summary
from ocimagic.wire.image import image_inspect, image_list, made_of
from ocimagic.wire.network import network_inspect
from ocimagic.wire.system import system_info, system_version
from ocimagic.wire.usage import container_stats
from ocimagic.wire.versions import NEWEST, parse_version, shaped

OLD, V143, V144, V145, V148 = (1, 41), (1, 43), (1, 44), (1, 45), (1, 48)


def keys(operation, document, version):
    return set(shaped(operation, document, version))


def test_versions_are_read():
    assert parse_version("v1.41") == (1, 41)
    assert parse_version("1.5") < parse_version("1.24") < NEWEST
    with pytest.raises(ValueError, match="invalid literal"):
        parse_version("latest")


@pytest.mark.parametrize(
    ("version", "there", "not_there"),
    [
        (OLD, {"VirtualSize", "Container", "ContainerConfig"}, {"Descriptor"}),
        (V144, {"Container", "ContainerConfig"}, {"VirtualSize", "Descriptor"}),
        # docker has no ContainerConfig from here on, and compose 1.29 cannot do without.
        (V145, {"Container", "ContainerConfig"}, {"VirtualSize", "Descriptor"}),
        (V148, {"Container", "ContainerConfig", "Descriptor"}, {"VirtualSize"}),
    ],
)
def test_image_inspect(version, there, not_there):
    found = keys("ImageInspect", image_inspect(samples.image_details()), version)
    assert there <= found
    assert not not_there & found


def test_a_committed_image_said_of_which_container():
    details = samples.image_details()
    config = {"Hostname": "h", "Image": "busybox:1", "Cmd": ["true"]}
    made = replace(
        details,
        parent=details.image_id,
        config=replace(details.config, container="c" * 64, container_config=config),
    )
    old = shaped("ImageInspect", image_inspect(made) | made_of(made), V144)
    assert (old["Container"], old["Parent"]) == ("c" * 64, str(details.image_id))
    assert config.items() <= old["ContainerConfig"].items()
    assert old["ContainerConfig"]["AttachStdin"] is False
    assert made_of(details) == {}


def test_the_config_of_an_image_had_what_is_of_containers():
    old = shaped("ImageInspect", image_inspect(samples.image_details()), (1, 49))
    assert old["Config"]["AttachStdin"] is False
    assert old["Config"]["ExposedPorts"] == {"8080/tcp": {}}
    new = shaped("ImageInspect", image_inspect(samples.image_details()), NEWEST)
    assert "AttachStdin" not in new["Config"]


def test_image_list():
    images = [samples.image(), samples.image("<none>", "<none>")]
    named, nameless = shaped("ImageList", image_list(images), OLD)
    assert named["VirtualSize"] == named["Size"]
    assert (nameless["RepoTags"], nameless["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    named, nameless = shaped("ImageList", image_list(images), V143)
    assert (nameless["RepoTags"], nameless["RepoDigests"]) == ([], [])
    named, nameless = shaped("ImageList", image_list(images), V144)
    assert "VirtualSize" not in named


def test_one_image_with_two_names_is_one_entry():
    one = samples.image()
    other = samples.image("other", "2", image_id=one.image_id, digest=one.digest)
    (entry,) = image_list([one, other], shared_size=True, containers={one.image_id: 3})
    assert entry["RepoTags"] == ["web:1", "other:2"]
    assert (entry["SharedSize"], entry["Containers"]) == (67_800_000, 3)


def test_container_summary_has_mounts_and_what_was_asked_of_networks():
    summary = samples.container(
        network="own",
        networks=("own",),
        choices=(NetworkChoice(network="own", aliases=("a",), ipv4="10.0.0.9"),),
        volume_mounts=(VolumeMount(source="/v/_data", target="/d", name="v", kept=True),),
    )
    document = container_summary(summary)
    assert document["Mounts"] == [
        {"Type": "volume", "Name": "v", "Source": "/v/_data", "Destination": "/d",
         "Driver": "local", "Mode": "z", "RW": True, "Propagation": ""},
    ]  # fmt: skip
    place = document["NetworkSettings"]["Networks"]["own"]
    assert (place["Aliases"], place["GwPriority"]) == (["a"], 0)
    assert place["IPAMConfig"] == {"IPv4Address": "10.0.0.9"}
    place = shaped("ContainerList", document, OLD)["NetworkSettings"]["Networks"]["own"]
    assert not {"DNSNames", "GwPriority"} & set(place)


def test_container_inspect():
    old = shaped("ContainerInspect", container_inspect(samples.container_details()), OLD)
    assert old["HostConfig"]["KernelMemory"] == 0
    assert "Annotations" not in old["HostConfig"]
    new = container_inspect(samples.container_details())
    assert "KernelMemory" not in new["HostConfig"]


def test_system():
    info = samples.system_info()
    assert {"BridgeNfIptables", "KernelMemory"} <= keys("SystemInfo", system_info(info), OLD)
    assert "BridgeNfIptables" not in keys("SystemInfo", system_info(info), NEWEST)
    old = keys("SystemVersion", system_version(info, "1.50", "1.24"), (1, 24))
    assert not {"Platform", "Components"} & old
    document = system_version(info, "1.50", "1.24")
    assert document["Components"][0]["Details"]["ApiVersion"] == document["ApiVersion"] == "1.50"


def test_network_inspect():
    (network, *_) = samples.network_map().networks
    assert "EnableIPv4" in network_inspect(network)
    assert "EnableIPv4" not in keys("NetworkInspect", network_inspect(network), OLD)


def test_stats_of_what_does_not_run():
    document = container_stats(samples.stats())
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert document["memory_stats"] == {}
    assert document["name"] == "/web"


def test_stats_of_both_versions_of_cgroups():
    """Version 1 counts by processor and by each quantity of a disk, version 2 does not."""
    (write,) = (BlockUse(major=8, minor=0, operation="Write", value=5),)
    blocks = {"ioServiceBytesRecursive": (write,), "ioServicedRecursive": (write,)}
    for version, limited in ((1, 0), (2, 7)):
        use = ResourceUse(
            taken=samples.NOW,
            cgroup_version=version,
            cpu=CpuUse(total_ns=5, per_cpu_ns=(5, 0) if version == 1 else (), online=2),
            memory=MemoryUse(used_bytes=9, peak_bytes=10, limit_bytes=20, details={"a": 1}),
            blocks=blocks,
            processes=2,
            process_limit=limited,
        )
        document = container_stats(samples.stats(now=use, before=use))
        io = document["blkio_stats"]
        assert io["io_service_bytes_recursive"][0]["op"] == ("Write" if version == 1 else "write")
        assert (io["io_serviced_recursive"] is None) == (version == 2)
        assert ("percpu_usage" in document["cpu_stats"]["cpu_usage"]) == (version == 1)
        assert ("max_usage" in document["memory_stats"]) == (version == 1)
        assert document["pids_stats"].get("limit", 0) == limited
        assert "networks" not in document  # it has the machine's
