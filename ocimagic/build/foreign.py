"""RUN for another processor: whether this machine can do it, asked before anything is done.

Source: Linux, "Kernel Support for miscellaneous Binary Formats" (binfmt_misc).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.limits import frame
from ocimagic.dockerfile.instructions import Run
from ocimagic.errors import HostLacks
from ocimagic.model.event import Notice
from ocimagic.spec.elf_probe import probe_program
from ocimagic.spec.platform import candidates, host_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.build.ground import Ground
    from ocimagic.spec.platform import Platform

_FORMATS = Path("/proc/sys/fs/binfmt_misc")
_PROBE_S = 20.0
_FIXED = "F"  # opened when it was registered: a container need not have it


def check_foreign(grounds: Sequence[Ground]) -> None:
    """Refuse a RUN whose programs this machine cannot run, and warn where it may not work.

    Raises:
        HostLacks: no interpreter for them is registered.
    """
    known: dict[Platform, bool] = {}
    for ground in grounds:
        for stage in ground.planned.stages:
            run = next((each for each in stage.instructions if isinstance(each, Run)), None)
            platform = ground.platform_of(stage)
            if run is None or platform.canonical in candidates(host_platform()):
                continue
            if platform not in known:
                known[platform] = _can_run(platform)
                if path := known[platform] and _unfixed(platform.architecture):
                    text = f"programs for {platform} are run by {path}, which is registered "
                    text += "without the flag F: RUN needs an image that has it at this place"
                    ground.bench.on_event(Notice(text, run.source.start_line))
            if not known[platform]:
                raise _refused(platform, run)


def _refused(platform: Platform, run: Run) -> HostLacks:
    here, short = host_platform(), platform.architecture
    return HostLacks(
        f"RUN for {platform} cannot be done on this machine",
        why=f"it is {here}, and no interpreter for programs of {platform} is registered "
        "(binfmt_misc)",
        where=frame(run.source),
        hint="have whoever is root install one: apt install qemu-user-static, or docker run "
        f"--privileged --rm tonistiigi/binfmt --install {short}; or leave RUN to a stage "
        "FROM --platform=$BUILDPLATFORM, whose compiler writes for the other processor",
    )


def _can_run(platform: Platform) -> bool:
    """Try the smallest program there is; one that is not known here is given its chance."""
    program = probe_program(platform.architecture)
    if platform.os != "linux":
        return False
    if program is None:
        return True
    fd = os.memfd_create("ocimagic-probe", os.MFD_CLOEXEC)
    try:
        os.write(fd, program)
        subprocess.run(
            [f"/proc/self/fd/{fd}"], pass_fds=[fd], timeout=_PROBE_S, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        os.close(fd)
    return True  # whatever it ended with: somebody began to run it


def _unfixed(architecture: str) -> str:
    """Return the interpreter that only an image could hold, "" if it is open or not to be seen."""
    program = probe_program(architecture)
    entries = sorted(_FORMATS.iterdir()) if program and _FORMATS.is_dir() else []
    for entry in entries:
        if entry.name in ("register", "status"):
            continue
        try:
            said = entry.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        fields = dict(line.partition(" ")[::2] for line in said)
        if said[:1] == ["enabled"] and _matches(program or b"", fields):
            return "" if _FIXED in fields.get("flags:", "") else fields.get("interpreter", "")
    return ""


def _matches(program: bytes, fields: dict[str, str]) -> bool:
    magic = bytes.fromhex(fields.get("magic", ""))
    offset = int(fields.get("offset", "0"))
    mask = bytes.fromhex(fields.get("mask", "")) or b"\xff" * len(magic)
    there = program[offset : offset + len(magic)]
    return (
        bool(magic)
        and len(there) == len(magic)
        and all(
            one & bits == other & bits for one, bits, other in zip(there, mask, magic, strict=False)
        )
    )
