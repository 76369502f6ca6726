"""Debian's control files: stanzas of ``Field: value``, a blank line between two.

Spec: deb822(5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELD = re.compile(r"([!-,.-9;-~][!-9;-~]*):[ \t]*(.*)", re.DOTALL)
_BLANK = re.compile(r"\n(?:[ \t]*\n)+")
_BEGIN = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


def stanza(text: str, *, what: str) -> dict[str, str]:
    """Read one stanza: values by field name in lower case, further lines behind newlines.

    Args:
        text: without blank lines at its ends.
        what: it is, for errors.

    Raises:
        InvalidDocument: a line that is no field, or a field that is said twice.
    """
    fields: dict[str, str] = {}
    last = ""
    for line in text.split("\n"):  # and at nothing else that Unicode calls the end of a line
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            if not last:
                raise InvalidDocument(f"{what} is not valid", why="it begins with half a field")
            fields[last] += f"\n{line.strip()}"
            continue
        found = _FIELD.fullmatch(line)
        last = found[1].lower() if found else ""
        if not found or last in fields:
            why = "said twice" if found else "no field"
            raise InvalidDocument(f"{what} is not valid", why=f"{why}: {line[:80]!r}")
        fields[last] = found[2].strip()
    return fields


def stanzas(text: str, *, what: str) -> Iterator[dict[str, str]]:
    """Read all stanzas of a file; one that is empty or all comments is passed over.

    Raises:
        InvalidDocument: see ``stanza``.
    """
    for part in _BLANK.split(text.replace("\r\n", "\n")):
        if fields := stanza(part, what=what):
            yield fields


def unsigned(text: str) -> str:
    """Return what an inline-signed document says, the signature not looked at.

    Raises:
        InvalidDocument: something stands outside of the signature.
    """
    if not text.startswith(_BEGIN):
        return text
    head, _, rest = text.partition("\n\n")
    body, found, _ = rest.partition(f"\n{_SIGNATURE}")
    if not found or head.count("\n") > 8:
        raise InvalidDocument("an inline signature is not whole", where="InRelease")
    # RFC 9580 7.2: a line that begins with a dash has another one in front.
    return "\n".join(line.removeprefix("- ") for line in body.split("\n")) + "\n"
