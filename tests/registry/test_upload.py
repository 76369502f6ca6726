"""Pushing blobs and manifests: to a registry that keeps them, and to those that misbehave."""

import base64
import hashlib
import json
import socket
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted import Reply

from ocimagic.errors import (
    DigestMismatch,
    ImageNotFound,
    RegistryAnswered,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.upload import Source
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

LARGE = bytes(range(256)) * 4000
SMALL = b"{}"


class Receiver:
    """A registry that takes pushes: uploads by number, blobs and manifests by digest."""

    def __init__(self):
        self.uploads = {}
        self.blobs = {}
        self.manifests = {}
        self.log = []
        self.break_after = []  # of each PATCH, in turn: bytes that arrive before it breaks
        self.location = "/v2/team/app/blobs/uploads/{0}?state=x"
        self.mounts = True

    def __call__(self, seen):
        url = urlsplit(seen.path)
        query = parse_qs(url.query)
        self.log.append((seen.method, url.path.rpartition("/")[2] or "uploads"))
        if "/manifests/" in url.path:
            self.manifests[url.path.rpartition("/")[2]] = seen.body
            return Reply(201, [("Docker-Content-Digest", Digest.of(seen.body))])
        if seen.method == "HEAD":
            return Reply(200 if url.path.rpartition("/")[2] in self.blobs else 404)
        if seen.method == "POST":
            if "mount" in query:
                return self.mount(query)
            number = str(len(self.uploads))
            self.uploads[number] = b""
            return self.state(number, 202)
        number = url.path.rpartition("/")[2]
        if number not in self.uploads:
            return Reply(404, body=errors("BLOB_UPLOAD_UNKNOWN"))
        return getattr(self, seen.method.lower())(number, seen, query)

    def mount(self, query):
        if self.mounts and query["mount"][0] in self.blobs:
            return Reply(201)
        if not self.mounts:
            return Reply(400, body=errors("UNSUPPORTED"))
        self.uploads["0"] = b""
        return self.state("0", 202)

    def state(self, number, status):
        told = [("Location", self.location.format(number))]
        if self.uploads[number]:
            told.append(("Range", f"0-{len(self.uploads[number]) - 1}"))
        return Reply(status, told)

    def get(self, number, seen, query):
        return self.state(number, 204)

    def patch(self, number, seen, query):
        said = seen.headers.get("content-range", f"0-{len(seen.body) - 1}")
        if int(said.partition("-")[0]) != len(self.uploads[number]):
            return Reply(416, body=errors("RANGE_INVALID"))
        if self.break_after:
            self.uploads[number] += seen.body[: self.break_after.pop(0)]
            return Reply(raw=b"")
        self.uploads[number] += seen.body
        return self.state(number, 202)

    def put(self, number, seen, query):
        content = self.uploads.pop(number) + seen.body
        if query["digest"][0] != Digest.of(content):
            return Reply(400, body=errors("DIGEST_INVALID"))
        self.blobs[query["digest"][0]] = content
        return Reply(201)


def errors(code, message=""):
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def blob_of(content):
    return Descriptor(mediatype.OCI_LAYER, Digest.of(content), len(content))


def source_of(content, sent=None):
    def read(offset):
        for at in range(offset, len(content), 100_000):
            yield content[at : at + 100_000]

    return Source(read, (sent if sent is not None else []).append)


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def server(scripted, receiver):
    return scripted(receiver)


@pytest.fixture
def uploader(client, server):
    return client.uploader(Reference.parse(f"{server.host}/team/app:1"))


def test_a_small_blob_takes_two_requests(uploader, receiver):
    assert uploader.upload(blob_of(SMALL), source_of(SMALL)) is False
    assert receiver.blobs == {Digest.of(SMALL): SMALL}
    assert receiver.log == [("POST", "uploads"), ("PUT", "0")]


def test_a_large_blob_streams_with_its_length(uploader, receiver, server):
    sent = []
    uploader.upload(blob_of(LARGE), source_of(LARGE, sent))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}
    assert [method for method, _ in receiver.log] == ["POST", "PATCH", "PUT"]
    patch = server.seen[1]
    assert patch.headers["content-length"] == str(len(LARGE))
    assert "transfer-encoding" not in patch.headers
    assert "content-range" not in patch.headers, "a whole blob needs none, and some refuse it"
    assert (sent[0], sent[-1]) == (100_000, len(LARGE))


def test_what_is_there(uploader, receiver):
    assert not uploader.has(Digest.of(SMALL))
    receiver.blobs[Digest.of(SMALL)] = SMALL
    assert uploader.has(Digest.of(SMALL))


@pytest.mark.parametrize("breaks", [[0], [300_000], [300_000, 200_000, 0]])
def test_a_broken_upload_goes_on_where_the_registry_has_it(uploader, receiver, server, breaks):
    receiver.break_after = list(breaks)
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}
    patches = [seen for seen in server.seen if seen.method == "PATCH"]
    assert len(patches) == len(breaks) + 1
    assert int(patches[-1].headers["content-length"]) == len(LARGE) - sum(breaks)


@pytest.mark.parametrize("status", [409, 416])
def test_a_registry_that_is_still_writing_when_it_is_asked(uploader, receiver, server, status):
    """What a broken connection brought may be on its way to the disk yet."""
    receiver.break_after = [300_000]
    whole = receiver.get

    def before_all_is_written(number, seen, query):
        receiver.get = whole
        location = ("Location", receiver.location.format(number))
        return Reply(204, [location, ("Range", "0-99999")])

    plain = receiver.patch

    def patch(number, seen, query):
        answer = plain(number, seen, query)
        return Reply(status, body=answer.body) if answer.status == 416 else answer

    receiver.get, receiver.patch = before_all_is_written, patch
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}
    ranges = [seen.headers.get("content-range") for seen in server.seen if seen.method == "PATCH"]
    assert ranges == [None, f"100000-{len(LARGE) - 1}", f"300000-{len(LARGE) - 1}"]


@pytest.mark.parametrize("status", [409, 416])
def test_a_registry_that_never_gets_there(uploader, receiver, status):
    receiver.break_after = [300_000]
    plain = receiver.patch

    def patch(number, seen, query):
        return plain(number, seen, query) if receiver.break_after else Reply(status)

    receiver.patch = patch
    with pytest.raises(RegistryUnreachable, match="still at work"):
        uploader.upload(blob_of(LARGE), source_of(LARGE))


@pytest.mark.parametrize("arrived", [0, 1])
def test_an_upload_that_says_0_0_begins_anew(uploader, receiver, arrived):
    """Debian's registry says so of one byte that has arrived, and of none."""
    plain = receiver.state

    def state(number, status):
        answer = plain(number, status)
        return answer if status == 202 else Reply(status, [answer.headers[0], ("Range", "0-0")])

    receiver.state = state
    receiver.break_after = [arrived]
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}


def test_an_upload_that_is_gone_begins_anew(uploader, receiver):
    receiver.break_after = [200_000]
    whole = Receiver.get

    def forget(number, seen, query):
        receiver.uploads.pop(number)
        receiver.get = whole.__get__(receiver)
        return Reply(404, body=errors("BLOB_UPLOAD_UNKNOWN"))

    receiver.get = forget
    receiver.uploads["old"] = b""  # so that the next number is another one
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}


def test_an_end_whose_answer_is_lost(uploader, receiver):
    whole = receiver.put

    def lose(number, seen, query):
        receiver.put = whole
        whole(number, seen, query)
        return Reply(raw=b"")

    receiver.put = lose
    uploader.upload(blob_of(SMALL), source_of(SMALL))
    assert receiver.blobs == {Digest.of(SMALL): SMALL}
    assert [method for method, _ in receiver.log] == ["POST", "PUT", "PUT", "HEAD"]


def test_what_arrived_twice_is_sent_from_the_start(uploader, receiver):
    whole = receiver.put

    def keep_half(number, seen, query):
        receiver.put = whole
        receiver.uploads[number] += seen.body[:1]
        return Reply(raw=b"")

    receiver.put = keep_half
    uploader.upload(blob_of(SMALL), source_of(SMALL))
    assert receiver.blobs == {Digest.of(SMALL): SMALL}
    assert [method for method, _ in receiver.log] == ["POST", "PUT", "PUT", "POST", "PUT"]


def test_an_upload_that_never_gets_on_ends(uploader, receiver):
    receiver.break_after = [0] * 50
    with pytest.raises(RegistryUnreachable):
        uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert len(receiver.break_after) == 46, "one try and three more"
    assert receiver.blobs == {}


def test_a_blob_is_taken_over(uploader, receiver, server):
    receiver.blobs[Digest.of(LARGE)] = LARGE
    assert uploader.upload(blob_of(LARGE), source_of(LARGE), mount_from="team/base") is True
    assert parse_qs(urlsplit(server.seen[0].path).query)["from"] == ["team/base"]
    assert [seen.method for seen in server.seen] == ["POST"]


@pytest.mark.parametrize("mounts", [True, False])
def test_a_blob_that_cannot_be_taken_over_is_sent(uploader, receiver, mounts):
    receiver.mounts = mounts
    assert uploader.upload(blob_of(LARGE), source_of(LARGE), mount_from="team/base") is False
    assert receiver.blobs == {Digest.of(LARGE): LARGE}


def test_a_manifest_by_its_tag_and_by_its_digest(uploader, receiver):
    raw = b'{"schemaVersion":2}'
    assert uploader.put_manifest(raw, mediatype.OCI_MANIFEST, tag="1").digest == Digest.of(raw)
    uploader.put_manifest(raw, mediatype.OCI_MANIFEST)
    assert receiver.manifests == {"1": raw, Digest.of(raw): raw}


def test_a_registry_that_keeps_another_manifest(scripted, client):
    other = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
    server = scripted(lambda seen: Reply(201, [("Docker-Content-Digest", other)]))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    with pytest.raises(DigestMismatch):
        uploader.put_manifest(b"{}", mediatype.OCI_MANIFEST, tag="1")


# -- logins ------------------------------------------------------------------------


def test_the_token_is_for_pushing_and_for_the_other_repository(
    scripted, transport, logged_in, receiver
):
    receiver.blobs[Digest.of(LARGE)] = LARGE
    scopes = []

    def script(seen):
        if seen.path.startswith("/token"):
            scopes.append(parse_qs(urlsplit(seen.path).query)["scope"])
            return Reply(body=json.dumps({"token": f"t{len(scopes)}"}).encode())
        if not seen.headers.get("authorization"):
            own = 'scope="repository:team/app:pull,push"'
            told = f'Bearer realm="{server.url}/token",service="reg",{own}'
            return Reply(401, [("WWW-Authenticate", told)])
        return receiver(seen)

    server = scripted(script)
    client = RegistryClient(transport, logged_in(server.host))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    assert uploader.upload(blob_of(LARGE), source_of(LARGE), mount_from="team/base") is True
    assert scopes == [["repository:team/app:pull,push", "repository:team/base:pull"]]


def test_a_body_is_sent_again_after_a_challenge(scripted, transport, logged_in, receiver):
    def script(seen):
        if seen.method == "PATCH" and not seen.headers.get("authorization"):
            return Reply(401, [("WWW-Authenticate", 'Basic realm="x"')])
        return receiver(seen)

    server = scripted(script)
    client = RegistryClient(transport, logged_in(server.host))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert receiver.blobs == {Digest.of(LARGE): LARGE}


def test_another_host_gets_no_login_even_if_it_asks(scripted, transport, logged_in, receiver):
    """The storage behind a registry has its own ways to know us (CVE-2020-15157's kind)."""
    asked = []

    def storage(seen):
        asked.append(seen.headers.get("authorization"))
        if seen.method == "PATCH":
            return Reply(401, [("WWW-Authenticate", 'Basic realm="give me your password"')])
        return receiver(seen)

    def registry(seen):
        if not seen.headers.get("authorization"):
            return Reply(401, [("WWW-Authenticate", 'Basic realm="x"')])
        return receiver(seen)

    elsewhere, server = scripted(storage), scripted(registry)
    receiver.location = elsewhere.url + "/bucket/{0}?signature=s"
    client = RegistryClient(transport, logged_in(server.host))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    with pytest.raises((RegistryAnswered, Unauthorized)):
        uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert asked == [None]


def test_a_body_follows_a_redirect_and_the_login_does_not(scripted, transport, logged_in, receiver):
    elsewhere = scripted(receiver)

    def registry(seen):
        if not seen.headers.get("authorization"):
            return Reply(401, [("WWW-Authenticate", 'Basic realm="x"')])
        if seen.method == "PATCH":
            return Reply(307, [("Location", elsewhere.url + seen.path)])
        return receiver(seen)

    server = scripted(registry)
    client = RegistryClient(transport, logged_in(server.host))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert [seen.headers.get("authorization") for seen in elsewhere.seen] == [None, None]
    assert receiver.blobs == {Digest.of(LARGE): LARGE}


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest?{0}", "ftp://127.0.0.1/{0}", "http://user@127.0.0.1/{0}", ""],
)
def test_where_an_upload_must_not_go(uploader, receiver, location):
    receiver.location = location
    with pytest.raises(RegistryAnswered):
        uploader.upload(blob_of(LARGE), source_of(LARGE))
    assert [method for method, _ in receiver.log] == ["POST"]


# -- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (401, "UNAUTHORIZED", Unauthorized, "push access denied for"),
        (403, "DENIED", Unauthorized, "push access denied for"),
        (404, "NAME_UNKNOWN", ImageNotFound, "to be made first"),
        (400, "TAG_INVALID", RegistryAnswered, "push under another one"),
        (405, "UNSUPPORTED", RegistryAnswered, "only be pulled from"),
        (413, "", RegistryAnswered, "no layer of this size"),
        (500, "UNKNOWN", RegistryUnreachable, "out of order"),
    ],
)
def test_refusals(scripted, client, status, code, error, words):
    body = errors(code, "so it is") if code else b"<html>"
    server = scripted(lambda seen: Reply(status, body=body))
    uploader = client.uploader(Reference.parse(f"{server.host}/team/app:1"))
    with pytest.raises(error) as caught:
        uploader.upload(blob_of(LARGE), source_of(LARGE))
    said = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert words in said
    assert "so it is" in said or not code


def test_nobody_listens(client):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RegistryUnreachable):
        client.uploader(Reference.parse(f"{host}/team/app:1"))


# -- logging in ------------------------------------------------------------------------


def test_a_login_is_tried(scripted, transport, logged_in):
    right = "Basic " + base64.b64encode(b"ada:lovelace").decode()

    def script(seen):
        if seen.headers.get("authorization") == right:
            return Reply(200)
        told = [("WWW-Authenticate", 'Basic realm="x"')]
        return Reply(401, told, body=errors("UNAUTHORIZED", "who are you"))

    server = scripted(script, guarded=True)
    RegistryClient(transport, logged_in(server.host)).check_login(server.host)
    wrong = logged_in(server.host, username="ada", password="byron")
    with pytest.raises(Unauthorized, match="refuses this login") as caught:
        RegistryClient(transport, wrong).check_login(server.host)
    assert "who are you" in caught.value.why
    assert "byron" not in str(caught.value) + str(caught.value.why)


def test_no_registry_is_no_login(scripted, transport, logged_in):
    server = scripted(lambda seen: Reply(404, body=b"nginx"), guarded=True)
    with pytest.raises(RegistryAnswered, match="does not answer as a registry"):
        RegistryClient(transport, logged_in(server.host)).check_login(server.host)
