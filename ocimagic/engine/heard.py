"""Requests that clients really sent about containers, for whoever has them explained.

Beside a container lies what was asked about it, a line of JSON each, appended in one write; of one
that is removed at its end this process remembers the last few.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from ocimagic.model.explanation import HeardRequest

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "requests.jsonl"
_MOST = 64  # of one container
_REMEMBERED = 64  # containers
_MAX_BODY = 1 << 16


class Heard:
    """What was asked; safe to be told by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, list[HeardRequest]] = OrderedDict()

    def put(self, directory: Path, request: HeardRequest) -> None:
        """Keep a request about the container of a directory, which may be gone by now."""
        container_id = directory.name
        with self._lock:
            known = self._known.setdefault(container_id, [])
            self._known.move_to_end(container_id)
            if len(known) >= _MOST:
                return
            known.append(request)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        document = asdict(request)
        if len(json.dumps(document["body"])) > _MAX_BODY:
            document["body"] = {}
        # A full disk must not keep a container from being started.
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(directory / _NAME, flags, 0o600)
            try:
                os.write(fd, json.dumps(document).encode() + b"\n")
            finally:
                os.close(fd)

    def of(self, directory: Path) -> tuple[HeardRequest, ...]:
        """Return what was asked about a container, in the order it began."""
        found: list[HeardRequest] = []
        with suppress(OSError):
            for line in (directory / _NAME).read_text(encoding="utf-8").split("\n")[:_MOST]:
                with suppress(ValueError, TypeError):  # half a line of somebody who was killed
                    found.append(HeardRequest(**json.loads(line)))
        with self._lock:
            found = found or list(self._known.get(directory.name, ()))
        return tuple(sorted(found, key=lambda each: each.began_s))
