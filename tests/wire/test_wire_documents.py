"""Docker's documents: shapes that scripts read."""

import json

import samples

from ocimagic.model.options import VolumeMount
from ocimagic.wire.container import container_inspect, container_summary
from ocimagic.wire.image import history, image_inspect, image_summary
from ocimagic.wire.system import system_info


def test_image_inspect():
    document = image_inspect(samples.image_details())
    assert document["Id"] == str(samples.config().image_id)
    assert document["RepoTags"] == ["web:1"]
    assert document["Created"] == "2026-03-18T12:00:00.000000Z"
    assert document["Comment"] == "made by hand"
    assert document["RootFS"] == {
        "Type": "layers",
        "Layers": [str(samples.digest("root")), str(samples.digest("app1"))],
    }
    assert document["Config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert document["Config"]["Entrypoint"] is None
    assert document["Base"] == {
        "Name": "docker.io/library/ubuntu:22.04",
        "Digest": str(samples.digest("ubuntu")),
        "Layers": [str(samples.digest("root"))],
    }
    annotations = document["Descriptor"]["annotations"]
    assert annotations == {"org.opencontainers.image.base.name": "docker.io/library/ubuntu:22.04"}
    json.dumps(document)


def test_image_summary_and_history():
    assert image_summary(samples.image())["RepoTags"] == ["web:1"]
    assert image_summary(samples.image("<none>", "<none>"))["RepoTags"] == []
    assert image_summary(samples.image(created=None))["Created"] == 0
    first, *_, last = history(samples.history())
    assert first["Id"].startswith("sha256:")
    assert (last["Id"], last["Size"], last["Created"]) == ("<missing>", 67_800_000, 1773835200)


def test_container_inspect():
    document = container_inspect(samples.container_details())
    assert document["Name"] == "/job"
    assert (document["Path"], document["Args"][0]) == ("/bin/sh", "-c")
    assert document["State"]["ExitCode"] == 3
    assert document["State"]["Status"] == "exited"
    assert document["State"]["Running"] is False
    assert document["State"]["FinishedAt"] == "2026-03-21T11:59:20.000000Z"
    assert document["HostConfig"]["Binds"] == ["/srv/data:/data:ro"]
    assert document["HostConfig"]["NetworkMode"] == "host"
    assert document["Mounts"][0]["RW"] is False
    assert document["Config"]["Env"] == ["PATH=/bin", "A=1"]
    assert document["Config"]["WorkingDir"] == "/srv"
    assert document["Config"]["Labels"] == {"lesson": "1"}
    assert document["NetworkSettings"]["Networks"] == {"host": {}}
    json.dumps(document)


def test_container_inspect_of_cleared_entrypoint_and_writable_volume():
    volume = VolumeMount(source="/a", target="/b")
    details = samples.container_details(entrypoint=(), volumes=(volume,), no_new_privileges=True)
    document = container_inspect(details)
    assert document["Config"]["Entrypoint"] == []
    assert document["HostConfig"]["Binds"] == ["/a:/b"]
    assert document["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_container_summary():
    document = container_summary(samples.container(), status="Up 5 minutes")
    assert document["Names"] == ["/web"]
    assert (document["State"], document["Status"]) == ("running", "Up 5 minutes")


def test_never_started_has_gos_zero_time():
    created = samples.container(started=None)
    details = samples.container_details()
    document = container_inspect(type(details)(**{**_fields(details), "summary": created}))
    assert document["State"]["StartedAt"] == "0001-01-01T00:00:00Z"


def test_system_info():
    document = system_info(samples.system_info())
    assert (document["ContainersRunning"], document["ContainersStopped"]) == (1, 1)
    assert document["Lacks"] == ["user namespaces are switched off"]


def _fields(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
