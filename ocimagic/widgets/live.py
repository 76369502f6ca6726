"""Live views that grow on their static twins: what is saved is HTML, what is seen is more.

A notebook that holds a widget shows nothing of it, or an error, when its kernel is gone.  So
the output of a live view is its static twin alone, with a mark on it; the widget has no view
of its own, and its JavaScript draws where it finds the mark (``live.js``).  See docs/adr/0031.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anywidget
import traitlets

if TYPE_CHECKING:
    from collections.abc import Sequence


def script(*names: str) -> str:
    """Return files of JavaScript of this room as one module."""
    room = files("ocimagic.widgets")
    return "\n".join(room.joinpath(name).read_text(encoding="utf-8") for name in names)


def hear_at_once(comm: Any) -> None:  # noqa: ANN401  of whatever kernel this is
    """Take what a page says in the subshell that it asks for: while a cell runs, too.

    JupyterLab has a subshell for widgets since 4.4.  ipykernel 7.4 leads messages to whichever
    shell used the comm last (``Comm._reply_subshell_for``), for cells that wait for an answer to
    what they sent, and that is the one which runs cells.  Nothing of ours waits so.  Where there
    are no subshells, or no such rule, this changes nothing.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked_for: asked_for  # noqa: SLF001


class LiveView(anywidget.AnyWidget):
    """One live view; a kind of it says what is sent when a page asks for it.

    Attributes:
        key: the model's own ID, which is on its static twin, too.
    """

    _esm = ""
    key = traitlets.Unicode().tag(sync=True)

    def __init__(self, **state: object) -> None:
        key = uuid4().hex
        super().__init__(key=key, model_id=key, **state)
        hear_at_once(self.comm)
        self.on_msg(self._hear)

    def mark(self, html: str) -> str:
        """Return a static twin on which this view can grow."""
        return f'<div data-ocimagic="{self.key}">{html}</div>'

    def hear(self, content: dict[str, Any], buffers: Sequence[memoryview] = ()) -> None:
        """Take a message from a page; the first one is of the type ``ready``."""
        raise NotImplementedError

    def _hear(self, _widget: object, content: dict[str, Any], buffers: list[memoryview]) -> None:
        self.hear(content, buffers)
