"""Short answers about containers and commands in them: the inverse of ``answers``.

Spec: Docker Engine API v1.41, the operation that each function names.
"""

from __future__ import annotations

import base64
import binascii
import json
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.model.report import ChangeKind, FileChange, PathInfo, ProcessTable
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS = {0: ChangeKind.CHANGED, 1: ChangeKind.ADDED, 2: ChangeKind.DELETED}
_TYPES = (
    (1 << 31, stat.S_IFDIR),
    (1 << 27, stat.S_IFLNK),
    (1 << 25, stat.S_IFIFO),
    (1 << 24, stat.S_IFSOCK),
    (1 << 21, stat.S_IFCHR),
    (1 << 26, stat.S_IFBLK),
)
_BITS = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
_SECOND_NS = 1_000_000_000


def process_table(document: Fields) -> ProcessTable:
    """Read the answer of ContainerTop."""
    rows = document.value.get("Processes") or []
    if not isinstance(rows, list) or not all(isinstance(each, list) for each in rows):
        raise InvalidDocument("this list of processes is none")
    return ProcessTable(
        document.texts("Titles"), tuple(tuple(str(cell) for cell in row) for row in rows)
    )


def file_changes(documents: Iterable[Fields]) -> tuple[FileChange, ...]:
    """Read the answer of ContainerChanges, sorted by path as we have them."""
    found = [
        FileChange(_KINDS[each.integer("Kind", 0, most=2)], each.text("Path")) for each in documents
    ]
    return tuple(sorted(found, key=lambda each: each.path))


def path_info(header: str) -> PathInfo:
    """Read the header ``X-Docker-Container-Path-Stat`` of ContainerArchive.

    Raises:
        InvalidDocument: it is none.
    """
    try:
        value = json.loads(base64.b64decode(header, validate=True))
    except (ValueError, binascii.Error) as err:
        raise InvalidDocument("this path's header is no JSON in base64") from err
    fields = Fields(value if isinstance(value, dict) else {}, "path")
    return PathInfo(
        name=fields.text("name"),
        size_bytes=fields.number("size", 0),
        mode=posix_mode(fields.number("mode", 0)),
        modified_ns=_nanoseconds(fields),
        link_target=fields.text("linkTarget", ""),
    )


def posix_mode(go_mode: int) -> int:
    """Return Go's FileMode as ``st_mode``."""
    kind = next((posix for bit, posix in _TYPES if go_mode & bit), stat.S_IFREG)
    special = sum(posix for bit, posix in _BITS if go_mode & bit)
    return kind | special | (go_mode & 0o777)


def _nanoseconds(fields: Fields) -> int:
    """Read ``mtime``, whose last three digits Python's own times have no place for."""
    found = fields.time("mtime")
    if found is None:
        return 0
    text = fields.text("mtime")
    _, point, rest = text.partition(".")
    digits = ""
    for letter in rest if point else "":
        if not letter.isdigit():
            break
        digits += letter
    whole = found.replace(microsecond=0)
    seconds = int((whole - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * _SECOND_NS + int(digits.ljust(9, "0")[:9] or 0)
