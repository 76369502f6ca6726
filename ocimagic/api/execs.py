"""Commands that were made by one request, are begun by another and looked at by a third.

They are this server's: an engine has no command that has not begun.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.errors import Conflict, ExecNotFound
from ocimagic.model.execs import ExecDetails

if TYPE_CHECKING:
    from ocimagic.model.containers import AttachmentAPI
    from ocimagic.model.request import ExecOptions

_MOST = 4096


@dataclass(slots=True)
class Exec:
    """A command in a container.

    Attributes:
        exec_id: 64 hexadecimal digits.
        attached: of ``stdin``, ``stdout`` and ``stderr``, what its maker wants.
        is_running: it has begun and not ended.
        exit_code: None until it has ended.
        pid: of its process on the machine, 0 while it has none.
        attachment: what holds its streams while a client has them.
        tried: set when it is clear whether it has begun.
    """

    exec_id: str
    container_id: str
    options: ExecOptions
    attached: tuple[str, ...]
    has_begun: bool = False
    is_running: bool = False
    exit_code: int | None = None
    pid: int = 0
    attachment: AttachmentAPI | None = None
    tried: threading.Event = field(default_factory=threading.Event)

    def details(self) -> ExecDetails:
        """Return what is known of it."""
        return ExecDetails(
            exec_id=self.exec_id,
            container_id=self.container_id,
            options=self.options,
            attached=self.attached,
            running=self.is_running,
            exit_code=self.exit_code,
            pid=self.pid,
        )


class Execs:
    """All commands of a server; the oldest that are over are forgotten when there are many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Exec] = OrderedDict()

    def make(self, container_id: str, options: ExecOptions, attached: tuple[str, ...]) -> Exec:
        """Keep a command that is to be begun."""
        made = Exec(os.urandom(32).hex(), container_id, options, attached)
        with self._lock:
            self._all[made.exec_id] = made
            while len(self._all) > _MOST:
                self._all.popitem(last=False)
        return made

    def find(self, exec_id: str) -> Exec:
        """Return a command by its ID, whole or its first digits.

        Raises:
            ExecNotFound: there is none.
        """
        with self._lock:
            if exec_id in self._all:
                return self._all[exec_id]
            fits = [each for name, each in self._all.items() if name.startswith(exec_id)]
        if len(fits) != 1 or not exec_id:
            raise ExecNotFound(f"no such exec instance: {exec_id}")
        return fits[0]

    def of(self, container_id: str) -> list[str]:
        """Return the IDs of a container's commands that are running."""
        with self._lock:
            found = [each for each in self._all.values() if each.container_id == container_id]
        return [each.exec_id for each in found if each.is_running]

    def begin(self, found: Exec) -> None:
        """Say that a command begins, which it can once.

        Raises:
            Conflict: it has.
        """
        with self._lock:
            if found.has_begun:
                raise Conflict(f"exec instance {found.exec_id} has been started already")
            found.has_begun = True
