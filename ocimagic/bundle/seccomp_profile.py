"""A seccomp profile in docker's format becomes the runtime-spec's.

Docker's has conditions on what the container and the machine are (``includes``, ``excludes``)
and a map of processors; they are decided here, once, for one container on one machine.

Source: https://docs.docker.com/engine/security/seccomp/.
Spec: runtime-spec config-linux.md, "Seccomp".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ocimagic.spec.codec import Fields

_WHAT = "seccomp profile"
# platform.machine() in docker's words, and the name in archMap.
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_SPEC_NAMES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_COPIED = ("listenerPath", "listenerMetadata")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What ``includes`` and ``excludes`` ask about.

    Attributes:
        capabilities: of the container's bounding set.
        machine: platform.machine().
        kernel: the two first numbers of its version.
    """

    capabilities: Collection[str]
    machine: str
    kernel: tuple[int, int]


def convert_profile(text: str, conditions: Conditions) -> dict[str, object] | None:
    """Return ``linux.seccomp``; None for a profile that says nothing, which docker takes as none.

    Raises:
        InvalidDocument: it is no profile.
    """
    profile = decode(text.encode("utf-8", "surrogatepass"), what=_WHAT)
    calls = profile.children("syscalls")
    if "defaultAction" not in profile and not calls:
        return None
    found: dict[str, object] = {"defaultAction": profile.text("defaultAction")}
    if "defaultErrnoRet" in profile:
        found["defaultErrnoRet"] = profile.number("defaultErrnoRet")
    if architectures := _architectures(profile, conditions.machine):
        found["architectures"] = architectures
    if flags := profile.texts("flags"):
        found["flags"] = list(flags)
    found |= {key: profile.text(key) for key in _COPIED if key in profile}
    found["syscalls"] = [_rule(call) for call in calls if _applies(call, conditions)]
    return found


def _architectures(profile: Fields, machine: str) -> list[str]:
    """Return the machine's own entry of ``archMap``, or the list as it is."""
    entries = profile.children("archMap")
    listed = profile.texts("architectures")
    if entries and listed:
        raise InvalidDocument(
            f"this {_WHAT} is not valid", why="it has both architectures and archMap"
        )
    for entry in entries:
        if entry.text("architecture") == _SPEC_NAMES.get(machine):
            return [entry.text("architecture"), *entry.texts("subArchitectures")]
    return list(listed)


def _applies(call: Fields, conditions: Conditions) -> bool:
    """Decide ``includes``, all of which must hold, and ``excludes``, none of which may."""
    needs, bars = call.child("includes"), call.child("excludes")
    here = _GO_NAMES.get(conditions.machine, conditions.machine)
    held = set(conditions.capabilities)
    if (arches := needs.texts("arches")) and here not in arches:
        return False
    if not set(needs.texts("caps")) <= held or not _is_new_enough(needs, conditions):
        return False
    if here in bars.texts("arches") or held & set(bars.texts("caps")):
        return False
    return "minKernel" not in bars or not _is_new_enough(bars, conditions)


def _is_new_enough(fields: Fields, conditions: Conditions) -> bool:
    said = fields.text("minKernel", "")
    if not said:
        return True
    found = re.match(r"(\d{1,4})\.(\d{1,4})", said, re.ASCII)
    if not found:
        raise InvalidDocument(
            f"this {_WHAT} is not valid", why=f"minKernel {said!r} is no version such as 4.8"
        )
    return conditions.kernel >= (int(found[1]), int(found[2]))


def _rule(call: Fields) -> dict[str, object]:
    """Return one rule without its conditions; an older form names one call only."""
    names, name = call.texts("names"), call.text("name", "")
    if names and name:
        raise InvalidDocument(
            f"this {_WHAT} is not valid", why="a rule has both name and names", where=call.what
        )
    rule: dict[str, object] = {"names": [*names] or [name], "action": call.text("action")}
    if "errnoRet" in call:
        rule["errnoRet"] = call.number("errnoRet")
    if args := list(_args(call)):
        rule["args"] = args
    return rule


def _args(call: Fields) -> Iterator[dict[str, object]]:
    for arg in call.children("args"):
        found: dict[str, object] = {
            "index": arg.number("index"),
            "value": arg.number("value"),
            "op": arg.text("op"),
        }
        if second := arg.number("valueTwo", 0):
            found["valueTwo"] = second
        yield found
