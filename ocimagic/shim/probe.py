"""What this machine allows, found out by trying it in children that end at once.

A program of its own, ``python -I -S -c …``, because the launcher cannot start where
namespaces are refused.  Prints one JSON object: the fields of ``model.isolation.Probe``.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.linux import landlock, mounting, syscalls
from ocimagic.linux.limits import settable
from ocimagic.shim import userns
from ocimagic.shim.bare import find_tracer, try_changed_root, try_tracer

if TYPE_CHECKING:
    from collections.abc import Callable

_TRACEME = 0
_ALLOW_ALL = bytes.fromhex("060000000000ff7f")  # BPF_RET | BPF_K, SECCOMP_RET_ALLOW


def main() -> None:
    """Try everything; the arguments are the directories overlayfs is tried in."""
    uid = os.geteuid()
    mount_namespace = _works(lambda: syscalls.unshare(syscalls.CLONE_NEWNS))
    ids = 0 if mount_namespace else _ids()
    enter: Callable[[], None] = _nothing if mount_namespace else _enter_user_namespace
    report = {
        "uid": uid,
        "mount_namespace": mount_namespace,
        "user_namespace": ids > 0 or (mount_namespace and _works(_enter_user_namespace)),
        "ids": ids,
        "fresh_proc": _works(lambda: _mount_proc(enter)),
        "chroot": _works(try_changed_root),
        "trace": _works(_ask_to_be_traced),
        "proot": _tracer(),
        "overlay": {
            each: _overlay(each, enter, userxattr=not mount_namespace) for each in _asked()
        },
        "cgroups": settable(),
        "seccomp": _works(_load_filter),
        "landlock": landlock.version(),
        "tun": _works(lambda: os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))),
    }
    sys.stdout.write(json.dumps(report))


def _asked() -> list[str]:
    return sys.argv[1:]


def _nothing() -> None:
    """Need no user namespace."""


def _enter_user_namespace() -> None:
    userns.enter(_names())


def _names() -> tuple[str, str]:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name, str(uid)
    except KeyError:
        return str(uid), str(uid)


def _works(attempt: Callable[[], None]) -> bool:
    return _told(attempt) == ""


def _told(attempt: Callable[[], object]) -> str:
    """Run an attempt in a child: "" if it went well, else what the kernel said."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except BaseException as err:  # noqa: BLE001  told to the parent, who decides
            words = _words(err)
            os.write(writer, words.encode() or b"failed")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        words = file.read().decode()
    _pid, status = os.waitpid(child, 0)
    return words or ("" if status == 0 else f"ended with status {status}")


def _words(err: BaseException) -> str:
    if isinstance(err, OcimagicError):
        return err.why or err.what
    return err.strerror if isinstance(err, OSError) and err.strerror else str(err)


def _ids() -> int:
    """Return how many ids a user namespace has here, 0 if there is none to be had."""
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def enter() -> None:
        os.write(writer, str(userns.enter(_names())).encode())

    failed = _told(enter)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return 0 if failed else int(file.read() or b"0")


def _mount_proc(enter: Callable[[], None]) -> None:
    enter()
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)

    def mount() -> None:
        flags = mounting.MS_NOSUID | mounting.MS_NODEV | mounting.MS_NOEXEC
        mounting.mount("proc", "/proc", "proc", flags)

    if words := _told(mount):
        raise OSError(1, words)


def _overlay(directory: str, enter: Callable[[], None], *, userxattr: bool) -> str:
    def mount() -> None:
        enter()
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)
        base = tempfile.mkdtemp(dir=directory)
        try:
            for name in ("lower", "upper", "work", "root"):
                os.mkdir(f"{base}/{name}")
            options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
            options += ",userxattr" if userxattr else ""
            mounting.mount("overlay", f"{base}/root", "overlay", 0, options)
            with open(f"{base}/root/written", "wb"):
                pass
            mounting.umount(f"{base}/root")
        finally:
            shutil.rmtree(base, ignore_errors=True)

    return _told(mount)


def _ask_to_be_traced() -> None:
    syscalls.call("ptrace", _TRACEME, 0, 0, 0)


def _tracer() -> str:
    """Return the path of a tracer that works here, "" if there is none."""
    found = find_tracer()
    return found if found and _works(lambda: try_tracer(found)) else ""


def _load_filter() -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.load_seccomp_filter(_ALLOW_ALL)
