"""File systems of a container's own: procfs, sysfs, tmpfs, devpts, mqueue and any other kind.

Spec: runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems".
"""

from __future__ import annotations

import errno
import os
import stat

from ocimagic.linux import mounting
from ocimagic.linux.paths import make_directories, open_in_root
from ocimagic.runtime.copy_up import copy_up
from ocimagic.runtime.mount_attributes import attach
from ocimagic.runtime.mount_options import Change, MountOptions
from ocimagic.runtime.mount_target import check_procfs_place, keep_off_proc, path_of
from ocimagic.spec.record import dataclass

_OPTION_BYTES = 4096  # mount(2) silently cuts what is longer
# What shows the kernel's own state is never mounted through an image's symlink (CVE-2019-19921).
_NO_LINKS = frozenset({"proc", "sysfs"})
# A user namespace may mount these only for a namespace that it owns, but may show the machine's.
_MACHINES = {"sysfs": "/sys", "mqueue": "/dev/mqueue"}
_FILE_SYSTEM_WORDS = {
    mounting.MS_SYNCHRONOUS: "sync",
    mounting.MS_DIRSYNC: "dirsync",
    mounting.MS_MANDLOCK: "mand",
    mounting.MS_LAZYTIME: "lazytime",
}
_RPRIVATE = mounting.MS_PRIVATE | mounting.MS_REC


@dataclass(frozen=True, slots=True)
class NewFileSystem:
    """Mount a file system that is nowhere yet.

    Attributes:
        destination: absolute, in the container.
        kind: as in /proc/filesystems.
        source: for kernel file systems only a name.
        before_proc: no procfs is mounted in the container yet.
    """

    destination: str
    kind: str
    source: str
    options: MountOptions
    before_proc: bool = False

    def __str__(self) -> str:
        return f"mount {self.kind or 'a file system of no kind'} on {self.destination}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        data = self.options.data
        if self.kind == "tmpfs":
            data = _with_mode(data, root_fd, self.destination)
        target = make_directories(root_fd, self.destination, links=self.kind not in _NO_LINKS)
        try:
            if self.kind == "proc":
                check_procfs_place(root_fd, target, self.destination)
            else:
                keep_off_proc(root_fd, target, self.destination, by_name=self.before_proc)
            self._mount(target, data)
        finally:
            os.close(target)

    def _needs_a_tree(self) -> bool:
        """Say whether mount(2) cannot do it in one step; what is new is private already."""
        told = any(not flags & mounting.MS_PRIVATE for flags in self.options.propagation)
        return told or bool(self.options.all) or self.options.copy_up

    def _mount(self, target: int, data: str) -> None:
        mount = self._mount_tree if self._needs_a_tree() else self._mount_at_once
        try:
            mount(target, data)
        except OSError as err:
            machines = _MACHINES.get(self.kind, "")
            if err.errno == errno.EPERM and os.path.ismount(machines):
                self._show_machines(machines, target)
            elif err.errno == errno.EINVAL and self.kind == "devpts" and "gid=" in data:
                # A user namespace with a single id has no group for terminals.
                words = (word for word in data.split(",") if not word.startswith("gid="))
                mount(target, ",".join(words))
            else:
                raise OSError(err.errno, self._complaint(data, err)) from err

    def _mount_at_once(self, target: int, data: str) -> None:
        if len(os.fsencode(data)) >= _OPTION_BYTES:
            raise OSError(errno.E2BIG, "the options are longer than one page")
        flags = self.options.mount_flags
        mounting.mount(self.source, path_of(target), self.kind, flags, data or None)

    def _show_machines(self, machines: str, target: int) -> None:
        """Show the machine's instead, with everything below it as restricted as this one.

        Read-only in any case: what is delegated below it, a cgroup tree for one, is not the
        container's (CVE-2023-25809).
        """
        asked = self.options.top.joined(self.options.all)
        restricted = asked.joined(Change(mounting.MOUNT_ATTR_RDONLY))
        tree = mounting.open_tree(machines, recursive=True)
        try:
            attach(tree, target, MountOptions(all=restricted, propagation=(_RPRIVATE,)))
        finally:
            os.close(tree)

    def _mount_tree(self, target: int, data: str) -> None:
        flags = self.options.file_system
        words = [data, *(word for flag, word in _FILE_SYSTEM_WORDS.items() if flags & flag)]
        tree = mounting.new_tree(self.kind, self.source, ",".join(filter(None, words)))
        try:
            if self.options.copy_up:
                copy_up(target, tree)
            attach(tree, target, self.options)
        finally:
            os.close(tree)

    def _complaint(self, data: str, refusal: OSError) -> str:
        """Ask the file system itself what is wrong: mount(2) has no words."""
        try:
            os.close(mounting.new_tree(self.kind, self.source, data))
        except OSError as err:
            if err.errno == refusal.errno:
                return str(err.strerror)
        return str(refusal.strerror)


def _with_mode(data: str, root_fd: int, destination: str) -> str:
    """Give a tmpfs the mode of the directory it covers, if there is one and none is said."""
    if any(word.startswith("mode=") for word in data.split(",")):
        return data
    try:
        covered = open_in_root(root_fd, destination, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return data  # 1777, the kernel's own choice; what is wrong is said when it is made
    mode = f"mode={stat.S_IMODE(os.fstat(covered).st_mode):04o}"
    os.close(covered)
    return f"{data},{mode}" if data else mode
