"""The commands that stop a container, for a while or for good: kill, delete, pause, resume."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from ocimagic.errors import ContainerNotFound, InvalidOption
from ocimagic.runtime import container
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.state import locked

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

KILL_FLAGS = (Flag("all", "every process of the container", short="a"),)
DELETE_FLAGS = (Flag("force", "kill it first; one that is gone is no error", short="f"),)


def kill(session: Session, words: Words) -> int:
    """Send a signal, by default SIGTERM, to the first process."""
    if not 1 <= len(words.arguments) <= 2:
        raise InvalidOption("a container ID is needed, and perhaps a signal")
    state = session.load(words.arguments[0])
    number = signal_number(words.arguments[1] if len(words.arguments) > 1 else "TERM")
    container.kill(state, number, all=words.has("all"))
    return 0


def signal_number(text: str) -> int:
    """Return the number of ``TERM``, ``SIGTERM``, ``15`` or ``RTMIN+3``.

    Raises:
        InvalidOption: no such signal.
    """
    name = text.upper().removeprefix("SIG")
    if text.isascii() and text.isdigit():
        if int(text) < signal.NSIG:
            return int(text)
    elif found := re.fullmatch(r"RT(MIN|MAX)(?:[+-]([0-9]{1,2}))?", name):
        first, last = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
        away = int(found[2] or 0)
        number = first + away if found[1] == "MIN" else last - away
        if first <= number <= last:
            return number
    elif f"SIG{name}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{name}"])
    raise InvalidOption(f"unknown signal {text!r}", hint="for example TERM, KILL or 15")


def delete(session: Session, words: Words) -> int:
    """Undo what create did; of a container that is over."""
    container_id, force = words.only_argument(), words.has("force")
    try:
        state = session.load(container_id)
        with locked(state.directory):
            container.delete(
                session.load(container_id), force=force, on_warning=session.journal.warning
            )
    except ContainerNotFound:
        if not force:
            raise
    return 0


def pause(session: Session, words: Words) -> int:
    """Stop all processes until ``resume``."""
    container.pause(session.load(words.only_argument()))
    return 0


def resume(session: Session, words: Words) -> int:
    """Let all processes go on."""
    container.resume(session.load(words.only_argument()))
    return 0
