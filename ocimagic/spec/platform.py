"""Platforms and the choice among them.

Spec: image-spec image-index.md, "platform"; the fallbacks are those of containerd.
"""

from __future__ import annotations

import platform as host
import re
from typing import Self

from ocimagic.errors import InvalidPlatform
from ocimagic.spec.record import dataclass, replace

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
_DEFAULT_VARIANT = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_PART = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on: ``os/architecture[/variant]``, Go's names."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``linux/arm64``, ``linux/arm/v7`` or just ``arm64``.

        Raises:
            InvalidPlatform: empty parts, odd characters, or more than three parts.
        """
        parts = text.split("/")
        if not 1 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
            raise InvalidPlatform(
                f"invalid platform: {text!r}", hint="write os/arch, for example linux/arm64"
            )
        if len(parts) == 1:
            parts = [host_platform().os, parts[0]]
        architecture, variant = _ARCHITECTURES.get(parts[1].lower(), (parts[1].lower(), ""))
        return cls(parts[0].lower(), architecture, parts[2] if len(parts) == 3 else variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object of a descriptor, empty fields left out."""
        document = {
            "architecture": self.architecture,
            "os": self.os,
            "variant": self.variant,
            "os.version": self.os_version,
            "os.features": list(self.os_features),
        }
        return {key: value for key, value in document.items() if value}

    @property
    def canonical(self) -> Platform:
        """Return the same platform with its default variant filled in."""
        variant = self.variant or _DEFAULT_VARIANT.get(self.architecture, "")
        return Platform(self.os, self.architecture, variant)

    @property
    def normalized(self) -> Platform:
        """Return the same platform as builders write it: a variant only where it says something.

        Source: containerd's platforms package, ``Normalize``.
        """
        variant = f"v{self.variant}" if self.variant.isdecimal() else self.variant
        if self.architecture == "arm":
            variant = variant or "v7"
        elif variant == _DEFAULT_VARIANT.get(self.architecture):
            variant = ""
        return replace(self, variant=variant)

    @property
    def is_attestation(self) -> bool:
        """Say whether this marks a buildx attestation rather than an image."""
        return self.os == "unknown" and self.architecture == "unknown"


def is_platform_word(text: str) -> bool:
    """Say whether a text can be one part of a platform."""
    return _PART.fullmatch(text) is not None


def host_platform() -> Platform:
    """Return what containers on this machine are: Linux on its processor."""
    machine = host.machine().lower()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def candidates(wanted: Platform) -> list[Platform]:
    """List what runs on ``wanted``, the best first, each with its variant filled in."""
    exact = wanted.canonical
    result = [exact]
    if exact.architecture in {"amd64", "arm", "arm64"} and re.fullmatch(r"v\d+", exact.variant):
        lowest = {"amd64": 1, "arm": 5, "arm64": 8}[exact.architecture]
        levels = range(int(exact.variant[1:]) - 1, lowest - 1, -1)
        result += [Platform(exact.os, exact.architecture, f"v{level}") for level in levels]
    if exact.architecture == "amd64":
        result.append(Platform(exact.os, "386"))
    if exact.architecture == "arm64":
        result += [Platform(exact.os, "arm", f"v{level}") for level in (8, 7, 6, 5)]
    return result
