"""What a shim and a first process noted, in the words of the manual pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.linux import syscalls
from ocimagic.model.explanation import Moment
from ocimagic.spec.capability import CAPABILITY_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.engine.timeline import Note

_FLAGS = {
    name: int(value)
    for name, value in vars(syscalls).items()
    if name.startswith("CLONE_") and isinstance(value, int)
}
# PR_CAP_AMBIENT_… are arguments of PR_CAP_AMBIENT, and no options of their own.
_OPTIONS = {
    int(value): name
    for name, value in vars(syscalls).items()
    if name.startswith("PR_") and not name.startswith("PR_CAP_AMBIENT_")
}
_PLANNED = {"mount_all": "mounted", "protect_paths": "protected"}
# Of the manual's section 2; a phase of ours has () after its name.
_CALLS = syscalls.NOTED | {
    "unshare", "setns", "clone3", "prctl", "capset", "seccomp", "setsid", "ioctl", "sethostname",
    "setgroups", "setresgid", "setresuid",
}  # fmt: skip


def clone_flags(flags: int) -> str:
    """Return the flags of clone3(2) and unshare(2) as C has them."""
    return " | ".join(name for name, bit in _FLAGS.items() if flags & bit)


def capabilities(mask: int) -> tuple[str, ...]:
    """Return the names of a set of capabilities."""
    return tuple(name for bit, name in enumerate(CAPABILITY_NAMES) if mask >> bit & 1)


def moment(note: Note, began_ns: int) -> Moment:
    """Return a note as it is told.

    Args:
        note: of a first process.
        began_ns: when the story begins.
    """
    name, detail = note.name, note.detail
    at_s = (note.at_ns - began_ns) / 1e9
    if name in _PLANNED:
        return Moment(at_s=at_s, name=_PLANNED[name], detail=str(detail).removeprefix("mount "))
    shown = f"{name}(2)" if name in _CALLS else name
    return Moment(at_s=at_s, name=shown, detail=_detail(name, detail))


def _detail(name: str, detail: Any) -> str:  # noqa: ANN401  what JSON has
    if detail is None:
        return ""
    say = _WORDS.get(name)
    if say is not None:
        return say(detail)
    return " ".join(map(str, detail)) if isinstance(detail, list) else str(detail)


def _option(option: int, value: int) -> str:
    name = _OPTIONS.get(option, str(option))
    if option == syscalls.PR_CAPBSET_DROP:  # noted once for all that were dropped
        return f"{name} {', '.join(capabilities(value))}"
    if option == syscalls.PR_CAP_AMBIENT:
        clears = value == syscalls.PR_CAP_AMBIENT_CLEAR_ALL
        return f"{name} {'PR_CAP_AMBIENT_CLEAR_ALL' if clears else value}"
    return f"{name} {value}"


def _sets(detail: list[int]) -> str:
    effective, permitted, inheritable = (len(capabilities(each)) for each in detail)
    return f"effective {effective}, permitted {permitted}, inheritable {inheritable}"


_WORDS: dict[str, Callable[[Any], str]] = {
    "unshare": clone_flags,
    "setns": clone_flags,
    "clone3": lambda detail: f"{clone_flags(detail[0])} = {detail[1]}",
    "prctl": lambda detail: _option(*detail),
    "capset": _sets,
    "seccomp": lambda length: f"a filter of {length} instructions",
}
