"""Why a step was not found in the cache: what differs from the last time, old and new.

Pure: the parts of two cache keys in, words out.  What is said stays in saved notebooks, so values
of variables that sound like secrets are not shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from ocimagic.dockerfile.lint import names_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Parts: TypeAlias = "Mapping[str, object]"
BELOW = "what it builds on changed"
_MOST_SHOWN = 3
_LONGEST = 60
_SETTING = re.compile(r"""(\w+)=("[^"]*"|'[^']*'|\S+)""")
_HIDDEN = "..."
_KIND, _MODE, _OWNER, _GROUP, _CONTENT = range(1, 6)
_WORDS = {
    "argv": "the command",
    "script": "the script",
    "user": "USER",
    "cwd": "WORKDIR",
    "network": "the network",
    "platform": "the platform",
    "chown": "--chown",
    "chmod": "--chmod",
    "exclude": "--exclude",
    "destination": "the destination",
    "fetched": "what it fetches",
    "unpack": "--unpack",
    "parents": "--parents",
    "heredocs": "a file written in the Dockerfile",
    "mounts": "what it mounts",
    "config": "the configuration",
    "text": "the instruction",
    "path": "the directory",
}


def explain(old: Parts, new: Parts) -> str:
    """Say what of a step is not as it was the last time; the nearest cause alone.

    Args:
        old: parts of the key then.
        new: parts of the key now.
    """
    causes = [
        cause
        for name in sorted(new.keys() | old.keys())
        if name != "below" and old.get(name) != new.get(name)
        for cause in _causes(name, old.get(name), new.get(name))
    ]
    if not causes:
        return BELOW if old.get("below") != new.get("below") else "what it made is gone"
    shown = causes[:_MOST_SHOWN]
    more = len(causes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def changed_text(old: str, new: str) -> str:
    """Say that another instruction stands where one stood; "" where that one was of another kind.

    A file that got more lines, or another file of that name, has no earlier RUN in the COPY that
    stands at its place.
    """
    if _verb(old) != _verb(new):
        return ""
    return f"the instruction changed; it was: {_cut(old)}"


def _verb(instruction: str) -> str:
    return instruction.partition(" ")[0].upper()


def _causes(name: str, old: object, new: object) -> Iterator[str]:
    if name == "env" and isinstance(old, list) and isinstance(new, list):
        yield from _variables(dict(old), dict(new))
    elif name == "files" and isinstance(old, list) and isinstance(new, list):
        yield from _files(old, new)
    elif isinstance(old, str | None) and isinstance(new, str | None):
        yield f"{_WORDS.get(name, name)} changed from {_shown(old)} to {_shown(new)}"
    else:
        yield f"{_WORDS.get(name, name)} changed"


def _variables(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"the variable {name} is gone"
        elif names_secret(name):
            if old.get(name) != new[name]:
                yield f"the variable {name} {'changed' if name in old else 'is new'}"
        elif name not in old:
            yield f"the variable {name} is new: {_shown(new[name])}"
        elif old[name] != new[name]:
            yield f"the variable {name} changed from {_shown(old[name])} to {_shown(new[name])}"


def _files(old: list[object], new: list[object]) -> Iterator[str]:
    """Compare descriptions as ``selection.described`` makes them."""
    before, after = dict(_flat(old)), dict(_flat(new))
    if before == after:
        yield "what it fetches changed"
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"the file {name} is gone"
        elif name not in before:
            yield f"the file {name} is new"
        elif before[name] != after[name]:
            yield f"the file {name} {_difference(before[name], after[name])}"


def _difference(old: Sequence[object], new: Sequence[object]) -> str:
    if old[_KIND] != new[_KIND]:
        return "is of another kind"
    if old[_CONTENT] != new[_CONTENT]:
        return "changed"
    if old[_MODE] != new[_MODE]:
        return f"changed its mode from {_octal(old)} to {_octal(new)}"
    then, now = (f"{each[_OWNER]}:{each[_GROUP]}" for each in (old, new))
    return f"changed its owner from {then} to {now}"


def _octal(line: Sequence[object]) -> str:
    return f"{int(str(line[_MODE])):04o}"


def _flat(told: object) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield each file by its name, whatever source and directory it is from."""
    if not isinstance(told, list):
        return
    if len(told) > _CONTENT and isinstance(told[0], str):
        yield told[0], told
        return
    for each in told:
        yield from _flat(each)


def _shown(value: str | None) -> str:
    return "nothing" if value is None else repr(_cut(value))


def _cut(text: str) -> str:
    line = " ".join(_SETTING.sub(_hidden, text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _hidden(setting: re.Match[str]) -> str:
    return f"{setting[1]}={_HIDDEN}" if names_secret(setting[1]) else setting[0]
