"""A socket of another machine, brought here by ssh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, NeighbourUnreachable

if TYPE_CHECKING:
    from ocimagic.client.address import Address

_BEGIN_S = 30.0
_LOOK_S = 0.02
_END_S = 5.0
_MOST_WORDS = 500
_SAID = "said"
# ssh reads nothing with -N and would outlive a kernel that is killed.  So a shell begins it, and
# ends it when the pipe from us does, of which nobody else has an end.
_AS_LONG_AS_WE_LIVE = """\
exec 3<&0
"$@" </dev/null 3<&- & ssh=$!
{ read -r _ <&3; kill $ssh; } 2>/dev/null &
exec 3<&-
wait $ssh
status=$?
kill $! 2>/dev/null
exit $status
"""


class Tunnel:
    """One ``ssh -L`` process, from the first need on until it is closed or we are no more.

    Args:
        address: of kind ssh.
        program: words that begin ssh.
    """

    def __init__(self, address: Address, program: tuple[str, ...] = ("ssh",)) -> None:
        self._address = address
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._room = ""

    def path(self) -> str:
        """Return the socket here that leads there; ssh is begun if it is not at work.

        Raises:
            HostLacks: there is no ssh here.
            NeighbourUnreachable: ssh does not get there; says what it said.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._begin()
            return self._here()

    def said(self) -> str:
        """Return the last of what ssh has written, "" for nothing."""
        if not self._room:
            return ""
        with open(os.path.join(self._room, _SAID), "rb") as file:
            return file.read().decode(errors="replace").strip()[-_MOST_WORDS:]

    def close(self) -> None:
        """End ssh."""
        with self._lock:
            self._end()

    def _begin(self) -> None:
        if shutil.which(self._program[0]) is None:
            raise HostLacks("this machine has no ssh", hint="install openssh-client")
        self._room = tempfile.mkdtemp(prefix="ocimagic-ssh-")  # for this account only
        try:
            with open(os.path.join(self._room, _SAID), "wb") as said:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _AS_LONG_AS_WE_LIVE, "sh", *self._words()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,  # the stop button is not for it
                )
            self._wait(self._process)
        except BaseException:
            self._end()
            raise

    def _words(self) -> list[str]:
        there = self._address
        return [
            *self._program, "-N", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
            "-o", "ServerAliveInterval=15", "-o", "ConnectTimeout=15",
            "-o", "StreamLocalBindMask=0177", "-L", f"{_spelt(self._here())}:{_spelt(there.path)}",
            *(["-p", str(there.port)] if there.port else []),
            *(["-l", there.user] if there.user else []), "--", there.host,
        ]  # fmt: skip

    def _here(self) -> str:
        return os.path.join(self._room, "docker.sock")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until there is a way."""
        deadline, look = time.monotonic() + _BEGIN_S, threading.Event()
        while not os.path.exists(self._here()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            look.wait(_LOOK_S)

    def _failed(self) -> NeighbourUnreachable:
        return NeighbourUnreachable(
            f"{self._address.url} cannot be reached",
            why=self.said() or f"ssh made no way in {_BEGIN_S:g} s",
            hint=f"does ssh {self._address.host} work without a password?",
        )

    def _end(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()  # which ends ssh
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)  # it began a session
                self._process.wait()
            self._process = None
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = ""


def _spelt(path: str) -> str:
    """Write a path as -L takes it, where a colon ends it and a per cent sign begins a token."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("%", "%%")
