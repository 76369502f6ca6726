"""What a process does, noted as it does it: so that it can be told later, and costs nothing now.

Notes are lines, see ``spec.notes``: a process that was just forked pays for every page it writes
to, and many small values cost more than a text.  Nobody notes anything until ``begin``; a fork
takes its parent's notes along.  For processes with one thread.
"""

from __future__ import annotations

from time import monotonic_ns

from ocimagic.spec.notes import line

_notes: list[str] | None = None


def begin() -> None:
    """Note from now on, on an empty page."""
    global _notes  # noqa: PLW0603  one page per process
    _notes = []


def are_taken() -> bool:
    """Say whether this process notes what it does."""
    return _notes is not None


def note(name: str, detail: object = None) -> None:
    """Note that something was done just now; the detail is as for ``spec.notes.line``."""
    if _notes is not None:
        _notes.append(line(monotonic_ns(), name, detail))


def end() -> str:
    """Return all notes, a line each, and note no more."""
    global _notes
    taken, _notes = _notes, None
    return "\n".join(taken or ())
