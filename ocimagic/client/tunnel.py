"""A socket of another machine, brought here by ssh."""

from __future__ import annotations

import os
import shutil
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


class Tunnel:
    """One ``ssh -L`` process, from the first need on until it is closed.

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
            return os.path.join(self._room, "docker.sock")

    def close(self) -> None:
        """End ssh."""
        with self._lock:
            self._end()

    def _begin(self) -> None:
        if shutil.which(self._program[0]) is None:
            raise HostLacks("this machine has no ssh", hint="install openssh-client")
        self._room = tempfile.mkdtemp(prefix="ocimagic-ssh-")  # for this account only
        path = os.path.join(self._room, "docker.sock")
        there = self._address
        words = [
            *self._program, "-N", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
            "-o", "ServerAliveInterval=15", "-o", "ConnectTimeout=15",
            "-o", "StreamLocalBindMask=0177", "-L", f"{path}:{there.path}",
            *(["-p", str(there.port)] if there.port else []),
            *(["-l", there.user] if there.user else []), "--", there.host,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the stop button is not for it
        )
        deadline, look = time.monotonic() + _BEGIN_S, threading.Event()
        while not os.path.exists(path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            look.wait(_LOOK_S)

    def _failed(self) -> NeighbourUnreachable:
        process = self._process
        assert process is not None
        process.kill()
        _, raw = process.communicate()
        said = raw.decode(errors="replace").strip()[-_MOST_WORDS:]
        self._end()
        return NeighbourUnreachable(
            f"{self._address.url} cannot be reached",
            why=said or f"ssh made no way in {_BEGIN_S:g} s",
            hint=f"does ssh {self._address.host} work without a password?",
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = ""
