"""Labels of Linux security modules: what a process is to AppArmor or SELinux.

Spec: runtime-spec config.md, "Process" (apparmorProfile, selinuxLabel).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, StartFailed
from ocimagic.linux import syscalls

if TYPE_CHECKING:
    from ocimagic.spec.process import Process

_UNCONFINED = "unconfined"
_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_FILES = ("/sys/fs/selinux/enforce", "/selinux/enforce")


def check_labels(process: Process) -> None:
    """Refuse a label that no security module of this machine would enforce.

    Raises:
        HostLacks: says which module is missing.
    """
    if process.apparmor_profile not in ("", _UNCONFINED) and not _has_apparmor():
        raise HostLacks(
            f"apparmor profile {process.apparmor_profile!r} cannot be applied",
            why="this kernel has no AppArmor, or it is switched off",
            hint="leave process.apparmorProfile out",
        )
    if process.selinux_label and not any(map(os.path.exists, _SELINUX_FILES)):
        raise HostLacks(
            f"selinux label {process.selinux_label!r} cannot be applied",
            why="this kernel has no SELinux, or it is switched off",
            hint="leave process.selinuxLabel out",
        )


def _has_apparmor() -> bool:
    try:
        with open(_APPARMOR_SWITCH, encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def apply_labels(process: Process, own_proc: int) -> None:
    """Say what this process is to be from its next execve on.

    Args:
        process: whose labels; checked before.
        own_proc: /proc/self, opened where /proc is the machine's (CVE-2019-16884).

    Raises:
        StartFailed: the module does not know the label.
    """
    if process.apparmor_profile not in ("", _UNCONFINED):
        # Before Linux 5.8 the modules share one file.
        name = "attr/apparmor/exec" if _is_there(own_proc, "attr/apparmor") else "attr/exec"
        write_own(own_proc, name, f"exec {process.apparmor_profile}")
    if process.selinux_label:
        write_own(own_proc, "attr/exec", process.selinux_label)


def _is_there(own_proc: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=own_proc)
    except OSError:
        return False
    return True


def write_own(own_proc: int, name: str, text: str) -> None:
    """Write to the kernel, and to nothing that a container put in its place (CVE-2025-52881).

    Raises:
        StartFailed: it is not procfs, or does not take it.
    """
    try:
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=own_proc)
        try:
            if syscalls.file_system_magic(fd) != syscalls.PROC_SUPER_MAGIC:
                raise StartFailed(f"cannot write {name}", why="it is not on procfs")
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise StartFailed(f"cannot set {text!r}", why=f"{name}: {err.strerror}") from err
