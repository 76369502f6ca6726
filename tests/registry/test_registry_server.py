import contextlib
import http.client
import json
import random
import socket
import ssl
from pathlib import Path

import pytest

from ocimagic.errors import InvalidOption
from ocimagic.registry.server import RegistryServer, Rules, server_tls
from ocimagic.registry.source import MemorySource
from ocimagic.spec.digest import Digest


@pytest.fixture
def ask(server):
    """Send one request; return status, headers and body."""
    connection = http.client.HTTPConnection(server.host, timeout=2)

    def ask(method, path, **headers):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    yield ask
    connection.close()


def code(body):
    return json.loads(body)["errors"][0]["code"]


def test_base(ask):
    status, headers, body = ask("GET", "/v2/")
    assert (status, body) == (200, b"{}")
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_manifest(ask, image, by):
    manifest, _ = image
    path = f"/v2/class/demo/manifests/{'1' if by == 'tag' else manifest.digest}"
    status, headers, body = ask("GET", path)
    assert (status, body) == (200, manifest.raw)
    assert headers["Docker-Content-Digest"] == manifest.digest
    assert headers["Content-Type"] == manifest.media_type
    assert headers["ETag"] == f'"{manifest.digest}"'
    status, head, body = ask("HEAD", path)
    assert (status, body) == (200, b"")
    assert head["Content-Length"] == headers["Content-Length"] == str(len(manifest.raw))


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        (None, 200, slice(0, None)),
        ("bytes=0-", 206, slice(0, None)),
        ("bytes=5-9", 206, slice(5, 10)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=5-99999999999", 206, slice(5, None)),
        ("bytes=-99999999999", 206, slice(0, None)),
        ("bytes=9-5", 200, slice(0, None)),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
        ("bytes=99999999999-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_blob_ranges(ask, image, asked, status, part):
    descriptor = image[0].layers[0]
    content = image[1][descriptor.digest]
    headers = {"Range": asked} if asked else {}
    got, head, body = ask("GET", f"/v2/class/demo/blobs/{descriptor.digest}", **headers)
    assert got == status
    if part is None:
        assert head["Content-Range"] == f"bytes */{len(content)}"
        return
    assert body == content[part]
    if status == 206:
        start = content.index(body) if len(body) > 256 else 0
        assert head["Content-Range"].endswith(f"/{len(content)}")
        assert head["Content-Range"].startswith("bytes ")
        assert start >= 0


class FileSource(MemorySource):
    """A source whose blobs are files, said to be as long as the test wants."""

    __slots__ = ("extra_bytes",)

    def open_blob(self, repository, digest):
        path = Path(self.blobs[digest].decode())
        return path.stat().st_size + self.extra_bytes, path.open("rb")


@pytest.fixture
def on_disk(tmp_path):
    source = FileSource()
    source.extra_bytes = 0
    content = random.Random(1).randbytes(3_000_001)  # several pieces, the last one shorter
    (tmp_path / "blob").write_bytes(content)
    digest = Digest.of(content)
    source.blobs[digest] = str(tmp_path / "blob").encode()
    source.add_manifest("disk", b"{}", "text/plain")
    return source, f"/v2/disk/blobs/{digest}", content


@pytest.mark.parametrize("is_secure", [False, True])
def test_files_and_their_parts(on_disk, certificate, is_secure):
    source, path, content = on_disk
    rules = Rules(tls=server_tls(*map(str, certificate)) if is_secure else None)
    parts = {"": slice(None), "bytes=1000000-2999999": slice(1_000_000, 3_000_000)}
    with RegistryServer(source, rules=rules) as server:
        if is_secure:
            context = ssl.create_default_context(cafile=certificate[0])
            connection = http.client.HTTPSConnection(server.host, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection(server.host, timeout=5)
        with contextlib.closing(connection):
            for asked, part in (*parts.items(), *parts.items()):
                connection.request("GET", path, headers={"Range": asked} if asked else {})
                assert connection.getresponse().read() == content[part]


def test_a_file_that_is_shorter_than_it_was_said_to_be_ends_the_connection(on_disk):
    source, path, content = on_disk
    source.extra_bytes = 1
    with RegistryServer(source) as server:
        connection = http.client.HTTPConnection(server.host, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", path)
            with pytest.raises(http.client.IncompleteRead) as short:
                connection.getresponse().read()
    assert short.value.partial == content


def test_blob_head(ask, image):
    descriptor = image[0].layers[0]
    status, head, body = ask("HEAD", f"/v2/class/demo/blobs/{descriptor.digest}")
    assert (status, body) == (200, b"")
    assert head["Content-Length"] == str(descriptor.size)
    assert head["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v2/class/demo/manifests/none", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/class/demo/manifests/{Digest.of(b'none')}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/class/demo/manifests/sha256:zz", 400, "DIGEST_INVALID"),
        ("/v2/class/none/manifests/1", 404, "NAME_UNKNOWN"),
        (f"/v2/class/demo/blobs/{Digest.of(b'none')}", 404, "BLOB_UNKNOWN"),
        ("/v2/class/demo/blobs/md5:1", 400, "DIGEST_INVALID"),
        ("/v2/class/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/class/demo/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("/v2/class/demo/tags/other", 404, "NOT_FOUND"),
        ("/v2/../../etc/manifests/1", 400, "NAME_INVALID"),
        ("/", 404, "NOT_FOUND"),
    ],
)
def test_errors(ask, path, status, error):
    got, headers, body = ask("GET", path)
    assert (got, code(body)) == (status, error)
    assert headers["Content-Type"] == "application/json"
    assert ask("GET", "/v2/")[0] == 200, "the connection goes on"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_writes_are_refused_in_words(ask, method):
    status, headers, body = ask(method, "/v2/class/demo/blobs/uploads/")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert b"read-only" in body


def test_pages(ask, source):
    names = source.names["class/demo"]
    names.update({f"v{number}": names["1"] for number in range(5)})
    found, path = [], "/v2/class/demo/tags/list?n=3"
    while path:
        _, headers, body = ask("GET", path)
        page = json.loads(body)
        assert page["name"] == "class/demo"
        assert len(page["tags"]) <= 3
        found += page["tags"]
        path = headers["Link"] and headers["Link"].partition(">")[0][1:]
    assert found == sorted(names)
    _, headers, body = ask("GET", "/v2/class/demo/tags/list?n=0")
    assert (json.loads(body)["tags"], headers["Link"]) == ([], None)


def test_catalog(ask, source, image):
    source.add_manifest("another", image[0].raw, image[0].media_type)
    assert json.loads(ask("GET", "/v2/_catalog")[2]) == {"repositories": ["another", "class/demo"]}
    assert json.loads(ask("GET", "/v2/_catalog?last=another")[2])["repositories"] == ["class/demo"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "example.com", "127.1"])
def test_only_this_machine(source, address):
    with pytest.raises(InvalidOption):
        RegistryServer(source, address=address).close()


def test_port_in_use(source, server):
    with pytest.raises(InvalidOption):
        RegistryServer(source, port=int(server.host.rpartition(":")[2]))


def test_ipv6(source):
    try:
        server = RegistryServer(source, address="::1")
    except InvalidOption:
        pytest.skip("this machine has no IPv6")
    with server:
        assert server.host.startswith("[::1]:")
        connection = http.client.HTTPConnection(server.host, timeout=2)
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"
        connection.close()


def test_close_ends_open_connections(source):
    server = RegistryServer(source)
    address, _, port = server.host.partition(":")
    with socket.create_connection((address, int(port)), timeout=2) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        server.close()
        while connection.recv(4096):
            pass
    server.close()


def test_requests_can_be_watched(source):
    seen = []
    with RegistryServer(source, on_request=lambda *each: seen.append(each)) as server:
        connection = http.client.HTTPConnection(server.host, timeout=2)
        for method, path in (("GET", "/v2/"), ("PUT", "/v2/x")):
            connection.request(method, path)
            connection.getresponse().read()
        connection.close()
    assert seen == [("GET", "/v2/", 200), ("PUT", "/v2/x", 405)]
