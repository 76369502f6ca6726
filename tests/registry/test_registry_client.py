import hashlib
import threading
import time

import pytest
from scripted import Reply

from ocimagic.errors import (
    BlobNotFound,
    ImageNotFound,
    RateLimited,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.refusal import RateLimit
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.transport import Transport
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import parse_manifest
from ocimagic.spec.reference import Reference


def fetch(client, reference, descriptor, offset=0):
    with client.open_blob(reference, descriptor, offset=offset) as stream:
        return stream.start_offset, b"".join(stream.chunks)


def test_a_pull(client, reference, image):
    manifest, blobs = image
    resolved = client.resolve(reference)
    assert resolved == manifest.descriptor
    raw, content_type = client.manifest(reference.pinned(resolved.digest))
    assert raw == manifest.raw
    got = parse_manifest(raw, content_type=content_type)
    for descriptor in (got.config, *got.layers):
        assert fetch(client, reference, descriptor) == (0, blobs[descriptor.digest])


def test_chunks_are_about_one_mebibyte(client, reference, image):
    (layer,) = image[0].layers
    with client.open_blob(reference, layer) as stream:
        sizes = [len(chunk) for chunk in stream.chunks]
    assert sum(sizes) == layer.size
    assert max(sizes) < 3 << 20
    assert len(sizes) <= 4


@pytest.mark.parametrize("offset", [0, 1, 1 << 20, -1])
def test_resume(client, reference, image, offset):
    manifest, blobs = image
    (layer,) = manifest.layers
    offset %= layer.size
    expected = blobs[layer.digest][offset:]
    assert fetch(client, reference, layer, offset) == (offset, expected)


def test_nothing_left_to_fetch(client, reference, image):
    (layer,) = image[0].layers
    assert fetch(client, reference, layer, layer.size) == (layer.size, b"")
    start, body = fetch(client, reference, layer, layer.size + 1)
    assert (start, len(body)) == (0, layer.size), "a partial file that is too long starts anew"


def test_empty_blob(client, reference, source):
    from ocimagic.spec.descriptor import Descriptor

    empty = Descriptor(mediatype.OCI_LAYER, source.add_blob(b""), 0)
    assert fetch(client, reference, empty) == (0, b"")


def test_blobs_in_parallel_share_the_client(client, reference, image):
    manifest, _blobs = image
    (layer,) = manifest.layers
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(client, reference, layer)[1]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {hashlib.sha256(body).hexdigest() for body in results} == {layer.digest.hex}
    assert len(results) == 6


def test_sha512(client, server, source, image):
    raw = image[0].raw
    digest = Digest.of_hash(hashlib.sha512(raw))
    source.manifests[digest] = (raw, mediatype.OCI_MANIFEST)
    reference = Reference.parse(f"{server.host}/class/demo@{digest}")
    assert client.manifest(reference).raw == raw
    assert client.resolve(reference).digest == digest


def test_what_is_not_there(client, server, reference, image):
    (layer,) = image[0].layers
    with pytest.raises(ImageNotFound) as caught:
        client.resolve(Reference.parse(f"{server.host}/class/demo:nope"))
    assert "class/demo:nope" in caught.value.what
    with pytest.raises(ImageNotFound) as caught:
        client.manifest(Reference.parse(f"{server.host}/class/other"))
    assert caught.value.what.startswith("no repository")
    with pytest.raises(ImageNotFound):
        client.tags(Reference.parse(f"{server.host}/class/other"))
    from dataclasses import replace

    with pytest.raises(BlobNotFound):
        fetch(client, reference, replace(layer, digest=Digest.of(b"gone")))


def test_tags_over_many_pages(client, server, source, reference, monkeypatch):
    monkeypatch.setattr("ocimagic.registry.discovery.PER_PAGE", 7)
    names = source.names["class/demo"]
    names.update({f"v{number}": names["1"] for number in range(30)})
    assert client.tags(reference) == sorted(names)


@pytest.mark.parametrize("status", [400, 403, 405, 500])
def test_resolve_without_head(scripted, client, image, status):
    manifest, _ = image

    def script(seen):
        if seen.method == "HEAD":
            return Reply(status)
        return Reply(headers=[("Content-Type", manifest.media_type)], body=manifest.raw)

    server = scripted(script)
    reference = Reference.parse(f"{server.host}/x")
    assert client.resolve(reference) == manifest.descriptor


def test_resolve_when_head_says_too_little(scripted, client, image):
    manifest, _ = image
    server = scripted(
        lambda seen: Reply(headers=[("Content-Type", manifest.media_type)], body=manifest.raw)
    )
    assert client.resolve(Reference.parse(f"{server.host}/x")) == manifest.descriptor
    assert [seen.method for seen in server.seen] == ["HEAD", "GET"]


def test_accept_names_all_we_read(scripted, client, image):
    server = scripted(lambda seen: Reply(body=image[0].raw))
    client.manifest(Reference.parse(f"{server.host}/x"))
    sent = server.seen[0].headers
    assert sent["accept"].split(", ") == [*mediatype.INDEXES, *mediatype.MANIFESTS]
    assert sent["accept-encoding"] == "identity"


def test_rate_limit_is_remembered(scripted, client, image):
    headers = [
        ("RateLimit-Limit", "100;w=21600"),
        ("RateLimit-Remaining", "76;w=21600"),
        ("Docker-RateLimit-Source", "192.0.2.1"),
    ]
    server = scripted(lambda seen: Reply(headers=headers, body=image[0].raw))
    assert client.rate_limit(server.host) is None
    client.until(threading.Event()).manifest(Reference.parse(f"{server.host}/x"))
    assert client.rate_limit(server.host) == RateLimit(100, 76, 21600, "192.0.2.1")
    assert client.rate_limit("docker.io") is None, "what another registry says is another's"


@pytest.mark.parametrize(
    ("source", "is_anonymous"),
    [
        ("192.0.2.1", True),
        ("2001:db8::", True),
        ("89ed1d3c-5d1e-4e6f-8a8d-000000000000", False),
        (None, None),
    ],
)
def test_whose_pulls_are_counted(source, is_anonymous):
    assert RateLimit(100, 76, 21600, source).is_anonymous is is_anonymous


def test_no_pulls_left(scripted, client):
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your limit"}]}'
    headers = [("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "0;w=21600")]
    server = scripted(lambda seen: Reply(429, headers, body))
    with pytest.raises(RateLimited) as caught:
        client.manifest(Reference.parse(f"{server.host}/x"))
    text = str(caught.value)
    assert "You have reached your limit" in text
    assert "100 pulls in 6 hours" in text
    assert "come back in 6 hours at the latest" in text
    assert len(server.seen) == 1, "asking again does not help"
    assert client.rate_limit(server.host).remaining == 0


def test_429_is_waited_for_when_the_registry_says_how_long(scripted, client, image):
    replies = iter([Reply(429, [("Retry-After", "0")]), Reply(body=image[0].raw)])
    server = scripted(lambda seen: next(replies))
    assert client.manifest(Reference.parse(f"{server.host}/x")).raw == image[0].raw


@pytest.mark.parametrize(
    ("retry_after", "said"),
    [
        ("60", "60 seconds"),
        ("3540", "59 minutes"),
        ("7200", "2 hours"),
        ("7201", "3 hours"),
        (str(int(time.time()) + 35_995), "10 hours"),
    ],
)
def test_429_is_not_waited_for_when_it_is_long(scripted, client, retry_after, said):
    server = scripted(lambda seen: Reply(429, [("Retry-After", retry_after)]))
    with pytest.raises(RateLimited) as caught:
        client.manifest(Reference.parse(f"{server.host}/x"))
    assert f"come back in {said}," in caught.value.hint
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_denied(scripted, client, status):
    body = b'{"errors": [{"code": "DENIED", "message": "requested access\\u001b[31m is denied"}]}'
    server = scripted(lambda seen: Reply(status, body=body))
    with pytest.raises(Unauthorized) as caught:
        client.resolve(Reference.parse(f"{server.host}/x"))
    text = str(caught.value)
    assert "pull access denied" in text
    assert f"docker login {server.host}" in text
    assert "\x1b" not in text


def test_offline_is_said_plainly(transport, monkeypatch):
    import socket

    def no_network(*args, **kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(RegistryUnreachable) as caught:
        RegistryClient(transport).resolve(Reference.parse("ubuntu"))
    assert caught.value.what == "no connection to docker.io"
    assert "offline" in caught.value.hint


def test_nothing_listens(client, server):
    server.close()
    with pytest.raises(RegistryUnreachable) as caught:
        client.resolve(Reference.parse(f"{server.host}/x"))
    assert "refused" in caught.value.why
    assert "running on this machine" in caught.value.hint


def test_stopping_while_waiting(scripted, client):
    stop = threading.Event()

    def busy(seen):
        stop.set()
        return Reply(503, [("Retry-After", "1")])

    server = scripted(busy)
    with pytest.raises(RegistryUnreachable, match="stopped"):
        client.until(stop).manifest(Reference.parse(f"{server.host}/x"))
    assert len(server.seen) == 1


def test_stopping_between_pieces(client, reference, image):
    stop = threading.Event()
    with client.until(stop).open_blob(reference, image[0].layers[0]) as stream:
        next(stream.chunks)
        stop.set()
        with pytest.raises(RegistryUnreachable, match="stopped"):
            list(stream.chunks)
    assert fetch(client, reference, image[0].layers[0])[0] == 0, "the client itself goes on"


def test_connections_are_used_again(source, image, patience):
    ports = set()

    with RegistryServer(source) as server, Transport(patience=patience) as transport:
        client = RegistryClient(transport)
        reference = Reference.parse(f"{server.host}/class/demo:1")
        for _ in range(3):
            client.resolve(reference)
            client.manifest(reference)
            fetch(client, reference, image[0].layers[0])
            fetch(client, reference, image[0].layers[0], 5)
            ports.add(len(server._http._connections))
    assert ports == {1}


def test_opening_is_cheap():
    import subprocess
    import sys

    code = (
        "import sys, ocimagic.registry.client, ocimagic.registry.credentials;"
        "print({'urllib3', 'ssl', 'http.client', 'http.server', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
