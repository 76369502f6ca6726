"""Limits that a creator sets for a process it has made: rlimits, and how soon it is killed.

The creator may have privileges that the process, in its own user namespace, has not.

Spec: runtime-spec config.md, "Process" (rlimits, oomScoreAdj).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.linux.process import RLIMITS, limit, set_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.spec.process import Rlimit

_UNLIMITED = (1 << 64) - 1


def set_rlimits(pid: int, limits: Sequence[Rlimit]) -> Iterator[str]:
    """Set resource limits of a process; yield a warning for each that could not be had in full.

    Raises:
        HostLacks: the kernel does not take one.
    """
    for each in limits:
        resource = RLIMITS[each.type.removeprefix("RLIMIT_")]
        try:
            yield from _set(pid, resource, each)
        except OSError as err:
            raise HostLacks(f"{each.type} cannot be set", why=err.strerror) from err


def _set(pid: int, resource: int, wanted: Rlimit) -> Iterator[str]:
    try:
        set_limit(pid, resource, wanted.soft, wanted.hard)
    except PermissionError:
        # Only CAP_SYS_RESOURCE raises a hard limit.  Less than asked is better than nothing.
        highest = limit(pid, resource)[1]
        if wanted.hard <= highest:
            raise
        set_limit(pid, resource, min(wanted.soft, highest), highest)
        yield (
            f"{wanted.type} cannot be raised to {_word(wanted.hard)} here, it is {_word(highest)}"
        )


def _word(number: int) -> str:
    return "unlimited" if number == _UNLIMITED else str(number)


def set_oom_score(pid: int, wanted: int) -> Iterator[str]:
    """Say how soon the kernel kills a process for want of memory; yield a warning if it may not.

    Only CAP_SYS_RESOURCE lowers the score below what it once was.

    Raises:
        HostLacks: the process is gone.
    """
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(fd, str(wanted).encode())
        finally:
            os.close(fd)
    except PermissionError:
        yield f"oomScoreAdj cannot be lowered to {wanted} here"
    except OSError as err:
        raise HostLacks("oomScoreAdj cannot be set", why=err.strerror) from err
