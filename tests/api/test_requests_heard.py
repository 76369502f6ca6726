"""What clients really sent is in the story that explain tells, with this run's own values."""

import http.client
import json
import shutil
import socket
import subprocess

import pytest

from ocimagic.api.server import Address, Server
from ocimagic.cli.explain import with_client
from ocimagic.engine.heard import Heard
from ocimagic.model.explanation import HeardRequest, Party

DOCKERS = [each for each in ("/usr/bin/docker", shutil.which("docker")) if each]


@pytest.fixture
def served(engine, registry, tmp_path):
    engine.images.pull(f"{registry.host}/busybox")
    engine.images.tag(f"{registry.host}/busybox", "busybox")
    with Server(engine, Address(path=str(tmp_path / "s.sock"))) as server:
        yield server


def docker(program, server, *words):
    done = subprocess.run(
        [program, *words],
        env={"DOCKER_HOST": server.url, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def sent(story):
    """Return the requests of a story that really went over a socket."""
    return [
        each
        for each in story.steps
        if (each.party, each.to) == (Party.CLIENT, Party.API) and each.was_sent
    ]


@pytest.mark.parametrize("program", sorted(set(DOCKERS)) or ["docker"])
@pytest.mark.parametrize("options", [(), ("--rm",)])
def test_a_run_of_dockers_client(engine, served, program, options):
    if not DOCKERS:
        pytest.skip("docker is not installed")
    words = ("run", *options, "--network=none", "--name=told", "busybox", "echo", "hi")
    assert docker(program, served, *words) == "hi\n"
    story = with_client(engine.explainer.explain("told"))
    asked = sent(story)
    whole = story.asked.container_id
    assert [each.title for each in asked] == [
        "POST /containers/create",
        f"POST /containers/{whole[:12]}/attach",
        f"POST /containers/{whole[:12]}/wait",
        f"POST /containers/{whole[:12]}/start",
    ]
    facts = [dict(each.facts) for each in asked]
    assert [each["answer"] for each in facts] == ["201", "101", "200", "204"]
    assert all(each["socket"] == served.url for each in facts)
    assert asked[0].documents["body"]["Cmd"] == ["echo", "hi"]
    assert "name=told" in facts[0]["request"]
    # The container was made while its making was asked for, and began while the start was.
    made = next(each for each in story.steps if each.title.startswith("create container"))
    began = next(each for each in story.steps if each.title.startswith("start →"))
    assert asked[0].at_s <= made.at_s <= asked[0].at_s + asked[0].seconds
    assert asked[3].at_s <= began.at_s <= asked[3].at_s + asked[3].seconds
    assert asked[1].chapter.title == "Docker Engine API: ContainerAttach"
    assert "Docker-Client" in dict(story.steps[0].facts)["client"]


def test_a_command_has_its_own_requests(engine, served):
    if not DOCKERS:
        pytest.skip("docker is not installed")
    docker(
        DOCKERS[0], served, "run", "-d", "--network=none", "--name=long", "busybox", "sleep", "60"
    )
    assert docker(DOCKERS[0], served, "exec", "-e", "WORD=secret", "long", "echo", "in") == "in\n"
    story = with_client(engine.explainer.explain())
    asked = sent(story)
    assert asked[0].title == "POST /containers/long/exec"
    exec_id = story.asked.exec_id
    assert [each.title for each in asked[1:]] == [
        f"POST /exec/{exec_id[:12]}/start",
        f"GET /exec/{exec_id[:12]}/json",
    ]
    assert "secret" not in json.dumps(story.to_dict())
    assert not [
        each for each in sent(with_client(engine.explainer.explain("long"))) if "exec" in each.title
    ]


def test_a_refusal_is_told(engine, served):
    client = http.client.HTTPConnection("docker")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(served.url.removeprefix("unix://"))
    body = {"Image": "busybox", "Cmd": ["no-such-program"], "HostConfig": {"NetworkMode": "none"}}
    client.request("POST", "/containers/create?name=bad", json.dumps(body))
    made = json.loads(client.getresponse().read())
    client.request("POST", "/containers/bad/start")
    assert client.getresponse().read()
    story = with_client(engine.explainer.explain("bad"))
    assert [dict(each.facts)["answer"] for each in sent(story)] == ["201", "400"]
    assert [each.title for each in sent(story)] == [
        "POST /containers/create",
        "POST /containers/bad/start",
    ]
    assert story.asked.container_id == made["Id"]
    client.close()


def test_what_was_heard_is_bounded_and_survives_half_a_line(tmp_path):
    directory = tmp_path / ("a" * 64)
    directory.mkdir()
    heard = Heard()
    for number in range(100):
        heard.put(
            directory,
            HeardRequest(
                method="POST",
                path=f"/{number}",
                operation="ContainerKill",
                tag="Container",
                status=204,
                began_s=float(number),
                seconds=0.1,
                socket="unix:///s",
                body={"Env": "x" * (1 << 17)} if number == 3 else {},
            ),
        )
    file = directory / "requests.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size < 1 << 16
    with file.open("a") as half:
        half.write('{"method": "PO')
    found = Heard().of(directory)
    assert [each.path for each in found] == [f"/{number}" for number in range(64)]
