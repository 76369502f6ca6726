"""The runtime's outside: clone the first process and learn whether its command began.

Spec: runtime-spec runtime.md, "Create" and "Start", which this version does in one go.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ocimagic import errors
from ocimagic.linux import syscalls
from ocimagic.runtime.init import Context, run_phases

if TYPE_CHECKING:
    from ocimagic.runtime.bundle import Bundle

_CLONE_FLAGS = {
    "mount": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "network": syscalls.CLONE_NEWNET,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "user": syscalls.CLONE_NEWUSER,
    "time": syscalls.CLONE_NEWTIME,
}


@dataclass(slots=True)
class Init:
    """The first process of a container, owned by who created it.

    Attributes:
        pidfd: readable once it has ended; close with ``close``.
    """

    pid: int
    pidfd: int
    _report: int

    @classmethod
    def create(cls, bundle: Bundle, container_id: str, stdio: tuple[int, int, int]) -> Self:
        """Clone the first process into its namespaces and let it run its phases.

        The caller must have one thread only, and keeps its own copies of ``stdio``.

        Raises:
            HostLacks: namespaces are not to be had here.
        """
        flags = 0
        for kind, path in bundle.config.namespaces.items():
            if path:
                raise errors.NotBuiltYet(f"joining a {kind} namespace by path is not built yet")
            flags |= _CLONE_FLAGS[kind]
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = syscalls.clone3(flags)
        except OSError as err:
            os.close(reader)
            os.close(writer)
            raise errors.HostLacks(
                "this machine does not allow containers",
                why=f"clone3 into new namespaces: {err.strerror}",
                hint="%system_info says what it allows; run as root, or allow user namespaces",
            ) from err
        if pid == 0:
            syscalls.set_process_name("ocimagic-init")
            run_phases(Context(bundle, container_id, stdio, writer))
        os.close(writer)
        return cls(pid, pidfd, reader)

    def wait_started(self) -> None:
        """Wait until the command began.

        Raises:
            OcimagicError: what the first process reported instead.
        """
        parts = []
        while part := os.read(self._report, 1 << 16):
            parts.append(part)
        os.close(self._report)
        self._report = -1
        if parts:
            raise errors.unpack(json.loads(b"".join(parts)))

    def close(self) -> None:
        """Let go of the pidfd."""
        os.close(self.pidfd)
