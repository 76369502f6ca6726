"""Where docker-py's own suite found the API to be other than dockerd's."""

import contextlib
import io
import json
import socket
import tarfile
import threading

import pytest

from ocimagic.api import streams


@contextlib.contextmanager
def taken_over(api, path, body):
    """Yield a connection that is taken over, and what came behind the head of the answer."""
    raw = json.dumps(body).encode()
    head = f"POST /v1.41{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(60)
        door.connect(api.path)
        door.sendall(head.encode() + raw)
        said = b""
        while b"\r\n\r\n" not in said:
            said += door.recv(1)
        assert said.startswith(b"HTTP/1.1 101"), said
        yield door


def to_end(door):
    said = b""
    while data := door.recv(1 << 16):
        said += data
    return said


def executed(api, container, *command, tty=False, **start):
    """Run a command; return the bytes of its stream as they came, and its document."""
    asked = {"Cmd": command, "AttachStdout": True, "AttachStderr": True, "Tty": tty}
    exec_id = api.post(f"/containers/{container}/exec", asked)["Id"]
    with taken_over(api, f"/exec/{exec_id}/start", {"Detach": False, **start}) as door:
        return to_end(door), api.get(f"/exec/{exec_id}/json")


@pytest.fixture
def sleeper(api):
    made = api.create("sleep", "1000", HostConfig={"Init": True})
    api.post(f"/containers/{made}/start")
    return made


# -- commands in containers -----------------------------------------------------------


def test_the_stream_of_a_command_has_the_form_that_its_start_asks_for(api, sleeper):
    raw, _ = executed(api, sleeper, "echo", "said", tty=True)
    assert raw == b"\x01\0\0\0\0\0\0\x06said\r\n"
    raw, _ = executed(api, sleeper, "echo", "said", tty=True, Tty=True)
    assert raw == b"said\r\n"


def test_what_cannot_begin_is_said_in_the_stream(api, sleeper):
    raw, document = executed(api, sleeper, "nowhere")
    assert b"executable file not found" in raw
    assert raw.startswith(b"\x01\0\0\0")
    assert document["ExitCode"] == 126
    assert not document["Running"]


def test_a_detached_command_that_cannot_begin_is_refused(api, sleeper):
    exec_id = api.post(f"/containers/{sleeper}/exec", {"Cmd": ["nowhere"]})["Id"]
    status, said = api.refused("POST", f"/exec/{exec_id}/start", {"Detach": True})
    assert status == 400
    assert "executable file not found" in said


def test_nothing_that_a_command_writes_at_once_is_lost(api, sleeper):
    for _ in range(10):
        raw, _ = executed(api, sleeper, "echo", "hello")
        assert raw[8:] == b"hello\n"


# -- ends -----------------------------------------------------------------------------


def test_waiting_for_what_ends_at_once(api):
    for _ in range(10):
        made = api.create("true")
        api.post(f"/containers/{made}/start")
        assert api.post(f"/containers/{made}/wait")["StatusCode"] == 0
        assert api.get(f"/containers/{made}/json")["State"]["Running"] is False


@pytest.mark.parametrize("signal", ["", "SIGKILL", "9"])
def test_who_is_killed_is_over_when_the_answer_comes(api, sleeper, signal):
    api.post(f"/containers/{sleeper}/kill", signal=signal)
    assert api.get(f"/containers/{sleeper}/json")["State"]["Status"] == "exited"
    assert api.ask("DELETE", f"/containers/{sleeper}")[0] == 204


def test_the_log_of_a_short_command_is_whole_right_after_its_start(api, monkeypatch):
    monkeypatch.setattr(streams, "_BEGIN_S", 60)  # however slow this machine is
    made = api.create("sh", "-c", "sleep 0.02; echo one; echo two")
    api.post(f"/containers/{made}/start")
    assert api.output(made) == b"one\ntwo\n"


def test_a_container_that_runs_cannot_be_removed(api, sleeper):
    status, said = api.refused("DELETE", f"/containers/{sleeper}")
    assert status == 409
    assert "stop the container before" in said.lower()


def test_what_has_just_ended_can_be_committed(api):
    for _ in range(3):
        made = api.create("touch", "/new")
        api.post(f"/containers/{made}/start")
        image = api.post("/commit", {}, container=made, pause="True")["Id"]
        assert api.ask("DELETE", f"/images/{image}")[0] == 200


# -- what is asked for, and shown -----------------------------------------------------


def test_fields_that_only_inspect_shows(api):
    made = api.create("true", HostConfig={"Isolation": "default", "VolumeDriver": "foo"})
    host = api.get(f"/containers/{made}/json")["HostConfig"]
    assert (host["Isolation"], host["VolumeDriver"]) == ("default", "foo")


def test_a_variable_that_is_taken_away_is_shown(api):
    made = api.create("env", Env=["PATH", "B="])
    assert {"PATH", "B="} <= set(api.get(f"/containers/{made}/json")["Config"]["Env"])


def test_host_fields_may_be_the_body_s_own(api):
    made = api.create("true", Memory=64 << 20)
    assert api.get(f"/containers/{made}/json")["HostConfig"]["Memory"] == 64 << 20


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/volumes/create", {"Name": "v", "Driver": "no.where"}, 404, "no.where"),
        (
            "/containers/create",
            {"Image": "busybox", "HostConfig": {"VolumeDriver": "foo", "Binds": ["v:/v"]}},
            404,
            "foo",
        ),
    ],
)
def test_drivers_that_nobody_has(api, path, body, status, words):
    refused, said = api.refused("POST", path, body)
    assert refused == status
    assert words in said


def test_places_of_volumes_are_there_before_the_first_start(api):
    made = api.create("cat", "/vol/new", Volumes={"/vol": {}})
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("new")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"fresh"))
    assert api.ask("PUT", f"/containers/{made}/archive", raw.getvalue(), path="/vol")[0] == 200
    api.post(f"/containers/{made}/start")
    api.post(f"/containers/{made}/wait")
    assert api.output(made) == b"fresh"


def test_an_archive_that_is_none_is_an_error_in_the_stream(api):
    status, raw = api.ask("POST", "/images/load", b"abc")
    assert status == 200
    assert "errorDetail" in json.loads(raw.splitlines()[-1])


# -- networks -------------------------------------------------------------------------


@pytest.fixture
def network(api):
    api.post("/networks/create", {"Name": "of my own"})
    yield "of my own"
    for each in api.get("/containers/json", all=1):
        api.ask("DELETE", f"/containers/{each['Id']}", force=1)
    api.ask("DELETE", "/networks/of%20my%20own")


def test_a_place_in_a_network_as_it_was_asked_for(api, network):
    wanted = {
        "Links": ["upstream:up"],
        "DriverOpts": {"a.b": "on"},
        "IPAMConfig": {"LinkLocalIPs": ["169.254.8.8"]},
        "MacAddress": "02:42:ac:11:00:02",
    }
    made = api.create("sleep", "1000", HostConfig={"NetworkMode": network, "Init": True},
                      NetworkingConfig={"EndpointsConfig": {network: wanted}})  # fmt: skip
    shown = api.get(f"/containers/{made}/json")["NetworkSettings"]["Networks"][network]
    assert shown["Aliases"] is None
    assert {name: shown[name] for name in wanted} == wanted
    api.post(f"/containers/{made}/start")
    shown = api.get(f"/containers/{made}/json")["NetworkSettings"]["Networks"][network]
    assert shown["Aliases"] == [made[:12]]
    raw, _ = executed(api, made, "ip", "address", "show", "eth0")
    assert b"169.254.8.8/32" in raw
    assert b"02:42:ac:11:00:02" in raw


def test_a_link_is_a_name_for_one_container_alone(api, network):
    host = {"NetworkMode": network, "Init": True}
    settings = {"EndpointsConfig": {network: {"Links": ["upstream:up"]}}}
    linked = api.create("sleep", "1000", HostConfig=host, NetworkingConfig=settings)
    other = api.create("sleep", "1000", HostConfig=host)
    config = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host}
    upstream = api.post("/containers/create", config, name="upstream")["Id"]
    for each in (linked, other, upstream):
        api.post(f"/containers/{each}/start")
    assert executed(api, linked, "nslookup", "up")[1]["ExitCode"] == 0
    assert executed(api, other, "nslookup", "upstream")[1]["ExitCode"] == 0
    assert executed(api, other, "nslookup", "up")[1]["ExitCode"] == 1


# -- builds ---------------------------------------------------------------------------


def built(api, files, **query):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    status, said = api.ask("POST", "/build", raw.getvalue(), **query)
    lines = [json.loads(line) for line in said.splitlines()]
    assert status == 200, said
    return lines


def test_the_builder_s_own_files_are_left_out_if_the_client_says_so(api):
    files = {
        "its.dockerfile": b"FROM busybox\nCOPY . /src\n",
        ".dockerignore": b".dockerignore\nits.dockerfile\nkept\n",
        "kept": b"the client would have left it out",
    }
    lines = built(api, files, dockerfile="its.dockerfile", t="left-out")
    assert "Successfully tagged left-out" in lines[-1]["stream"]
    assert not [each for each in lines if "Warning" in each.get("stream", "")]
    made = api.run("ls", "-A", "/src", Image="left-out")
    assert api.output(made) == b"kept\n"
    api.ask("DELETE", f"/containers/{made}")
    api.ask("DELETE", "/images/left-out")


def test_a_build_may_use_the_steps_of_images_alone(api):
    def cached(**query):
        lines = built(api, {"Dockerfile": b"FROM busybox\nENV A=1\nRUN touch /b\n"}, **query)
        return sum("Using cache" in each.get("stream", "") for each in lines)

    cached(t="first")
    assert cached(t="second", cachefrom='["first"]') == 2
    assert cached(t="second", cachefrom='["nosuchtag"]') == 0
    for each in ("first", "second"):
        api.ask("DELETE", f"/images/{each}")


def test_info_counts_the_images_that_there_are(api):
    listed = {each["Id"] for each in api.get("/images/json", all=1)}
    assert api.get("/info")["Images"] == len(listed)


def test_who_waits_for_a_removal_leaves_no_row(api, daemon, shared):
    made = api.create("sh", "-c", "read a", OpenStdin=True, HostConfig={"AutoRemove": True})
    api.post(f"/containers/{made}/start")
    body = []
    waiting = threading.Thread(
        target=lambda: body.append(api.post(f"/containers/{made}/wait?condition=removed"))
    )
    waiting.start()
    api.post(f"/containers/{made}/kill")
    waiting.join(60)
    assert body[0]["StatusCode"] == 137
    assert made not in [each.container_id for each in shared.containers.store.containers.all()]
