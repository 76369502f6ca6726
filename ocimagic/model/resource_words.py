"""Shares and speed limits of disks, and rules on devices, as words."""

from __future__ import annotations

import re

from ocimagic.errors import InvalidOption
from ocimagic.model.quantities import byte_size, whole, within
from ocimagic.model.resources import ThrottleDevice, WeightDevice

_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}", re.ASCII)


def weight_device(option: str, text: str) -> WeightDevice:
    """Read ``/dev/sda:300``."""
    path, weight = _device(option, text, "WEIGHT")
    value = whole(option, weight)
    if value and not 10 <= value <= 1000:
        raise InvalidOption(f"invalid weight in {option} {text}", why="it takes 10 to 1000")
    return WeightDevice(path=path, weight=value)


def bytes_device(option: str, text: str) -> ThrottleDevice:
    """Read ``/dev/sda:1mb``, a number of bytes per second."""
    path, rate = _device(option, text, "RATE")
    return ThrottleDevice(path=path, rate=byte_size(option, rate))


def operations_device(option: str, text: str) -> ThrottleDevice:
    """Read ``/dev/sda:1000``, a number of operations per second."""
    path, rate = _device(option, text, "RATE")
    return ThrottleDevice(path=path, rate=within(0)(option, rate))


def device_rule(option: str, text: str) -> str:
    """Check ``c 1:3 rwm``."""
    if not _RULE.fullmatch(text):
        raise InvalidOption(
            f"invalid rule for {option}: {text!r}",
            why="it is a type, two numbers and what may be done",
            hint=f"write {option} 'c 42:* rwm', with a for all types and * for all numbers",
        )
    return text


def _device(option: str, text: str, what: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or ":" in value or not path.startswith("/dev/"):
        raise InvalidOption(
            f"invalid device for {option}: {text!r}", hint=f"write {option} /dev/NAME:{what}"
        )
    return path, value
