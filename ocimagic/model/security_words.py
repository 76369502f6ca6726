"""Security options, ulimits and sysctls as words: what a process may do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.model.options import SecurityOptions
from ocimagic.model.quantities import truth, whole
from ocimagic.model.resources import ULIMIT_NAMES, Ulimit
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SECURITY = ("apparmor", "label", "no-new-privileges", "seccomp", "systempaths", "writable-cgroups")
_LABELS = ("disable", "user", "role", "type", "level", "filetype", "nested")


def security_options(
    texts: Iterable[str], read: Callable[[str], str]
) -> tuple[SecurityOptions, bool]:
    """Read all ``--security-opt``; the bool is ``no-new-privileges``.

    Args:
        texts: the words.
        read: returns the text of the file that a seccomp profile is in.

    Raises:
        InvalidOption: an unknown one, a bad value, or a profile that cannot be read.
    """
    security, no_new_privileges = SecurityOptions(), False
    for text in texts:
        name, value = _security_option(text)
        match name:
            case "no-new-privileges":
                no_new_privileges = truth(name, value)
            case "seccomp":
                security = replace(security, seccomp=_seccomp(value, read))
            case "apparmor":
                security = replace(security, apparmor=value)
            case "label":
                security = replace(security, label=(*security.label, _label(value)))
            case "systempaths":
                if value != "unconfined":
                    raise InvalidOption(f"invalid --security-opt: {text!r}",
                                        hint="write systempaths=unconfined")  # fmt: skip
                security = replace(security, unmask_paths=True)
            case _:
                security = replace(security, writable_cgroups=truth(name, value))
    return security, no_new_privileges


def _security_option(text: str) -> tuple[str, str]:
    """Part a name from its value; a colon between them is docker's older form."""
    name, separator, value = text.partition("=")
    if not separator:
        name, separator, value = text.partition(":")
    if name not in _SECURITY:
        near = nearest(name, _SECURITY)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(_SECURITY)}"
        raise InvalidOption(f"invalid --security-opt: {text!r}", hint=hint)
    if name == "no-new-privileges" and not separator:
        return name, "true"
    if not value:
        raise InvalidOption(f"invalid --security-opt: {text!r}", hint=f"write {name}=VALUE")
    return name, value


def _seccomp(value: str, read: Callable[[str], str]) -> str:
    """Return "" for the built-in profile, ``unconfined``, or the text of a profile's file."""
    if value in {"builtin", "unconfined"}:
        return "" if value == "builtin" else value
    try:
        return json.dumps(json.loads(read(value)), separators=(",", ":"))
    except (ValueError, RecursionError) as err:
        raise InvalidOption(
            f"the seccomp profile {value} is not valid JSON",
            why=str(err),
            hint="write seccomp=FILE, seccomp=unconfined or seccomp=builtin",
        ) from err


def _label(value: str) -> str:
    name, colon, word = value.partition(":")
    if name not in _LABELS or (name != "disable" and not word) or (name == "disable" and colon):
        raise InvalidOption(
            f"invalid --security-opt label: {value!r}",
            hint="write label=disable or label=type:NAME",
        )
    return value


def ulimits(texts: Iterable[str]) -> tuple[Ulimit, ...]:
    """Read all ``--ulimit``; of two for one name the last holds."""
    found = {}
    for text in texts:
        limit = _ulimit(text)
        found[limit.name] = limit
    return tuple(found[name] for name in sorted(found))


def _ulimit(text: str) -> Ulimit:
    name, equals, limits = text.partition("=")
    hint = "write --ulimit nofile=1024 or --ulimit nofile=1024:4096, -1 for unlimited"
    numbers = limits.split(":")
    if name not in ULIMIT_NAMES:
        near = nearest(name, ULIMIT_NAMES)
        known = f"did you mean {near}?" if near else f"there are {', '.join(ULIMIT_NAMES)}"
        raise InvalidOption(f"invalid --ulimit: {text!r}", hint=known)
    if not equals or len(numbers) > 2:
        raise InvalidOption(f"invalid --ulimit: {text!r}", hint=hint)
    soft, hard = (whole("--ulimit", number) for number in (numbers[0], numbers[-1]))
    if min(soft, hard) < -1:
        raise InvalidOption(f"invalid --ulimit: {text!r}", hint=hint)
    if hard != -1 and not 0 <= soft <= hard:
        raise InvalidOption(
            f"invalid --ulimit: {text!r}", why="the soft limit is above the hard one", hint=hint
        )
    return Ulimit(name=name, soft=soft, hard=hard)


def sysctls(texts: Iterable[str]) -> dict[str, str]:
    """Read all ``--sysctl NAME=VALUE``.

    Raises:
        InvalidOption: a name or a value is missing.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidOption(f"invalid --sysctl: {text!r}", hint="write --sysctl NAME=VALUE")
        found[name] = value
    return found
