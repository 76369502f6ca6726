"""The devices of a container: which nodes it has, and which it may open.

Spec: runtime-spec config-linux.md, "Devices" and "Allowed Device list"; the defaults are docker's
and, after them, those that runc gives every container.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.spec.resources import DeviceRule
from ocimagic.spec.runtime import Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.bundle.place import HostDevice, Place
    from ocimagic.model.options import RunOptions

_DENY_ALL = DeviceRule(allow=False)
_ALLOW_ALL = DeviceRule(allow=True)
# zero, null, urandom, random, tty, console; then full, ptmx and every terminal of devpts.
_OPENED = ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1), (1, 7), (5, 2), (136, None))


def default_rules() -> tuple[DeviceRule, ...]:
    """Return what every container may open: nothing but the harmless nodes.

    Making any node is allowed, opening it is not: unpacking an archive works, reading the
    machine's disk does not.
    """
    return (
        _DENY_ALL,
        DeviceRule(allow=True, type="c", access="m"),
        DeviceRule(allow=True, type="b", access="m"),
        *(DeviceRule(allow=True, type="c", major=major, minor=minor) for major, minor in _OPENED),
    )


def device_rules(options: RunOptions, place: Place) -> tuple[DeviceRule, ...]:
    """Return the ordered rules; none in a user namespace, where no device can be made anyway."""
    if place.rootless:
        return ()
    if options.privileged:
        return (_ALLOW_ALL,)
    return (
        *default_rules(),
        *(
            DeviceRule(
                allow=True,
                type=device.type,
                major=device.major,
                minor=device.minor,
                access=mapping.permissions,
            )
            for mapping in options.devices
            for device in place.devices[mapping.source]
        ),
        *(_asked_rule(text) for text in options.resources.device_cgroup_rules),
    )


def _asked_rule(text: str) -> DeviceRule:
    """Read ``c 1:* rwm``.

    Raises:
        InvalidOption: it has another form.
    """
    words = text.split(" ")
    if len(words) == 3 and words[0] in {"a", "b", "c"} and set(words[2]) <= set("rwm"):
        major, colon, minor = words[1].partition(":")
        if colon and all(part == "*" or _is_number(part) for part in (major, minor)):
            return DeviceRule(
                allow=True,
                type=words[0],
                major=None if major == "*" else int(major),
                minor=None if minor == "*" else int(minor),
                access="".join(letter for letter in "rwm" if letter in words[2]),
            )
    raise InvalidOption(f"invalid device rule: {text!r}", hint="for example 'c 42:* rwm'")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def device_nodes(options: RunOptions, place: Place) -> Iterator[HostDevice]:
    """Yield the nodes to make besides the usual ones, each with its path in the container."""
    if not place.rootless:
        yield from (replace(node, path=path) for path, node in _shown(options, place))


def device_mounts(options: RunOptions, place: Place) -> Iterator[Mount]:
    """Yield the nodes to show where none can be made: in a user namespace.

    Who may open them there is what their owner and mode say on the machine.
    """
    if place.rootless:
        words = ("bind", "rprivate", "nosuid", "noexec")
        for path, node in _shown(options, place):
            yield Mount(destination=path, type="bind", source=node.path, options=words)


def _shown(options: RunOptions, place: Place) -> Iterator[tuple[str, HostDevice]]:
    """Yield each node of the host that was asked for, with its path in the container."""
    if options.privileged:
        yield from ((node.path, node) for node in place.all_devices)
    for mapping in options.devices:
        if options.privileged and mapping.source == mapping.target:
            continue
        for device in place.devices[mapping.source]:
            below = posixpath.relpath(device.path, mapping.source)
            inside = not below.startswith("..") and below != "."
            yield posixpath.join(mapping.target, below) if inside else mapping.target, device
