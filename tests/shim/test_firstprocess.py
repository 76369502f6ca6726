"""``--init``: somebody in front of the command who reaps and passes signals on."""

import json
import os

import pytest

from ocimagic.model.options import RunOptions
from ocimagic.runtime.bundle import load_bundle
from ocimagic.shim.firstprocess import DESTINATION, PROGRAMS, with_init
from ocimagic.spec.runtime import INIT_ANNOTATION

SCRIPT = "trap 'echo got; exit 3' TERM; echo $$; echo ready; while :; do sleep 0.1; done"


def make(shared, words, *, stays, **options):
    """Make a container with an init in front; ``stays``: the runtime's own."""
    made = shared.containers.create(
        RunOptions(image="busybox", command=words, init=not stays, **options)
    )
    if stays:
        path = shared.containers.directory(made.container_id) / "bundle" / "config.json"
        config = json.loads(path.read_bytes())
        config.setdefault("annotations", {})[INIT_ANNOTATION] = "stay"
        path.write_text(json.dumps(config))
    return made.name


@pytest.fixture(params=[False, True], ids=["docker-init", "our own"])
def stays(request):
    if not request.param and not any(map(os.path.exists, PROGRAMS)):
        pytest.skip("docker-init is not installed")
    return request.param


def test_a_signal_goes_to_the_command_and_its_exit_code_comes_back(shared, stays):
    name = make(shared, ("sh", "-c", SCRIPT), stays=stays)
    with shared.containers.start_attached(name) as attachment:
        out = b""
        for _, data in attachment.chunks():
            out += data
            if out.endswith(b"ready\n"):
                attachment.kill(15)
    assert out.endswith(b"ready\ngot\n")
    assert int(out.split()[0]) > 1
    assert attachment.exit.code == 3
    shared.containers.remove(name)


def test_orphans_do_not_stay_as_zombies(shared, stays):
    script = "(sleep 0.05 &); (sleep 0.05 &); sleep 0.4; ps -o stat,args | grep -c '^Z' || true"
    name = make(shared, ("sh", "-c", script), stays=stays)
    with shared.containers.start_attached(name) as attachment:
        out = b"".join(data for _, data in attachment.chunks())
    assert out == b"0\n"
    shared.containers.remove(name)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_end_of_the_command_is_the_end(shared, stays, script, code):
    name = make(shared, ("sh", "-c", script), stays=stays)
    with shared.containers.start_attached(name) as attachment:
        list(attachment.chunks())
    assert attachment.exit.code == code
    shared.containers.remove(name)


def test_the_command_has_the_terminal_to_itself(shared, stays):
    script = "echo up; sleep 30"
    name = make(shared, ("sh", "-c", script), stays=stays, tty=True, interactive=True)
    with shared.containers.start_attached(name, stdin=True) as attachment:
        for _ in attachment.chunks():
            attachment.send(b"\x03")
    assert attachment.exit.code == 130
    shared.containers.remove(name)


def test_what_is_chosen(shared, tmp_path):
    made = shared.containers.create(RunOptions(image="busybox", command=("true",)))
    bundle = load_bundle(str(shared.containers.directory(made.container_id) / "bundle"), {})
    script = tmp_path / "init"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    config = with_init(bundle, [str(tmp_path / "none"), str(script), "/bin/ls"]).config
    assert INIT_ANNOTATION in config.annotations, "none of them runs without the machine"
    assert config.process.args == ("true",)
    busybox = "/bin/busybox"
    if os.path.exists(busybox):
        config = with_init(bundle, [busybox]).config
        assert config.process.args == (DESTINATION, "--", "true")
        assert config.mounts[-1].source == busybox
    shared.containers.remove(made.name)
