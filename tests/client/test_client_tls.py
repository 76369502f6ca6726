"""An API over TCP with TLS: both sides show who they are."""

import os
import shutil
import subprocess

import pytest

from ocimagic.api.place import Certificates, address_of
from ocimagic.api.server import Server
from ocimagic.client.certificates import client_at
from ocimagic.errors import InvalidOption, NeighbourError, NeighbourUnreachable
from ocimagic.model.options import NetworkMode, RunOptions


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """Certificates of an authority in one directory, those of another in a second."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    made = []
    for name in ("known", "stranger"):
        room = tmp_path_factory.mktemp(name)
        made.append(room)
        _openssl(room, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                 f"/CN={name}", "-keyout", "ca-key.pem", "-out", "ca.pem")  # fmt: skip
        for which, use in (("server", "serverAuth\nsubjectAltName=IP:127.0.0.1"),
                           ("cert", "clientAuth")):  # fmt: skip
            (room / "use").write_text(f"extendedKeyUsage={use}")
            key = "key.pem" if which == "cert" else "server-key.pem"
            _openssl(room, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={which}",
                     "-keyout", key, "-out", "request")  # fmt: skip
            _openssl(room, "x509", "-req", "-in", "request", "-days", "2", "-CA", "ca.pem",
                     "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", f"{which}.pem",
                     "-extfile", "use")  # fmt: skip
    return made


def _openssl(room, *words):
    done = subprocess.run(["openssl", *words], cwd=room, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def url(shared, rooms):
    files = Certificates(
        *(str(rooms[0] / f"{each}.pem") for each in ("ca", "server", "server-key"))
    )
    with Server(shared, address_of("tcp://127.0.0.1:0", files, in_clear=False)) as server:
        yield server.url


def test_streams_go_both_ways(url, rooms):
    data = os.urandom(1 << 20)
    with client_at(url, {}, str(rooms[0])) as client:
        assert client.about().name == "ocimagic"
        done = client.containers.run_options(
            RunOptions(image="busybox", command=("sh", "-c", "cat; exit 7"), interactive=True,
                       network=NetworkMode.NONE, remove=True),
            stdin=data,
        )  # fmt: skip
    assert (done.stdout, done.exit_code) == (data, 7)


def test_docker_host_of_the_environment_with_tls(url, rooms):
    environment = {"DOCKER_HOST": url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(rooms[0])}
    with client_at("env", environment) as client:
        assert client.images.list()


def test_a_server_of_another_authority_is_not_talked_to(url, rooms):
    with client_at(url, {}, str(rooms[1])) as client, pytest.raises(NeighbourUnreachable) as caught:
        client.about()
    assert "no TLS" in str(caught.value)


def test_a_key_that_takes_a_password_is_not_asked_for_at_a_terminal(rooms, tmp_path):
    for each in ("ca.pem", "cert.pem", "key.pem"):
        shutil.copy(rooms[0] / each, tmp_path / each)
    _openssl(tmp_path, "rsa", "-aes128", "-passout", "pass:x", "-in", "key.pem", "-out", "locked")
    (tmp_path / "locked").rename(tmp_path / "key.pem")
    with pytest.raises(InvalidOption, match="no certificates"):
        client_at("tcp://h", {}, str(tmp_path))


def test_without_tls_it_is_no_docker(url):
    with client_at(url, {}) as client, pytest.raises(NeighbourError):
        client.about()
