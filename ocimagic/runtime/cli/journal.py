"""Where the command line tells of errors and warnings: a log file, and stderr for people."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from ocimagic.errors import OcimagicError


class Journal:
    """A log that callers read: docker and containerd take their error texts from it.

    Args:
        path: the file; "" for none.
        style: ``text`` or ``json``.
        debug: also what is not wrong.
    """

    def __init__(self, path: str, style: str, *, debug: bool = False) -> None:
        if style not in ("text", "json", ""):
            raise InvalidOption(f"unknown log format {style!r}", hint="text or json")
        self._path = path
        self._style = style
        self._debug = debug

    def error(self, err: OcimagicError) -> None:
        """Tell why the command failed."""
        said = one_line(err)
        self._write("error", said)
        sys.stderr.write(f"{said}\n")

    def warning(self, text: str) -> None:
        """Tell what is other than it was asked for."""
        self._write("warning", text)
        if not self._path:
            sys.stderr.write(f"warning: {text}\n")

    def repetition(self, text: str) -> None:
        """Tell what was told when the container was made; stderr is the command's own now."""
        self._write("warning", text)

    def debug(self, text: str) -> None:
        """Tell what is done."""
        if self._debug:
            self._write("debug", text)
            if not self._path:
                sys.stderr.write(f"{text}\n")

    def _write(self, level: str, text: str) -> None:
        if not self._path:
            return
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._style == "json":
            line = json.dumps({"level": level, "msg": text, "time": moment})
        else:
            line = f"time={json.dumps(moment)} level={level} msg={json.dumps(text)}"
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as err:
            sys.stderr.write(f"cannot write the log {self._path}: {err.strerror}\n")


def one_line(err: OcimagicError) -> str:
    """Return an error as callers look through it: what, and why."""
    parts = [part.replace("\n", "; ") for part in (err.what, err.why, err.where) if part]
    hint = f" ({err.hint})" if err.hint else ""
    return ": ".join(parts) + hint
