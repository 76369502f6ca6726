"""Showing a container its cgroup: a mount of type ``cgroup``, whatever this machine has.

With version 2 it is one directory; with version 1 a tmpfs with a directory per hierarchy.  A
container sees its own cgroup as the topmost one, or nothing at all.

Spec: runtime-spec config-linux.md, "Default Filesystems"; cgroups(7), cgroup_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import posixpath
from typing import TYPE_CHECKING

from ocimagic.linux import mounting
from ocimagic.linux.paths import make_directories
from ocimagic.linux.syscalls import CGROUP2_SUPER_MAGIC, file_system_magic
from ocimagic.runtime.cgroup_hierarchy import ROOT, VERSION2
from ocimagic.runtime.mount_attributes import READONLY, attach, change
from ocimagic.runtime.mount_target import keep_off_proc, path_of
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.mount_options import MountOptions

_QUIET = mounting.MOUNT_ATTR_NOSUID | mounting.MOUNT_ATTR_NODEV | mounting.MOUNT_ATTR_NOEXEC
_REFUSED = (errno.EPERM, errno.EBUSY, errno.EACCES)
_RPRIVATE = mounting.MS_PRIVATE | mounting.MS_REC


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """Show the container's cgroup.

    Attributes:
        destination: absolute, in the container.
        paths: controller ("" for version 2) to the container's absolute directory; empty when
            it has no cgroup of its own: then it sees none (CVE-2023-25809), or in a namespace
            of its own the one it happens to be in.
        own_namespace: it is in a cgroup namespace of its own.
        version2: it is that of version 2 that is asked for.
        before_proc: no procfs is mounted in the container yet.
    """

    destination: str
    options: MountOptions
    paths: Mapping[str, str]
    own_namespace: bool
    version2: bool = False
    before_proc: bool = False

    def __str__(self) -> str:
        return f"mount cgroup on {self.destination}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        target = make_directories(root_fd, self.destination)
        try:
            keep_off_proc(root_fd, target, self.destination, by_name=self.before_proc)
            hierarchies = self._version1()
            if hierarchies:
                self._mount_version1(target, hierarchies)
            elif self.paths:
                self._mount_version2(target)
            elif not (self._sees_its_own() and self._mount_own(target, "cgroup2", "")):
                _hide(target)
        finally:
            os.close(target)

    def _sees_its_own(self) -> bool:
        """Say whether a cgroup namespace keeps it to what it may only look at."""
        return self.own_namespace and (self.version2 or _is_version2_alone())

    def _version1(self) -> dict[str, list[str]]:
        """Return the name of each hierarchy's directory, with its controllers."""
        found: dict[str, list[str]] = {}
        for controller, path in self.paths.items():
            if controller != VERSION2:
                name = posixpath.relpath(path, ROOT).partition("/")[0]
                found.setdefault(name, []).append(controller)
        return found

    def _mount_version1(self, target: int, hierarchies: dict[str, list[str]]) -> None:
        tree = mounting.new_tree("tmpfs", "cgroup", "mode=755", _QUIET)
        try:
            for name, controllers in hierarchies.items():
                os.mkdir(name, 0o755, dir_fd=tree)
                for each in controllers if len(controllers) > 1 else ():
                    os.symlink(name, each, dir_fd=tree)
            mounting.move_mount(tree, target)
            for name, controllers in hierarchies.items():
                place = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=tree)
                try:
                    self._mount_hierarchy(place, controllers)
                finally:
                    os.close(place)
            if self.options.top.on & mounting.MOUNT_ATTR_RDONLY:
                change(tree, READONLY)
        finally:
            os.close(tree)

    def _mount_hierarchy(self, place: int, controllers: list[str]) -> None:
        named = any(each.startswith("name=") for each in controllers)
        data = ",".join((*(("none",) if named else ()), *controllers))
        if not self.own_namespace or not self._mount_own(place, "cgroup", data):
            self._show(place, self.paths[controllers[0]], self.options)

    def _mount_version2(self, target: int) -> None:
        path = self.paths[VERSION2]
        if self.own_namespace:
            if not self._mount_own(target, "cgroup2", self.options.data):
                self._show(target, path, self.options)
        else:
            # All of the machine's, as others do it.  Not mounted anew: from its own namespace
            # that would also reset the options of the machine's mount.
            self._show(target, ROOT, replace(self.options, all=self.options.top))

    def _mount_own(self, target: int, kind: str, data: str) -> bool:
        """Mount what the cgroup namespace has; say whether this process may."""
        try:
            flags = self.options.mount_flags
            mounting.mount("cgroup", path_of(target), kind, flags, data or None)
        except OSError as err:
            if err.errno not in _REFUSED:
                raise
            return False
        return True

    def _show(self, target: int, path: str, options: MountOptions) -> None:
        tree = mounting.open_tree(path, recursive=bool(options.all))
        try:
            attach(tree, target, replace(options, data="", propagation=(_RPRIVATE,)))
        finally:
            os.close(tree)


def _is_version2_alone() -> bool:
    try:
        root = os.open(ROOT, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return file_system_magic(root) == CGROUP2_SUPER_MAGIC
    finally:
        os.close(root)


def _hide(target: int) -> None:
    """Cover a directory with nothing, which cannot be changed."""
    tree = mounting.new_tree("tmpfs", "tmpfs", "nr_blocks=1,nr_inodes=1", _QUIET | READONLY.top.on)
    try:
        mounting.move_mount(tree, target)
    finally:
        os.close(tree)
