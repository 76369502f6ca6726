"""What changes who a process is, or what it calls ``/``, without saying so: execve, chroot."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.layers.ownership import ROOT
from ocimagic.shim.pretence.credentials import executing
from ocimagic.shim.pretence.places import EMPTY_PATH, HERE, fd_of, status_line

if TYPE_CHECKING:
    from ocimagic.linux.notify import Question
    from ocimagic.shim.pretence.askers import Askers
    from ocimagic.shim.pretence.identity import Answer
    from ocimagic.shim.pretence.places import Name, Places, Records

_GROUP_PROGRAM = stat.S_ISGID | stat.S_IXGRP


class ProgramCalls:
    """Answers to them: the kernel does them all.

    Args:
        askers: who is who.
        places: the container's files.
        records: whose they are.
    """

    def __init__(self, askers: Askers, places: Places, records: Records) -> None:
        self._askers = askers
        self._places = places
        self._records = records

    def answers(self) -> dict[str, Answer]:
        """Return what answers each call, by its name."""
        return {
            "execve": partial(self._execute, HERE, 0),
            "execveat": self._execute_from,
            "chroot": self._change_root,
        }

    def _execute_from(self, question: Question) -> None:
        self._execute(fd_of(question), 1, question, empty=bool(question.args[4] & EMPTY_PATH))

    def _execute(self, dir_fd: int, at: int, question: Question, *, empty: bool = False) -> None:
        """Become who a set-user-id program is for; if execve fails, nobody takes that back."""
        creds = self._askers.who(question)
        uid = gid = None
        try:
            name = self._places.name(question, dir_fd, question.args[at], empty=empty)
            with self._places.seen_by(question):
                uid, gid = self._set_ids(question, name)
        except OSError:
            return  # the kernel says what is wrong
        after = executing(creds, uid, gid)
        if after != creds:
            self._askers.become(question, after)

    def _set_ids(self, question: Question, name: Name) -> tuple[int | None, int | None]:
        place = self._places.place(question, name)
        mode = os.stat(place).st_mode
        is_group = mode & _GROUP_PROGRAM == _GROUP_PROGRAM
        if not (mode & stat.S_ISUID or is_group) or not stat.S_ISREG(mode):
            return None, None
        if status_line(question.pid, b"NoNewPrivs:") != b"0":
            return None, None
        owner = self._records.of_place(place, follow=True) or ROOT
        return owner.uid if mode & stat.S_ISUID else None, owner.gid if is_group else None

    def _change_root(self, _question: Question) -> None:
        self._places.some_changed_root = True
