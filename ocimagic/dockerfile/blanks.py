"""Blanks: what separates words."""

from __future__ import annotations

import re

# Go's unicode.IsSpace.  str.isspace() would also take \x1c-\x1f, and split where docker does not.
_SPACES = frozenset(
    "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
SPACES = "".join(sorted(_SPACES))  # for str.strip()


def is_space(char: str) -> bool:
    """Tell whether Go, and so docker, takes this character for a blank."""
    return char in _SPACES


_ANY = re.compile(f"[{re.escape(SPACES)}]")


def split_at_blanks(text: str) -> list[str]:
    """Split a text at each of its blanks; between two that touch there is an empty part."""
    return _ANY.split(text)
