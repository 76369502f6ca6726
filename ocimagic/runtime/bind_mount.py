"""Bind mounts: a file or a directory of the machine shown in the container.

Spec: runtime-spec config.md, "Mounts" and its id mappings; mount_setattr(2), "ID-mapped mounts".
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import mounting
from ocimagic.linux.paths import make_directories, make_file, open_in_root
from ocimagic.runtime.mount_attributes import attach
from ocimagic.runtime.mount_options import Change, MountOptions
from ocimagic.runtime.mount_target import PROC, inside, is_procfs_root, keep_off_proc
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from ocimagic.runtime.mount_idmap import IdMap

_FORBIDDEN = Change(mounting.MOUNT_ATTR_NODEV)


@dataclass(frozen=True, slots=True)
class Bind:
    """Show what is at ``source``.

    Attributes:
        destination: absolute, in the container.
        source: absolute, on the machine; symlinks are followed.
        forbid_devices: a device in a shown directory cannot be opened; a device that is
            itself shown can.
        idmap: None to show owners as they are.
        before_proc: no procfs is mounted in the container yet.
        tree: the source once it is opened (``open_sources``), else -1.
        part: what to show of the source, a path in it; links in it lead nowhere else.
    """

    destination: str
    source: str
    options: MountOptions
    forbid_devices: bool = False
    idmap: IdMap | None = None
    before_proc: bool = False
    tree: int = -1
    part: str = ""

    def __str__(self) -> str:
        return f"mount {self.source} on {self.destination}"

    @property
    def is_propagated(self) -> bool:
        """Say whether mounts shall pass between the source and what shows it."""
        return any(
            flags & (mounting.MS_SHARED | mounting.MS_SLAVE) for flags in self.options.propagation
        )

    def opened(self, *, propagation: int = 0) -> Bind:
        """Return this with its source open: a tree, its owners mapped, attached nowhere yet.

        Args:
            propagation: MS_ bits for the tree when it is attached, before its own options; 0
                leaves it in its peer group.

        Raises:
            StartFailed: the source cannot be opened.
            HostLacks: owners cannot be mapped there.
        """
        tree = self._open()
        try:
            if self.idmap:
                self._map_owners(tree, self.idmap)
        except BaseException:
            os.close(tree)
            raise
        first = (propagation | mounting.MS_REC,) if propagation else ()
        options = replace(self.options, propagation=first + self.options.propagation)
        return replace(self, tree=tree, options=options)

    def _open(self) -> int:
        try:
            if self.part:
                return self._open_part()
            return mounting.open_tree(self.source, recursive=self.options.recursive)
        except OSError as err:
            source = f"{self.source}/{self.part}" if self.part else self.source
            raise StartFailed(
                f"cannot {self}",
                why=f"{source}: {err.strerror}",
                hint="make it first, or correct the path before the colon of -v",
            ) from err

    def _open_part(self) -> int:
        """Open a part of the source, in which other containers may put links just now."""
        top = os.open(self.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            spot = open_in_root(top, self.part, os.O_PATH | os.O_CLOEXEC)
        finally:
            os.close(top)
        try:
            return mounting.open_tree("", dir_fd=spot, recursive=self.options.recursive)
        finally:
            os.close(spot)

    def _map_owners(self, tree: int, idmap: IdMap) -> None:
        namespace = idmap.open()
        try:
            mounting.set_attributes(
                tree,
                mounting.MOUNT_ATTR_IDMAP,
                user_namespace=namespace,
                recursive=self.options.idmap_recursive,
            )
        except OSError as err:
            reasons = {
                errno.ENOSYS: "the kernel is older than Linux 5.12",
                errno.EINVAL: "its file system cannot do it, or they are mapped already",
                errno.EPERM: "the file system belongs to the machine, and this account is not root",
            }
            raise HostLacks(
                f"cannot {self} with other owners (idmap)",
                why=reasons.get(err.errno or 0, str(err.strerror)),
                hint="leave the mappings out; the files then belong to whom they belong on disk",
            ) from err
        finally:
            os.close(namespace)

    def close(self) -> None:
        """Let go of the source; it stays mounted where it was attached."""
        if self.tree >= 0:
            os.close(self.tree)

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        assert self.tree >= 0 or not self.idmap, "open_sources comes first"
        tree = self.tree if self.tree >= 0 else self._open()
        try:
            self._mount(root_fd, tree)
        finally:
            if tree != self.tree:
                os.close(tree)

    def _mount(self, root_fd: int, tree: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = (make_directories if is_directory else make_file)(root_fd, self.destination)
        try:
            self._guard(root_fd, target, tree)
            options = self.options
            if self.forbid_devices and is_directory:
                options = replace(options, all=options.all.joined(_FORBIDDEN))
            self._attach(tree, target, options)
        finally:
            os.close(target)

    def _guard(self, root_fd: int, target: int, tree: int) -> None:
        """Refuse to cover any of /proc, unless all of it is covered by a whole procfs."""
        whole = self.destination == PROC and is_procfs_root(tree)
        if not (whole and inside(root_fd, target) == PROC):
            keep_off_proc(root_fd, target, self.destination, by_name=self.before_proc)

    def _attach(self, tree: int, target: int, options: MountOptions) -> None:
        try:
            attach(tree, target, options)
        except OSError as err:
            if err.errno != errno.EPERM or not (options.top.off | options.all.off):
                raise
            raise HostLacks(
                f"cannot {self} with the options it is given",
                why="how it is mounted on the machine (read-only, nosuid, nodev, noexec, access "
                "times) a user namespace may make stricter, not looser",
                hint="leave the words out that would, for example rw or noatime",
            ) from err
