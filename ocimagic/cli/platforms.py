"""``--platform``, which many verbs have."""

from __future__ import annotations

from ocimagic.spec.platform import Platform


def platform(text: str | None) -> Platform | None:
    """Read ``--platform``; None where none was asked for.

    Raises:
        InvalidPlatform: it is no platform.
    """
    return Platform.parse(text) if text else None
