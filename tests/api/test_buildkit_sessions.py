"""What BuildKit's clients send over their sessions: hostile, late, too much, or gone."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")

from buildkit_peer import (
    ERR,
    FIN,
    GO_DIR,
    GO_LINK,
    Peer,
    build,
    context_of,
    data,
    end,
    fsutil,
    head,
    honest,
    stat,
)  # fmt: skip

from ocimagic.api.buildkit import jobs, sessions
from ocimagic.api.buildkit.filesync import Wanted
from ocimagic.api.server import Address, Server

COPYING = b"FROM busybox\nCOPY . /evil\n"


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    room = tmp_path_factory.mktemp("s")
    with Server(shared, Address(path=str(room / "s"))) as server:
        server.path = str(room / "s")
        yield server


def sent(*packets):
    def serve(asked):
        yield from packets
        for packet in asked:  # a client that has more to say waits
            if packet.type == FIN:
                yield fsutil().Packet(type=FIN)
                return

    return serve


def answering(*stats, answers):
    """Return what lists files, and answers the first request with something else."""

    def serve(asked):
        yield from stats
        yield end()
        next(asked)
        yield from answers
        for packet in asked:
            if packet.type == FIN:
                yield fsutil().Packet(type=FIN)

    return serve


HOSTILE = {
    "leaves": (sent(stat("../evil", size=1), end()), "has '..' in it"),
    "leaves-deeper": (sent(stat("a", GO_DIR), stat("a/../../evil"), end()), "has '..' in it"),
    "absolute": (sent(stat("/evil"), end()), "no clean path"),
    "unclean": (sent(stat("a//b"), end()), "no clean path"),
    "nothing": (sent(stat("."), end()), "no clean path"),
    "in-a-link": (
        sent(stat("a", GO_LINK | 0o777, linkname="/tmp"), stat("a/evil"), end()),
        "no directory that it could be in",
    ),
    "in-nothing": (sent(stat("a/evil"), end()), "no directory that it could be in"),
    "in-a-file": (sent(stat("a"), stat("a/evil"), end()), "no directory that it could be in"),
    "order": (sent(stat("b"), stat("a"), end()), "not in the order of a walk"),
    "twice": (sent(stat("a"), stat("a"), end()), "not in the order of a walk"),
    "hard-link": (sent(stat("a", linkname="/etc/passwd"), end()), "which is no file before it"),
    "kind": (sent(stat("a", 1 << 19), end()), "unknown type"),
    "negative": (sent(stat("a", size=-1), end()), "its size cannot be"),
    "gigantic": (sent(stat("a", size=1 << 50), end()), "its size cannot be"),
    "early": (sent(data(0, b"x")), "content came before the list"),
    "unasked": (answering(stat("a", size=1), answers=[data(7, b"x")]), "was not asked for"),
    "longer": (
        answering(stat("a", size=1), answers=[data(0, b"xx"), data(0)]), "2 bytes, and 1 were said"
    ),
    "shorter": (
        answering(stat("a", size=3), answers=[data(0, b"xx"), data(0)]), "2 bytes, and 3 were said"
    ),
    "failing": (sent(fsutil().Packet(type=ERR, data=b"no such luck")), "no such luck"),
    "short": (lambda asked: iter([stat("a")]), "it ended too early"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_words(served, shared, tmp_path, case):
    sender, words = HOSTILE[case]
    directories = {"dockerfile": honest({"Dockerfile": COPYING}), "context": context_of(sender)}
    images = {each.image_id for each in shared.images.list(all=True)}
    with Peer(directories).connected(served.path, tmp_path) as (name, _):
        lines = build(served.path, name, t=case)
    assert words in lines[-1]["error"]
    assert case not in {each.repository for each in shared.images.list()}
    assert {each.image_id for each in shared.images.list(all=True)} == images
    assert not [each for each in ("/evil", "/tmp/evil") if os.path.exists(each)]
    assert not list(shared.home.ingest.glob("build-*")), "what came is left"


def test_an_honest_session_builds(served, shared, tmp_path):
    files = {"a": b"1" * 100_000, "b": b"", "c\u00e9": b"3"}
    peer = Peer({
        "dockerfile": honest({"Dockerfile": b"FROM busybox\nCOPY a b c* /to/\nRUN wc -c /to/*\n"}),
        "context": context_of(honest(files)),
    })  # fmt: skip
    with peer.connected(served.path, tmp_path) as (name, _):
        lines = build(served.path, name, t="honest")
    assert "aux" in lines[-1], lines[-1]
    assert lines[-1]["aux"]["ID"] == str(shared.images.inspect("honest").image_id)
    assert [each[""] for each in peer.asked] == ["dockerfile", "context", "context"]


def test_nothing_of_the_context_is_asked_for_without_need(served, shared, tmp_path):
    peer = Peer(
        {"dockerfile": honest({"Dockerfile": b"FROM busybox\nENV A=b\n"}), "context": honest({})}
    )
    with peer.connected(served.path, tmp_path) as (name, _):
        assert "ID" in build(served.path, name)[-1]["aux"]
    assert [each[""] for each in peer.asked] == ["dockerfile", "context"]


def test_a_secret_that_is_too_large_is_refused(served, tmp_path):
    text = b"FROM busybox\nRUN --mount=type=secret,id=s true\n"
    directories = {"dockerfile": honest({"Dockerfile": text}), "context": honest({})}
    with Peer(directories, {"s": bytes(600 << 10)}).connected(served.path, tmp_path) as (name, _):
        assert "secret s is too large" in build(served.path, name)[-1]["error"]


def test_a_session_that_ends_stops_its_build(served, tmp_path):
    def endless(asked):
        yield stat("a", size=1)
        yield end()
        next(asked)
        junction.close()

    directories = {"dockerfile": honest({"Dockerfile": COPYING}), "context": context_of(endless)}
    with Peer(directories).connected(served.path, tmp_path) as (name, junction):
        began = time.monotonic()
        lines = build(served.path, name)
    assert time.monotonic() - began < 5
    assert "error" in lines[-1]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (head("two", upgrade=""), 400, b"no upgrade proto"),
        (head("two", upgrade="tcp"), 400, b"protocol tcp not supported"),
        (head(""), 400, b"no name that can be used"),
        (head("NAME"), 409, b"already exists"),
    ],
)
def test_sessions_that_cannot_be(served, tmp_path, asked, status, words):
    with (
        Peer({}).connected(served.path, tmp_path) as (name, _),
        closing(socket.socket(socket.AF_UNIX)) as client,
    ):
        client.connect(served.path)
        client.sendall(asked.replace(b"NAME", name.encode()))
        said = client.recv(1 << 16)
    assert said.startswith(b"HTTP/1.1 %d " % status), said
    assert words in said


def test_there_are_not_too_many_sessions(served, tmp_path, monkeypatch):
    with (
        Peer({}).connected(served.path, tmp_path),
        closing(socket.socket(socket.AF_UNIX)) as client,
    ):
        monkeypatch.setattr(sessions, "_MOST", 1)
        client.connect(served.path)
        client.sendall(head("other"))
        assert b"no more are allowed" in client.recv(1 << 16)


def test_an_unused_session_ends(served, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "_LOOK_S", 0.01)
    monkeypatch.setattr(sessions, "_IDLE_S", 0.1)
    with Peer({}).connected(served.path, tmp_path) as (_, junction):
        assert junction.ended.wait(5)


def test_builds_without_their_session_or_upload(served, monkeypatch):
    monkeypatch.setattr(sessions, "_FIND_S", 0.01)
    monkeypatch.setattr(jobs, "_MEET_S", 0.01)
    assert build(served.path, "one") == [{"message": "no active session for one"}]
    asked = {"remote": "upload-request", "buildid": "b"}
    assert "nothing was uploaded" in build(served.path, "", **asked)[0]["message"]
    asked = {"remote": "", "buildid": "upload-request:b"}
    assert "does not take what is uploaded" in build(served.path, "", **asked)[0]["message"]


BLOCKED = """
import sys
sys.modules["grpc"] = None
from pathlib import Path
from ocimagic import Engine
from ocimagic.api.server import Address, Server
with Server(Engine(Path(sys.argv[1]) / "root"), Address(path=sys.argv[1] + "/s")):
    print(flush=True)
    sys.stdin.read()
"""


def test_without_the_libraries_it_is_said_what_to_install(tmp_path):
    words = [sys.executable, "-c", BLOCKED, tmp_path]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(f"{tmp_path}/s")
            client.sendall(head("one"))
            said = client.recv(1 << 16)
        refused = build(f"{tmp_path}/s", "one")
        process.stdin.close()
    assert said.startswith(b"HTTP/1.1 501 "), said
    assert b"pip install 'ocimagic[grpc]'" in said or b"grpcio and protobuf" in said
    assert "grpcio and protobuf" in refused[0]["message"]


@pytest.mark.parametrize(
    ("names", "is_told"),
    [(["a", "b c"], True), (["caf\u00e9"], False), (["x" * 50] * 200, False), ([" a"], False)],
)
def test_only_what_metadata_can_hold_is_asked_for(names, is_told):
    told = Wanted("context", follow=names, exclude=names).metadata()
    wanted = [(key, name) for key in ("followpaths", "exclude-patterns") for name in names]
    assert told == [("dir-name", "context"), *(wanted if is_told else [])]
