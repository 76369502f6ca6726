"""The terminal widget with a real pseudo-terminal behind it; the browser is played by messages."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import threading
from typing import TYPE_CHECKING

import pytest

from ocimagic.widgets import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


class Shell:
    """A shell of this machine on a terminal."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["/bin/sh"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env={}
        )
        os.close(slave)

    def write(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.master, (rows, columns))

    def output(self) -> Iterator[bytes]:
        while True:
            try:
                yield os.read(self.master, 4096)
            except OSError:
                return

    def ending(self) -> str:
        code = self.process.wait()
        os.close(self.master)
        return f"exited with code {code}"


class Page(terminal.Terminal):
    """A widget whose messages to the page are kept."""

    def __init__(self, *args: object) -> None:
        self.sent: list[tuple[dict[str, object], bytes]] = []
        super().__init__(*args)

    def send(self, content: dict[str, object], buffers: list[bytes] | None = None) -> None:
        self.sent.append((content, b"".join(buffers or [])))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play an install that had a network."""
    monkeypatch.setattr(terminal, "is_available", lambda: True)


@pytest.mark.usefixtures("fetched")
def test_keys_go_in_bytes_come_out_and_a_transcript_stays() -> None:
    over = threading.Event()
    told: list[str] = []
    page = Page(Shell(), "web", lambda text: (told.append(text), over.set()))
    pump = page.serve()
    page._hear(None, {"type": "ready", "rows": 31, "columns": 77}, [])
    page._hear(None, {"type": "input"}, [memoryview(b"stty size; exit 3\n")])
    assert over.wait(20)
    pump.join()
    shown = b"".join(data for content, data in page.sent if content["type"] == "output")
    assert b"31 77" in shown
    assert page.caption == "exited with code 3"
    assert "31 77" in told[0]
    assert page.sent[-1][0] == {"type": "end"}


@pytest.mark.usefixtures("fetched")
def test_a_browser_tells_the_lines_as_it_shows_them() -> None:
    told: list[str] = []
    shell = Shell()
    page = Page(shell, "web", told.append)
    pump = page.serve()
    shell.write(b"exit\n")
    while not any(content["type"] == "end" for content, _ in page.sent):
        pump.join(0.05)
    page._hear(None, {"type": "transcript", "text": "as drawn"}, [])
    pump.join()
    assert told == ["as drawn"]


@pytest.mark.usefixtures("fetched")
def test_a_view_opened_later_sees_everything_again() -> None:
    shell = Shell()
    page = Page(shell, "web", lambda _text: None)
    pump = page.serve()
    shell.write(b"echo first-$((1+1)); exit\n")
    pump.join()
    page._show_again()
    content, data = page.sent[-1]
    assert content == {"type": "output", "again": True}
    assert b"first-2" in data


def test_without_the_library_words_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "is_available", lambda: False)
    shell = Shell()
    with pytest.raises(terminal.HostLacks, match="without its terminal"):
        terminal.Terminal(shell, "web", lambda _text: None)
    shell.write(b"exit\n")
    shell.ending()


def test_plain_text_has_no_escapes_and_shows_what_was_written_last() -> None:
    raw = b"\x1b]0;title\x07\x1b[1;32mgreen\x1b[0m\r\n 10%\r100%\r\n\x07bell\x1b(B"
    assert terminal.plain_text(raw) == "green\n100%\nbell"


def test_a_transcript_is_text_not_markup() -> None:
    page = terminal.transcript_html("web", "<b>one</b>\ntwo", "exited with code 0")
    assert "&lt;b&gt;one" in page
    assert "one&lt;/b&gt;\ntwo" in page
