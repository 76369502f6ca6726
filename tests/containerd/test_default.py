"""Namespace ``default`` is the engine's: what either makes there, the other sees."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")
from rootfs import MadeImage, tar_of

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.cli.values import Names
from ocimagic.containerd import messages as m
from ocimagic.containerd.server import Server
from ocimagic.errors import HostLacks, ImageNotFound, InvalidOption, PortTaken

DEFAULT = {"namespace": "default"}


def test_what_the_engine_pulled_is_there(ours):
    names = ours.ctr("images", "ls", "-q", **DEFAULT).stdout.split()
    assert {ours.image, "docker.io/library/busybox:latest"} <= set(names)
    [row] = [row for row in ours.lines("images", "check", **DEFAULT) if row[0] == ours.image]
    assert row[3:5] == ["complete", "(2/2)"]
    image = ours.engine.images.inspect(ours.image)
    config = ours.ctr("content", "get", image.image_id, **DEFAULT).stdout
    assert json.loads(config)["config"]["Cmd"] == ["sh"]
    needed = ours.ctr("content", "rm", image.image_id, check=False, **DEFAULT)
    assert "is needed" in needed.stderr


def test_what_the_engine_pulled_runs(ours):
    done = ours.ctr("run", "--rm", ours.image, "engines", "echo", "hi", **DEFAULT)
    assert done.stdout == "hi\n"


def test_what_ctr_names_is_the_engines(ours):
    ours.ctr("images", "tag", ours.image, "docker.io/library/mine:1", **DEFAULT)
    assert ours.engine.containers.run("mine:1", ["echo", "hi"], remove=True).stdout == b"hi\n"
    ours.ctr("images", "rm", "docker.io/library/mine:1", **DEFAULT)
    with pytest.raises(ImageNotFound):
        ours.engine.images.inspect("mine:1")


def test_what_the_engine_removes_is_gone_for_ctr(ours):
    ours.ctr("images", "tag", ours.image, "docker.io/library/mine:2", **DEFAULT)
    ours.engine.images.remove("mine:2")
    assert "mine:2" not in ours.ctr("images", "ls", "-q", **DEFAULT).stdout
    # Under the same name again it is another image, without the labels of before.
    ours.ctr("images", "tag", ours.image, "docker.io/library/mine:2", **DEFAULT)
    ours.ctr("images", "rm", "docker.io/library/mine:2", **DEFAULT)


def test_the_engines_containers_are_there(ours):
    made = ours.engine.containers.run(
        "busybox", ["sleep", "1000"], name="seen", detach=True, labels={"a": "b"}
    )
    try:
        rows = ours.lines("containers", "ls", **DEFAULT)
        assert [made.container_id, "busybox", "dev.ocimagic.runtime"] in rows
        info = json.loads(ours.ctr("containers", "info", made.container_id, **DEFAULT).stdout)
        assert info["Labels"] == {"a": "b", "dev.ocimagic.name": "seen"}
        assert info["Spec"]["process"]["args"] == ["sleep", "1000"]
        assert ours.status(made.container_id, **DEFAULT) == "RUNNING"
        assert made.container_id not in ours.ctr("containers", "ls").stdout
        words = ("--exec-id", "e", made.container_id, "echo", "in it")
        assert ours.ctr("tasks", "exec", *words, **DEFAULT).stdout == "in it\n"
        with ThreadPoolExecutor() as beside:
            request = m.tasks.WaitRequest(container_id=made.container_id)
            asked = ("tasks.v1.Tasks", "Wait", request, m.tasks.WaitResponse)
            waited = beside.submit(ours.call, *asked, **DEFAULT)
            ours.ctr("tasks", "kill", "-s", "KILL", made.container_id, **DEFAULT)
            assert waited.result().exit_status == 137
        assert ours.status(made.container_id, **DEFAULT) is None
        ours.ctr("containers", "rm", made.container_id, **DEFAULT)
        assert [each.name for each in ours.engine.containers.list(all=True)] == []
    finally:
        for each in ours.engine.containers.list(all=True):
            ours.engine.containers.remove(each.container_id, force=True)


def _killed_server(ours, path, *words):
    """Run ctr against a server that is a process of its own, and kill that."""
    environment = {**os.environ, "OCIMAGIC_ROOT": str(ours.engine.home.data)}
    command = [sys.executable, "-m", "ocimagic", "serve", "--containerd", str(path)]
    address, ours.address = ours.address, str(path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout.readline() == f"unix://{path}\n"
            ours.ctr("run", "-d", ours.image, *words)
        finally:
            process.send_signal(signal.SIGKILL)
            ours.address = address


def test_a_task_outlives_its_server(ours, tmp_path):
    ours.pull()
    ended = "until test -e /go; do sleep 0.1; done; exit 9"
    _killed_server(ours, tmp_path / "killed", "lives", "sh", "-c", ended)
    with Server(ours.engine, str(tmp_path / "next")) as server:
        address, ours.address = ours.address, server.path
        assert ours.status("lives") == "RUNNING"
        words = ("--exec-id", "e", "lives", "touch", "/go")
        ours.ctr("tasks", "exec", *words)
        ours.until("lives", "STOPPED")
        gone = ours.ctr("tasks", "delete", "lives", check=False)
        assert "exit code 9" in gone.stderr
        ours.ctr("containers", "rm", "lives")
        ours.address = address


def test_without_the_libraries_it_is_said_what_to_install(ours, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(HostLacks) as refused:
        Server(ours.engine, str(tmp_path / "s"))
    assert "pip install 'ocimagic[grpc]'" in str(refused.value)


def test_a_server_can_be_looked_at_and_closed(ours, tmp_path):
    with Server(ours.engine, str(tmp_path / "n")) as server:
        assert f"ctr -a {server.path} images ls" in repr(server)
        with pytest.raises(PortTaken):
            Server(ours.engine, str(tmp_path / "n"))
        assert server.is_served
    assert not server.is_served
    assert not (tmp_path / "n").exists()
    (tmp_path / "n").write_text("a file")
    with pytest.raises(InvalidOption):
        Server(ours.engine, str(tmp_path / "n"))


def test_what_ctr_pulled_goes_with_the_engines_name(ours, registry, busybox_layer):
    """Also what ctr unpacked of it."""
    MadeImage([busybox_layer, tar_of(("only-here", b"x"))], {"Cmd": ["sh"]}).serve(
        registry.source, "gone", "1"
    )
    name = f"{registry.host}/gone:1"
    ours.ctr("images", "pull", "--plain-http", name, **DEFAULT)
    image = ours.engine.images.inspect(name)
    assert image.image_id in ours.ctr("content", "ls", "-q", **DEFAULT).stdout
    before = len(ours.lines("snapshots", "ls", **DEFAULT))
    ours.engine.images.remove(name)
    assert image.image_id not in ours.ctr("content", "ls", "-q", **DEFAULT).stdout
    assert len(ours.lines("snapshots", "ls", **DEFAULT)) < before
    assert name not in ours.ctr("images", "ls", "-q", **DEFAULT).stdout


def test_a_notebook_serves_it_until_it_is_told(ours, tmp_path):
    session = Session(engine=lambda: ours.engine, cwd=str(tmp_path), stays=True)
    served = execute(["system", "serve", "--containerd", "here"], session)
    assert served.url == f"unix://{tmp_path}/here"
    address, ours.address = ours.address, served.path
    assert "Server:" in ours.ctr("version").stdout
    ours.address = address
    assert execute(["system", "unserve"], session) == Names((served.url,))
    assert not served.is_served


def test_an_engine_behind_an_api_cannot_serve_it(tmp_path):
    session = Session(engine=lambda: "an ApiClient", cwd=str(tmp_path), stays=True)
    with pytest.raises(InvalidOption) as refused:
        execute(["system", "serve", "--containerd", "here"], session)
    assert "docker's API" in str(refused.value)
