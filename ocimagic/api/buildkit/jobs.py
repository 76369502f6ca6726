"""Builds under way by the name their client gave them: stopped by it, or fed by another request."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.api.files import Readable

_MEET_S = 5.0  # docker's, too
UPLOAD = "upload-request"


class Upload:
    """A body that another request reads."""

    def __init__(self, body: Readable) -> None:
        self.body = body
        self.read = threading.Event()


class Jobs:
    """The builds of one server."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stops: dict[str, threading.Event] = {}
        self._uploads: dict[str, Upload] = {}

    @contextmanager
    def running(self, name: str) -> Iterator[threading.Event]:
        """Yield what is set when a build is to be stopped; "" has no name."""
        stop = threading.Event()
        if name:
            with self._changed:
                if name in self._stops:
                    raise InvalidState(f"build {name} is under way already")
                self._stops[name] = stop
        try:
            yield stop
        finally:
            with self._changed:
                self._stops.pop(name, None)

    def stop(self, name: str) -> None:
        """Stop a build; one that nobody knows is over."""
        with self._changed:
            if name in self._stops:
                self._stops[name].set()

    @contextmanager
    def taking(self, name: str) -> Iterator[Readable]:
        """Yield what another request of the same client sends for a build.

        Raises:
            InvalidState: nobody does.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._uploads, _MEET_S):
                raise InvalidState(f"nothing was uploaded for build {name}")
            upload = self._uploads.pop(name)
            self._changed.notify_all()
        try:
            yield upload.body
        finally:
            upload.read.set()

    def give(self, name: str, upload: Upload) -> None:
        """Let a build read an upload.

        Raises:
            InvalidState: there is none that wants it.
        """
        with self._changed:
            if name in self._uploads:
                raise InvalidState(f"build {name} is sent something else")
            self._uploads[name] = upload
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._uploads.get(name) is not upload, _MEET_S):
                del self._uploads[name]
                raise InvalidState(f"build {name} does not take what is uploaded for it")
