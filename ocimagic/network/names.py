"""Questions for names, and their answers, as bytes.

Source: RFC 1035, sections 3.2 and 4; RFC 3596 (AAAA).
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, AAAA, ANY = 1, 12, 28, 255
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED = 0, 1, 2, 3, 4
MAX_BYTES = 65535
UDP_BYTES = 512  # what an answer may have if the question says nothing else
_HEADER = struct.Struct("!HHHHHH")  # id, flags, counts of questions, answers, authorities, others
_ANSWER, _AUTHORITY, _TRUNCATED = 0x8000, 0x0400, 0x0200
_RECURSION_WANTED, _RECURSION_DONE = 0x0100, 0x0080
_KEPT = 0x7800 | _RECURSION_WANTED  # of a question's flags
_INTERNET = 1
_TTL_S = 600  # as docker's
_POINTER_TO_QUESTION = b"\xc0\x0c"
_MAX_LABEL, _MAX_NAME = 63, 255
_OPTION_RECORD = 41


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        number: its ID.
        name: lower case, without the last dot.
        kind: ``A``, ``AAAA``, ``PTR`` or another.
        raw: its bytes as they came, for the answer.
        flags: as they came.
        most_bytes: the longest answer over UDP.
    """

    number: int
    name: str
    kind: int
    raw: bytes
    flags: int
    most_bytes: int = UDP_BYTES


def parse(packet: bytes) -> Question | None:
    """Understand a question; None for what is none, or asks several things at once."""
    if len(packet) < _HEADER.size:
        return None
    number, flags, questions, _, _, others = _HEADER.unpack_from(packet)
    if flags & _ANSWER or questions != 1:
        return None
    labels: list[bytes] = []
    at = _HEADER.size
    while at < len(packet) and (length := packet[at]):
        if length > _MAX_LABEL or at + 1 + length > len(packet):
            return None
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    end = at + 5
    if end > len(packet) or end - _HEADER.size > _MAX_NAME + 5:
        return None
    kind, group = struct.unpack_from("!HH", packet, at + 1)
    if group not in (_INTERNET, ANY):
        return None
    name = b".".join(labels).decode("ascii", "replace").lower()
    most = UDP_BYTES
    # EDNS: the root's name, a kind, and where others have a class how much may be answered.
    if others and packet[end : end + 3] == struct.pack("!BH", 0, _OPTION_RECORD):
        most = max(UDP_BYTES, int.from_bytes(packet[end + 3 : end + 5]))
    return Question(number, name, kind, packet[_HEADER.size : end], flags, most)


def addresses(question: Question, found: Sequence[str]) -> bytes:
    """Answer with the addresses of the kind that is asked for, perhaps none."""
    length = 4 if question.kind == A else 16
    wanted = [packed for each in found if len(packed := ip_address(each).packed) == length]
    return _packet(question, NO_ERROR, wanted)


def names(question: Question, found: Sequence[str]) -> bytes:
    """Answer with names."""
    return _packet(question, NO_ERROR, [_encoded(each) for each in found])


def failure(question: Question, code: int) -> bytes:
    """Answer that there is no answer."""
    return _packet(question, code, [])


def truncated(question: Question, answer: bytes) -> bytes:
    """Return an answer that fits over UDP: a long one says that it is to be asked for by TCP."""
    if len(answer) <= question.most_bytes:
        return answer
    number, flags, *_ = _HEADER.unpack_from(answer)
    return _HEADER.pack(number, flags | _TRUNCATED, 1, 0, 0, 0) + question.raw


def address_of(name: str) -> str | None:
    """Return the address that a question for a name asks about; None if it is about none."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        text = ".".join(reversed(labels[:4]))
    elif name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    else:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _packet(question: Question, code: int, records: Sequence[bytes]) -> bytes:
    flags = _ANSWER | question.flags & _KEPT | _RECURSION_DONE | code
    head = _HEADER.pack(question.number, flags, 1, len(records), 0, 0)
    made = [
        _POINTER_TO_QUESTION
        + struct.pack("!HHIH", question.kind, _INTERNET, _TTL_S, len(each))
        + each
        for each in records
    ]
    return head + question.raw + b"".join(made)


def _encoded(name: str) -> bytes:
    labels = [each.encode("ascii", "replace")[:_MAX_LABEL] for each in name.split(".") if each]
    return b"".join(bytes((len(each),)) + each for each in labels) + b"\0"
