"""What leads from an ordinary account's networks to the world: the best that works here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.network.plan import PASTA, RELAY, SLIRP

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEVICE = "/dev/net/tun"
VARIABLE = "OCIMAGIC_WAY_OUT"
_PASTA_SINCE = 2024


def asked_way(environment: Mapping[str, str]) -> str:
    """Return what is asked for, "" for the best that works.

    Raises:
        InvalidOption: there is no such way.
    """
    name = environment.get(VARIABLE, "")
    if name not in ("", PASTA, SLIRP, RELAY):
        raise InvalidOption(
            f"{VARIABLE}={name} is not known",
            hint=f"set it to {PASTA}, {SLIRP} or {RELAY} (ours), or leave it out",
        )
    return name


def choose_way(asked: str) -> str:
    """Return the way that is used: a program that has a network device of its own, or relays.

    Raises:
        HostLacks: the one that is asked for cannot be used.
    """
    if asked in (PASTA, SLIRP):
        if why := _why_not(asked):
            raise HostLacks(
                f"{VARIABLE}={asked} cannot be used here",
                why=why,
                hint="leave it out: the best way that works here is used",
            )
        return asked
    if asked:
        return asked
    return next((each for each in (PASTA, SLIRP) if _is_here(each) and _may_use()), RELAY)


@cache
def _is_here(program: str) -> bool:
    """Say whether a program is installed, in a version that leads out of bridges."""
    if not shutil.which(program):
        return False
    if program == SLIRP:
        return True
    # That of 2023 loses connections of those who are behind a bridge; this of 2025 does not.
    asked = subprocess.run(
        [program, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=5,
    )
    found = re.search(rb"20\d\d", asked.stdout)
    return found is not None and int(found[0]) >= _PASTA_SINCE


def _why_not(program: str) -> str:
    if not shutil.which(program):
        return f"{program} is not installed"
    if not _is_here(program):
        return f"this {program} is too old: it loses connections of who is behind a bridge"
    return "" if _may_use() else f"this account may not open {_DEVICE}"


def _may_use() -> bool:
    """Say whether this account may make network devices."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def described(way: str) -> str:
    """Return in a sentence how packets leave by a way, and what does not."""
    if way != RELAY:
        return f"through {way}; ports and the gateway through relays of ours"
    return (
        "through relays of ours, since no pasta or slirp4netns may use /dev/net/tun here: TCP and "
        "UDP, no ping; a connection is there before the far side was asked, and is broken off if "
        "that refuses"
    )
