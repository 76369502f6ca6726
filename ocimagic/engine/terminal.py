"""The streams of a process as a terminal drives them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ocimagic.model.keys import KeyWatch, parse_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.model.containers import AttachmentAPI


class TerminalHandle:
    """An attachment as a terminal drives it: keys in, one stream of bytes out.

    Args:
        attachment: to a process with a terminal.
        detach_keys: what typed in a row lets go of it; "" is docker's.

    Raises:
        InvalidOption: no such keys.
    """

    def __init__(self, attachment: AttachmentAPI, detach_keys: str = "") -> None:
        self.attachment = attachment
        self._watch = KeyWatch(parse_keys(detach_keys))
        self._over = threading.Event()

    @property
    def detached(self) -> bool:
        """Say whether the keys for letting go were typed."""
        return self._watch.detached

    def write(self, data: bytes) -> None:
        """Send what was typed; the keys for letting go end ``output``."""
        self.attachment.send(self._watch.feed(data))
        if self.detached:
            self._over.set()

    def resize(self, rows: int, columns: int) -> None:
        """Tell how large the window is."""
        self.attachment.resize(rows, columns)

    def output(self) -> Iterator[bytes]:
        """Yield what is written until the process ends, or is let go of."""
        for _, data in self.attachment.chunks(cancelled=self._over):
            yield data

    def leave(self) -> None:
        """Let go of it, as the keys do."""
        self._over.set()

    def ending(self) -> str:
        """Say in a few words how it ended."""
        ended = self.attachment.exit
        if ended is None:
            return f"detached: {self.attachment.name} goes on"
        signal = f", killed by signal {ended.signal}" if ended.signal else ""
        return f"exit {ended.code}{signal}"
