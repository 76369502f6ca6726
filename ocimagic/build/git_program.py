"""The program ``git``, run so that neither the machine's settings nor the repository's count.

It reads no configuration but ours, runs no hooks, asks nobody for a password, speaks only
https, http, ssh and git, and ends when the user stops the build.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.errors import DiskFull, HostLacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ocimagic.build.bench import Bench

_PROTOCOLS = "https:http:ssh:git"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.protectNTFS": "true",
    "core.protectHFS": "true",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
}
_SSH = (
    f"ssh -F {os.devnull} -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentityFile=none "
    "-o ConnectTimeout=30 -o ServerAliveInterval=15"
)
_ANSWER_BYTES = 1 << 20
_SAID_BYTES = 4096
_LOOK_S = 0.005, 0.1  # how often it is looked at, first and later
_SPARE_BYTES = 64 << 20


class GitFailed(Exception):
    """A command of git that ended non-zero; the text is what it said last."""


@dataclass(frozen=True, slots=True)
class Git:
    """The program, and a directory it may use.

    Args:
        bench: of this build: stops it.
        room: a directory of its own; the program's HOME.
    """

    bench: Bench
    room: Path

    def run(self, words: Sequence[str]) -> str:
        """Run a command in the room and return what it writes, a mebibyte at most.

        Raises:
            GitFailed: it ended non-zero.
            HostLacks: there is no git.
            DiskFull: the disk is almost full.
            Cancelled: the user stopped the build.
        """
        path = shutil.which("git", path=self.bench.environment.get("PATH", os.defpath))
        if path is None:
            raise HostLacks(
                "a git repository needs the program git, and this machine has none",
                hint="install it (apt install git), or put the files into the build context",
            )
        with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
            # Of its own session: all that it starts ends with it.
            process = subprocess.Popen(
                [path, *words],
                cwd=self.room,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=said,
                env=self._environment(),
                umask=0o022,
                start_new_session=True,
            )
            with process:
                pause, longest = _LOOK_S
                try:
                    while process.poll() is None:
                        self.bench.wait(pause)
                        self._look_at_the_disk()
                        pause = min(2 * pause, longest)
                finally:
                    _end(process)
            if process.returncode:
                said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID_BYTES))
                raise GitFailed(_last_words(said.read().decode(errors="replace")))
            answer.seek(0)
            return answer.read(_ANSWER_BYTES).decode(errors="surrogateescape")

    def _environment(self) -> dict[str, str]:
        given = self.bench.environment
        made = {
            "PATH": given.get("PATH", os.defpath),
            "HOME": str(self.room),
            "XDG_CONFIG_HOME": str(self.room),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TEMPLATE_DIR": "",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            "GIT_SSH_COMMAND": _SSH,
            "GIT_SSH_VARIANT": "ssh",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        made |= _as_settings(_SETTINGS.items())
        for name in (*_PROXIES, *map(str.upper, _PROXIES), *_CERTIFICATES):
            if name in given:
                made[name] = given[name]
        if agent := self.bench.options.ssh.get("default"):
            made["SSH_AUTH_SOCK"] = agent
        return made

    def _look_at_the_disk(self) -> None:
        free = shutil.disk_usage(self.room).free
        if free < _SPARE_BYTES:
            raise DiskFull(
                "the repository does not fit",
                why=f"{free} bytes are free",
                where=str(self.room.parent),
                hint="remove images you do not need (%image_rm), or set OCIMAGIC_ROOT elsewhere",
            )


def _as_settings(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the environment that git reads settings from; submodules see it as well."""
    made: dict[str, str] = {}
    for number, (key, value) in enumerate(pairs):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made | {"GIT_CONFIG_COUNT": str(len(made) // 2)}


def _last_words(text: str) -> str:
    """Return the line that says why, without control characters."""
    lines = ["".join(c for c in line if c.isprintable()) for line in text.splitlines()]
    told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or [""]
    return told[0].partition(": ")[2] or told[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and what it started, if the user or the disk does not let it go on."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
