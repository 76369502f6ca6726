"""What answers on a socket may be anything: it is told in words, and the store stays as it was."""

import hashlib
import json
import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from archives import ONE, TWO, descriptor, docker_files, index, made, named, oci_files, tarred

from ocimagic.errors import (
    ArchiveRefused,
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidOption,
    NeighbourError,
    NeighbourUnreachable,
    OcimagicError,
)
from ocimagic.transfer import daemon, neighbour, neighbourhood
from ocimagic.transfer.neighbourhood import Place, places

IMAGE = made()
IMAGE_ID = "sha256:" + hashlib.sha256(IMAGE.config_raw).hexdigest()
ARCHIVE = tarred(docker_files(IMAGE))
LISTED = [{"Id": IMAGE_ID, "RepoTags": ["web:1"], "Size": 8000, "Created": 1_700_000_000}]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body, status=b"200 OK"):
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class Scripted:
    """A server on a socket of its own; each path has what is sent: bytes, or what yields them."""

    def __init__(self, path):
        self.address = f"unix://{path}"
        self.answers = {"/images/json": whole(json.dumps(LISTED).encode())}
        self.asked = []
        self.let_go = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                path = head.split()[1].decode()
                self.asked.append(path)
                answer = self.answers[urlsplit(path).path]
                for piece in [answer] if isinstance(answer, bytes) else answer():
                    connection.sendall(piece)

    def stalling(self, *pieces):
        """Return an answer that stops in the middle and keeps the connection."""

        def answer():
            yield from pieces
            self.let_go.wait(20)

        return answer

    def close(self):
        self.let_go.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def server(tmp_path):
    scripted = Scripted(tmp_path / "s")
    yield scripted
    scripted.close()


def untouched(engine):
    assert engine.images.list() == ()
    assert list(engine.home.ingest.iterdir()) == []
    assert [each for each in engine.home.blobs.rglob("*") if each.is_file()] == []


def test_the_script_is_a_good_one(server, engine):
    """That the others are refused proves something only if this one is not."""
    server.answers["/images/get"] = (
        CHUNKED + chunk(ARCHIVE[:700]) + chunk(ARCHIVE[700:]) + b"0\r\n\r\n"
    )
    done = engine.images.adopt("web:1", source=server.address)
    assert [(each.tags, str(each.image_id)) for each in done.images] == [(("web:1",), IMAGE_ID)]
    assert done.received_bytes == len(ARCHIVE)
    query = parse_qs(urlsplit(server.asked[-1]).query)
    assert query == {"names": [IMAGE_ID]}
    engine.images.adopt("web:1", source=server.address)
    assert [each.partition("?")[0] for each in server.asked] == [
        "/images/json", "/images/get", "/images/json"
    ]  # fmt: skip


def endless(piece):
    def answer():
        yield OK
        while True:
            yield piece

    return answer


def damaged():
    """An archive with one byte of a layer changed."""
    content = bytearray(ARCHIVE)
    at = ARCHIVE.index(b"a" * 5000)
    content[at] ^= 1
    return bytes(content)


OTHER = made(TWO, ONE)
BROKEN = {
    "too short": (OK + b"Content-Length: 999999\r\n\r\n" + ARCHIVE, NeighbourError, "broke off"),
    "cut by its length": (
        OK + b"Content-Length: 3000\r\n\r\n" + ARCHIVE, ArchiveRefused, "cannot be loaded",
    ),
    "cut in its head": (b"HTTP/1.1 200 OK\r\nConte", ArchiveRefused, "neither"),
    "closed at once": (b"", NeighbourError, "broke off"),
    "no HTTP": (b"\x15\x03\x01 hello\r\n\r\n", NeighbourError, "nonsense"),
    "headers for ever": (endless(b"X: y\r\n"), NeighbourError, "nonsense"),
    "a header for ever": (endless(b"x" * 9999), NeighbourError, "nonsense"),
    "archive cut": (
        CHUNKED + chunk(ARCHIVE[:5000]) + b"0\r\n\r\n", ArchiveRefused, "cannot be loaded",
    ),
    "chunk cut": (CHUNKED + b"fffff\r\n" + ARCHIVE[:5000], NeighbourError, "broke off"),
    "no chunk": (CHUNKED + b"zz\r\n" + ARCHIVE, NeighbourError, ""),
    "an error in the middle": (
        CHUNKED + chunk(ARCHIVE[:5120]) + chunk(b'{"message":"disk on fire"}') + b"0\r\n\r\n",
        ArchiveRefused,
        "cannot be loaded",
    ),
    "nothing": (whole(b""), ArchiveRefused, "neither"),
    "a changed byte": (whole(damaged()), DigestMismatch, "not what it was said to be"),
    "another image": (
        whole(tarred(docker_files(OTHER, layers=[TWO, ONE]))), ArchiveRefused, "not asked for",
    ),
    "a refusal": (
        whole(b'{"message":"no, thanks"}', b"500 No"), NeighbourError, "HTTP 500: no, thanks",
    ),
    "a refusal for ever": (
        lambda: iter([b"HTTP/1.1 500 No\r\n\r\n", *[b"x" * 65536] * 99]),
        NeighbourError,
        "HTTP 500",
    ),
    "not there": (
        whole(b'{"message":"reference does not exist: No such image: web:1"}', b"404 Not Found"),
        ImageNotFound,
        "No such image: web:1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_archive_leaves_the_store_as_it_was(no_leaks, name, server, engine):
    server.answers["/images/get"], kind, said = BROKEN[name]
    with pytest.raises(kind) as caught:
        engine.images.adopt("web:1", source=server.address)
    assert said in str(caught.value)
    untouched(engine)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"<html>", "not valid JSON"),
        (b"{}", "not a JSON list"),
        (b"[1]", "not a JSON list"),
        (b'[{"RepoTags": ["a:1"]}]', "Id"),
        (b'[{"Id": "sha256:../../x"}]', "does not list"),
        (b'[{"Id": "x", "RepoTags": 3}]', "RepoTags"),
        (b"[" * 5000, "nested"),
        (b'"' + b"x" * (33 << 20) + b'"', "over"),
    ],
)
def test_a_list_that_is_none(body, said, server, engine):
    server.answers["/images/json"] = whole(body)
    with pytest.raises(NeighbourError) as caught:
        engine.images.adoptable(server.address)
    assert said in str(caught.value)


def test_names_that_are_none_are_left_out_and_nothing_reaches_the_screen_raw(server, engine):
    from datetime import UTC, datetime

    from ocimagic.render.display import as_html, as_text

    listed = LISTED[0] | {
        "RepoTags": ["<none>:<none>", "A/../b:1", "ok:1", "x@sha256:12", "\x1b[2J"]
    }
    server.answers["/images/json"] = whole(json.dumps([listed, listed]).encode())
    found = engine.images.adoptable(server.address)
    assert [each.tags for each in found.images] == [("ok:1",)]
    for drawn in (as_text(found, datetime.now(UTC)), as_html(found, datetime.now(UTC))):
        assert "ok:1" in drawn
        assert "\x1b" not in drawn


@pytest.mark.parametrize("pieces", [
    (b"",), (OK,), (CHUNKED,), (CHUNKED, chunk(ARCHIVE[:3000])), (CHUNKED, b"fff"),
    (OK, b"Content-Length: 50000\r\n\r\n", ARCHIVE[:3000]),
])  # fmt: skip
def test_who_falls_silent_is_left_in_bounded_time(no_leaks, pieces, server, engine, monkeypatch):
    monkeypatch.setattr(daemon, "BEGIN_S", 0.4)
    monkeypatch.setattr(neighbour, "IDLE_S", 0.4)
    server.answers["/images/get"] = server.stalling(*pieces)
    began = time.monotonic()
    with pytest.raises(NeighbourError, match="does not go on"):
        engine.images.adopt("web:1", source=server.address)
    assert time.monotonic() - began < 5
    untouched(engine)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"x: y\r\n"])
def test_who_babbles_without_end_is_left_too(piece, server, engine, monkeypatch):
    """Continue for ever, and trailers for ever, one now and then."""
    monkeypatch.setattr(daemon, "BEGIN_S", 0.4)
    monkeypatch.setattr(neighbour, "IDLE_S", 0.4)

    def answer():
        if piece.startswith(b"x"):
            yield CHUNKED + chunk(ARCHIVE[:3000]) + b"0\r\n"
        while not server.let_go.wait(0.02):
            yield piece

    server.answers["/images/get"] = answer
    monkeypatch.setattr(neighbour, "LEAST_BYTES_PER_S", 1 << 30)
    with pytest.raises(NeighbourError, match="does not go on"):
        engine.images.adopt("web:1", source=server.address)
    untouched(engine)


@pytest.mark.parametrize("pieces", [(), (CHUNKED, chunk(ARCHIVE[:3000]))])
def test_a_stop_while_it_is_silent_is_heard_at_once(no_leaks, pieces, server, engine):
    server.answers["/images/get"] = server.stalling(*pieces)
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        engine.images.adopt("web:1", source=server.address, cancelled=stop)
    assert time.monotonic() - began < 2
    timer.join()
    untouched(engine)


# -- sockets ------------------------------------------------------------------------------


def test_a_socket_that_this_account_may_not_use(server, engine, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may do anything")
    os.chmod(tmp_path / "s", 0)
    with pytest.raises(NeighbourUnreachable, match="permission denied") as caught:
        engine.images.adoptable(server.address)
    assert "join the group" in caught.value.hint


def test_permission_is_told_with_the_group_that_has_it(request):
    """Asked as another account would."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    import grp

    with tempfile.TemporaryDirectory() as room:
        server = Scripted(f"{room}/s")
        request.addfinalizer(server.close)
        os.chmod(room, 0o755)
        os.chown(f"{room}/s", 0, 1)
        os.chmod(f"{room}/s", 0o660)
        os.seteuid(65534)
        try:
            with pytest.raises(NeighbourUnreachable, match="permission denied") as caught:
                neighbourhood.ask_first(server.address, {}, lambda: None)
        finally:
            os.seteuid(0)
    assert f"join the group {grp.getgrgid(1).gr_name}" in caught.value.hint


def test_nobody_listens(engine, tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    for path, said in (("stale", "nobody listens there"), ("none", "there is no such socket"),
                       ("x" * 120, "too long")):  # fmt: skip
        with pytest.raises(NeighbourUnreachable, match=said):
            engine.images.adoptable(f"unix://{tmp_path}/{path}")


def test_what_cannot_be_asked_is_passed_over_and_told(server, make_engine, monkeypatch, tmp_path):
    """A docker that is gone does not hide podman's service."""
    monkeypatch.setattr(neighbourhood, "SYSTEM", tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "docker.sock"))
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    engine = make_engine(CONTAINER_HOST=server.address, **environment)
    assert engine.images.adoptable().source == f"podman at {server.address}"
    with pytest.raises(NeighbourUnreachable, match=r"docker\.sock: nobody listens there"):
        engine.images.adoptable("docker")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ssh://me@host", "ssh"),
        ("https://host:1", "no address of an engine"),
        ("tcp://host:99999", "no address of an engine"),
        ("tcp://user@host:1", "no address of an engine"),
        ("unix://relative", "names no socket"),
        ("unix:///a\0b", "names no socket"),
        ("containerd", "no engine to adopt from"),
    ],
)
def test_sources_that_are_none(source, said, engine):
    with pytest.raises(InvalidOption) as caught:
        engine.images.adoptable(source)
    assert said in str(caught.value)


def test_ssh_in_a_variable_is_refused_in_words(make_engine):
    engine = make_engine(DOCKER_HOST="ssh://me@host")
    with pytest.raises(NeighbourUnreachable, match="does not go through ssh"):
        engine.images.adoptable()


def test_plain_http_to_a_host_that_was_named(engine):
    listed = whole(json.dumps(LISTED).encode())
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(listed)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        found = engine.images.adoptable(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(10)
    assert [each.tags for each in found.images] == [("web:1",)]


# -- where is looked ------------------------------------------------------------------------


def shown(source, **environment):
    return [(each.kind, each.address) for each in places(source, environment)]


def test_the_order(monkeypatch, tmp_path):
    monkeypatch.setattr(neighbourhood, "SYSTEM", tmp_path)
    program = tmp_path / "bin/podman"
    program.parent.mkdir()
    program.touch(0o755)
    where = {"XDG_RUNTIME_DIR": "/me", "HOME": str(tmp_path), "PATH": str(program.parent)}
    paths = (tmp_path / "run/docker.sock", tmp_path / "var/run/docker.sock", "/me/docker.sock")
    docker = [("docker", f"unix://{path}") for path in paths]
    podman = [("podman", "unix:///me/podman/podman.sock"),
              ("podman", f"unix://{tmp_path}/run/podman/podman.sock"),
              ("podman", str(program))]  # fmt: skip
    assert shown(None, **where) == docker + podman
    assert shown("docker", **where) == docker
    assert shown("podman", **where) == podman
    named = where | {"DOCKER_HOST": "unix:///d", "CONTAINER_HOST": "unix:///c"}
    assert shown(None, **named) == [("docker", "unix:///d")]
    assert shown("podman", **named) == [("podman", "unix:///c")]
    (tmp_path / "var").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "var/run").symlink_to(tmp_path / "run")
    assert shown("docker", **where) == [docker[0], docker[2]]


def test_docker_s_context(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbourhood, "SYSTEM", tmp_path)
    meta = tmp_path / "contexts/meta" / hashlib.sha256(b"mine").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///m"}}}))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    environment = {"DOCKER_CONFIG": str(tmp_path)}
    assert shown("docker", **environment)[0] == ("docker", "unix:///m")
    assert len(shown("docker", **environment, DOCKER_CONTEXT="default")) == 3
    [first, *_] = places("docker", environment | {"DOCKER_CONTEXT": "other"})
    assert first == Place("docker", "context other", "it names no address that could be read")
    (tmp_path / "contexts/tls" / meta.parent.name / "docker").mkdir(parents=True)
    [first, *_] = places("docker", environment)
    assert "TLS" in first.refusal
    (tmp_path / "config.json").write_text("{")
    assert len(shown("docker", **environment)) == 3


# -- docker over containerd's store -----------------------------------------------------------


def test_an_image_that_is_called_by_its_index(server, engine):
    """There an image ID is the digest of an index, and what comes is an OCI layout."""
    entry = descriptor(IMAGE.manifest_raw, IMAGE.media_type,
                       platform={"os": "linux", "architecture": "amd64"})  # fmt: skip
    inner = index([entry])
    files = oci_files((IMAGE, named("docker.io/library/web:1")))
    outer = descriptor(inner, "application/vnd.oci.image.index.v1+json")
    name = outer["digest"].partition(":")[2]
    files |= {f"blobs/sha256/{name}": inner, "index.json": index([outer])}
    listed = [LISTED[0] | {"Id": outer["digest"]}]
    server.answers["/images/json"] = whole(json.dumps(listed).encode())
    server.answers["/images/get"] = whole(tarred(files))
    try:
        done = engine.images.adopt("web:1", source=server.address)
    except OcimagicError as err:
        if "platform" not in str(err):
            raise
        pytest.skip("compared on x86_64")
    assert [(each.tags, str(each.image_id)) for each in done.images] == [(("web:1",), IMAGE_ID)]
