"""Log records: what one line of a log file looks like, in docker's form and in Kubernetes'.

``json-file``: one JSON object a line, ``log`` (text with its newline), ``stream`` and ``time``
(RFC 3339 with nanoseconds).  ``cri``: ``<time> <stream> F <text>``.  A line longer than 16 KiB
is cut in either: a piece without a newline, or one marked ``P``, goes on in the next record.
"""

from __future__ import annotations

import contextlib
import json
import time
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE = 16384
Record = tuple[str, str, bytes]
_PRIVATE_PLANES = range(0xF0000, 0x110000)


def json_records(stream: str, data: bytes, moment: str) -> bytes:
    """Return the records of some whole lines, or of one piece without a newline.

    Bytes that are no UTF-8 become U+FFFD, as in docker.
    """
    text = data.decode(errors="replace")
    close = f'","stream":"{stream}","time":"{moment}"}}\n'
    # All lines are escaped in one go: a newline goes through it as a character that escaping
    # leaves alone and that is nowhere in the text.
    mark = "\x7f"
    if mark in text:
        present = set(text)
        mark = next(letter for letter in map(chr, _PRIVATE_PLANES) if letter not in present)
    body = encode_basestring(text.replace("\n", mark))[1:-1]
    if not body.endswith(mark):
        return f'{{"log":"{body}{close}'.encode()
    lines = body[:-1].replace(mark, f'\\n{close}{{"log":"')
    return f'{{"log":"{lines}\\n{close}'.encode()


def cri_records(stream: str, data: bytes, moment: str) -> bytes:
    """Return the records of some whole lines, or of one piece without a newline."""
    if not data.endswith(b"\n"):
        return f"{moment} {stream} P ".encode() + data + b"\n"
    head = f"{moment} {stream} F ".encode()
    return head + data[:-1].replace(b"\n", b"\n" + head) + b"\n"


def pieces(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where records are cut: runs of whole lines, and full pieces of longer ones.

    What lies after the last of them is to wait for its newline.
    """
    run = start = 0
    while True:
        end = data.rfind(b"\n", start, start + PIECE) + 1
        if end:
            start = end
            continue
        if run < start:
            yield run, start
        if len(data) - start <= PIECE:
            return
        run = start
        start = _letter_end(data, start + PIECE)
        yield run, start
        run = start


def _letter_end(data: bytes, end: int) -> int:
    """Return where to cut at ``end`` without cutting a UTF-8 character in two."""
    for place in range(end, end - 4, -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return end


def timestamp() -> str:
    """Return the time now as RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"


def parse_records(lines: Sequence[bytes]) -> list[Record]:
    """Return the records of some lines, without those that are none: a crash may leave half of one.

    All at once, as one array of JSON: that takes a quarter of the time.  A line that is half of
    something cannot become whole by its neighbours, for its newline is in no text of JSON.
    """
    if lines and lines[0].startswith(b"{"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            several = json.loads(b"[%b]" % b",".join(lines))
            if len(several) == len(lines):
                return [(str(r["time"]), str(r["stream"]), str(r["log"]).encode()) for r in several]
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.append(parse_record(line))
    return found


def parse_record(line: bytes) -> Record:
    """Return ``(time, stream, bytes)`` of one line of a log, whichever form it has.

    Raises:
        ValueError, KeyError: the line is not a record; a crash may leave half of one.
    """
    if line.startswith(b"{"):
        record = json.loads(line)
        return str(record["time"]), str(record["stream"]), str(record["log"]).encode()
    moment, stream, tag, text = line.split(b" ", 3)
    if tag == b"P":
        text = text.removesuffix(b"\n")
    return moment.decode("ascii"), stream.decode("ascii"), text
