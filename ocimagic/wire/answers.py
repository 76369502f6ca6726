"""Short answers about containers and commands in them, as docker's JSON documents.

Spec: Docker Engine API v1.41, the operation that each function names.
"""

from __future__ import annotations

import base64
import json
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.model.report import ChangeKind
from ocimagic.wire.image import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.execs import ExecDetails
    from ocimagic.model.report import FileChange, PathInfo, ProcessTable
    from ocimagic.model.result import ExitStatus

Document = dict[str, object]
_KINDS = {ChangeKind.CHANGED: 0, ChangeKind.ADDED: 1, ChangeKind.DELETED: 2}
# Go's io/fs.FileMode: its own bits for what POSIX has in st_mode.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}
_SECOND_NS = 1_000_000_000


def container_created(container_id: str, warnings: Sequence[str] = ()) -> Document:
    """Return the answer of ContainerCreate."""
    return {"Id": container_id, "Warnings": list(warnings)}


def container_updated(warnings: Sequence[str] = ()) -> Document:
    """Return the answer of ContainerUpdate."""
    return {"Warnings": list(warnings) or None}


def container_waited(ended: ExitStatus | None, error: str = "") -> Document:
    """Return the answer of ContainerWait.

    Args:
        ended: how; None for a container that never ran.
        error: why waiting, or the removal that was waited for, went wrong.
    """
    code = ended.code if ended else 0
    return {"Error": {"Message": error} if error else None, "StatusCode": code}


def container_top(table: ProcessTable) -> Document:
    """Return the answer of ContainerTop."""
    return {"Processes": [list(row) for row in table.rows], "Titles": list(table.titles)}


def container_changes(changes: Iterable[FileChange]) -> list[Document] | None:
    """Return the answer of ContainerChanges; null for none, as docker has it."""
    return [{"Path": each.path, "Kind": _KINDS[each.kind]} for each in changes] or None


def exec_created(exec_id: str) -> Document:
    """Return the answer of ContainerExec."""
    return {"Id": exec_id}


def exec_inspect(found: ExecDetails) -> Document:
    """Return the answer of ExecInspect."""
    options = found.options
    process: Document = {
        "tty": options.tty,
        "entrypoint": options.command[0],
        "arguments": list(options.command[1:]),
        "privileged": options.privileged,
    }
    if options.user:
        process["user"] = options.user
    return {
        "ID": found.exec_id,
        "Running": found.running,
        "ExitCode": found.exit_code,
        "ProcessConfig": process,
        "OpenStdin": "stdin" in found.attached,
        "OpenStderr": "stderr" in found.attached,
        "OpenStdout": "stdout" in found.attached,
        "CanRemove": False,
        "ContainerID": found.container_id,
        "DetachKeys": options.detach_keys,
        "Pid": found.pid,
    }


def path_stat(path: PathInfo) -> str:
    """Return the header ``X-Docker-Container-Path-Stat`` of ContainerArchive."""
    document = {
        "name": path.name,
        "size": path.size_bytes,
        "mode": go_mode(path.mode),
        "mtime": _time(path.modified_ns),
        "linkTarget": path.link_target,
    }
    return base64.b64encode(json.dumps(document).encode(errors="replace")).decode()


def go_mode(mode: int) -> int:
    """Return ``st_mode`` as Go's FileMode."""
    special = sum(bit for posix, bit in _GO_BITS.items() if mode & posix)
    return _GO_TYPES.get(stat.S_IFMT(mode), 0) | special | (mode & 0o777)


def _time(at_ns: int) -> str:
    """Write a file's time as Go does: nanoseconds only if there are any."""
    seconds, rest = divmod(at_ns, _SECOND_NS)
    text = timestamp(datetime.fromtimestamp(seconds, UTC)).partition(".")[0]
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def error(message: str) -> Document:
    """Return the answer to what could not be done."""
    return {"message": message}
