"""A container with one id that is to look as if it had all: which system calls are asked about.

Its seccomp rules name a socket; who listens there (``shim.pretence``) answers calls about users
and owners from what it remembers, and lets the kernel do all others.  A call that is not named
here costs nothing, for its filter is a bit the kernel looks up.

Spec: runtime-spec config-linux.md, "Seccomp", ``listenerPath``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.spec.runtime import PRETENCE_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.runtime import RuntimeConfig

# Who somebody is; whose a file is; what makes a file; what changes either without saying so.
ALWAYS_ASKED = (
    *("getuid", "geteuid", "getresuid", "setuid", "setreuid", "setresuid", "setfsuid"),
    *("getgid", "getegid", "getresgid", "setgid", "setregid", "setresgid", "setfsgid"),
    *("getgroups", "setgroups"),
    *("chown", "lchown", "fchown", "fchownat"),
    *("stat", "lstat", "fstat", "newfstatat", "statx"),
    *("creat", "openat2", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"),
    *("execve", "execveat", "chroot", "capset"),
)
_CREATE, _TMPFILE = 0o100, 0o20000000
_SOL_SOCKET, _SO_PEERCRED = 1, 17
_KEEPCAPS = 8
_RTTIME = 15  # by this limit who listens remembers who a process is
_KILLABLE = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
_KILLABLE_SINCE = (5, 19)
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def pretending(
    config: RuntimeConfig, listener_path: str, machine: str, kernel: tuple[int, int]
) -> RuntimeConfig:
    """Have a container ask who listens on a socket about users and owners.

    Args:
        config: of the container, with whatever filter it has.
        listener_path: of the socket.
        machine: platform.machine().
        kernel: the two first numbers of its version.
    """
    seccomp: Mapping[str, object] = config.seccomp or {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _ARCHITECTURES[machine],
        "syscalls": [],
    }
    others = seccomp.get("syscalls", [])
    assert isinstance(others, list | tuple)
    # A signal would have a call asked twice, and made files be there already the second time.
    flags = [_KILLABLE] if kernel >= _KILLABLE_SINCE else []
    asking = {
        **seccomp,
        "flags": flags,
        "listenerPath": listener_path,
        "syscalls": [*_rules(), *others],  # the first that matches decides
    }
    limits = tuple(each for each in config.process.rlimits if each.type != "RLIMIT_RTTIME")
    return replace(
        config,
        process=replace(config.process, rlimits=limits),
        seccomp=asking,
        annotations={**config.annotations, PRETENCE_ANNOTATION: "users and owners"},
    )


def _rules() -> list[dict[str, object]]:
    opens = [
        _rule([name], _has_bit(index, bit))
        for name, index in (("open", 1), ("openat", 2))
        for bit in (_CREATE, _TMPFILE)
    ]
    return [
        _rule(list(ALWAYS_ASKED)),
        *opens,
        _rule(["getsockopt"], _is(1, _SOL_SOCKET), _is(2, _SO_PEERCRED)),
        _rule(["prctl"], _is(0, _KEEPCAPS)),
        _rule(["getrlimit", "setrlimit"], _is(0, _RTTIME)),
        _rule(["prlimit64"], _is(1, _RTTIME)),
    ]


def _rule(names: list[str], *args: dict[str, object]) -> dict[str, object]:
    rule: dict[str, object] = {"names": names, "action": "SCMP_ACT_NOTIFY"}
    return rule | {"args": list(args)} if args else rule


def _has_bit(index: int, bit: int) -> dict[str, object]:
    return {"index": index, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}


def _is(index: int, value: int) -> dict[str, object]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
