"""Docker's documents: shapes that scripts read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import samples

from ocimagic.model.options import BindRecursion, TmpfsMount, VolumeMount
from ocimagic.model.policy import HealthOptions, RestartName, RestartPolicy
from ocimagic.model.report import ContainerSize, Health, HealthProbe
from ocimagic.model.resources import DeviceMapping, ResourceOptions, Ulimit
from ocimagic.model.state import Status
from ocimagic.spec.config import ContainerConfig
from ocimagic.wire.container import container_inspect, container_summary, healthcheck
from ocimagic.wire.image import history, image_inspect, image_summary
from ocimagic.wire.system import system_info
from ocimagic.wire.versions import shaped


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
    assert document["Config"]["WorkingDir"] == ""
    assert document["Config"]["Labels"] == {"lesson": "1"}
    assert list(document["NetworkSettings"]["Networks"]) == ["host"]
    json.dumps(document)


def test_container_inspect_of_cleared_entrypoint_and_writable_volume():
    volume = VolumeMount(source="/a", target="/b")
    details = samples.container_details(entrypoint=(), volumes=(volume,), no_new_privileges=True)
    document = container_inspect(details)
    assert document["Config"]["Entrypoint"] == []
    assert document["HostConfig"]["Binds"] == ["/a:/b"]
    assert document["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_container_inspect_says_what_its_client_attached_to():
    detached = container_inspect(samples.container_details(detach=True))["Config"]
    assert not detached["AttachStdout"]
    followed = samples.container_details(detach=True, attach=("stdout",))
    config = container_inspect(followed)["Config"]
    assert (config["AttachStdout"], config["AttachStderr"]) == (True, False)


def test_container_inspect_of_what_only_a_mount_says():
    volumes = (
        VolumeMount(kept=True, name="v", target="/v", part="a"),
        VolumeMount(source="/a", target="/b", recursion=BindRecursion.DISABLED),
        VolumeMount(source="/c", target="/d"),
    )
    host = container_inspect(samples.container_details(volumes=volumes))["HostConfig"]
    assert host["Binds"] == ["/c:/d"]
    assert [each["Target"] for each in host["Mounts"]] == ["/v", "/b"]
    assert host["Mounts"][1]["BindOptions"] == {"NonRecursive": True}
    assert "Mounts" not in container_inspect(samples.container_details())["HostConfig"]


SHAPE = json.loads((Path(__file__).parent / "docker_inspect_shape.json").read_text())


def test_container_inspect_has_all_of_dockers_keys_and_types():
    """The shape is what docker 20.10 answered for a container with these options."""
    health = Health(
        status="healthy",
        log=(HealthProbe(started=samples.NOW, finished=samples.NOW, exit_code=0, output=""),),
    )
    details = samples.container_details(
        tmpfs=(TmpfsMount(target="/tm", options=("size=1m",)),),
        extra_hosts=(("a", "1.2.3.4"),),
        devices=(DeviceMapping(source="/dev/null", target="/dev/nn"),),
        ulimits=(Ulimit(name="nofile", soft=10, hard=20),),
        init=True,
        cap_add=("net_admin",),
        no_new_privileges=True,
        sysctls={"kernel.msgmax": "65536"},
        resources=ResourceOptions(memory_bytes=100 << 20, nano_cpus=500_000_000),
        restart=RestartPolicy(name=RestartName.ON_FAILURE, maximum_retry_count=3),
    )
    masks = {"linux": {"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"]}}
    summary = replace(
        details.summary,
        health=health,
        size=ContainerSize(changed_bytes=1, total_bytes=2),
        exposed_ports=("80/tcp",),
        network="none",
    )
    details = replace(
        details,
        summary=summary,
        health=HealthOptions(test=("CMD-SHELL", "true"), interval_s=1.0),
        runtime_config={**details.runtime_config, **masks},
    )
    document = shaped("ContainerInspect", container_inspect(details), (1, 41))
    assert list(_differences(SHAPE, document)) == []
    assert document["State"]["Health"]["Status"] == "healthy"
    assert document["HostConfig"]["MemorySwap"] == 200 << 20
    assert document["HostConfig"]["CapAdd"] == ["CAP_NET_ADMIN"]
    assert document["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000,
    }  # fmt: skip
    assert document["SizeRootFs"] == 2
    json.dumps(document)


def _differences(shape, value, path=""):
    """Yield where a value has not docker's keys and types; null fits everything."""
    if shape is None or value is None:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{path}: no object"
            return
        for key in shape:
            if key not in value:
                yield f"{path}.{key}: missing"
            else:
                yield from _differences(shape[key], value[key], f"{path}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path}: no list"
        elif shape and value:
            yield from _differences(shape[0], value[0], f"{path}[0]")
    elif type(value).__name__ != shape:
        yield f"{path}: {type(value).__name__}, not {shape}"


@pytest.mark.parametrize(
    ("status", "running", "paused", "restarting"),
    [
        (Status.CREATED, False, False, False),
        (Status.RUNNING, True, False, False),
        (Status.PAUSED, True, True, False),
        (Status.RESTARTING, True, False, True),
        (Status.EXITED, False, False, False),
    ],
)
def test_state_has_dockers_flags(status, running, paused, restarting):
    details = samples.container_details()
    summary = samples.container(status=status)
    state = container_inspect(replace(details, summary=summary))["State"]
    assert (state["Running"], state["Paused"], state["Restarting"]) == (
        running,
        paused,
        restarting,
    )
    assert state["Status"] == status.value


def test_cmd_and_entrypoint_are_the_images_unless_asked():
    image = ContainerConfig(entrypoint=("/init",), cmd=("serve",), user="app", working_dir="/w")
    details = replace(samples.container_details(command=()), image_config=image)
    config = container_inspect(details)["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["/init"], ["serve"])
    assert (config["User"], config["WorkingDir"]) == ("app", "/w")
    own = replace(samples.container_details(entrypoint=("sh",), command=("-c",)),
                  image_config=image)  # fmt: skip
    config = container_inspect(own)["Config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["sh"], ["-c"])


def test_env_leaves_out_what_the_engine_adds():
    env = ["PATH=/bin", "HOSTNAME=x", "TERM=xterm", "A=1"]
    config = {"process": {"env": env, "cwd": "/", "args": ["sh"]}}
    plain = replace(samples.container_details(tty=True), runtime_config=config)
    assert container_inspect(plain)["Config"]["Env"] == ["PATH=/bin", "A=1"]
    asked = replace(samples.container_details(env=("TERM=vt",)), runtime_config=config)
    assert container_inspect(asked)["Config"]["Env"] == ["PATH=/bin", "TERM=xterm", "A=1"]


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


def test_times_of_a_health_check_are_whole():
    found = healthcheck(HealthOptions(test=("NONE",), interval_s=65.939))
    assert found == {"Test": ["NONE"], "Interval": 65_939_000_000}
