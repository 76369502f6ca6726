"""What clients may do to our registry, and that it gains them nothing."""

import contextlib
import os
import random
import resource
import select
import socket
import sqlite3
import threading
import time

import pytest
from pusher import CONFIG, Pusher, assert_whole, image, process

from ocimagic.errors import InvalidOption
from ocimagic.registry.body import Limits
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.inbox import Inbox
from ocimagic.registry.server import RegistryServer, Rules
from ocimagic.spec.digest import Digest

LAYER = bytes(range(256)) * 400
HURRY = Limits(idle_s=0.3, grace_s=0.3, least_bytes_per_s=100_000, connections=8)


@pytest.fixture
def hurried(kept):
    with RegistryServer(kept, rules=Rules(limits=HURRY)) as server:
        yield server


def raw(host, sent, *, then=b"", wait_s=0.0):
    """Send bytes as they are; return all that comes back."""
    address, _, port = host.rpartition(":")
    got = b""
    with (
        socket.create_connection((address, int(port)), timeout=5) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(sent)
        if then:
            select.select([connection], [], [], wait_s)
            connection.sendall(then)
        while piece := connection.recv(65536):
            got += piece
    return got


def request(method, path, *headers, body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a/../b",
        "a//b",
        "A",
        "a/",
        "%2e%2e/etc",
        "a%2f..%2fb",
        "-a",
        "a" * 256,
        "a:b",
        "a%00b",
    ],
)
def test_names_that_are_none(push, name, tmp_path):
    for method, path in (
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/1"),
        ("GET", "tags/list"),
        ("DELETE", "manifests/1"),
    ):
        answer = push.ask(method, f"/v2/{name}/{path}", b"")
        assert (answer.status, answer.code) in {(400, "NAME_INVALID"), (404, "NOT_FOUND")}
    assert not list((tmp_path / "kept/ocimagic/uploads").iterdir())


@pytest.mark.parametrize("last", ["..", "%2e%2e%2fregistry.sqlite", "../../registry.sqlite", "x"])
def test_names_of_uploads_lead_nowhere(push, last):
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        query = f"?digest={Digest.of(b'')}" if method == "PUT" else ""
        answer = push.ask(method, f"/v2/a/blobs/uploads/{last}{query}", b"")
        assert answer.status in {400, 404}


@pytest.mark.parametrize(
    "said",
    ["0-9", "5-1", "x", "-1-5", "0-99999999999999999999999", "0--1", "1-3"],
)
def test_content_range_that_lies(push, said):
    place = push.begin("a")
    answer = push.ask("PATCH", place, b"four", Content_Range=said)
    assert (answer.status, answer.code) in {
        (400, "BLOB_UPLOAD_INVALID"),
        (400, "SIZE_INVALID"),
        (416, "BLOB_UPLOAD_INVALID"),
    }
    assert push.ask("GET", place).headers["Range"] == "0-0"
    done = push.ask("PUT", f"{place}?digest={Digest.of(b'right')}", b"right", Content_Range="0-4")
    assert done.status == 201, "the upload is as it was"


@pytest.mark.parametrize("body", [b"longer than it says", b"shor"])
def test_chunked_body_that_is_not_as_long_as_its_range(push, body):
    place = push.begin("a")
    push.ask("PATCH", place, b"begin", Content_Range="0-4")
    answer = push.ask(
        "PATCH", place, iter([body]), Content_Range="5-9", Transfer_Encoding="chunked"
    )
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert push.ask("GET", place).headers["Range"] == "0-4"
    rest = push.ask("PUT", f"{place}?digest={Digest.of(b'begin and')}", b" and")
    assert rest.status == 201, "what the lie wrote is not hashed"


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 99999999999999999999"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5, 5"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ],
)
def test_lengths_that_are_none(keeping, push, headers):
    smuggled = request("GET", "/v2/_catalog")
    got = raw(keeping.host, request("PATCH", push.begin("a"), *headers, body=smuggled))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b'"errors"' in got
    assert got.count(b"HTTP/1.1") == 1, "what follows is no request"


def test_a_length_and_chunks_do_not_go_together(keeping, push):
    """Each way of reading it is whole; they differ on where the next request begins."""
    headers = ["Content-Length: 15", "Transfer-Encoding: chunked"]
    body = b"5\r\nhello\r\n0\r\n\r\n"
    got = raw(keeping.host, request("PATCH", push.begin("a"), *headers, body=body))
    assert got.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"5\r\nabcdefgh\r\n",
        b"-5\r\n",
        b"f" * 40 + b"\r\n",
        b"1" * 2000,
        b"0\r\n" + b"a:b\r\n" * 99,
    ],
)  # fmt: skip
def test_chunks_that_are_none(keeping, push, body):
    place = push.begin("a")
    got = raw(keeping.host, request("PATCH", place, "Transfer-Encoding: chunked", body=body))
    assert got.startswith(b"HTTP/1.1 400 ")


def test_a_web_page_may_not_push(push):
    """A browser sends such a POST from any page, without asking first."""
    origin = {"Origin": "https://example.com", "Content-Type": "text/plain"}
    answer = push.ask("POST", f"/v2/a/blobs/uploads/?digest={Digest.of(b'x')}", b"x", **origin)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert push.ask("HEAD", f"/v2/a/blobs/{Digest.of(b'x')}").status == 404


def test_a_flood_of_headers(keeping):
    many = raw(keeping.host, request("GET", "/v2/", *(f"H{n}: x" for n in range(1000))))
    assert many.startswith(b"HTTP/1.1 431 ")
    assert b'"errors"' in many
    long = raw(keeping.host, request("GET", "/v2/", "H: " + "x" * 100_000))
    assert long.startswith(b"HTTP/1.1 431 ")
    path = raw(keeping.host, request("GET", "/v2/" + "x" * 100_000))
    assert path.startswith(b"HTTP/1.1 414 ")
    assert raw(keeping.host, request("BREW", "/v2/")).startswith(b"HTTP/1.1 501 ")


def test_a_slow_head_is_not_waited_for(hurried):
    began = time.monotonic()
    stop = threading.Event()
    address, _, port = hurried.host.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=5) as connection:

        def drip():
            with contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        with contextlib.suppress(ConnectionError):
            assert connection.recv(100) == b""
        stop.set()
        dripping.join()
    assert time.monotonic() - began < 2


def test_a_slow_body_is_not_waited_for(hurried):
    with Pusher(hurried.host) as pusher:
        place = pusher.begin("a")
        pusher.connection.putrequest("PATCH", place)
        pusher.connection.putheader("Content-Length", "1000000")
        pusher.connection.endheaders()
        with contextlib.suppress(OSError):
            for _ in range(100):
                pusher.connection.send(b"x" * 10)
                if select.select([pusher.connection.sock], [], [], 0.02)[0]:
                    break
        answer = pusher.connection.getresponse()
        assert answer.status == 408
        assert b"slowly" in answer.read()
    with Pusher(hurried.host) as pusher:
        kept = int(pusher.ask("GET", place).headers["Range"].partition("-")[2]) + 1
        assert 0 < kept < 1000, "what came is kept"


def test_a_fast_body_may_take_its_time(hurried):
    """Ten times the grace, at twice the least pace."""

    def pieces():
        for _ in range(30):
            time.sleep(0.03)
            yield bytes(6000)

    with Pusher(hurried.host) as pusher:
        answer = pusher.ask("PATCH", pusher.begin("a"), pieces(), Transfer_Encoding="chunked")
        assert answer.status == 202


def test_too_many_connections_are_sent_away(hurried):
    address, _, port = hurried.host.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(HURRY.connections):
            idle = socket.create_connection((address, int(port)), timeout=5)
            stack.enter_context(idle)
        assert raw(hurried.host, request("GET", "/v2/")).startswith(b"HTTP/1.1 503 ")
    deadline = time.monotonic() + 5
    while not raw(hurried.host, request("GET", "/v2/")).startswith(b"HTTP/1.1 200 "):
        assert time.monotonic() < deadline


def test_a_body_that_is_refused_is_refused_unsent(keeping):
    """A client that asks first hears no before it has sent anything."""
    place = "/v2/a/manifests/1"
    headers = ["Content-Length: 99999999", "Expect: 100-continue"]
    got = raw(keeping.host, request("PUT", place, *headers))
    assert got.startswith(b"HTTP/1.1 413 ")
    asked = request("PUT", place, "Content-Length: 1", "Expect: 100-continue")
    got = raw(keeping.host, asked, then=b"{", wait_s=5)
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")


def test_an_answer_arrives_though_the_body_was_not_read(keeping):
    body = bytes(8 << 20)
    got = raw(
        keeping.host, request("PUT", "/v2/A/manifests/1", f"Content-Length: {len(body)}") + body
    )
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"NAME_INVALID" in got


def test_memory_is_flat(tmp_path):
    """A blob of 48 MiB and twenty manifests of 4 MB at once leave a process small."""
    blob = random.Random(1).randbytes(1 << 20) * 48
    big = image([], annotations={"a": "x" * 4_000_000})
    with process(tmp_path / "kept") as (serving, host):
        with Pusher(host) as pusher:
            before = peak_kib(serving.pid)
            pusher.blob("a", blob)
            assert peak_kib(serving.pid) - before < 16 << 10
            pusher.blob("a", CONFIG)
        threads = [threading.Thread(target=put, args=(host, big, n)) for n in range(20)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        # Two at a time are looked into, each as bytes, as text and as an object.
        assert peak_kib(serving.pid) - before < 110 << 10


def put(host, content, number):
    with Pusher(host) as pusher:
        assert pusher.manifest("a", f"v{number}", content).status == 201


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def test_a_kill_in_the_middle_of_an_upload(tmp_path):
    with process(tmp_path / "kept") as (serving, host):
        with Pusher(host) as pusher:
            raw_manifest = pusher.image("a", "1", [LAYER])
            place = pusher.begin("a")
            pusher.ask("PATCH", place, LAYER)
            pusher.connection.putrequest("PATCH", place)
            pusher.connection.putheader("Content-Length", "1000000")
            pusher.connection.endheaders()
            pusher.connection.send(LAYER)
            serving.kill()
        serving.wait()
    assert_whole(tmp_path / "kept")
    with RegistryDirectory(tmp_path / "kept") as kept, RegistryServer(kept) as server:
        assert_whole(tmp_path / "kept")
        with Pusher(server.host) as pusher:
            assert pusher.ask("GET", "/v2/a/manifests/1").body == raw_manifest
            assert pusher.ask("GET", f"/v2/a/blobs/{Digest.of(LAYER)}").body == LAYER
            assert pusher.ask("GET", place).code == "BLOB_UPLOAD_UNKNOWN"
    assert not list((tmp_path / "kept/ocimagic/uploads").iterdir())


def test_kills_at_any_moment_leave_a_valid_registry(tmp_path):
    chance = random.Random(3)
    known = {}
    for turn in range(30):
        if turn >= 6 and len(known) > 6:  # a slow machine needs more turns for as many images
            break
        with process(tmp_path / "kept") as (serving, host):
            with contextlib.suppress(OSError, AssertionError, ValueError), Pusher(host) as pusher:
                for path, content in known.items():
                    assert pusher.ask("GET", path).body == content
                timer = threading.Timer(chance.uniform(0.01, 0.2), serving.kill)
                timer.start()
                for number in range(1000):
                    layer = chance.randbytes(30_000)
                    content = pusher.image(f"a{number % 3}", f"v{turn}.{number}", [layer])
                    known[f"/v2/a{number % 3}/manifests/v{turn}.{number}"] = content
            serving.wait()
    with RegistryDirectory(tmp_path / "kept") as kept, RegistryServer(kept) as server:
        assert_whole(tmp_path / "kept")
        with Pusher(server.host) as pusher:
            assert len(known) > 6
            for path, content in known.items():
                assert pusher.ask("GET", path).body == content, "what was told to be kept is kept"


def test_what_was_answered_with_201_survives_a_power_cut(push, kept, tmp_path, monkeypatch):
    """Each file is synced, then the directory that has its name, then the row."""
    synced = []
    fsync = os.fsync

    def note(fd):
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    folder = tmp_path / "kept/blobs/sha256"
    for keep, name in (
        (lambda: push.blob("a", LAYER), Digest.of(LAYER)),
        (lambda: push.blob("a", CONFIG), Digest.of(CONFIG)),
        (lambda: push.manifest("a", "1", image([LAYER])), Digest.of(image([LAYER]))),
    ):
        synced.clear()
        keep()
        files = [(folder / name.hex).stat().st_ino, folder.stat().st_ino]
        assert [each for each in synced if each in files] == files
    with contextlib.closing(sqlite3.connect(tmp_path / "kept/ocimagic/registry.sqlite")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    [[full]] = kept._catalog.rows("PRAGMA synchronous")
    assert full == 2


def test_files_that_no_row_speaks_of_are_cleared_away(tmp_path):
    """A kill between a file's name and its row leaves one."""
    with RegistryDirectory(tmp_path / "kept"):
        pass
    for name in (Digest.of(b"left").hex, ".half.1.ab"):
        (tmp_path / "kept/blobs/sha256" / name).write_bytes(b"left")
    with RegistryDirectory(tmp_path / "kept"):
        assert not list((tmp_path / "kept/blobs/sha256").iterdir())


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs/sha256/precious").write_bytes(b"x")
    with pytest.raises(InvalidOption, match="not a registry's directory"):
        RegistryDirectory(tmp_path)
    assert (tmp_path / "blobs/sha256/precious").exists()


def test_a_directory_is_served_once(kept, tmp_path):
    with pytest.raises(InvalidOption, match="served already"):
        RegistryDirectory(tmp_path / "kept")


def test_abandoned_uploads_are_taken_away(tmp_path):
    uploads = Inbox(tmp_path, age_s=0.05)
    left, busy = uploads.begin("a"), uploads.begin("a")
    with uploads.find("a", busy).alone():
        time.sleep(0.1)
        last = uploads.begin("a")
    assert {path.name for path in tmp_path.iterdir()} == {busy, last}
    assert left != busy


def test_a_full_disk_is_told(tmp_path):
    """What cannot be written is refused in words, and does not count as pushed."""
    with process(tmp_path / "kept") as (serving, host):
        resource.prlimit(serving.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with Pusher(host) as pusher:
            place = pusher.begin("a")
            answer = pusher.ask("PATCH", place, bytes(2 << 20))
            assert answer.status in {500, 507}
            assert b"cannot write" in answer.body or b"full" in answer.body
            assert pusher.ask("GET", place).headers["Range"] == "0-0"
    assert os.listdir(tmp_path / "kept/blobs/sha256") == []
