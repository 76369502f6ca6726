"""A container's terminal on the terminal of this machine: raw keys, window size, detaching.

While somebody sits at the container nothing of this terminal's own may act on what is typed:
no echo, no lines, no Ctrl-C.  Whatever happens, it is put back as it was.

Source: termios(3), tty_ioctl(4).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import termios
import threading
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ocimagic.model.containers import AttachmentAPI, TerminalAPI

_CHUNK = 1 << 16


class TerminalConsole:
    """Somebody at a real terminal.

    Args:
        stdin: descriptor that keys come from; a terminal.
        stdout: descriptor that is written to.
    """

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def size(self) -> tuple[int, int] | None:
        """Return rows and columns of the window."""
        try:
            columns, rows = os.get_terminal_size(self._stdout)
        except OSError:
            return None
        return rows, columns

    def drive(self, _attachment: AttachmentAPI, terminal: TerminalAPI) -> bool:
        """Show what it writes and send what is typed, until its output ends."""
        news, teller = os.pipe()
        os.set_blocking(teller, False)
        keys = threading.Thread(
            target=self._send_keys, args=(terminal, news), name="ocimagic-keys", daemon=True
        )
        try:
            with self._raw(), self._hearing_of_size(teller):
                keys.start()
                for data in terminal.output():
                    self._write(data)
        finally:
            os.close(teller)
            if keys.ident is not None:
                keys.join()
            os.close(news)
        return False

    def _send_keys(self, terminal: TerminalAPI, news: int) -> None:
        """Send what is typed, and the size when there is news, until there is an end of news."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_READ)
            selector.register(news, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if news in ready:
                    if not os.read(news, _CHUNK):
                        return
                    if size := self.size():
                        terminal.resize(*size)
                elif self._stdin in ready:
                    data = os.read(self._stdin, _CHUNK)
                    if not data or terminal.detached:
                        return
                    terminal.write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdout, view) :]

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        before = termios.tcgetattr(self._stdin)
        try:
            tty.setraw(self._stdin, termios.TCSANOW)
            yield
        finally:
            termios.tcsetattr(self._stdin, termios.TCSANOW, before)

    @contextlib.contextmanager
    def _hearing_of_size(self, teller: int) -> Iterator[None]:
        """Write to ``teller`` when the window changes; only the main thread can hear of it."""

        def changed(_number: int, _frame: FrameType | None) -> None:
            # Nothing more: what this interrupts may hold the lock that sending needs.
            with contextlib.suppress(BlockingIOError):
                os.write(teller, b"w")

        changed(signal.SIGWINCH, None)  # it may have changed while the container was being made
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGWINCH, changed)
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)
