"""Whether this machine lets owners be recorded, and shown to a container: found out by trying."""

from __future__ import annotations

import os
import resource
from array import array

from ocimagic.errors import HostLacks, InvalidDocument
from ocimagic.layers.ownership import Ownership, find_record, record
from ocimagic.linux import syscalls
from ocimagic.linux.notify import Memory
from ocimagic.runtime.seccomp import compile_filter
from ocimagic.shim.pretence.askers import LIMIT
from ocimagic.shim.pretence.pretend import ABIS

_NEW_LISTENER = 8
_OWNER = Ownership(1, 1)
# Where a copy of this process has the same bytes: its parent, whose fork it is.
_WORDS = array("B", b"the same in whoever forked this process")
# A call that this process makes no more.
_RULES = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}],
}


def why_not(directory: str) -> str:
    """Say why not, in a process that does nothing else afterwards; "" if they can.

    Args:
        directory: where layers are unpacked.
    """
    return _no_attributes(directory) or _no_limit() or _no_listener() or _no_memory()


def _no_attributes(directory: str) -> str:
    try:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        fd = os.open(directory, flags, 0o600)
        try:
            record(fd, _OWNER)
            return "" if find_record(fd) == _OWNER else "user attributes are not kept"
        finally:
            os.close(fd)
    except OSError as err:
        return f"the file system of the data root has no user attributes: {err.strerror}"


def _no_limit() -> str:
    if resource.getrlimit(LIMIT)[1] != resource.RLIM_INFINITY:
        return "this account has a limit of real time (RLIMIT_RTTIME), which is needed for it"
    return ""


def _no_listener() -> str:
    machine = os.uname().machine
    if machine not in ABIS:
        return f"it is not known how {machine} calls its kernel"
    try:
        program = compile_filter(_RULES, machine)
        os.close(syscalls.load_seccomp_filter(program, _NEW_LISTENER))
    except (OSError, HostLacks, InvalidDocument) as err:
        return f"no filter that asks can be loaded (SECCOMP_RET_USER_NOTIF): {err}"
    return ""


def _no_memory() -> str:
    address, count = _WORDS.buffer_info()
    try:
        found = Memory().read(os.getppid(), address, count)
    except OSError as err:
        return f"the memory of another process cannot be read: {err.strerror}"
    return "" if found == _WORDS.tobytes() else "what is read of another process is wrong"
