import socket
import ssl
import subprocess
import threading
from email.utils import formatdate

import pytest
from scripted import Reply

from ocimagic.errors import InvalidOption, Offline, RegistryAnswered, RegistryUnreachable
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.message import Request, retry_after_s
from ocimagic.registry.settings import Certificates
from ocimagic.registry.transport import Patience, Transport
from ocimagic.spec.reference import Reference


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate that signs itself."""
    room = tmp_path_factory.mktemp("tls")
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", room / "key.pem", "-out", room / "cert.pem"],
        capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("openssl cannot make a certificate")
    return room


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def test_loopback_registry_with_tls(scripted, client, tls, image):
    server = scripted(lambda seen: Reply(body=image[0].raw), tls=tls)
    reference = Reference.parse(f"{server.host}/x")
    assert client.manifest(reference).raw == image[0].raw
    assert client.manifest(reference).raw == image[0].raw
    assert len(server.probes) == 1


def test_loopback_registry_that_says_it_wants_https(scripted, transport):
    server = scripted(lambda seen: Reply(), tls=None)
    said = b"Client sent an HTTP request to an HTTPS server."
    server._answer = lambda handler: server._send(handler, Reply(400, body=said))
    with pytest.raises(RegistryAnswered, match="speaks HTTPS"):
        transport.base_url(server.host)


def test_offline_asks_this_machine_only(scripted, image):
    server = scripted(lambda seen: Reply(body=image[0].raw))
    said = {"OCIMAGIC_OFFLINE": "1"}
    with Transport(env=said, patience=Patience(backoff_s=60)) as transport:
        client = RegistryClient(transport)
        assert client.manifest(Reference.parse(f"{server.host}/x")).raw == image[0].raw
        with pytest.raises(Offline, match=r"docker\.io is not asked") as raised:
            client.manifest(Reference.parse("debian:12"))
        assert "image_load" in raised.value.hint
    with Transport(env={"OCIMAGIC_OFFLINE": "0"}, patience=Patience(tries=1)) as transport:
        client = RegistryClient(transport)
        with pytest.raises(RegistryUnreachable):
            client.manifest(Reference.parse("nowhere.invalid/debian:12"))


def test_certificate_is_checked_elsewhere(scripted, tls, patience, monkeypatch, certificate):
    server = scripted(lambda seen: Reply(), tls=tls)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    request = Request("GET", f"https://registry.example:{server.port}/v2/x")
    for ca_file in (None, certificate / "cert.pem"):
        transport = Transport(patience=patience, ca_file=ca_file)
        with transport, pytest.raises(RegistryAnswered, match="cannot be trusted"):
            transport.open(request)
    listed = frozenset({f"registry.example:{server.port}"})
    with Transport(patience=patience, insecure=listed) as transport:
        transport.open(request).close()
    assert len(server.seen) == 1


def refused(server, patience, kept, error, said=None):
    """Assert that a server is not met with these certificates."""
    transport = Transport(patience=patience, certificates=lambda _: kept)
    with transport, pytest.raises(error, match=said):
        transport.open(Request("GET", f"https://localhost:{server.port}/v2/x"))


def test_an_authority_of_its_own_and_a_client_certificate(scripted, tls, patience, certificate):
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate / "cert.pem")
    server = scripted(lambda seen: Reply(), tls=tls)
    authority = certificate / "cert.pem"
    asked = []

    def kept(host):
        asked.append(host)
        return Certificates((authority,), ((authority, certificate / "key.pem"),))

    with Transport(patience=patience, certificates=kept) as transport:
        transport.open(Request("GET", f"https://localhost:{server.port}/v2/x")).close()
    assert set(asked) == {f"localhost:{server.port}"}
    for missing in (Certificates((authority,)), Certificates()):
        refused(server, patience, missing, (RegistryUnreachable, RegistryAnswered))
    assert len(server.seen) == 1


def test_an_authority_is_checked_on_this_machine_too(scripted, tls, patience, tmp_path):
    """Whoever keeps one for a host does not want another one there."""
    key, other = tmp_path / "key", tmp_path / "crt"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=other", "-keyout", key, "-out", other]  # fmt: skip
    subprocess.run(words, capture_output=True, check=True)
    server = scripted(lambda seen: Reply(), tls=tls)
    refused(server, patience, Certificates((other,)), RegistryAnswered, "cannot be trusted")


def test_a_damaged_certificate_is_said(scripted, tls, patience, tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")
    server = scripted(lambda seen: Reply(), tls=tls)
    kept = Certificates((tmp_path / "ca.crt",))
    refused(server, patience, kept, InvalidOption, r"ca\.crt cannot be used")


def test_plain_server_where_tls_is_due(scripted, patience, monkeypatch):
    server = scripted(lambda seen: Reply())
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    reference = Reference.parse(f"registry.example:{server.port}/x")
    with (
        Transport(patience=patience) as transport,
        pytest.raises((RegistryAnswered, RegistryUnreachable)),
    ):
        RegistryClient(transport).tags(reference)
    assert server.seen == []
    listed = frozenset({"registry.example"})
    with Transport(patience=patience, insecure=listed) as transport:
        assert transport.base_url(reference.registry) == f"http://registry.example:{server.port}"


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("quay.io", "https://quay.io"),
        ("QUAY.io:8443", "https://quay.io:8443"),
    ],
)
def test_base_url_needs_no_network(transport, registry, url):
    assert transport.base_url(registry) == url


def test_a_proxy_is_used(scripted, patience):
    proxy = scripted(lambda seen: Reply(body=b"by proxy"))
    env = {"HTTP_PROXY": f"http://ada:pw@{proxy.host}"}
    insecure = frozenset({"registry.example"})
    request = Request("GET", "http://registry.example/v2/x")
    transport = Transport(patience=patience, env=env, insecure=insecure)
    with transport, transport.open(request) as answer:
        assert answer.read(max_bytes=99, within_s=1, what="word") == b"by proxy"
    assert proxy.seen[0].path == "http://registry.example/v2/x"
    assert proxy.seen[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_is_not_there(patience):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{free.getsockname()[1]}"}
        transport = Transport(patience=patience, env=env)
        with transport, pytest.raises(RegistryUnreachable, match="proxy"):
            transport.open(Request("GET", "https://registry.example/v2/x"))


def test_stopped_before_it_began(transport):
    stop = threading.Event()
    stop.set()
    with pytest.raises(RegistryUnreachable, match="stopped"):
        transport.open(Request("GET", "https://registry.example/"), cancelled=stop)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("9" * 40, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after_s(text) == seconds


def test_retry_after_a_date_ahead():
    import time

    assert 58 < retry_after_s(formatdate(time.time() + 60, usegmt=True)) <= 60


def test_pauses_grow_and_retry_after_takes_their_place(scripted):
    replies = [Reply(503), Reply(raw=b""), Reply(429, [("Retry-After", "7")]), Reply(502), Reply()]
    server = scripted(lambda seen: replies[len(server.seen) - 1])
    waited = []
    transport = Transport(
        patience=Patience(tries=5, backoff_s=1), wait=lambda _, seconds: waited.append(seconds)
    )
    with transport, transport.open(Request("GET", f"{server.url}/x")) as answer:
        assert answer.status == 200
    assert waited == [1, 2, 7, 8]
