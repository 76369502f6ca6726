"""Notes of what a process did, a line each: of our own making, and pure.

A line is nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share, a name, and after
a tab what else is to be known: ``=`` and JSON, or ``:`` and a text.
"""

from __future__ import annotations

import json


def line(at_ns: int, name: str, detail: object = None) -> str:
    """Return one note as it is written.

    Args:
        at_ns: when.
        name: of a phase, a system call or an operation; without a tab.
        detail: a number, a list or a dictionary that JSON has; or what has a text.
    """
    if detail is None:
        return f"{at_ns} {name}"
    if isinstance(detail, int | list | tuple | dict):
        return f"{at_ns} {name}\t={json.dumps(detail)}"
    text = str(detail)
    if "\n" in text:
        return f"{at_ns} {name}\t={json.dumps(text)}"
    return f"{at_ns} {name}\t:{text}"


def parse_line(text: str) -> tuple[int, str, object]:
    """Read one note: when, name and detail."""
    at, _, rest = text.partition(" ")
    name, _, said = rest.partition("\t")
    detail: object = None
    if said:
        detail = json.loads(said[1:]) if said[0] == "=" else said[1:]
    return int(at), name, detail
