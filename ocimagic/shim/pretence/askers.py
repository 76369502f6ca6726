"""Which process takes itself for whom: remembered by the kernel, beside the process.

A resource limit is copied by fork, kept by execve and gone with its process, whatever order
processes are seen in, and whether their parents live.  So it says who a process is: the soft
RLIMIT_RTTIME, which means something to real-time processes only and is written as more
microseconds than anybody lives, holds a number, and that is the place of its credentials in
a table here.  A process that has none is root, as its container's first one was.
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING

from ocimagic.shim.pretence.credentials import Credentials, Refused

if TYPE_CHECKING:
    from ocimagic.linux.notify import Question

LIMIT = resource.RLIMIT_RTTIME
BASE = 1 << 62
MAX_KINDS = 1 << 16


class Askers:
    """Who is who among a container's processes."""

    def __init__(self) -> None:
        self._kinds: list[Credentials] = [Credentials()]
        self._numbers: dict[Credentials, int] = {Credentials(): 0}

    def who(self, question: Question) -> Credentials:
        """Return who asks.

        Raises:
            ProcessLookupError: it is gone.
        """
        number = resource.prlimit(question.pid, LIMIT)[0] - BASE
        return self._kinds[number] if 0 <= number < len(self._kinds) else self._kinds[0]

    def become(self, question: Question, creds: Credentials) -> None:
        """Remember who a process and its children are from now on.

        Raises:
            Refused: EAGAIN, there are too many kinds already.
            OSError: it is gone.
        """
        number = self._numbers.get(creds)
        if number is None:
            number = len(self._kinds)
            if number >= MAX_KINDS:
                raise Refused(errno.EAGAIN)
            self._kinds.append(creds)
            self._numbers[creds] = number
        hard = resource.prlimit(question.pid, LIMIT)[1]
        resource.prlimit(question.pid, LIMIT, (BASE + number, hard))
