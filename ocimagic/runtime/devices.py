"""The devices of a container: nodes made where the kernel allows it, else the machine's shown.

Everything is done by descriptors of directories, never by path: /dev of an image may be, or
become, a symlink to a directory of the machine (CVE-2026-41579, CVE-2026-47766).

Spec: runtime-spec config-linux.md, "Devices" and "Default Devices"; runtime-linux.md,
"Dev symbolic links".
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import mounting
from ocimagic.linux.paths import make_directories
from ocimagic.runtime.mount_attributes import attach, change
from ocimagic.runtime.mount_options import Change, MountOptions
from ocimagic.runtime.mount_target import path_of
from ocimagic.spec.isolation import Device
from ocimagic.spec.record import dataclass, replace

DEV = "/dev"
DEFAULT_DEVICES = tuple(
    Device(path=f"{DEV}/{name}", type="c", major=major, minor=minor)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}

_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_BY_NUMBER = {"c": "char", "u": "char", "b": "block"}  # directories of links below /dev
_DEFAULT_MODE = 0o666
_EMPTY = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
_SPOT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_QUIET = mounting.MOUNT_ATTR_NOSUID | mounting.MOUNT_ATTR_NOEXEC
_SHOWN = MountOptions(top=Change(_QUIET))
_USABLE = MountOptions(top=Change(_QUIET, mounting.MOUNT_ATTR_NODEV))
_SHUT = MountOptions(top=Change(mounting.MOUNT_ATTR_NODEV | mounting.MOUNT_ATTR_NOSUID))


@dataclass(frozen=True, slots=True)
class DefaultDevices:
    """Give /dev what every container has.

    Attributes:
        is_own: /dev is the container's; a directory of the machine gets nothing made in it.
        is_mount: it is a file system of its own.
        forbid_devices: no other device in it can be opened, whoever makes it there.
    """

    is_own: bool = True
    is_mount: bool = True
    forbid_devices: bool = False
    destination: str = DEV

    def __str__(self) -> str:
        return f"make the default devices in {DEV}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        try:
            dev = make_directories(root_fd, DEV, links=False)
        except OSError as err:
            what = "/dev of this image is not a directory"
            raise StartFailed(what, why=err.strerror) from err
        try:
            if self.is_own:
                self._furnish(dev)
            else:
                self._look_at(dev)
        finally:
            os.close(dev)

    def _furnish(self, dev: int) -> None:
        for device in DEFAULT_DEVICES:
            _make(dev, device, forbid_devices=self.forbid_devices)
        for name, target in LINKS.items():
            _link(dev, name, target)
        if self.forbid_devices and self.is_mount:
            change(dev, _SHUT)

    def _look_at(self, dev: int) -> None:
        """See that what is there is what its name says; what is missing stays missing."""
        for device in DEFAULT_DEVICES:
            name = posixpath.basename(device.path)
            try:
                _check(dev, name, device)
            except FileNotFoundError:
                continue
            if self.forbid_devices:
                _make_usable(dev, name, device)


@dataclass(frozen=True, slots=True)
class Node:
    """Make one device of ``linux.devices``.

    Attributes:
        forbid_devices: no file system of the container lets a device be opened; this one is
            mounted on itself and allowed there.
    """

    device: Device
    forbid_devices: bool = False

    @property
    def destination(self) -> str:
        """Return where."""
        return self.device.path

    def __str__(self) -> str:
        return f"make the device {self.device.path}"

    def apply(self, root_fd: int) -> None:
        """Do it below the root."""
        parent, name = posixpath.split(posixpath.normpath(self.device.path))
        if (parent, name) == (DEV, "ptmx"):
            return  # a link to the container's own is there; the machine's makes no terminals here
        here = make_directories(root_fd, parent)
        try:
            device = replace(self.device, path=posixpath.join(parent, name))
            _make(here, device, forbid_devices=self.forbid_devices)
        finally:
            os.close(here)


def _link(dev: int, name: str, target: str) -> None:
    try:
        os.symlink(target, name, dir_fd=dev)
    except FileExistsError:
        os.unlink(name, dir_fd=dev)
        os.symlink(target, name, dir_fd=dev)


def _make(here: int, device: Device, *, forbid_devices: bool) -> None:
    name = posixpath.basename(device.path)
    kind, rdev = _KINDS[device.type], os.makedev(device.major, device.minor)
    mode = _DEFAULT_MODE if device.file_mode is None else stat.S_IMODE(device.file_mode)
    try:
        os.mknod(name, kind | mode, rdev, dir_fd=here)
    except FileExistsError:
        if _is_left_over(here, name, kind | mode, rdev):
            _show_machines(here, name, device)
            return
        _check(here, name, device)
    except PermissionError as err:
        if device.type == "p":
            raise
        # A user namespace may not make devices, but may show the machine's.
        _show_machines(here, name, device, err)
        return
    else:
        _give(here, name, device, mode)
    if forbid_devices and device.type != "p":
        _make_usable(here, name, device)


def _give(here: int, name: str, device: Device, mode: int) -> None:
    """Set what mknod could not, on the very node that was made."""
    found = _check(here, name, device)
    owner = (
        found.st_uid if device.uid is None else device.uid,
        found.st_gid if device.gid is None else device.gid,
    )
    if stat.S_IMODE(found.st_mode) == mode and (found.st_uid, found.st_gid) == owner:
        return
    spot = os.open(name, _SPOT, dir_fd=here)
    try:
        _refuse_other(os.fstat(spot), device)
        os.chown(path_of(spot), *owner)
        os.chmod(path_of(spot), mode)
    finally:
        os.close(spot)


def _check(here: int, name: str, device: Device) -> os.stat_result:
    found = os.stat(name, dir_fd=here, follow_symlinks=False)
    _refuse_other(found, device)
    return found


def _refuse_other(found: os.stat_result, device: Device) -> None:
    if not _is(found, device):
        raise StartFailed(
            f"{device.path} is not the device it should be",
            why="the container has something else of that name there",
        )


def _is(found: os.stat_result, device: Device) -> bool:
    kind = _KINDS[device.type]
    same = device.type == "p" or found.st_rdev == os.makedev(device.major, device.minor)
    return stat.S_IFMT(found.st_mode) == kind and same


def _make_usable(here: int, name: str, device: Device) -> None:
    """Mount a device on itself, which then may be opened though nothing around it may."""
    spot = os.open(name, _SPOT, dir_fd=here)
    try:
        tree = mounting.open_tree("", dir_fd=spot)
        try:
            _refuse_other(os.fstat(tree), device)
            attach(tree, spot, _USABLE)
        finally:
            os.close(tree)
    finally:
        os.close(spot)


def _is_left_over(here: int, name: str, mode: int, rdev: int) -> bool:
    """Say whether it is the empty file on which a device was shown the last time.

    Only where no device can be made: elsewhere it is somebody else's file.
    """
    found = os.stat(name, dir_fd=here, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        return False
    trial = f".{name}-{os.urandom(8).hex()}"
    try:
        os.mknod(trial, mode, rdev, dir_fd=here)
    except PermissionError:
        return True
    os.unlink(trial, dir_fd=here)
    return False


def _show_machines(here: int, name: str, device: Device, refusal: OSError | None = None) -> None:
    source = _open_machines(device, refusal)
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(name, _EMPTY, 0o666, dir_fd=here))
        spot = os.open(name, _SPOT, dir_fd=here)
        try:
            tree = mounting.open_tree("", dir_fd=source)
            try:
                attach(tree, spot, _SHOWN)
            finally:
                os.close(tree)
        finally:
            os.close(spot)
    finally:
        os.close(source)


def _open_machines(device: Device, refusal: OSError | None) -> int:
    """Open the machine's node of the same numbers, by its usual name or by its numbers."""
    names = [device.path]
    if device.type in _BY_NUMBER:
        names.append(f"/dev/{_BY_NUMBER[device.type]}/{device.major}:{device.minor}")
    for name in names:
        with contextlib.suppress(OSError):
            fd = os.open(name, os.O_PATH | os.O_CLOEXEC)
            if _is(os.fstat(fd), device):
                return fd
            os.close(fd)
    numbers = f"{device.type} {device.major}:{device.minor}"
    raise HostLacks(
        f"the device {device.path} cannot be had",
        why=f"it cannot be made, and the machine has no {numbers} to show instead",
        hint="a user namespace can only show devices that the machine has",
    ) from refusal
