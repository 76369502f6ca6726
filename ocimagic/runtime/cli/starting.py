"""The command that lets a created container's command begin: start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState
from ocimagic.runtime.beginning import begin
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.state import connect, locked

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words


def start(session: Session, words: Words) -> int:
    """Let a created container's command begin."""
    state = session.load(words.only_argument())
    with locked(state.directory):
        state = session.load(state.container_id)
        status = state.status()
        if status != "created":
            raise InvalidState(f"cannot start a container that is {status}")
        if not state.config.get("process"):
            raise InvalidState("there is nothing to start", why="config.json has no process")
        begin(Channel(connect(state.start_path)), state, session.journal.warning)
    return 0
