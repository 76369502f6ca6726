"""What a registry may do to us, and that it gains nothing by it."""

import ssl
import threading
import time

import pytest
from scripted import Reply, chunked, drip

from ocimagic.errors import (
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    RegistryAnswered,
    RegistryUnreachable,
    SizeMismatch,
)
from ocimagic.registry.auth import Authenticator
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.transport import Patience, Transport
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.reference import Reference

BODY = bytes(range(256)) * 8
BLOB = Descriptor(mediatype.OCI_LAYER, Digest.of(BODY), len(BODY))


def named(server, rest="x"):
    return Reference.parse(f"{server.host}/{rest}")


def fetch(client, server, offset=0):
    with client.open_blob(named(server), BLOB, offset=offset) as stream:
        return stream.start_offset, b"".join(stream.chunks)


class Collected:
    """What a stream gave before it failed."""

    def __init__(self):
        self.body = b""

    def take(self, stream):
        for chunk in stream.chunks:
            self.body += chunk


@pytest.fixture
def known(transport, logged_in):
    """Return a client with a login for this host."""
    return lambda host: RegistryClient(transport, logged_in(host))


BASIC = [("WWW-Authenticate", 'Basic realm="x"')]


def test_redirect_to_another_port_gets_no_login(scripted, known):
    storage = scripted(lambda seen: Reply(body=BODY))

    def script(seen):
        if "authorization" not in seen.headers:
            return Reply(401, BASIC)
        return Reply(307, [("Location", f"{storage.url}/blob?sig=1")])

    server = scripted(script)
    assert fetch(known(server.host), server, offset=3)[1] == BODY[3:]
    (seen,) = storage.seen
    assert "authorization" not in seen.headers
    assert seen.headers["range"] == f"bytes=3-{len(BODY) - 1}", "the rest of the request travels"
    assert storage.probes == []


def test_redirect_there_and_back_gets_no_login(scripted, known):
    storage = scripted(lambda seen: Reply(302, [("Location", f"{server.url}/back")]))

    def script(seen):
        if seen.path == "/back":
            return Reply(body=BODY)
        if "authorization" not in seen.headers:
            return Reply(401, BASIC)
        return Reply(302, [("Location", f"{storage.url}/away")])

    server = scripted(script)
    assert fetch(known(server.host), server)[1] == BODY
    assert "authorization" not in server.seen[-1].headers


def test_login_stays_on_a_redirect_within_the_origin(scripted, known):
    def script(seen):
        if "authorization" not in seen.headers:
            return Reply(401, BASIC)
        return Reply(body=BODY) if seen.path == "/b" else Reply(301, [("Location", "/b")])

    server = scripted(script)
    assert fetch(known(server.host), server)[1] == BODY


def test_challenge_behind_a_redirect_is_not_answered(scripted, known):
    storage = scripted(lambda seen: Reply(401, BASIC))
    server = scripted(lambda seen: Reply(302, [("Location", f"{storage.url}/b")]))
    with pytest.raises(RegistryAnswered, match="sent us"):
        fetch(known(server.host), server)
    assert len(storage.seen) == 1
    assert "authorization" not in storage.seen[0].headers


def test_redirect_loop(scripted, client):
    server = scripted(lambda seen: Reply(302, [("Location", seen.path)]))
    with pytest.raises(RegistryAnswered, match="circles"):
        fetch(client, server)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://example.com/blob",
        "ftp://127.0.0.1/",
        "https://user:secret@127.0.0.1/",
        "//[::1",
        "file:///etc/passwd",
    ],
)
def test_redirect_that_is_refused(scripted, client, location):
    server = scripted(lambda seen: Reply(302, [("Location", location)]))
    with pytest.raises(RegistryAnswered) as caught:
        fetch(client, server)
    assert "secret" not in str(caught.value)


def test_redirect_without_a_location(scripted, client):
    server = scripted(lambda seen: Reply(302))
    with pytest.raises(RegistryAnswered, match="HTTP 302"):
        fetch(client, server)


def test_401_loop_on_basic(scripted, known):
    server = scripted(lambda seen: Reply(401, BASIC))
    with pytest.raises(Exception, match="pull access denied"):
        known(server.host).manifest(named(server))
    assert len(server.seen) == 2


# --- manifests


@pytest.mark.parametrize("said", ["sha256:" + "0" * 64, "sha512:" + "0" * 128])
def test_announced_digest_is_a_lie(scripted, client, image, said):
    headers = [("Docker-Content-Digest", said), ("Content-Type", mediatype.OCI_MANIFEST)]
    server = scripted(lambda seen: Reply(headers=headers, body=image[0].raw))
    for rest in ("x", f"x@{image[0].digest}"):
        with pytest.raises(DigestMismatch):
            client.manifest(named(server, rest))
    with pytest.raises(DigestMismatch):
        client.resolve(named(server, f"x@{image[0].digest}"))


@pytest.mark.parametrize("said", ["md5:0", "sha256:../../x", "SHA256:" + "0" * 64, "-"])
def test_announced_digest_is_none(scripted, client, image, said):
    server = scripted(
        lambda seen: Reply(headers=[("Docker-Content-Digest", said)], body=image[0].raw)
    )
    with pytest.raises(RegistryAnswered):
        client.manifest(named(server))


def test_other_bytes_than_asked_for(scripted, client):
    server = scripted(lambda seen: Reply(body=b"{}"))
    with pytest.raises(DigestMismatch):
        client.manifest(named(server, f"x@{BLOB.digest}"))


def test_content_type_and_body_disagree(scripted, client, image):
    server = scripted(
        lambda seen: Reply(headers=[("Content-Type", mediatype.OCI_INDEX)], body=image[0].raw)
    )
    raw, content_type = client.manifest(named(server))
    with pytest.raises(InvalidDocument):
        parse_manifest(raw, content_type=content_type)


@pytest.mark.parametrize("framed", [True, False])
def test_manifest_that_is_too_large(scripted, client, framed):
    server = scripted(lambda seen: Reply(body=b" " * ((4 << 20) + 1), framed=framed))
    with pytest.raises(RegistryAnswered, match="too large"):
        client.manifest(named(server))


def test_manifest_that_never_ends(scripted, client):
    server = scripted(lambda seen: Reply(headers=[("Content-Length", "1000000")], then=drip))
    with pytest.raises(RegistryAnswered, match="does not end"):
        client.manifest(named(server))


@pytest.mark.parametrize("tls", [False, True])
def test_headers_that_never_end(scripted, tls, certificate):
    """Never silent for long, and never done."""

    def endless(connection, stop):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        drip(connection, stop)

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = scripted(lambda seen: Reply(then=endless, raw=b""), tls=context)
    patience = Patience(read_s=5.0, head_s=0.3, tries=1)
    with Transport(patience=patience) as transport:
        start = time.monotonic()
        with pytest.raises(RegistryUnreachable, match="nothing came for too long"):
            RegistryClient(transport).manifest(named(server))
        assert time.monotonic() - start < 3


def test_manifest_that_is_packed(scripted, client, image):
    server = scripted(lambda seen: Reply(headers=[("Content-Encoding", "gzip")], body=image[0].raw))
    with pytest.raises(RegistryAnswered, match="packs"):
        client.manifest(named(server))


# --- blobs


def test_range_is_ignored(scripted, client):
    server = scripted(lambda seen: Reply(body=BODY))
    assert fetch(client, server, offset=700) == (700, BODY[700:])


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "bytes 0-2047/2048",
        "bytes 701-2047/2048",
        "bytes 700-2046/2048",
        "bytes 700-2048/2049",
        "bytes */2048",
        "700-2047/2048",
    ],
)
def test_wrong_content_range(scripted, client, content_range):
    headers = [("Content-Range", content_range)] if content_range else []
    server = scripted(lambda seen: Reply(206, headers, BODY[700:]))
    with pytest.raises(RegistryAnswered, match="another part"):
        fetch(client, server, offset=700)


def test_range_of_a_blob_of_another_size(scripted, client):
    headers = [("Content-Range", "bytes 700-2047/9999")]
    server = scripted(lambda seen: Reply(206, headers, BODY[700:]))
    with pytest.raises(SizeMismatch):
        fetch(client, server, offset=700)


def test_a_part_that_was_not_asked_for(scripted, client):
    headers = [("Content-Range", "bytes 0-2047/2048")]
    server = scripted(lambda seen: Reply(206, headers, BODY))
    with pytest.raises(RegistryAnswered, match="HTTP 206"):
        fetch(client, server)


def test_416_starts_again(scripted, client):
    server = scripted(lambda seen: Reply(416) if "range" in seen.headers else Reply(body=BODY))
    assert fetch(client, server, offset=700) == (0, BODY)
    always = scripted(lambda seen: Reply(416))
    with pytest.raises(RegistryAnswered):
        fetch(client, always, offset=700)
    assert len(always.seen) == 2


@pytest.mark.parametrize("body", [BODY + b"!", BODY[:-1], b""])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_wrong_size(scripted, client, body, framing):
    if framing == "length":
        reply = Reply(body=body)
    else:
        parts = [body] if body else []
        reply = Reply(headers=[("Transfer-Encoding", "chunked")], body=chunked(*parts))
    server = scripted(lambda seen: reply)
    got = Collected()
    with pytest.raises(SizeMismatch), client.open_blob(named(server), BLOB) as stream:
        got.take(stream)
    assert len(got.body) <= BLOB.size


def test_too_long_without_a_length(scripted, client):
    server = scripted(lambda seen: Reply(body=BODY + b"!", framed=False))
    with pytest.raises(SizeMismatch):
        fetch(client, server)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(headers=[("Content-Length", "2048")], body=BODY[:9]),
        Reply(headers=[("Transfer-Encoding", "chunked")], body=b"ff\r\n" + BODY[:9]),
        Reply(body=BODY[:9], framed=False),
    ],
    ids=["length", "chunked", "until-close"],
)
def test_break_can_be_resumed(scripted, client, reply):
    reply.then = lambda connection, stop: connection.shutdown(2)
    server = scripted(lambda seen: reply if "range" not in seen.headers else Reply(body=BODY))
    chunks = Collected()
    with pytest.raises(RegistryUnreachable), client.open_blob(named(server), BLOB) as stream:
        chunks.take(stream)
    assert chunks.body == BODY[:9], "what came before the break is handed over"
    start, rest = fetch(client, server, offset=len(chunks.body))
    assert chunks.body[:start] + rest == BODY


def test_silence_in_a_blob(scripted, client):
    server = scripted(
        lambda seen: Reply(
            headers=[("Content-Length", str(len(BODY)))],
            body=BODY[:5],
            then=lambda connection, stop: stop.wait(5),
        )
    )
    got = Collected()
    with pytest.raises(RegistryUnreachable), client.open_blob(named(server), BLOB) as stream:
        got.take(stream)
    assert got.body == BODY[:5]


def test_slow_blob_can_be_stopped(scripted, client):
    server = scripted(lambda seen: Reply(headers=[("Content-Length", str(len(BODY)))], then=drip))
    stop = threading.Event()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    with (
        pytest.raises(RegistryUnreachable, match="stopped"),
        client.until(stop).open_blob(named(server), BLOB) as stream,
    ):
        list(stream.chunks)
    timer.join()


def test_leaving_a_blob_early_does_no_harm(scripted, client):
    server = scripted(lambda seen: Reply(body=BODY))
    with client.open_blob(named(server), BLOB):
        pass
    assert fetch(client, server) == (0, BODY)


# --- errors


def test_error_body_that_never_ends(scripted, client):
    server = scripted(
        lambda seen: Reply(404, [("Content-Length", "1000000")], b'{"errors": [', then=drip)
    )
    start = time.monotonic()
    with pytest.raises(ImageNotFound):
        client.manifest(named(server))
    assert time.monotonic() - start < 1


def test_error_body_that_is_too_large(scripted, client):
    body = b'{"errors": [{"code": "X", "message": "%s"}]}' % (b"a" * (1 << 20))
    server = scripted(lambda seen: Reply(400, body=body))
    with pytest.raises(RegistryAnswered) as caught:
        client.manifest(named(server))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "body",
    [
        b"<html>nginx</html>",
        b'{"errors": 7}',
        b'{"errors": [7]}',
        b'{"errors": []}',
        b'{"errors": [{"code": 7, "message": []}]}',
        b"[" * 2000,
        b"\xff\xfe",
    ],
)
def test_error_body_that_says_nothing(scripted, client, body):
    server = scripted(lambda seen: Reply(400, body=body))
    with pytest.raises(RegistryAnswered, match="HTTP 400"):
        client.manifest(named(server))


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_garbage(scripted, client, raw):
    server = scripted(lambda seen: Reply(raw=raw))
    with pytest.raises(RegistryAnswered, match="HTTP"):
        client.manifest(named(server))


def test_closed_without_an_answer_is_tried_three_times(scripted, client):
    server = scripted(lambda seen: Reply(raw=b""))
    with pytest.raises(RegistryUnreachable):
        client.manifest(named(server))
    assert len(server.seen) == 3


def test_a_server_that_recovers(scripted, client, image):
    replies = iter([Reply(raw=b""), Reply(503), Reply(body=image[0].raw)])
    server = scripted(lambda seen: next(replies))
    assert client.manifest(named(server)).raw == image[0].raw


def test_out_of_order(scripted, client):
    server = scripted(lambda seen: Reply(503))
    with pytest.raises(RegistryUnreachable, match="out of order"):
        client.manifest(named(server))
    assert len(server.seen) == 3


# --- tags


def test_next_page_on_another_host(scripted, client):
    other = scripted(lambda seen: Reply(body=b'{"tags": ["stolen"]}'))
    for link in (f"{other.url}/v2/x/tags/list", "/v2/other/tags/list?n=1", "http://10.0.0.1/"):
        headers = [("Link", f'<{link}>; rel="next"')]
        server = scripted(lambda seen, h=headers: Reply(headers=h, body=b'{"tags": ["a"]}'))
        with pytest.raises(RegistryAnswered, match="elsewhere"):
            client.tags(named(server))
    assert other.seen == []


def test_pages_that_do_not_end(scripted, client):
    link = [("Link", '</v2/x/tags/list?last=a>; rel="next"')]
    same = scripted(lambda seen: Reply(headers=link, body=b'{"tags": ["a"]}'))
    with pytest.raises(RegistryAnswered, match="does not end"):
        client.tags(named(same))
    assert len(same.seen) == 2


def test_too_many_pages(scripted, client, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.discovery.MAX_PAGES", 5)
    count = iter(range(1000))
    link = [("Link", '</v2/x/tags/list?last=a>; rel="next"')]
    server = scripted(lambda seen: Reply(headers=link, body=b'{"tags": ["v%d"]}' % next(count)))
    with pytest.raises(RegistryAnswered, match="does not end"):
        client.tags(named(server))


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (b'{"name": "x", "tags": null}', []),
        (b'{"tags": ["b", "a", "b"]}', ["b", "a"]),
        (b'{"tags": ["a", "\\u001b[31mred"]}', ["a"]),
        (b'{"tags": [7]}', None),
        (b"nonsense", None),
    ],
)
def test_list_of_tags(scripted, client, body, tags):
    server = scripted(lambda seen: Reply(body=body))
    if tags is None:
        with pytest.raises(RegistryAnswered):
            client.tags(named(server))
    else:
        assert client.tags(named(server)) == tags


def test_many_tags_are_cut(scripted, client, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.discovery.MAX_NAMES", 3)
    server = scripted(lambda seen: Reply(body=b'{"tags": ["a", "b", "c", "d"]}'))
    assert client.tags(named(server)) == ["a", "b", "c"]


def test_errors_carry_no_secrets(scripted, known):
    storage = scripted(lambda seen: Reply(raw=b"garbage"))
    target = f"{storage.url}/b?X-Amz-Signature=s3cret"
    server = scripted(lambda seen: Reply(302, [("Location", target)]))
    with pytest.raises(RegistryAnswered) as caught:
        fetch(known(server.host), server)
    assert "s3cret" not in str(caught.value)
    assert storage.host in str(caught.value)


def test_authenticator_sends_no_login_unasked(scripted, transport, logged_in):
    server = scripted(lambda seen: Reply())
    from ocimagic.registry.auth import Subject
    from ocimagic.registry.message import Request

    auth = Authenticator(transport, logged_in(server.host))
    auth.open(Request("GET", f"{server.url}/v2/x"), Subject(server.host, "x")).close()
    assert "authorization" not in server.seen[0].headers
