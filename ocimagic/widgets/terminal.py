"""A container's terminal in the page: xterm.js grown on a transcript, which is what is saved."""

from __future__ import annotations

import re
import threading
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

import traitlets

from ocimagic.errors import HostLacks, OcimagicError
from ocimagic.render.escape import markup
from ocimagic.render.html import LINE, MONOSPACE
from ocimagic.widgets.live import LiveView, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROWS = 24
CAPTION = "click and type, when no cell runs; Ctrl-P Ctrl-Q leaves it running"
_LIBRARY = ("xterm.mjs", "addon-fit.mjs", "xterm.css")
_BACKLOG_BYTES = 1 << 18
_TRANSCRIPT_S = 2.0
_RENEW_S = 10.0  # so old is the transcript that is saved while it goes on, at most
# ECMA-48: CSI, OSC and two-byte sequences; what is left is what a reader sees.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_()].?)")


class TerminalStream(Protocol):
    """The terminal of a container or of a command in one, as its shim gives it."""

    def write(self, data: bytes) -> None:
        """Send what was typed."""

    def resize(self, rows: int, columns: int) -> None:
        """Tell how large the window is."""

    def output(self) -> Iterator[bytes]:
        """Yield what is written until the process ends or the keys for detaching were typed."""

    def ending(self) -> str:
        """Say in a few words how it ended, once ``output`` has."""


def static_files() -> Any:  # noqa: ANN401  importlib's Traversable moved between versions
    """Return the directory that setup.py fetched xterm.js into."""
    return files("ocimagic.widgets") / "static"


def is_available() -> bool:
    """Say whether xterm.js was fetched when this package was built."""
    return all((static_files() / name).is_file() for name in _LIBRARY)


class Terminal(LiveView):
    """One terminal; ``serve`` moves its bytes until the stream ends.

    Attributes:
        name: of the container, for screen readers.
        caption: a line below: how to leave, later how it ended.
    """

    _esm = script("live.js", "terminal.js")
    name = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    rows = traitlets.Int(ROWS).tag(sync=True)

    def __init__(
        self,
        stream: TerminalStream,
        name: str,
        on_end: Callable[[str], None],
        on_more: Callable[[str], None] | None = None,
    ) -> None:
        """Make a terminal.

        Args:
            stream: whose bytes are shown.
            name: of the container.
            on_end: is given the transcript, in a thread of this widget, when all is over.
            on_more: is given the transcript so far, in another one, now and then.

        Raises:
            HostLacks: xterm.js was not fetched when this package was built.
        """
        if not is_available():
            raise HostLacks(
                "this ocimagic was installed without its terminal",
                why="xterm.js could not be fetched from the npm registry then",
                hint="reinstall it with a network; until then -it asks line by line",
            )
        super().__init__(name=name, caption=CAPTION)
        self._stream = stream
        self._on_end = on_end
        self._on_more = on_more
        self._is_over = threading.Event()
        self._backlog = bytearray()
        self._lock = threading.Lock()
        self._transcript: str | None = None
        self._told = threading.Event()

    def serve(self) -> threading.Thread:
        """Move bytes in a thread of its own: the kernel stays free for other cells."""
        thread = threading.Thread(target=self._pump, name=f"terminal-{self.name}", daemon=True)
        thread.start()
        if self._on_more is not None:
            name = f"transcript-{self.name}"
            threading.Thread(target=self._renew, name=name, daemon=True).start()
        return thread

    def transcript(self) -> str:
        """Return what the terminal shows: the browser's lines, or the bytes without escapes."""
        if self._transcript is not None:
            return self._transcript
        with self._lock:
            backlog = bytes(self._backlog)
        return plain_text(backlog)

    def _renew(self) -> None:
        """Tell the transcript whenever it has grown, but not all the time."""
        told = ""
        while self._on_more is not None and not self._is_over.wait(_RENEW_S):
            so_far = self.transcript()
            if so_far != told:
                self._on_more(so_far)
                told = so_far

    def _pump(self) -> None:
        try:
            for data in self._stream.output():
                with self._lock:
                    self._backlog += data
                    del self._backlog[:-_BACKLOG_BYTES]
                    self.send({"type": "output"}, buffers=[data])
            ending = self._stream.ending()
        except OcimagicError as err:
            ending = str(err)
        self.caption = ending
        self.send({"type": "end"})
        # A browser tells its lines only while the kernel is free to hear it.
        self._told.wait(_TRANSCRIPT_S)
        self._is_over.set()
        self._on_end(self.transcript())

    def hear(self, content: dict[str, Any], buffers: Sequence[memoryview] = ()) -> None:
        """Take keys, sizes, and the question for the library."""
        kind = content.get("type")
        if kind == "library":
            found = [(static_files() / name).read_bytes() for name in _LIBRARY]
            self.send({"type": "library"}, buffers=found)
        elif kind == "input":
            self._stream.write(b"".join(bytes(each) for each in buffers))
        elif kind in {"ready", "resize"}:
            self._stream.resize(int(content["rows"]), int(content["columns"]))
            if kind == "ready":
                self._show_again()
        elif kind == "transcript":
            self._transcript = str(content["text"])
            self._told.set()

    def _show_again(self) -> None:
        """Draw a view that has just been opened; all others start afresh with it."""
        with self._lock:
            self.send({"type": "output", "again": True}, buffers=[bytes(self._backlog)])


def plain_text(data: bytes) -> str:
    """Return terminal output as lines of text: escapes, returns and bells taken out."""
    text = _ESCAPES.sub(b"", data).decode(errors="replace").replace("\r\n", "\n")
    lines = [line.rpartition("\r")[2] for line in text.split("\n")]
    kept = ("".join(c for c in line if c == "\t" or c >= " ") for line in lines)
    return "\n".join(kept).rstrip()


def transcript_html(name: str, text: str, ending: str) -> str:
    """Return a terminal that is over, for notebooks that are saved, printed or exported."""
    lines = markup(text.strip("\n"), lines=True)
    return (
        f'<figure style="margin:0"><pre aria-label="terminal of container {markup(name)}" '
        f'style="border:1px solid {LINE};padding:.5em;overflow-x:auto;{MONOSPACE}">'
        f"{lines}</pre><figcaption>{markup(ending)}</figcaption></figure>"
    )
