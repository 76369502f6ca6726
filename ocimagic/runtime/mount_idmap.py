"""The mapping of a mount as the kernel takes it: a user namespace that has it.

Spec: runtime-spec config.md, "uidMappings"; user_namespaces(7).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.linux import syscalls
from ocimagic.runtime.idmap import write_mappings
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.spec.isolation import IdMapping


@dataclass(frozen=True, slots=True)
class IdMap:
    """Whose files a mount shows as whose.

    Attributes:
        uids: what a file's owner is shown as; ``gids`` likewise.
        namespace: path of a user namespace whose mapping is meant instead, or "".
    """

    uids: tuple[IdMapping, ...] = ()
    gids: tuple[IdMapping, ...] = ()
    namespace: str = ""

    def open(self) -> int:
        """Return a descriptor of a user namespace with this mapping; close it yourself.

        Raises:
            HostLacks: it cannot be had.
        """
        try:
            if self.namespace:
                return os.open(self.namespace, os.O_RDONLY | os.O_CLOEXEC)
            return self._make()
        except OSError as err:
            raise HostLacks(
                "cannot make a user namespace for the mapping of a mount",
                why=err.strerror,
                hint="only root may map other ids than its own",
            ) from err

    def _make(self) -> int:
        """Have a child live in a new user namespace just long enough to hold on to it."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid, pidfd = syscalls.clone3(syscalls.CLONE_NEWUSER)
        if pid == 0:
            try:
                os.close(writer)
                os.read(reader, 1)  # until the parent lets go, or dies
            finally:
                os._exit(0)
        os.close(reader)
        try:
            write_mappings(pid, self.uids, self.gids)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(writer)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
