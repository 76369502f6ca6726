"""The settings a user can change: ``%config OciMagic``."""

from __future__ import annotations

from traitlets import Bool, Enum, Unicode
from traitlets.config import Configurable


class OciMagic(Configurable):
    """Settings of the ocimagic magics."""

    root = Unicode(
        "",
        help="Directory for images and containers; empty for OCIMAGIC_ROOT or the usual place. "
        "A change holds from the next command on.",
    ).tag(config=True)

    errors = Enum(
        ("short", "full"),
        "short",
        help="short: what, why, where and what to try. full: the Python traceback above it.",
    ).tag(config=True)

    progress = Enum(
        ("auto", "html", "widget", "text", "none"),
        "auto",
        help="How pulls and builds show that they move on. auto: html in a notebook, text in a "
        "terminal. Every kind ends as the static summary.",
    ).tag(config=True)

    display = Enum(
        ("auto", "html", "text", "widget"),
        "auto",
        help="How values are shown. auto and html: HTML with its text twin. text: text only. "
        "widget: inspect results with a search box above the same HTML.",
    ).tag(config=True)

    terminal = Enum(
        ("auto", "widget", "lines"),
        "auto",
        help="How -it is shown. widget: a terminal that goes on while other cells run. lines: a "
        "box to type line after line into. auto: the widget if it was installed.",
    ).tag(config=True)

    check = Bool(
        False,
        help="Raise an error when a foreground container ends with an exit code other than 0.",
    ).tag(config=True)
