"""``%docker_host`` at a real podman service: the same verbs, in what podman says otherwise."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from dockernet import namespace

from ocimagic.client import ApiClient
from ocimagic.errors import CommandNotFound, HostLacks, ImageNotFound, NameInUse, StepFailed
from ocimagic.model.network import NetworkOptions
from ocimagic.model.options import BuildOptions, NetworkMode, RunOptions, VolumeMount
from ocimagic.model.request import CommitOptions, ExecOptions, ImportOptions, UpdateOptions
from ocimagic.model.state import Status
from ocimagic.model.volume import VolumeOptions

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PATIENCE_S = 20
# What the machine may not raise podman must not ask for; crun knows no hybrid cgroups.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
exit_command_delay = 1
"""


@pytest.fixture(scope="module")
def podman(shared, tmp_path_factory):
    for program in ("podman", "runc"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    room = tmp_path_factory.mktemp("podman")
    (room / "containers.conf").write_text(CONFIGURATION)
    words = [
        "podman", "--root", room / "root", "--runroot", room / "run", "--network-config-dir",
        room / "networks", "system", "service", "--time", "0", f"unix://{room}/socket",
    ]  # fmt: skip
    environment = os.environ | {"CONTAINERS_CONF": str(room / "containers.conf")}
    with namespace(f"ocimagic-podman-{os.getpid()}") as inside, (room / "log").open("wb") as log:
        service = subprocess.Popen([*inside, *words], env=environment, stdout=log, stderr=log)
        try:
            until(lambda: (room / "socket").exists() or service.poll() is not None)
            with ApiClient(f"unix://{room}/socket") as client:
                with (room / "busybox.tar").open("wb") as file:
                    shared.images.save(["busybox"], file.write)
                client.images.load(str(room / "busybox.tar"))
                yield client
                for each in client.containers.list(all=True):
                    client.containers.remove(each.container_id, force=True)
        finally:
            service.terminate()
            service.wait(PATIENCE_S)
            subprocess.run(
                ["umount", "-l", room / "root/overlay"], capture_output=True, check=False
            )
            until(lambda: not _monitors(room))
            _remove_cgroups()


def until(look):
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _monitors(room):
    """Return the processes that watch over podman's containers and commands."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = each.read_bytes()
            if b"conmon" in words and os.fsencode(room) in words:
                found.append(each.parent.name)
    return found


def _remove_cgroups():
    """Take away what podman leaves, unless somebody is in it."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for directory, _, _ in os.walk(hierarchy / "libpod_parent", topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def sh(script, **options):
    command = ("sh", "-c", script)
    return RunOptions(image="busybox", command=command, network=NetworkMode.NONE, **options)


def test_podman_says_who_it_is(podman):
    assert str(podman.about()).split(": ")[1].startswith("Podman Engine 4")


def test_podman_runs_with_input_to_its_end_and_says_the_exit_code(podman):
    since = time.time_ns()
    options = sh("cat; echo err >&2; exit 7", interactive=True, remove=True, name="one")
    done = podman.containers.run_options(options, stdin=b"x" * 100_000)
    assert (len(done.stdout), done.stderr, done.exit_code) == (100_000, b"err\n", 7)
    with pytest.raises(CommandNotFound):
        podman.containers.run_options(RunOptions(image="busybox", command=("nope",), remove=True))
    found = podman.system.events(
        since_ns=since, until_ns=time.time_ns(), conditions=("container=one",)
    )
    events = {each.action: each.attributes for each in found}
    assert {"create", "start", "die"} <= set(events)
    assert events["die"]["exitCode"] == "7"


def test_podman_has_files_commands_and_logs(podman, tmp_path):
    name = podman.containers.run_options(
        sh("echo on; while :; do sleep 0.1; done", name="two", detach=True)
    ).container_id
    assert podman.containers.get("two").status is Status.RUNNING
    done = podman.containers.exec(
        name, ExecOptions(command=("sh", "-c", "cat; exit 9"), interactive=True), stdin=b"in"
    )
    assert (done.stdout, done.exit_code) == (b"in", 9)
    with pytest.raises(CommandNotFound):
        podman.containers.exec(name, ExecOptions(command=("nope",)))
    assert [each[1:] for each in podman.containers.logs(name)] == [("stdout", b"on\n")]
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a").write_text("a")
    podman.containers.copy_to(name, str(tmp_path / "tree"), "/there")
    podman.containers.copy_from(name, "/there/.", str(tmp_path / "back"))
    assert (tmp_path / "back/a").read_text() == "a"
    with pytest.raises(NameInUse):
        podman.containers.create(sh("true", name="two"))
    with pytest.raises(HostLacks, match="does not do that"):
        podman.containers.update(name, UpdateOptions())
    made = podman.containers.commit(name, CommitOptions(reference="made:1"))
    assert podman.images.inspect("made:1").image_id == made.image_id
    assert podman.images.remove("made:1").untagged == ("made:1",)
    podman.containers.remove(name, force=True)


def test_podman_builds_and_imports(podman, tmp_path):
    text = "FROM busybox\nCOPY f /f\nRUN exit 9\n"
    (tmp_path / "f").write_text("x")
    options = BuildOptions(dockerfile=text, context=str(tmp_path), network=NetworkMode.NONE)
    with pytest.raises(StepFailed) as caught:
        podman.images.build(options)
    assert (caught.value.command_exit_code, caught.value.command) == (9, "RUN exit 9")
    done = podman.images.import_(bytes(10240), ImportOptions(reference="root:1"))
    assert podman.images.inspect("root:1").image_id == done.image_id
    with pytest.raises(ImageNotFound):
        podman.images.inspect("nobody:1")


def test_podman_has_volumes_and_networks(podman):
    podman.volumes.create(VolumeOptions(name="kept"))
    mount = VolumeMount(kept=True, name="kept", target="/data")
    podman.containers.run_options(sh("echo x > /data/f", volumes=(mount,), name="three"))
    assert podman.volumes.inspect("kept").users == (podman.containers.get("three").container_id,)
    podman.containers.remove("three")
    assert podman.volumes.prune(all=True).volumes == ("kept",)
    made = podman.networks.create(NetworkOptions(name="net1"))
    assert (made.name, made.driver) == ("net1", "bridge")
    assert podman.networks.prune() == ("net1",)
