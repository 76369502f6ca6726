"""What a compose file draws on: other files and the caller's variables.

The only place of this room that reads files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.compose.tree import Node

MAX_TEXT_BYTES = 4 << 20
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a compose file is read.

    Attributes:
        cwd: what relative paths of the command line start from.
        env: the caller's variables.
        stdin: the compose file that ``-`` names.
        stdin_name: how errors call it.
        warn: hears of what is left alone.
    """

    cwd: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes | None = field(default=None, repr=False)
    stdin_name: str = "standard input"
    warn: Callable[[str], None] = lambda _: None

    def path(self, text: str) -> str:
        """Return a path that was typed as an absolute one."""
        return os.path.normpath(os.path.join(self.cwd, os.path.expanduser(text)))


def read_text(path: str, asked: Node | None = None) -> str:
    """Read a small UTF-8 file.

    Args:
        path: of the file.
        asked: what in a compose file names it.

    Raises:
        InvalidDocument: not there, not readable, not text, or too large.
    """
    try:
        return read_bytes(path, asked).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _unreadable(path, f"it is not UTF-8 text: {err}", asked) from err


def read_bytes(path: str, asked: Node | None = None, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Read a small file; see ``read_text``."""
    try:
        with open(path, "rb") as file:
            raw = file.read(limit + 1)
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise _unreadable(path, why or str(err), asked) from err
    if len(raw) > limit:
        raise _unreadable(path, f"it has more than {limit} bytes", asked)
    return raw


def _unreadable(path: str, why: str, asked: Node | None) -> InvalidDocument:
    if asked is None:
        return InvalidDocument(f"cannot read {path}", why=why)
    return asked.wrong(f"cannot read {path}", why=why)
