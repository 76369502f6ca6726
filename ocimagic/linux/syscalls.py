"""The kernel calls Python does not have; the only ctypes in the house.

Each function is one system call (man section 2) that raises OSError with the kernel's errno.
Numbers from 424 up are the same on every architecture; older ones are in ``_NUMBERS``.
Importing this on anything but Linux raises ImportError: the rooms that need no kernel
never import it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from ocimagic.linux.notes import note

if sys.platform != "linux":
    raise ImportError("ocimagic.linux needs Linux")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
for _name in ("process_vm_readv", "process_vm_writev"):
    # Declared, since they are called so often: libc has them, and that is quicker.
    _of_memory = getattr(_libc, _name)
    _of_memory.restype = ctypes.c_ssize_t
    _of_memory.argtypes = (ctypes.c_int, *(ctypes.c_void_p, ctypes.c_ulong) * 2, ctypes.c_ulong)

_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {"mount": 165, "umount2": 166, "fstatfs": 138, "pivot_root": 155,
               "keyctl": 250, "seccomp": 317, "clone": 56, "capset": 126,
               "capget": 125, "renameat2": 316, "syncfs": 306, "setns": 308, "rt_sigaction": 13,
               "bpf": 321, "ptrace": 101, "inotify_init1": 294, "inotify_add_watch": 254,
               "personality": 135, "prlimit64": 302, "sched_setattr": 314, "ioprio_set": 251,
               "fchownat": 260, "newfstatat": 262, "statx": 332},
    "aarch64": {"mount": 40, "umount2": 39, "fstatfs": 44, "pivot_root": 41,
                "keyctl": 219, "seccomp": 277, "clone": 220, "capset": 91,
                "capget": 90, "renameat2": 276, "syncfs": 267, "setns": 268, "rt_sigaction": 134,
                "bpf": 280, "ptrace": 117, "inotify_init1": 26, "inotify_add_watch": 27,
                "personality": 92, "prlimit64": 261, "sched_setattr": 274, "ioprio_set": 30,
                "fchownat": 54, "newfstatat": 79, "statx": 291},
}  # fmt: skip
_ALIKE = {"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
          "fsmount": 432, "clone3": 435, "close_range": 436, "openat2": 437,
          "pidfd_getfd": 438,
          "mount_setattr": 442, "landlock_create_ruleset": 444,
          "landlock_add_rule": 445, "landlock_restrict_self": 446}  # fmt: skip

# <linux/magic.h>
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
CGROUP2_SUPER_MAGIC = 0x63677270

# <linux/sched.h>
CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 1 << 33
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# <linux/openat2.h>
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# <asm-generic/mman-common.h>
_MADV_POPULATE_WRITE = 23  # Linux 5.14

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLOSE_RANGE_CLOEXEC = 4
_SIGCHLD = 17
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_SECCOMP_SET_MODE_FILTER = 1
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_KEYCTL_SETPERM = 5
_SESSION_RIGHTS = 0x3F1B0000  # what the kernel gives a new one, and KEY_USR_SEARCH


# Calls that change what a process is or sees: what is told of a container's start.
NOTED = frozenset({
    "mount", "umount2", "pivot_root", "keyctl", "open_tree", "move_mount", "fsopen",
    "fsmount", "mount_setattr", "landlock_restrict_self",
})  # fmt: skip
_TABLE = _ALIKE | _NUMBERS.get(os.uname().machine, {})


def number(name: str) -> int:
    """Return this machine's number of a system call."""
    try:
        return _TABLE[name]
    except KeyError:
        raise ImportError(
            f"ocimagic.linux does not know the processor {os.uname().machine!r}"
        ) from None


def call(name: str, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a raw system call; integers are widened so that nothing is cut to 32 bits.

    Public for the other modules of this room: each wraps the calls of its subject.
    """
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = int(_libc.syscall(ctypes.c_long(number(name)), *wide))
    if result < 0:
        raise _os_error()
    if name in NOTED:
        note(name)
    return result


def _os_error(filename: str | None = None) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), filename)


def encode_path(text: str | bytes) -> bytes:
    """Return a path as the kernel takes it; C would cut it at a NUL and mean another one."""
    raw = os.fsencode(text)
    if b"\0" in raw:
        raise OSError(errno.EINVAL, "a path cannot hold a NUL byte", text)
    return raw


def file_system_magic(fd: int) -> int:
    """Return which kind of file system a file is on: fstatfs(2), f_type."""
    buffer = ctypes.create_string_buffer(256)
    call("fstatfs", fd, buffer)
    return int(struct.unpack_from("l", buffer)[0]) & 0xFFFFFFFF


def unshare(flags: int) -> None:
    """Leave namespaces for new ones: unshare(2)."""
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        raise _os_error()
    note("unshare", flags)


def setns(fd: int, flags: int = 0) -> None:
    """Join the namespaces of an ns fd or a pidfd: setns(2)."""
    call("setns", fd, flags)
    note("setns", flags)


def clone3(flags: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork into new namespaces and get a pidfd: clone3(2), clone(2) where it is filtered.

    Args:
        flags: CLONE_NEW*; CLONE_PARENT to give the child to the caller's own parent.
        cgroup_fd: of a version 2 directory the child is born in, with CLONE_INTO_CGROUP.

    Returns ``(pid, pidfd)`` in the parent and ``(0, -1)`` in the child.  The caller must have
    one thread only: the child goes on in a copy of this interpreter without fork handlers.
    """
    pidfd = ctypes.c_int(-1)
    pointer = ctypes.addressof(pidfd)
    # The caller's parent is told as the caller chose to be told of; clone3 wants no other word.
    told = 0 if flags & CLONE_PARENT else _SIGCHLD
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    # set_tid, set_tid_size, cgroup
    cgroup = max(cgroup_fd, 0)
    args = struct.pack("11Q", flags | CLONE_PIDFD, pointer, 0, 0, told, 0, 0, 0, 0, 0, cgroup)
    try:
        # Without the last three it is what the first kernels with clone3 know.
        pid = call("clone3", args, len(args) if flags & CLONE_INTO_CGROUP else 64)
    except OSError as err:
        is_filtered = err.errno == errno.ENOSYS  # docker's seccomp profile keeps glibc on clone()
        if not is_filtered or flags & CLONE_INTO_CGROUP:
            raise
        pid = call("clone", flags | CLONE_PIDFD | told, 0, pointer, 0, 0)
    if pid:
        note("clone3", [flags, pid])
    return (pid, pidfd.value) if pid else (0, -1)


def reset_signals() -> None:
    """Give every signal its default action: rt_sigaction(2).

    Raw, because a parent may have ignored the two signals that libc keeps for itself.
    """
    default = bytes(32)  # struct sigaction of either architecture: SIG_DFL, no flags, no mask
    for signal in range(1, 65):
        if signal not in (9, 19):  # SIGKILL and SIGSTOP cannot be changed
            call("rt_sigaction", signal, default, None, 8)


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    """Open a path with rules for how it may resolve: openat2(2)."""
    how = struct.pack("3Q", flags | os.O_CLOEXEC, mode, resolve)
    return call("openat2", dir_fd, encode_path(path), how, len(how))


def close_range(first: int, last: int = 0x7FFFFFFF, flags: int = 0) -> None:
    """Close, or mark close-on-exec, a range of file descriptors: close_range(2)."""
    call("close_range", first, last, flags)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Change or ask something about this process: prctl(2)."""
    result = int(
        _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(arg2), ctypes.c_ulong(arg3), 0, 0)
    )
    if result < 0:
        raise _os_error()
    if option not in (PR_CAPBSET_READ, PR_CAPBSET_DROP):  # who drops many notes it once
        note("prctl", [option, arg2])
    return result


def populate(address: int, length: int) -> None:
    """Make pages present and this process's own, as a write to each would: madvise(2)."""
    if _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), _MADV_POPULATE_WRITE) < 0:
        raise _os_error()


def set_process_name(name: str) -> None:
    """Name this process, 15 bytes at most, for ``ps``."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _libc.prctl(ctypes.c_int(PR_SET_NAME), buffer, 0, 0, 0)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capabilities from three 64-bit sets: capset(2), version 3."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    low = [each & 0xFFFFFFFF for each in sets]
    high = [each >> 32 for each in sets]
    call("capset", header, struct.pack("6I", *low, *high))
    note("capset", sets)


def capget() -> tuple[int, int, int]:
    """Return this thread's effective, permitted and inheritable sets: capget(2)."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    call("capget", header, data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def load_seccomp_filter(program: bytes, flags: int = 0) -> int:
    """Install a classic BPF program as this thread's filter: seccomp(2).

    Args:
        program: ``struct sock_filter`` array, 8 bytes an instruction.
        flags: SECCOMP_FILTER_FLAG_ bits.

    Returns:
        The listener's descriptor with SECCOMP_FILTER_FLAG_NEW_LISTENER, else 0.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    loaded = call("seccomp", _SECCOMP_SET_MODE_FILTER, flags, fprog)
    note("seccomp", len(program) // 8)
    return loaded


def read_process(pid: int, here: int, there: int, pieces: int) -> int:
    """Copy from another process's memory to one place here: process_vm_readv(2).

    Args:
        pid: whose.
        here: address of one ``struct iovec``.
        there: address of ``pieces`` of them.
        pieces: how many.

    Returns:
        How many bytes.
    """
    got = int(_libc.process_vm_readv(pid, here, 1, there, pieces, 0))
    if got < 0:
        raise _os_error()
    return got


def write_process(pid: int, here: int, there: int) -> int:
    """Copy from one place here to one in another process's memory: process_vm_writev(2)."""
    put = int(_libc.process_vm_writev(pid, here, 1, there, 1, 0))
    if put < 0:
        raise _os_error()
    return put


def join_session_keyring(name: str) -> None:
    """Leave the caller's keys behind for a new session keyring: keyctl(2).

    Its owner may search it, so that a process started later with the same name finds it.
    """
    ring = call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, name.encode())
    call("keyctl", _KEYCTL_SETPERM, ring, _SESSION_RIGHTS)


def setdomainname(name: str) -> None:
    """Set the NIS domain name: setdomainname(2)."""
    raw = name.encode()
    if _libc.setdomainname(raw, ctypes.c_size_t(len(raw))) != 0:
        raise _os_error()


def syncfs(fd: int) -> None:
    """Write out the file system that ``fd`` is on: syncfs(2)."""
    call("syncfs", fd)


def renameat2(old_dir: int, old: str, new_dir: int, new: str, flags: int) -> None:
    """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE: renameat2(2)."""
    call("renameat2", old_dir, encode_path(old), new_dir, encode_path(new), flags)
