"""Paths of sockets: who is there already, and whether it may be replaced."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, PortTaken

if TYPE_CHECKING:
    from pathlib import Path


def make_way(path: Path) -> None:
    """Take a socket away that nobody listens at.

    Raises:
        InvalidOption: something else is there.
        PortTaken: somebody listens.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InvalidOption(f"{path} is no socket", hint="choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        try:
            other.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise PortTaken(
        f"somebody listens at {path} already", hint="stop that one, or choose another path"
    )
