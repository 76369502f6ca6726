"""One large blob over several connections, when one of them alone is slow.

A blob begins as one stream.  Where that is fast, because the link is or because whoever reads it
is the slower one, it stays the only one: more would cost and gain nothing.  Where time is spent
waiting for the network, helpers fetch the segments ahead with ranges, into memory, and the reader
takes them over in order.  What no helper has, the reader fetches itself; so nothing depends on
them, and a registry that ignores ranges is read as before, its first stream undisturbed.

Spec: distribution-spec "Pulling blobs"; RFC 9110 section 14 (ranges).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from ocimagic.errors import OcimagicError, RegistryAnswered, RegistryUnreachable
from ocimagic.registry.blobs import body_from, check_range
from ocimagic.registry.message import refuse_cancelled
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ocimagic.registry.message import Answer
    from ocimagic.spec.descriptor import Descriptor

    # Asks for a part of the blob, [start, end), over a connection of its own; the event stops it.
    Ask = Callable[[int, int, threading.Event | None], Answer]

_LOOK_S = 0.1  # how often a waiting reader looks whether it is to stop
_MAX_BREAKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spreading:
    """When a blob is spread over connections, and how far.

    Attributes:
        segment_bytes: what a helper fetches at a time.
        connections: most helpers at once, of all blobs together.
        segments: most segments in memory at once, of all blobs together.
        trial_bytes: what the first stream brings before it is judged.
        trial_wait_s: the time it must have waited for that.
        waiting_share: of its time, or more, it must have waited: else the reader is the slow one.
        fast: bytes a second; from there on one connection is enough.
        gain_s: what is left must take longer than this.
    """

    segment_bytes: int = 4 << 20
    connections: int = 4
    segments: int = 8
    trial_bytes: int = 2 << 20
    trial_wait_s: float = 0.2
    waiting_share: float = 0.5
    fast: float = 60e6
    gain_s: float = 1.0


class Lanes:
    """What the blobs of one client share: helpers and memory.

    Attributes:
        changed: guards this and every blob's own state.
        connections: helpers that may still begin.
        segments: segments that may still be held in memory.
    """

    def __init__(self, rules: Spreading | None = None) -> None:
        self.rules = rules or Spreading()
        self.changed = threading.Condition()
        self.connections = self.rules.connections
        self.segments = self.rules.segments


@dataclass(eq=False, slots=True)
class _Segment:
    """What one helper fetches: [start, end).

    Attributes:
        is_coming: the registry has agreed to give it; until then the reader may pass over it.
        is_over: no more of it comes.
        got: bytes that came.
    """

    start: int
    end: int
    pieces: deque[bytes] = field(default_factory=deque)
    answer: Answer | None = None
    got: int = 0
    is_coming: bool = False
    is_over: bool = False


class Spread:
    """The rest of one blob, from an offset on; a context that lets its helpers go at its end.

    Args:
        descriptor: of the blob.
        ask: for a part of it.
        lanes: shared with other blobs.
        cancelled: stops the reader.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        ask: Ask,
        lanes: Lanes,
        *,
        cancelled: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._ask = ask
        self._lanes = lanes
        self._rules = lanes.rules
        self._cancelled = cancelled
        self._clock = clock
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._segments: deque[_Segment] = deque()
        self._helpers = 0
        self._breaks = 0
        self._at = 0  # the reader's next byte
        self._claimed = 0  # the end of what some helper has or had

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the helpers; one that still waits for an answer ends by itself, soon after."""
        with self._lanes.changed:
            self._stopped.set()
            answers = [each.answer for each in self._segments if each.answer]
            self._lanes.segments += len(self._segments)
            self._segments.clear()
            self._lanes.changed.notify_all()
        for answer in answers:
            answer.interrupt()

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """The helpers that have begun so far."""
        return tuple(self._threads)

    def pieces(self, first: Answer, start: int) -> Iterator[bytes]:
        """Yield the blob from ``start`` on.

        Args:
            first: a stream that was asked for the rest from ``start`` on; the registry may send
                the whole instead.
            start: where to begin.

        Raises:
            SizeMismatch, RegistryUnreachable: see ``BlobStream``.
        """
        self._at = start
        yield from self._alone(first, start)
        if self._at < self._descriptor.size:
            first.close()
            yield from self._together(first.request.url)

    def _alone(self, first: Answer, start: int) -> Iterator[bytes]:
        """Yield from the first stream, to its end or to where a helper's work begins."""
        began, waited = self._clock(), 0.0
        pieces = body_from(first, self._descriptor, start)
        while True:
            asked = self._clock()
            piece = next(pieces, None)
            now = self._clock()
            waited += now - asked
            refuse_cancelled(self._cancelled, first.request.url)
            if piece is None:
                return
            mine = self._pass(len(piece))
            if mine:
                yield piece[:mine]
            if mine < len(piece) or self._is_met():
                return
            if self._is_slow(first, self._at - start, waited, now - began):
                self._staff(self._at + self._rules.segment_bytes)

    def _is_slow(self, first: Answer, received: int, waited_s: float, elapsed_s: float) -> bool:
        """Say whether more connections would bring the rest sooner."""
        rules, left = self._rules, self._descriptor.size - self._at
        if received < rules.trial_bytes or left < 2 * rules.segment_bytes:
            return False
        if waited_s < rules.trial_wait_s or waited_s < rules.waiting_share * elapsed_s:
            return False
        if first.header("accept-ranges").lower() == "none":
            return False
        rate = received / waited_s
        return rate < rules.fast and left / rate > rules.gain_s

    def _pass(self, size: int) -> int:
        """Let the reader's own stream go on; return how much of it is before a helper's part."""
        with self._lanes.changed:
            end = self._at + size
            while self._segments and self._segments[0].start < end:
                segment = self._segments[0]
                if segment.is_coming:
                    size = segment.start - self._at
                    break
                self._drop(segment)
            self._at += size
            return size

    def _is_met(self) -> bool:
        with self._lanes.changed:
            ahead = self._segments
            return bool(ahead) and ahead[0].is_coming and ahead[0].start == self._at

    def _together(self, url: str) -> Iterator[bytes]:
        """Yield what helpers bring, in order, and what none of them has."""
        size = self._descriptor.size
        while self._at < size:
            self._staff(self._claimed)
            segment = self._next()
            if segment is None:
                yield from self._own(self._own_end())
                continue
            while piece := self._taken(segment, url):
                self._at += len(piece)
                yield piece
            with self._lanes.changed:
                self._drop(segment)
            if self._at < segment.end:  # it broke: the reader mends it
                yield from self._own(segment.end)

    def _next(self) -> _Segment | None:
        with self._lanes.changed:
            return self._segments[0] if self._segments else None

    def _own_end(self) -> int:
        """Claim what comes next for the reader, and return its end."""
        with self._lanes.changed:
            alone = self._breaks >= _MAX_BREAKS
            end = self._descriptor.size if alone else self._at + self._rules.segment_bytes
            self._claimed = max(self._claimed, min(end, self._descriptor.size))
            return self._claimed

    def _own(self, end: int) -> Iterator[bytes]:
        """Fetch up to ``end`` over the reader's own connection."""
        with self._ask(self._at, end, self._cancelled) as answer:
            if answer.status == 206:
                check_range(answer, self._descriptor, self._at, end)
            for piece in body_from(answer, self._descriptor, self._at, end):
                refuse_cancelled(self._cancelled, answer.request.url)
                mine = piece[: end - self._at]
                self._at += len(mine)
                yield mine
                if self._at == end:
                    return

    def _taken(self, segment: _Segment, url: str) -> bytes:
        """Wait for a helper's next piece; empty when no more comes."""
        with self._lanes.changed:
            while not segment.pieces and not segment.is_over:
                self._lanes.changed.wait(_LOOK_S)
                refuse_cancelled(self._cancelled, url)
            return segment.pieces.popleft() if segment.pieces else b""

    def _drop(self, segment: _Segment) -> None:
        """Give a segment's memory back; ``changed`` is held."""
        segment.is_over = True
        self._segments.remove(segment)
        self._lanes.segments += 1
        self._lanes.changed.notify_all()

    # -- helpers -----------------------------------------------------------------

    def _staff(self, start: int) -> None:
        """Let helpers begin, as many as there may be."""
        with self._lanes.changed:
            if not self._segments:
                self._claimed = max(self._claimed, start)
            while self._has_work() and self._lanes.connections:
                self._lanes.connections -= 1
                self._helpers += 1
                name = f"ocimagic-range-{self._helpers}"
                # A daemon: it may wait for a silent host when nobody wants its part any more.
                thread = threading.Thread(target=self._help, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _has_work(self) -> bool:
        if self._stopped.is_set() or self._breaks >= _MAX_BREAKS:
            return False
        left = self._descriptor.size - self._claimed
        return left > self._helpers_waiting() * self._rules.segment_bytes

    def _helpers_waiting(self) -> int:
        """Count the helpers that have begun and claimed nothing yet."""
        return max(0, self._helpers - len(self._segments))

    def _help(self) -> None:
        try:
            while segment := self._claim():
                try:
                    self._fetch(segment)
                except OcimagicError as err:
                    self._broke(err)
                finally:
                    with self._lanes.changed:
                        segment.answer = None
                        segment.is_over = True
                        self._lanes.changed.notify_all()
        finally:
            with self._lanes.changed:
                self._helpers -= 1
                self._lanes.connections += 1
                self._lanes.changed.notify_all()

    def _claim(self) -> _Segment | None:
        """Take the next part that nobody has, when there is memory for it; None at the end."""

        def is_over() -> bool:
            done = self._claimed >= self._descriptor.size
            return done or self._stopped.is_set() or self._breaks >= _MAX_BREAKS

        with self._lanes.changed:
            self._lanes.changed.wait_for(lambda: is_over() or self._lanes.segments > 0)
            if is_over():
                return None
            start = self._claimed
            if not self._segments and start <= self._at:
                # The reader has come past it: begin ahead of where it is.
                start = self._at
            end = min(start + self._rules.segment_bytes, self._descriptor.size)
            self._claimed = end
            self._lanes.segments -= 1
            segment = _Segment(start, end)
            self._segments.append(segment)
            return segment

    def _fetch(self, segment: _Segment) -> None:
        with self._ask(segment.start, segment.end, self._stopped) as answer:
            if answer.status != 206:
                raise RegistryAnswered(f"{answer.origin.shown} gives no parts of blobs")
            check_range(answer, self._descriptor, segment.start, segment.end)
            with self._lanes.changed:
                if self._is_unwanted(segment):
                    return
                segment.is_coming = True
                segment.answer = answer
                self._lanes.changed.notify_all()
            for piece in answer.pieces():
                with self._lanes.changed:
                    if self._is_unwanted(segment):
                        return
                    mine = piece[: segment.end - segment.start - segment.got]
                    segment.pieces.append(mine)
                    segment.got += len(mine)
                    self._lanes.changed.notify_all()

    def _is_unwanted(self, segment: _Segment) -> bool:
        return segment.is_over or self._stopped.is_set()

    def _broke(self, err: OcimagicError) -> None:
        """Count a failure: whatever it was, the reader fetches that part itself."""
        with self._lanes.changed:
            if self._stopped.is_set():
                return
            # A broken connection may be chance; an answer that is none of a range is not.
            self._breaks += 1 if isinstance(err, RegistryUnreachable) else _MAX_BREAKS
