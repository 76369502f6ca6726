"""Who may come in: sockets of this account, TCP with certificates, and nobody else."""

import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from talk import files_now, rest, serving, settled, statuses, threads_now

from ocimagic.api.place import Certificates, address_of
from ocimagic.api.server import Address, Server
from ocimagic.errors import InvalidOption, PortTaken, StorageError

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"


@pytest.fixture
def docker():
    program = shutil.which("docker")
    if not program:
        pytest.skip("docker is not installed")
    return program


def run(*words, stdin=b"", **environment):
    environment = {"PATH": os.environ["PATH"]} | environment
    return subprocess.run(
        words, input=stdin, capture_output=True, timeout=60, check=False, env=environment
    )


def test_a_socket_is_for_its_account_alone(engine, tmp_path):
    path = tmp_path / "deep" / "er" / "api.sock"
    with Server(engine, Address(path=str(path))) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert server.url == f"unix://{path}"
    assert not path.exists()


def test_another_account_is_refused_whatever_the_mode(engine, tmp_path):
    if os.geteuid():
        pytest.skip("needs root")
    client = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try:\n  s.sendall(b'GET /_ping HTTP/1.1\\r\\nHost: d\\r\\n\\r\\n'); print(s.recv(100))\n"
        "except OSError: print(b'')"
    )
    with serving(engine, tmp_path) as server:
        path = server.url.removeprefix("unix://")
        os.chmod(path, 0o666)
        for each in tmp_path.parents:
            if each.stat().st_uid == 0 and each != each.parent and "pytest" in str(each):
                each.chmod(0o755)
        tmp_path.chmod(0o755)
        words = [sys.executable, "-c", client, path]
        done = subprocess.run(words, capture_output=True, check=True, timeout=60)
        assert b"200 OK" in done.stdout
        done = subprocess.run(
            words, capture_output=True, check=False, timeout=60, user=65534, cwd="/"
        )
        assert done.stdout == b"b''\n", done.stderr


def test_a_socket_that_nobody_listens_at_is_replaced(engine, tmp_path):
    path = tmp_path / "api.sock"
    with closing(socket.socket(socket.AF_UNIX)) as old:
        old.bind(str(path))
    with serving(engine, tmp_path) as server:
        assert server.is_served
    assert not server.is_served
    server.close()  # a second time does nothing


def test_where_somebody_listens_nobody_else_does(engine, tmp_path):
    files = files_now()
    with serving(engine, tmp_path) as server, pytest.raises(PortTaken):
        Server(engine, Address(path=server.url.removeprefix("unix://")))
    assert not (tmp_path / "api.sock").exists()
    (tmp_path / "api.sock").write_text("mine")
    with pytest.raises(InvalidOption):
        Server(engine, Address(path=str(tmp_path / "api.sock")))
    assert (tmp_path / "api.sock").read_text() == "mine"
    with pytest.raises(StorageError):
        Server(engine, Address(path="/proc/nowhere/api.sock"))
    with (
        Server(engine, Address(host="127.0.0.1")) as server,
        pytest.raises(PortTaken),
    ):
        Server(engine, Address(host="127.0.0.1", port=int(server.url.rpartition(":")[2])))
    settled(lambda: files_now() <= files + 8, "descriptors")  # the engine's own, at most


def test_somebody_elses_socket_is_left(engine, tmp_path):
    path = tmp_path / "api.sock"
    with Server(engine, Address(path=str(path))), closing(socket.socket(socket.AF_UNIX)) as other:
        path.unlink()
        other.bind(str(path))
    assert path.exists()


def test_two_servers_of_one_process_end_in_any_order(engine, tmp_path):
    usual = sys.getswitchinterval()
    first = Server(engine, Address(path=str(tmp_path / "a")))
    second = Server(engine, Address(path=str(tmp_path / "b")))
    first.close()
    assert sys.getswitchinterval() < usual
    second.close()
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize(
    ("host", "in_clear", "said"),
    [
        ("tcp://0.0.0.0:2375", False, "without TLS is refused"),
        ("tcp://0.0.0.0:2375", True, "without TLS is refused"),
        ("tcp://192.0.2.1", True, "without TLS is refused"),
        ("tcp://[::]:2375", True, "without TLS is refused"),
        ("tcp://127.0.0.1:2375", False, "is without TLS"),
        ("tcp://localhost", False, "is without TLS"),
        ("tcp://127.0.0.1:70000", True, "70000"),
        ("tcp://nobody:1", True, "cannot be understood"),
        ("http://127.0.0.1:1", True, "cannot be understood"),
        ("/run/x.sock", True, "cannot be understood"),
        ("unix://" + "x" * 200, True, "too long"),
    ],
)
def test_where_nobody_may_listen(host, in_clear, said):
    with pytest.raises(InvalidOption, match=said):
        address_of(host, Certificates(), in_clear=in_clear)


def test_this_machine_in_clear_if_that_is_meant(engine):
    address = address_of("tcp://127.0.0.1:0", Certificates(), in_clear=True)
    with Server(engine, address) as server:
        port = int(server.url.rpartition(":")[2])
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            client.sendall(PING)
            assert statuses(rest(client)) == [200]


def test_half_of_the_certificates_is_none(tmp_path):
    with pytest.raises(InvalidOption, match="go together"):
        address_of("tcp://0.0.0.0:0", Certificates("ca.pem"), in_clear=False)
    with pytest.raises(InvalidOption, match="cannot be used"):
        address_of("tcp://0.0.0.0:0", Certificates("/a", "/b", "/c"), in_clear=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a server's and a client's certificate, as docker's manual has them made."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    room = tmp_path_factory.mktemp("certificates")

    def openssl(*words):
        done = subprocess.run(["openssl", *words], cwd=room, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    for authority in ("ca", "other-ca"):
        files = ("-keyout", f"{authority}-key.pem", "-out", f"{authority}.pem")
        kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
        openssl("req", *kind, "-subj", f"/CN={authority}", *files)
    for name, authority, use in (
        ("server", "ca", "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1"),
        ("cert", "ca", "extendedKeyUsage=clientAuth"),
        ("stranger", "other-ca", "extendedKeyUsage=clientAuth"),
    ):
        (room / "use").write_text(use)
        key = "key.pem" if name == "cert" else f"{name}-key.pem"
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
                "-out", "request")  # fmt: skip
        openssl("x509", "-req", "-in", "request", "-days", "2", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}-key.pem", "-CAcreateserial", "-out", f"{name}.pem",
                "-extfile", "use")  # fmt: skip
    return room


def secured(engine, room):
    files = Certificates(*(str(room / f"{each}.pem") for each in ("ca", "server", "server-key")))
    return Server(engine, address_of("tcp://127.0.0.1:0", files, in_clear=False))


def test_dockers_client_comes_in_with_its_certificate(shared, certificates, docker):
    """Streams both ways, half of a connection closed before the other."""
    threads = threads_now()
    with secured(shared, certificates) as server:
        words = [docker, "--host", server.url, "--tlsverify"]
        environment = {"DOCKER_CERT_PATH": str(certificates), "HOME": str(certificates)}
        done = run(*words, "version", "--format", "{{.Server.Platform.Name}}", **environment)
        assert done.stdout == b"ocimagic\n", done.stderr
        text = os.urandom(1 << 20)
        done = run(*words, "run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end >&2; exit 7",
                   stdin=text, **environment)  # fmt: skip
        assert done.stdout == text
        assert (done.stderr, done.returncode) == (b"end\n", 7)
        done = run(*words, "save", "busybox", **environment)
        assert len(done.stdout) > 1 << 20, done.stderr
    settled(lambda: threads_now() <= threads, "threads")


def test_buildkits_client_builds_with_its_certificate(shared, certificates):
    """A connection that is turned round is one of TLS, too."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    said = run("/usr/bin/docker", "--version") if os.path.exists("/usr/bin/docker") else None
    if said is None or not said.stdout.startswith(b"Docker version 20."):
        pytest.skip("there is no docker of 20.10 here: its docker client is older than buildx")
    threads = threads_now()
    with secured(shared, certificates) as server:
        environment = {
            "DOCKER_CERT_PATH": str(certificates), "HOME": str(certificates), "DOCKER_BUILDKIT": "1"
        }  # fmt: skip
        words = ["/usr/bin/docker", "--host", server.url, "--tlsverify", "build", "-q", "-"]
        done = run(*words, stdin=b"FROM busybox\nRUN true\n", **environment)
        assert done.stdout.startswith(b"sha256:"), done.stderr
    settled(lambda: threads_now() <= threads, "threads")


def _heard(context, port):
    """Return what somebody hears; to hear nothing is to be refused, too."""
    with (
        closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(PING)
        if not (found := client.recv(100)):
            raise ConnectionError
        return found


@pytest.mark.parametrize("name", ["", "stranger"])
def test_who_has_no_certificate_of_the_authority_is_refused(engine, certificates, name):
    threads = threads_now()
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if name:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}-key.pem")
    with secured(engine, certificates) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _heard(context, port)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as plain:
            plain.sendall(PING)
            assert b"200" not in rest(plain)
    settled(lambda: threads_now() <= threads, "threads")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_tls_is_refused(engine, certificates):
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with secured(engine, certificates) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _heard(context, port)


def test_a_large_answer_over_tls_is_whole_for_a_slow_reader(engine, certificates):
    """And a client that vanishes while it is sent leaves nothing."""
    threads = threads_now()
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with secured(engine, certificates) as server:
        port = int(server.url.rpartition(":")[2])
        for many in (2000, 5):
            client = context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), timeout=20),
                server_hostname="127.0.0.1",
            )
            ping = PING.replace(b"Connection: close\r\n", b"")
            sender = threading.Thread(target=client.sendall, args=(ping * 2000 + PING,))
            sender.start()
            sender.join()
            found = b""
            while len(found) < many * 100 and (data := client.recv(700)):
                found += data
            if many == 2000:
                found += rest(client)
                assert statuses(found) == [200] * 2001
            client.close()
        settled(lambda: server.clients == 0, "clients")
    settled(lambda: threads_now() <= threads, "threads")


def test_dockers_client_learns_where_it_is(engine, tmp_path, docker):
    """``ocimagic context install``."""
    program = [sys.executable, "-m", "ocimagic"]
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with serving(engine, tmp_path) as server:
        done = run(*program, "context", "install", "-H", server.url, "class", **environment)
        assert done.returncode == 0, done.stderr
        done = run(docker, "--context", "class", "version", "--format",
                   "{{.Server.Platform.Name}}", HOME=str(tmp_path))  # fmt: skip
        assert done.stdout == b"ocimagic\n", done.stderr
        done = run(docker, "context", "ls", "--format", "{{.Name}} {{.DockerEndpoint}}",
                   HOME=str(tmp_path))  # fmt: skip
        assert f"class {server.url}" in done.stdout.decode()
