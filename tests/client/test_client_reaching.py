"""Reaching an API: addresses, versions, who is not there and who is no docker."""

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time

import pytest

from ocimagic.client import ApiClient
from ocimagic.client.address import Address, address_of
from ocimagic.client.certificates import client_at
from ocimagic.errors import (
    ContainerNotFound,
    HostLacks,
    InvalidOption,
    NeighbourError,
    NeighbourUnreachable,
)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("unix:///run/docker.sock", ("unix", "/run/docker.sock", "", 0, "")),
        ("tcp://10.0.0.1", ("tcp", "", "10.0.0.1", 2375, "")),
        ("tcp://host:99", ("tcp", "", "host", 99, "")),
        ("tcp://[::1]:99", ("tcp", "", "::1", 99, "")),
        ("ssh://me@host", ("ssh", "/var/run/docker.sock", "host", 0, "me")),
        (
            "ssh://host:22/run/user/1/podman.sock",
            ("ssh", "/run/user/1/podman.sock", "host", 22, ""),
        ),
    ],
)
def test_addresses(url, wanted):
    found = address_of(url)
    assert (found.kind, found.path, found.host, found.port, found.user) == wanted


def test_tls_has_another_usual_port():
    assert address_of("tcp://host", tls=True) == Address(
        "tcp://host", "tcp", host="host", port=2376
    )


@pytest.mark.parametrize(
    "url",
    ["", "docker", "unix://relative", "http://x", "tcp://", "tcp://h:0", "tcp://h:70000",
     "tcp://h/path", "tcp://u@h", "ssh://-oProxyCommand=evil", "ssh://-l@h", "ssh://a b"],
)  # fmt: skip
def test_no_addresses(url):
    with pytest.raises(InvalidOption):
        address_of(url)


@pytest.mark.parametrize(
    ("theirs", "spoken"), [("1.24", "1.24"), ("1.41", "1.41"), ("1.50", "1.50"), ("1.99", "1.50")]
)
def test_the_newest_version_that_both_know_is_spoken(babbler, http, theirs, spoken):
    api = babbler(
        http("200 OK", b"OK", Api_Version=theirs),
        http("200 OK", b'{"Version":"9","Components":[{"Name":"Engine"}]}'),
    )
    with ApiClient(api.url) as client:
        said = client.about()
    assert (said.api, said.name, said.version) == (spoken, "Engine", "9")
    assert api.heard == ["GET /_ping HTTP/1.1", f"GET /v{spoken}/version HTTP/1.1"]


def test_a_server_that_says_no_version_speaks_the_oldest(babbler, http):
    api = babbler(http("200 OK", b"OK"), http("200 OK", b"{}"))
    with ApiClient(api.url) as client:
        assert client.about().api == "1.24"


def test_a_server_that_is_too_old(babbler, http):
    api = babbler(http("200 OK", b"OK", Api_Version="1.12"))
    with ApiClient(api.url) as client, pytest.raises(NeighbourError, match="too old"):
        client.about()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9\r\n", b"220 smtp\r\n", b""])
def test_what_speaks_no_http_is_no_docker(babbler, answer):
    api = babbler(answer)
    with ApiClient(api.url) as client, pytest.raises(NeighbourError) as caught:
        client.about()
    assert "is no Docker API" in str(caught.value) or "broke off" in str(caught.value)


def test_another_web_server_is_no_docker(babbler, http):
    api = babbler(http("200 OK", b"<html>hello"))
    with ApiClient(api.url) as client, pytest.raises(NeighbourError, match="no Docker API"):
        client.about()


def test_an_answer_that_breaks_off(babbler, http):
    whole = http("200 OK", b"[{}]")
    api = babbler(http("200 OK", b"OK", Api_Version="1.41"), whole[:-2])
    with ApiClient(api.url) as client, pytest.raises(NeighbourError, match="broke off"):
        client.containers.list()


def test_an_answer_that_is_no_json(babbler, http):
    api = babbler(http("200 OK", b"OK", Api_Version="1.41"), http("200 OK", b"what"))
    with ApiClient(api.url) as client, pytest.raises(NeighbourError, match="nonsense"):
        client.containers.list()


def test_an_error_of_the_api_keeps_its_words(babbler, http):
    api = babbler(
        http("200 OK", b"OK", Api_Version="1.41"),
        http("404 Not Found", b'{"message":"No such container: x"}'),
    )
    with ApiClient(api.url) as client, pytest.raises(ContainerNotFound) as caught:
        client.containers.get("x")
    assert caught.value.what == "No such container: x"


def test_nobody_is_there(tmp_path):
    with ApiClient(f"unix://{tmp_path}/none") as client, pytest.raises(NeighbourUnreachable) as e:
        client.about()
    assert "there is no such socket" in str(e.value)
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
    with ApiClient(f"unix://{path}") as client, pytest.raises(NeighbourUnreachable) as e:
        client.about()
    assert "nobody listens there" in str(e.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_a_socket_that_is_not_ours(tmp_path):
    path = tmp_path / "closed"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()
        path.chmod(0)
        with ApiClient(f"unix://{path}") as client, pytest.raises(NeighbourUnreachable) as e:
            client.about()
    assert "permission denied" in str(e.value)


def test_docker_host_of_the_environment_only_when_asked():
    with client_at("env", {"DOCKER_HOST": "unix:///x"}) as client:
        assert client.url == "unix:///x"
    with pytest.raises(InvalidOption, match="not set"):
        client_at("env", {})


def test_certificates_that_are_not_there(tmp_path):
    with pytest.raises(InvalidOption, match="no certificates"):
        client_at("tcp://h", {}, str(tmp_path))


# -- ssh: a program of that name, which does what ssh -L would do ------------------------------

_SSH = textwrap.dedent(
    """\
    #!{python}
    import os, re, socket, sys, threading
    words = sys.argv[1:]
    here, there = re.split(r"(?<!\\\\):", words[words.index("-L") + 1])
    there = there.replace("\\\\:", ":").replace("%%", "%")
    open({log!r}, "a").write(f"{{os.getpid()}} {{' '.join(words[words.index('--'):])}}\\n")
    door = socket.socket(socket.AF_UNIX)
    door.bind(here)
    door.listen()
    def copy(a, b):
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    while True:
        client = door.accept()[0]
        other = socket.socket(socket.AF_UNIX)
        try:
            other.connect(there)
        except OSError as err:
            said = f"channel 2: open failed: connect failed: {{err.strerror}}"
            print(said, file=sys.stderr, flush=True)
            client.close()
            continue
        for pair in ((client, other), (other, client)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
    """
)


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    program, log = tmp_path / "ssh", tmp_path / "log"

    def make(text):
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return log

    return make


def test_one_ssh_process_leads_there_and_ends_with_the_client(remote, ssh, tmp_path):
    log = ssh(_SSH.format(python=sys.executable, log=str(tmp_path / "log")))
    there = remote.url.removeprefix("unix://")
    with ApiClient(f"ssh://me@example{there}") as client:
        assert client.about().name == "ocimagic"
        assert client.images.list()
    [line] = log.read_text().splitlines()
    pid, *words = line.split()
    assert words == ["--", "example"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_what_ssh_says_is_told(ssh):
    ssh("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    with ApiClient("ssh://example") as client, pytest.raises(NeighbourUnreachable) as caught:
        client.about()
    assert "Permission denied (publickey)." in str(caught.value)


def test_what_ssh_says_later_is_told(ssh, tmp_path):
    ssh(_SSH.format(python=sys.executable, log=str(tmp_path / "log")))
    with (
        ApiClient(f"ssh://example{tmp_path}/none") as client,
        pytest.raises(NeighbourError) as caught,
    ):
        client.about()
    assert "open failed: connect failed: No such file or directory" in str(caught.value)


def test_a_path_with_a_colon_over_there(ssh, tmp_path, talker, http):
    ssh(_SSH.format(python=sys.executable, log=str(tmp_path / "log")))
    api = talker(lambda _, client: client.sendall(http("200 OK", b"{}")))
    (tmp_path / "a:b%d").symlink_to(tmp_path / "talk")
    with ApiClient(f"ssh://example{tmp_path}/a:b%d") as client:
        client.about()
    assert api.heard == ["GET /_ping", "GET /v1.41/version"]


def test_ssh_does_not_outlive_a_kernel_that_is_killed(ssh, tmp_path, talker, http):
    log = ssh(_SSH.format(python=sys.executable, log=str(tmp_path / "log")))
    talker(lambda _, client: client.sendall(http("200 OK", b"{}")))
    code = (
        "import os, signal; from ocimagic.client import ApiClient\n"
        f"ApiClient('ssh://example{tmp_path}/talk').about()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(log.read_text().split()[0])
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_ssh(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with ApiClient("ssh://example") as client, pytest.raises(HostLacks, match="no ssh"):
        client.about()
