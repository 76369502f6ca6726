"""What a command runs in: the engine and everything else that is not on its line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.model.event import ignore

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import OnEvent


@dataclass(slots=True)
class Session:
    """The surroundings of one command.

    Attributes:
        engine: makes the engine when the first verb needs it, and returns the same again.
        on_event: gets progress, and output while it is written.
        env: for ``-e NAME`` and ``--env-file``.
        cwd: what relative paths start from.
        stdin: what ``-i``, ``build -`` and ``-f -`` read: bytes, or a file descriptor.
        cancelled: set it to stop what runs.
        program: how usage lines call us.
    """

    engine: Callable[[], EngineAPI]
    on_event: OnEvent = ignore
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    stdin: int | bytes | None = None
    cancelled: threading.Event | None = None
    program: str = "docker"

    def path(self, text: str) -> str:
        """Return a path that was typed as an absolute one; ``~`` is the user's home."""
        home = self.env.get("HOME")
        if home and (text == "~" or text.startswith("~/")):
            text = home + text[1:]
        return os.path.abspath(os.path.join(self.cwd, text))
