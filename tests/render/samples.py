"""Plain values to draw, with a fixed clock and IDs made of their names."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ocimagic.model import isolation
from ocimagic.model.archive import Imported, Loaded, LoadedImage, Saved
from ocimagic.model.built import BuildResult, BuildStep, BuiltPlatform
from ocimagic.model.network import (
    NetworkEndpoint,
    NetworkMap,
    NetworkReport,
    NetworkSummary,
    Subnet,
)
from ocimagic.model.options import RunOptions, VolumeMount
from ocimagic.model.report import (
    ContainerStats,
    ContainerUsage,
    DiskUsage,
    ImagesPruned,
    ImageUsage,
    PortBinding,
    VolumeUsage,
)
from ocimagic.model.result import (
    ContainerDetails,
    ContainerSummary,
    ExitStatus,
    HistoryLine,
    ImageDetails,
    ImageSummary,
    LayerInfo,
    LayerReport,
    PullResult,
    PushResult,
    Removed,
    RunResult,
    SystemInfo,
)
from ocimagic.model.state import Status
from ocimagic.model.volume import VolumeSummary
from ocimagic.spec.config import ContainerConfig, HistoryEntry, ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.mediatype import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP

NOW = datetime(2026, 3, 21, 12, 0, tzinfo=UTC)
HOSTILE = '<script>alert("x")</script>\x1b[31m\u202e\'&'


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def layer(name, size_bytes, created_by, *, base=False, shared=()):
    return LayerInfo(
        diff_id=digest(name),
        chain_id=digest(f"chain {name}"),
        digest=digest(name),
        media_type=OCI_LAYER,
        size_bytes=size_bytes,
        blob_bytes=size_bytes // 2,
        created_by=created_by,
        from_base=base,
        shared_with=tuple(shared),
    )


def report() -> LayerReport:
    root = layer("root", 67_800_000, "ADD rootfs.tar /", base=True)
    root2 = layer("root", 67_800_000, "ADD rootfs.tar /")
    apt = layer("apt", 38_100_000, "RUN /bin/sh -c apt-get update")
    pip = layer("pip", 12_400_000, "RUN pip install --no-cache-dir flask gunicorn")
    app1 = layer("app1", 2_310, "COPY app.py /srv/app.py")
    app2 = layer("app2", 4_120, "COPY app.py templates /srv/")
    bb = layer("bb", 2_100_000, "ADD busybox /")
    images = (
        ("ubuntu:22.04", (root2,)),
        ("layerdemo:latest", (root, apt)),
        ("web:1", (root, pip, app1)),
        ("web:2", (root, pip, app2)),
        ("busybox:latest", (bb,)),
    )
    total = sum(each.size_bytes for _, layers in images for each in layers)
    stored = sum({each.diff_id: each.size_bytes for _, ls in images for each in ls}.values())
    return LayerReport(images=images, total_bytes=total, stored_bytes=stored)


def image(repository="web", tag="1", **given) -> ImageSummary:
    values = {
        "repository": repository,
        "tag": tag,
        "image_id": digest(f"{repository}:{tag}"),
        "digest": digest(f"manifest {repository}:{tag}"),
        "created": NOW - timedelta(minutes=2),
        "size_bytes": 67_812_310,
        "shared_bytes": 67_800_000,
    }
    return ImageSummary(**values | given)


def container(name="web", **given) -> ContainerSummary:
    values = {
        "container_id": digest(f"container {name}").hex,
        "name": name,
        "image": "web:1",
        "image_id": digest("web:1"),
        "command": ("/bin/sh", "-c", "while true; do date; sleep 1; done"),
        "created": NOW - timedelta(hours=3),
        "started": NOW - timedelta(minutes=5),
        "status": Status.RUNNING,
        "pid": 4711,
        "exit": None,
        "network": "host",
    }
    return ContainerSummary(**values | given)


def exited(name="job", code=3, **given) -> ContainerSummary:
    status = ExitStatus(code=code, signal=None, finished=NOW - timedelta(seconds=40))
    values = {"status": Status.EXITED, "pid": None, "exit": status}
    return container(name, **values | given)


def stats(name="web", **given) -> ContainerStats:
    values = {
        "container_id": digest(f"container {name}").hex,
        "name": name,
        "status": Status.RUNNING,
        "taken": NOW,
        "cpu_percent": 12.345,
        "memory_bytes": 640_000,
        "memory_limit_bytes": 25_276_000_000,
        "received_bytes": 1_200,
        "sent_bytes": 0,
        "read_bytes": 4_096_000,
        "written_bytes": 0,
        "processes": 3,
    }
    return ContainerStats(**values | given)


def history() -> tuple[HistoryLine, ...]:
    def line(created_by, size_bytes, *, first=False, base=False):
        return HistoryLine(
            image_id=digest("web:1") if first else None,
            created=NOW - timedelta(days=3),
            created_by=created_by,
            size_bytes=size_bytes,
            comment="",
            diff_id=digest(created_by) if size_bytes else None,
            from_base=base,
        )

    return (
        line('CMD ["python3" "/srv/app.py"]', 0, first=True),
        line("COPY app.py /srv/app.py # a rather long line that will not fit", 2_310),
        line("ADD rootfs.tar /", 67_800_000, base=True),
    )


def config(labels=None) -> ImageConfig:
    return ImageConfig(
        created=NOW - timedelta(days=3),
        author="khaja@qt.com",
        config=ContainerConfig(
            user="app",
            exposed_ports=("8080/tcp",),
            env=("PATH=/usr/bin:/bin", "LANG=C.UTF-8"),
            cmd=("python3", "/srv/app.py"),
            working_dir="/srv",
            labels=labels if labels is not None else {"maintainer": "khaja@qt.com"},
        ),
        diff_ids=(digest("root"), digest("app1")),
        history=(HistoryEntry(created_by="ADD rootfs.tar /", comment="made by hand"),),
    ).encoded()


def image_details(labels=None) -> ImageDetails:
    image_config = config(labels)
    manifest = Manifest.build(
        Descriptor(OCI_CONFIG, image_config.image_id, len(image_config.raw)),
        [
            Descriptor(OCI_LAYER_GZIP, digest("root"), 30_000_000),
            Descriptor(OCI_LAYER, digest("app1"), 2_310),
        ],
        {"org.opencontainers.image.base.name": "docker.io/library/ubuntu:22.04"},
    )
    return ImageDetails(
        image_id=image_config.image_id,
        tags=("web:1",),
        digests=(f"web@{manifest.digest}",),
        config=image_config,
        manifest=manifest,
        layers=(
            layer("root", 67_800_000, "ADD rootfs.tar /", base=True, shared=("ubuntu:22.04",)),
            layer("app1", 2_310, "COPY app.py /srv/app.py"),
        ),
        size_bytes=67_802_310,
        base_name="docker.io/library/ubuntu:22.04",
        base_digest=str(digest("ubuntu")),
    )


def container_details(**options) -> ContainerDetails:
    values = {
        "image": "web:1",
        "command": ("sh", "-c", "exit 3"),
        "name": "job",
        "env": ("A=1",),
        "volumes": (VolumeMount(source="/srv/data", target="/data", read_only=True),),
        "labels": {"lesson": "1"},
    }
    return ContainerDetails(
        summary=exited(),
        options=RunOptions(**values | options),
        hostname="0123456789ab",
        bundle_path="/run/ocimagic/containers/0123",
        log_path="/var/lib/ocimagic/containers/0123/log.json",
        upper_dir="/var/lib/ocimagic/containers/0123/upper",
        lower_dirs=("/var/lib/ocimagic/layers/b", "/var/lib/ocimagic/layers/a"),
        runtime_config={
            "process": {"env": ["PATH=/bin", "A=1"], "cwd": "/srv", "args": ["sh"]},
        },
    )


def pull_result(**given) -> PullResult:
    values = {
        "reference": "docker.io/library/busybox:latest",
        "image_id": digest("busybox"),
        "digest": digest("busybox manifest"),
        "up_to_date": False,
        "downloaded_bytes": 2_160_000,
        "layers": 1,
        "size_bytes": 4_260_000,
        "seconds": 0.4,
    }
    return PullResult(**values | given)


def push_result(**given) -> PushResult:
    values = {
        "reference": "quay.io/team/web:1",
        "digest": digest("web manifest"),
        "manifest_bytes": 606,
        "layers": 3,
        "there": 1,
        "mounted": 1,
        "sent_bytes": 2_160_000,
        "seconds": 0.4,
    }
    return PushResult(**values | given)


def volume(name="data", *, users=("4c01db0b339c",), anonymous=False) -> VolumeSummary:
    return VolumeSummary(
        name=name,
        created=NOW,
        mountpoint=f"/volumes/{name}/_data",
        labels={"tier": "gold"},
        anonymous=anonymous,
        users=users,
    )


def disk_usage() -> DiskUsage:
    web = ImageUsage(
        name="web:1",
        image_id=digest("web"),
        created=NOW - timedelta(minutes=5),
        shared_bytes=4_000_000,
        unique_bytes=1_000_000,
        containers=1,
    )
    job = ContainerUsage(
        name="job", container_id="0123456789abcdef", image="web:1", size_bytes=500, active=False
    )
    return DiskUsage(
        images=(web,),
        images_bytes=5_000_000,
        images_reclaimable_bytes=1_250_000,
        containers=(job,),
        cache_steps=3,
        cache_bytes=0,
        volumes=(
            VolumeUsage(name="data", size_bytes=600, containers=2),
            VolumeUsage(name="idle", size_bytes=200, containers=0),
        ),
    )


def images_pruned() -> ImagesPruned:
    return ImagesPruned(untagged=("web:1",), deleted=(digest("web"),), freed_bytes=1_000_000)


def built_for(platform) -> BuiltPlatform:
    name = str(platform)
    return BuiltPlatform(
        platform=platform, image_id=digest(name), digest=digest(f"{name} manifest"), size_bytes=5
    )


def build_result(**given) -> BuildResult:
    def step(number, text, seconds, *, cached=False, size_bytes=None):
        return BuildStep(
            number=number,
            stage="0",
            text=text,
            line=number,
            cached=cached,
            seconds=seconds,
            layer=digest(text) if size_bytes is not None else None,
            size_bytes=size_bytes or 0,
        )

    values = {
        "image_id": digest("web:1"),
        "digest": digest("web:1 manifest"),
        "tags": ("web:1",),
        "steps": (
            step(1, "FROM ubuntu:22.04", 0.001, cached=True),
            step(2, "RUN pip install flask", 0.002, cached=True, size_bytes=12_400_000),
            step(3, "COPY app.py /srv/app.py", 0.012, size_bytes=2_310),
        ),
        "seconds": 0.031,
        "size_bytes": 67_802_310,
    }
    return BuildResult(**values | given)


def run_result(**given) -> RunResult:
    values = {
        "container_id": digest("container job").hex,
        "name": "job",
        "image": "busybox",
        "exit_code": 0,
        "stdout": b"hello\n",
        "stderr": b"",
        "duration_s": 0.031,
        "removed": True,
        "network": "host",
    }
    return RunResult(**values | given)


def removed() -> Removed:
    return Removed(untagged=("web:1",), deleted=(digest("web:1"),), freed_bytes=2_310)


def system_info() -> SystemInfo:
    return SystemInfo(
        version="0.1.0",
        data_root="/var/lib/ocimagic",
        run_root="/run/ocimagic",
        isolation="full",
        snapshotter="overlay",
        runtime="ocimagic",
        kernel="6.1.0",
        operating_system="Debian GNU/Linux 12",
        architecture="amd64",
        cpus=2,
        memory_bytes=8_000_000_000,
        images=3,
        containers=2,
        running=1,
        store_bytes=120_000_000,
        free_bytes=9_000_000_000,
        lacks=("user namespaces are switched off",),
        not_yet=("bridge networks: containers share the host's network",),
        networks=NetworkReport(
            kinds=("host", "none"), usual="host", why_not="links are root's", way_out="the host's"
        ),
    )


def diagnosis():
    found = (
        isolation.Finding("user ids", isolation.Grade.GOOD, "all of the machine's"),
        isolation.Finding("tun device", isolation.Grade.PARTLY, "refused", "chmod 0666"),
    )
    return isolation.Diagnosis(isolation.Mode.FULL, found)


def saved() -> Saved:
    ids = (digest("web:1"), digest("web:2"))
    return Saved(image_ids=ids, tags=("web:1", "web:2"), size_bytes=67_812_310)


def loaded() -> Loaded:
    return Loaded(
        images=(
            LoadedImage(
                image_id=digest("web:2"),
                tags=("web:1", "web:2"),
                replaced=(("web:1", digest("web:1")),),
            ),
            LoadedImage(image_id=digest("nameless"), tags=()),
        )
    )


def imported() -> Imported:
    return Imported(image_id=digest("web:1"), reference="web:1", size_bytes=2_100_000)


def network(name, number, **given) -> NetworkSummary:
    subnets = (Subnet(subnet=f"172.{number}.0.0/16", gateway=f"172.{number}.0.1"),)
    values = {"network_id": digest(name).hex, "name": name, "driver": "bridge", "created": NOW}
    return NetworkSummary(**values | {"subnets": subnets} | given)


def in_networks(name, *places, **given) -> ContainerSummary:
    made = container(name, network=places[0][0].name, **given)
    endpoints = tuple(
        NetworkEndpoint(
            network=each.name,
            network_id=each.network_id,
            container_id=made.container_id,
            container=name,
            addresses=(f"{address}/16",),
        )
        for each, address in places
    )
    return replace(made, places=endpoints)


def network_map(name="front") -> NetworkMap:
    """Return front and back with web and api in the first, api and db in the second."""
    bridge, front = network("bridge", 17), network(name, 18)
    back = network("back", 19, internal=True)
    host = network("host", 0, driver="host", subnets=())
    none = network("none", 0, driver="null", subnets=())
    port = PortBinding(container_port="80/tcp", host_ip="0.0.0.0", host_port=8080)
    return NetworkMap(
        networks=(bridge, front, back, host, none),
        containers=(
            in_networks("web", (front, "172.18.0.2"), ports=(port,)),
            in_networks("api", (front, "172.18.0.3"), (back, "172.19.0.2")),
            in_networks("db", (back, "172.19.0.3"), image="postgres:16"),
            container("alone", network="none"),
        ),
    )


def stages_result() -> BuildResult:
    """Return a build of four stages: two stand alone, one stands on one of them."""

    def step(number, stage, text, **given):
        values = {"cached": False, "seconds": 1.2, "layer": None, "size_bytes": 0}
        return BuildStep(number=number, stage=stage, text=text, line=number, **values | given)

    steps = (
        step(1, "deps", "FROM python:3.12 AS deps", cached=True, seconds=0.0),
        step(2, "deps", "RUN pip wheel -r requirements.txt", cached=True, seconds=0.0),
        step(3, "assets", "FROM node:22 AS assets", cached=True, seconds=0.0),
        step(4, "assets", "COPY web /web", why="the file web/app.js changed"),
        step(5, "assets", "RUN npm run build", why="what it builds on changed", seconds=14.2),
        step(6, "test", "FROM deps AS test", cached=True, seconds=0.0, stands_on="deps"),
        step(7, "test", "RUN pytest", why="the variable CI is new: 1", seconds=3.0),
        step(8, "3", "FROM python:3.12-slim", cached=True, seconds=0.0),
        step(9, "3", "COPY --from=deps /wheels /wheels", takes_from=("deps",)),
        step(10, "3", "COPY --from=assets /web/dist /srv", takes_from=("assets",)),
        step(11, "3", "COPY --from=test /report.xml /srv/", takes_from=("test",)),
    )
    return build_result(steps=steps, tags=("shop:2",), seconds=21.4)
