"""Our registry before another one: what is not there is fetched, kept and served."""

import hashlib
import http.client
import random
import threading
import time

import pytest
from pusher import CONFIG, Pusher, assert_whole, image
from scripted import Reply

from ocimagic.errors import ImageNotFound, InvalidOption
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.mirror import MirrorSource, upstream
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.transport import Patience, Transport
from ocimagic.spec import mediatype
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

LAYER = random.Random(5).randbytes(3_000_000)
HURRY = Patience(connect_s=1, read_s=2, tries=1)


@pytest.fixture
def kept(tmp_path):
    """A registry's own directory; a mirror's has what was asked for, and no more."""
    with RegistryDirectory(tmp_path / "kept") as kept:
        yield kept
    assert_whole(tmp_path / "kept", sparse=True)


class Asked(list):
    def of(self, method, word):
        return [path for each, path, _ in self if each == method and word in path]


@pytest.fixture
def mirror_of(kept):
    """Start a mirror of a registry; at most one in a test."""
    with Transport(patience=HURRY) as transport:
        started = []

        def start(host, **options):
            mirror = MirrorSource(kept, RegistryClient(transport), host, **options)
            started.extend([mirror, RegistryServer(mirror)])
            return started[-1]

        yield start
        for each in reversed(started):
            each.close()


@pytest.fixture
def other(source):
    """The other registry: a server, what it was asked, and an image of its own."""
    asked = Asked()
    raw = image([LAYER])
    for content in (CONFIG, LAYER):
        source.add_blob(content)
    source.add_manifest("library/big", raw, mediatype.OCI_MANIFEST, tags=["1"])
    server = RegistryServer(source, on_request=lambda *each: asked.append(each))
    server.asked, server.source, server.raw = asked, source, raw
    yield server
    server.close()


def pull(host, name="library/big", tag="1"):
    """Pull an image as a client does; returns manifest and layers."""
    with Pusher(host) as client:
        manifest = client.ask("GET", f"/v2/{name}/manifests/{tag}")
        assert manifest.status == 200, manifest.body
        parts = manifest.json["layers"]
        blobs = [client.ask("GET", f"/v2/{name}/blobs/{part['digest']}") for part in parts]
        return manifest.body, [blob.body for blob in blobs]


def test_what_is_not_there_is_fetched_once(mirror_of, other):
    mirror = mirror_of(other.host)
    for _ in range(3):
        assert pull(mirror.host) == (other.raw, [LAYER])
    assert len(other.asked.of("GET", "/manifests/")) == 1
    assert len(other.asked.of("GET", "/blobs/")) == 1
    assert len(other.asked.of("HEAD", "/manifests/1")) == 3, "a tag is asked again each time"


def test_a_tag_that_moved_is_seen(mirror_of, other):
    mirror = mirror_of(other.host)
    pull(mirror.host)
    new = image([b"new"])
    other.source.add_blob(b"new")
    other.source.add_manifest("library/big", new, mediatype.OCI_MANIFEST, tags=["1"])
    assert pull(mirror.host) == (new, [b"new"])


def test_what_is_kept_is_served_while_the_other_is_away(mirror_of, other, kept):
    mirror = mirror_of(other.host)
    pull(mirror.host)
    other.close()
    for _ in range(2):
        assert pull(mirror.host) == (other.raw, [LAYER])
    with Pusher(mirror.host) as client:
        missing = client.ask("GET", "/v2/library/none/manifests/1")
        assert (missing.status, missing.code) == (502, "UNAVAILABLE")
        assert client.ask("GET", "/v2/library/big/tags/list").json["tags"] == ["1"]
        assert client.ask("GET", "/v2/_catalog").json["repositories"] == ["library/big"]
    assert kept.resolve("library/big", "1") == Digest.of(other.raw)


def test_a_registry_that_is_away_is_not_asked_each_time(mirror_of, scripted):
    raw = image([])
    away = threading.Event()

    def script(seen):
        if away.is_set():
            return Reply(503)
        headers = [
            ("Docker-Content-Digest", Digest.of(raw)),
            ("Content-Type", mediatype.OCI_MANIFEST),
        ]
        return Reply(200, headers, body=raw)

    server = scripted(script)
    mirror = mirror_of(server.host)
    pull(mirror.host, "a")
    away.set()
    before = len(server.seen)  # a HEAD that fails is followed by a GET
    for _ in range(4):
        assert pull(mirror.host, "a")[0] == raw
    assert len(server.seen) - before == 2


def test_what_the_other_has_not(mirror_of, other):
    mirror = mirror_of(other.host)
    pull(mirror.host)
    with Pusher(mirror.host) as client:
        assert client.ask("GET", "/v2/library/big/manifests/none").code == "MANIFEST_UNKNOWN"
        assert client.ask("GET", "/v2/library/none/manifests/1").code == "NAME_UNKNOWN"
        gone = Digest.of(b"none")
        assert client.ask("GET", f"/v2/library/big/manifests/{gone}").code == "MANIFEST_UNKNOWN"
        assert client.ask("GET", f"/v2/library/big/blobs/{gone}").code == "BLOB_UNKNOWN"


def test_nobody_pushes_to_a_mirror(mirror_of, other):
    with Pusher(mirror_of(other.host).host) as client:
        answer = client.ask("POST", "/v2/a/blobs/uploads/")
        assert (answer.status, answer.code) == (405, "UNSUPPORTED")


def test_many_who_want_the_same_cause_one_fetch(mirror_of, other):
    mirror = mirror_of(other.host)
    got = []
    clients = [threading.Thread(target=lambda: got.append(pull(mirror.host))) for _ in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert got == [(other.raw, [LAYER])] * 8
    assert len(other.asked.of("GET", "/blobs/")) == 1


def described(raw):
    return [("Docker-Content-Digest", Digest.of(raw)), ("Content-Type", mediatype.OCI_MANIFEST)]


def test_bytes_come_before_the_last_one_is_here(mirror_of, scripted):
    """A slow line upstream must not look like silence to the client."""
    raw, go_on = image([LAYER]), threading.Event()

    def rest(connection, _stop):
        go_on.wait(10)
        connection.sendall(LAYER[2 << 20 :])

    def script(seen):
        if "/manifests/" in seen.path:
            return Reply(200, described(raw), body=raw)
        length = [("Content-Length", str(len(LAYER)))]
        return Reply(200, length, body=LAYER[: 2 << 20], then=rest)

    mirror = mirror_of(scripted(script).host)
    with Pusher(mirror.host) as client:
        client.ask("GET", "/v2/a/manifests/1")
        client.connection.request("GET", f"/v2/a/blobs/{Digest.of(LAYER)}")
        answer = client.connection.getresponse()
        first = answer.read(1 << 20)
        assert not go_on.is_set()
        go_on.set()
        assert first + answer.read() == LAYER


def test_a_fetch_goes_on_where_it_broke(mirror_of, scripted):
    raw, ranges = image([LAYER]), []

    def script(seen):
        if "/manifests/" in seen.path:
            return Reply(200, described(raw), body=raw)
        ranges.append(seen.headers.get("range"))
        start = int((ranges[-1] or "bytes=0-")[6:].partition("-")[0])
        headers = [("Content-Length", str(len(LAYER) - start))]
        if start:
            headers.append(("Content-Range", f"bytes {start}-{len(LAYER) - 1}/{len(LAYER)}"))
        stop = start + (1 << 20)  # and the connection ends
        status = 206 if start else 200
        return Reply(status, headers, body=LAYER[start:stop], then=lambda *_: None)

    assert pull(mirror_of(scripted(script).host).host, "a")[1] == [LAYER]
    assert len(ranges) == 3


def test_a_silent_line_does_not_keep_a_mirror_from_closing(kept, scripted):
    raw = image([LAYER])

    def script(seen):
        if "/manifests/" in seen.path:
            return Reply(200, described(raw), body=raw)
        length = [("Content-Length", str(len(LAYER)))]
        return Reply(200, length, body=LAYER[: 2 << 20], then=lambda _, stop: stop.wait(10))

    with Transport(patience=Patience(connect_s=1, read_s=10, tries=1)) as transport:
        mirror = MirrorSource(kept, RegistryClient(transport), scripted(script).host)
        assert mirror.manifest("a", Digest.of(raw))
        size, file = mirror.open_blob("a", Digest.of(LAYER))
        assert (size, len(file.read(1 << 20))) == (len(LAYER), 1 << 20)
        time.sleep(0.3)  # until the fetch waits for more
        began = time.monotonic()
        mirror.close()
        assert time.monotonic() - began < 3
        file.close()


def test_wrong_bytes_are_not_kept_and_not_given_whole(mirror_of, scripted, kept):
    raw = image([LAYER])
    wrong = LAYER[:-1] + bytes([LAYER[-1] ^ 1])

    def script(seen):
        if "/manifests/" in seen.path:
            return Reply(200, described(raw), body=raw)
        return Reply(200, [("Content-Length", str(len(wrong)))], body=wrong)

    mirror = mirror_of(scripted(script).host)
    with Pusher(mirror.host) as client:
        client.ask("GET", "/v2/a/manifests/1")
        client.connection.request("GET", f"/v2/a/blobs/{Digest.of(LAYER)}")
        answer = client.connection.getresponse()
        if answer.status == 200:
            with pytest.raises(http.client.IncompleteRead) as caught:
                answer.read()
            assert caught.value.partial == LAYER[:-1]
        else:  # the fetch was over, and its bytes away, before this reader came
            assert answer.status in (400, 502)
            assert b"errors" in answer.read()
    assert kept.open_blob("a", Digest.of(LAYER)) is None


@pytest.mark.peer
def test_debians_registry_behind_ours(mirror_of, debian_registry):
    name, big = f"class/{hashlib.sha256(LAYER).hexdigest()[:8]}", [LAYER, b"small"]
    with Pusher(debian_registry) as client:
        for content in (CONFIG, *big):
            place = client.ask("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
            place = place.partition(debian_registry)[2] or place
            digest = Digest.of(content)
            assert client.ask("PUT", f"{place}&digest={digest}", content).status == 201
        raw = image(big)
        assert client.manifest(name, "1", raw).status == 201
    mirror = mirror_of(debian_registry)
    assert pull(mirror.host, name) == (raw, big)
    reference = Reference.parse(f"{mirror.host}/{name}:1")
    with Transport() as transport:
        assert RegistryClient(transport).resolve(reference).digest == Digest.of(raw)


class Nowhere:
    """A client that knows what it was asked for, and has nothing."""

    def __init__(self):
        self.asked = []

    def until(self, _):
        return self

    def resolve(self, reference):
        self.asked.append(str(reference))
        raise ImageNotFound("no")


def test_short_names_at_docker_hub(kept):
    client = Nowhere()
    for registry, name in (("docker.io", "alpine"), ("docker.io", "a/b"), ("quay.io", "alpine")):
        assert MirrorSource(kept, client, registry).resolve(name, "1") is None
    assert client.asked == ["docker.io/library/alpine:1", "docker.io/a/b:1", "quay.io/alpine:1"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://registry-1.docker.io", ("docker.io", False)),
        ("https://registry-1.docker.io/v2/", ("docker.io", False)),
        ("docker.io", ("docker.io", False)),
        ("http://10.0.0.5:5000/", ("10.0.0.5:5000", True)),
        ("https://[::1]:5000", ("[::1]:5000", False)),
    ],
)
def test_upstream(url, expected):
    assert upstream(url) == expected


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://", "https://x/y", "https://a:b@x", "https://x?y", "file:///etc"]
)
def test_upstream_that_is_none(url):
    with pytest.raises(InvalidOption):
        upstream(url)
