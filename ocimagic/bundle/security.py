"""What a container may do besides its capabilities: system calls, hidden paths, labels.

Spec: runtime-spec config-linux.md, "Seccomp", "Masked Paths", "Readonly Paths", "Mount Label".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.bundle.defaults import MASKED_PATHS, READONLY_PATHS
from ocimagic.bundle.seccomp_default import default_seccomp
from ocimagic.bundle.seccomp_profile import Conditions, convert_profile
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ocimagic.bundle.place import Place
    from ocimagic.model.options import RunOptions

UNCONFINED = "unconfined"
_LABEL_PARTS = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"}


def seccomp(
    options: RunOptions, capabilities: Sequence[str], place: Place
) -> Mapping[str, object] | None:
    """Return the filter's rules, None for no filter.

    A privileged container has a filter only if one is asked for by name.

    Raises:
        InvalidDocument: the profile is none.
        HostLacks: there is no default profile for this machine.
    """
    asked = options.security.seccomp
    if asked == UNCONFINED or (options.privileged and not asked):
        return None
    if asked:
        return convert_profile(asked, Conditions(capabilities, place.machine, place.kernel))
    return dict(default_seccomp(frozenset(capabilities), place.machine))


def hidden_paths(options: RunOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is masked and what is read-only of /proc and /sys."""
    if options.privileged or options.security.unmask_paths:
        return (), ()
    return MASKED_PATHS, READONLY_PATHS


def apparmor_profile(options: RunOptions, place: Place) -> str:
    """Return the profile's name, "" for none: as docker does, also where AppArmor is not."""
    asked = options.security.apparmor
    return asked if place.apparmor and asked != UNCONFINED else ""


def selinux_label(options: RunOptions, place: Place) -> str:
    """Return the label of processes, "" for none.

    Raises:
        InvalidOption: a part that labels do not have.
    """
    asked = options.security.label
    parts = dict(_LABEL_PARTS)
    for text in asked:
        name, _, word = text.partition(":")
        if name != "disable":
            if name not in parts or not word:
                raise InvalidOption(
                    f"invalid SELinux label: {text!r}", hint=f"it has {', '.join(parts)}"
                )
            parts[name] = word
    if not place.selinux or not asked or "disable" in asked:
        return ""
    return ":".join(parts.values())


def security_warnings(options: RunOptions, place: Place) -> Iterator[str]:
    """Yield what is asked for and has no meaning on this machine, a sentence each."""
    asked = options.security
    if asked.apparmor not in {"", UNCONFINED} and not place.apparmor:
        yield f"this kernel has no AppArmor; the profile {asked.apparmor!r} protects nothing"
    if asked.label and "disable" not in asked.label and not place.selinux:
        yield "this kernel has no SELinux; the label protects nothing"
    if options.privileged and place.rootless:
        yield (
            "privileged here is what this account may do: the container is root of its own "
            "user namespace only"
        )
