"""One blob over several connections: all of it, in order, whatever the registry does."""

import itertools
import re
import threading

import pytest
from scripted import Reply

from ocimagic.errors import RegistryUnreachable
from ocimagic.registry.client import RegistryClient
from ocimagic.registry.ranges import Spreading
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

SEGMENT = 64 << 10
BODY = b"".join(number.to_bytes(4) for number in range(400_000))  # 25 segments
BLOB = Descriptor(mediatype.OCI_LAYER, Digest.of(BODY), len(BODY))
HEAD = 100_000
# Whatever the first stream does, it is found slow.
EAGER = Spreading(
    segment_bytes=SEGMENT, connections=3, segments=4, trial_bytes=1, trial_wait_s=0.0,
    waiting_share=0.0, fast=1e18, gain_s=0.0,
)  # fmt: skip


class Slow:
    """A registry whose first stream stops after a while, then goes on slowly."""

    def __init__(self, scripted, part=None, pause_s=0.02):
        self.pause_s = pause_s
        self.part = part or self.honest
        self.asked = threading.Event()
        self.ranges = []
        self.server = scripted(self.answer)
        self.reference = Reference.parse(f"{self.server.host}/x")

    def answer(self, seen):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.headers.get("range", ""))
        if found:
            start, end = int(found[1]), int(found[2]) + 1
            self.ranges.append((start, end))
            self.asked.set()
            return self.part(start, end)
        return Reply(headers=[("Content-Length", str(len(BODY)))], body=BODY[:HEAD], then=self.rest)

    def rest(self, connection, stop):
        self.asked.wait(5)
        for at in range(HEAD, len(BODY), SEGMENT // 4):
            stop.wait(self.pause_s)
            connection.sendall(BODY[at : at + SEGMENT // 4])

    @staticmethod
    def honest(start, end):
        said = [("Content-Range", f"bytes {start}-{end - 1}/{len(BODY)}")]
        return Reply(206, said, BODY[start:end])


@pytest.fixture
def eager(transport):
    return RegistryClient(transport, spreading=EAGER)


def read(client, slow, offset=0):
    with client.open_blob(slow.reference, BLOB, offset=offset) as stream:
        assert stream.start_offset == offset
        return b"".join(stream.chunks)


def helpers():
    return [each for each in threading.enumerate() if each.name.startswith("ocimagic-range")]


@pytest.fixture(autouse=True)
def _no_helper_is_left():
    yield
    for each in helpers():
        each.join(5)
    assert helpers() == []


def test_in_order_and_each_part_once(scripted, eager):
    slow = Slow(scripted)
    assert read(eager, slow) == BODY
    assert len(slow.ranges) > 5
    ordered = sorted(slow.ranges)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))
    assert all(end - start <= SEGMENT for start, end in ordered)
    assert read(eager, slow) == BODY, "what one blob took is given back"


def test_from_the_middle(scripted, eager):
    slow = Slow(scripted)
    offset = 3 * SEGMENT + 5
    assert read(eager, slow, offset) == BODY[offset:]


def test_several_blobs_share_what_there_is(scripted, eager):
    slow = Slow(scripted)
    most, found = [0], []

    def one():
        found.append(read(eager, slow) == BODY)
        most[0] = max(most[0], len(helpers()))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [True] * 4
    assert most[0] <= EAGER.connections


def test_memory_is_bounded(scripted, eager):
    """A reader that stands still is not run away from."""
    slow = Slow(scripted)
    with eager.open_blob(slow.reference, BLOB) as stream:
        got = len(next(stream.chunks))
        furthest = max(end for _, end in slow.ranges)
        # Segments in memory, what makes the chunk, and the first stream's head start.
        assert furthest <= got + (EAGER.segments + 2) * SEGMENT + HEAD
        assert sum(map(len, stream.chunks)) + got == len(BODY)


def test_a_fast_stream_stays_alone(scripted, transport):
    slow = Slow(scripted, pause_s=0)
    slow.asked.set()
    assert read(RegistryClient(transport), slow) == BODY
    assert slow.ranges == []


def test_a_registry_that_says_it_gives_no_ranges(scripted, eager):
    said = [("Accept-Ranges", "none"), ("Content-Length", str(len(BODY)))]
    slow = Slow(scripted)
    slow.server.script = lambda seen: Reply(headers=said, body=BODY)
    assert read(eager, slow) == BODY
    assert len(slow.server.seen) == 1


@pytest.mark.parametrize(
    "part",
    [
        lambda start, end: Reply(body=BODY),
        lambda start, end: Reply(206, [], BODY[start:end]),
        lambda start, end: Reply(206, [("Content-Range", "bytes 0-9/99")], BODY[start:end]),
        lambda start, end: Reply(416),
        lambda start, end: Reply(403),
        lambda start, end: Reply(raw=b"garbage"),
    ],
    ids=["ignored", "no range said", "another part", "416", "403", "garbage"],
)
def test_a_registry_that_gives_no_ranges(scripted, eager, part):
    """Its first stream goes on as if nothing had been asked."""
    slow = Slow(scripted, part, pause_s=0.001)
    assert read(eager, slow) == BODY
    whole = [seen for seen in slow.server.seen if "range" not in seen.headers]
    assert len(whole) == 1


def test_broken_parts_are_mended(scripted, eager):
    count = itertools.count()

    def breaking(start, end):
        reply = Slow.honest(start, end)
        if next(count) % 3 == 1:
            reply.headers.append(("Content-Length", str(end - start)))
            reply.body = reply.body[: (end - start) // 2]
            reply.then = lambda connection, stop: connection.shutdown(2)
        return reply

    slow = Slow(scripted, breaking)
    got, tries = b"", 0
    while len(got) < len(BODY):  # as a pull does
        tries += 1
        try:
            with eager.open_blob(slow.reference, BLOB, offset=len(got)) as stream:
                for chunk in stream.chunks:
                    got += chunk
        except RegistryUnreachable:
            assert tries < 10
    assert got == BODY


def test_a_reader_that_leaves_lets_the_helpers_go(scripted, eager):
    def hanging(start, end):
        reply = Slow.honest(start, end)
        reply.headers.append(("Content-Length", str(end - start)))
        reply.body = reply.body[:10]
        reply.then = lambda connection, stop: stop.wait(5)
        return reply

    slow = Slow(scripted, hanging)
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with (
        pytest.raises(RegistryUnreachable, match="stopped"),
        eager.until(stop).open_blob(slow.reference, BLOB) as stream,
    ):
        list(stream.chunks)
    timer.join()
