"""What the kernel says of a container's processes, and the bundle on disk."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.engine.looking import Looking
from ocimagic.errors import InvalidState
from ocimagic.model.insides import BundleView, ContainerNamespaces, NamespaceView, ProcessView
from ocimagic.model.state import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable

# "pid_for_children" and its like say where children are born, not where the process is.
_KINDS = ("mnt", "pid", "net", "uts", "ipc", "user", "cgroup", "time")
_INODE = re.compile(r"\w+:\[(\d+)\]")


class Insides(Looking):
    """Verbs that look into a container from outside; they change nothing."""

    def namespaces(self, name: str) -> ContainerNamespaces:
        """Return the namespaces, control groups and processes of a running container.

        Raises:
            InvalidState: it does not run.
        """
        record = self.find(name)
        self.check(record, Verb.TOP)
        pid = self.summary(record).pid
        with self.connect(record) as connection:
            pids = sorted(set(connection.processes()))
        proc = Path(f"/proc/{pid}")
        if pid is None or not proc.exists():
            raise InvalidState(f"container {record.name} has just ended")
        others = [
            (each.name, each.pid)
            for each in self.list()
            if each.pid and each.container_id != record.container_id
        ]
        return ContainerNamespaces(
            container_id=record.container_id,
            name=record.name,
            pid=pid,
            namespaces=tuple(_namespaces(pid, others)),
            cgroups=_cgroups(_text(proc / "cgroup")),
            processes=tuple(each for each in map(_process, pids) if each is not None),
            mounts=len(_text(proc / "mountinfo").splitlines()),
        )

    def bundle(self, name: str) -> BundleView:
        """Return the bundle that a container is made from, running or not."""
        details = self.inspect(name)
        with os.scandir(details.bundle_path) as entries:
            files = sorted(f"{each.name}/" if each.is_dir() else each.name for each in entries)
        return BundleView(
            container_id=details.summary.container_id,
            name=details.summary.name,
            path=details.bundle_path,
            files=tuple(files),
            config=details.runtime_config,
        )


def _namespaces(pid: int, others: Iterable[tuple[str, int]]) -> Iterable[NamespaceView]:
    for kind in _KINDS:
        inode = _inode(pid, kind)
        mine = _inode(os.getpid(), kind)
        if inode is None and mine is None:
            continue  # a kernel without this kind
        yield NamespaceView(
            kind=kind,
            inode=inode,
            is_own=inode != mine,
            containers=tuple(
                name for name, other in others if inode and _inode(other, kind) == inode
            ),
        )


def _inode(pid: int, kind: str) -> int | None:
    with suppress(OSError):  # ended, or not ours to look at
        found = _INODE.fullmatch(os.readlink(f"/proc/{pid}/ns/{kind}"))
        return int(found[1]) if found else None
    return None


def _process(pid: int) -> ProcessView | None:
    """Describe a process; None if it has ended."""
    status = _text(Path(f"/proc/{pid}/status"))
    inside = re.search(r"^NSpid:.*?(\d+)$", status, re.MULTILINE)
    if inside is None:
        return None
    words = _text(Path(f"/proc/{pid}/cmdline")).rstrip("\0").split("\0")
    command = " ".join(words) or f"[{_text(Path(f'/proc/{pid}/comm')).strip()}]"
    return ProcessView(pid=pid, pid_inside=int(inside[1]), command=command)


def _cgroups(text: str) -> dict[str, str]:
    """Read /proc/PID/cgroup: ``number:controllers:path`` lines."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {row[1].removeprefix("name="): row[2] for row in rows if len(row) == 3}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
