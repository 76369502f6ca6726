"""Capability names and the five sets of a process.

Spec: runtime-spec config.md, "Linux Process" (capabilities); capabilities(7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.linux import syscalls
from ocimagic.linux.notes import note
from ocimagic.spec.capability import CAPABILITY_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def mask(names: Iterable[str]) -> int:
    """Return the bits of known names; unknown ones are of a newer kernel and left out."""
    return sum(1 << CAPABILITY_NAMES.index(name) for name in set(names) if name in CAPABILITY_NAMES)


def limit_bounding_set(wanted: int) -> None:
    """Drop every capability that is not wanted from the bounding set."""
    dropped = 0
    for bit in range(len(CAPABILITY_NAMES)):
        if not wanted >> bit & 1:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, bit)
                dropped |= 1 << bit
            except OSError:
                # A bit this kernel does not know (EINVAL) cannot be held either.
                if kernel_knows(bit):
                    raise
    note("prctl", [syscalls.PR_CAPBSET_DROP, dropped])


def kernel_knows(bit: int) -> bool:
    """Say whether the kernel knows this capability."""
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_READ, bit)
    except OSError:
        return False
    return True


def bounding_set() -> int:
    """Return what this process could still have."""
    return sum(1 << bit for bit in range(len(CAPABILITY_NAMES)) if _is_held(bit))


def _is_held(bit: int) -> bool:
    try:
        return syscalls.prctl(syscalls.PR_CAPBSET_READ, bit) == 1
    except OSError:
        return False


def names(bits: int) -> list[str]:
    """Return the names of bits."""
    return [name for bit, name in enumerate(CAPABILITY_NAMES) if bits >> bit & 1]


def apply_sets(sets: Mapping[str, tuple[str, ...]], *, more: int = 0) -> None:
    """Set effective, permitted, inheritable and ambient; call it after the change of user.

    Asking for what this machine's own bounding set lacks is not an error: a container in a
    container still starts, with what there is.

    Args:
        sets: by name.
        more: bits held besides for a while; call it again without them.
    """
    held = syscalls.capget()[1]
    permitted = mask(sets.get("permitted", ())) & held
    effective = mask(sets.get("effective", ())) & permitted
    inheritable = mask(sets.get("inheritable", ())) & held
    more &= held
    syscalls.capset(effective | more, permitted | more, inheritable)
    ambient = mask(sets.get("ambient", ())) & permitted & inheritable
    for bit in range(len(CAPABILITY_NAMES)):
        if ambient >> bit & 1 and not more:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, bit)


def clear_ambient_set() -> None:
    """Give up what would be kept over an execve."""
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
