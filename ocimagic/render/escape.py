"""Text from images, containers and registries made harmless before anyone sees it.

A label, a command or a tag can hold terminal escapes, bidirectional overrides and markup.
Everything that goes to a terminal passes ``visible``; everything that goes into HTML or SVG
passes ``markup``.
"""

from __future__ import annotations

import html
import re

# Control characters move cursors and rewrite lines; bidirectional and zero-width ones make
# text read as something else; lone surrogates and U+FFFE cannot be written as UTF-8 or XML.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
ELLIPSIS = "…"


def visible(text: str, *, lines: bool = False) -> str:
    r"""Write every hidden character as its escape, ESC as ``\x1b``.

    Args:
        text: anything.
        lines: keep line ends and tabs as they are.
    """
    return _HIDDEN.sub(lambda found: _escape(found[0], keep="\n\t" if lines else ""), text)


def markup(text: str, *, lines: bool = False) -> str:
    """Make text safe inside HTML and XML, in elements and in quoted attributes."""
    return html.escape(visible(text, lines=lines), quote=True)


def element_markup(text: str, *, lines: bool = False) -> str:
    """Make text safe inside elements only, where a quotation mark is one byte and not six."""
    return html.escape(visible(text, lines=lines), quote=False)


def shorten(text: str, length: int) -> str:
    """Cut to ``length`` characters, the last one an ellipsis."""
    return text if len(text) <= length else text[: max(length - 1, 0)] + ELLIPSIS


def _escape(char: str, *, keep: str) -> str:
    return char if char in keep else char.encode("unicode_escape").decode("ascii")
