"""Small files that a user named on a command line, and their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.cli.session import Session

MAX_TEXT_BYTES = 4 << 20


def read_text(path: str) -> str:
    """Read a small UTF-8 file that the user named.

    Raises:
        InvalidOption: not there, not readable, not text, or too large.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_TEXT_BYTES + 1)
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise InvalidOption(f"cannot read {path}", why=why) from err
    return as_text(raw, path)


def as_text(raw: bytes, name: str) -> str:
    """Decode what a user gave as text.

    Raises:
        InvalidOption: not UTF-8, or too large.
    """
    if len(raw) > MAX_TEXT_BYTES:
        raise InvalidOption(f"{name} is too large", why=f"the limit is {MAX_TEXT_BYTES >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InvalidOption(f"{name} is not UTF-8 text", why=str(err)) from err


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` or ``KEY``, whose value is empty."""
    result = {}
    for text in texts:
        key, _, value = text.partition("=")
        key = key.lstrip()
        if not key:
            raise InvalidOption(f"{option} {text!r} has no key", hint=f"write {option} KEY=VALUE")
        result[key] = value
    return result


def labels(session: Session, files: Iterable[str], texts: Iterable[str]) -> dict[str, str]:
    """Read ``--label-file`` and ``--label``; the latter win."""
    lines = (text for name in files for _, text in _lines(session, name))
    found = pairs("--label-file", lines) | pairs("--label", texts)
    for key in found:
        if any(char.isspace() for char in key):
            raise InvalidOption(
                f"the label {key!r} contains white space", hint="write -l KEY=VALUE"
            )
    return found


def environment(session: Session, files: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    """Yield ``NAME=value``: the files first, so that ``-e`` wins.

    ``NAME`` alone takes the user's own variable.  Where the user has none, ``-e`` passes the
    bare name on, which takes it out of the image's variables, and a file passes nothing.
    """
    for name in files:
        for number, text in _lines(session, name):
            yield from _variable(session, text, f"{name} line {number}", bare=False)
    for text in texts:
        yield from _variable(session, text, "--env", bare=True)


def _lines(session: Session, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are neither empty nor a comment, with their numbers."""
    for number, line in enumerate(read_text(session.path(name)).splitlines(), 1):
        text = line.lstrip()
        if text and not text.startswith("#"):
            yield number, text


def _variable(session: Session, text: str, where: str, *, bare: bool) -> Iterator[str]:
    name, equals, _ = text.partition("=")
    spaced = not bare and any(char.isspace() for char in name)
    if not name or spaced or "\0" in text:
        raise InvalidOption(
            f"variable {text!r} cannot be understood", where=where, hint="write NAME=value"
        )
    if equals:
        yield text
    elif name in session.env:
        yield f"{name}={session.env[name]}"
    elif bare:
        yield name
