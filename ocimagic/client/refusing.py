"""What no Docker API can tell or do, refused in words that say what does."""

from __future__ import annotations

from ocimagic.errors import HostLacks

_HERE = "%docker_host here comes back to this notebook's own engine, which does"


def untold(what: str, use: str = "") -> HostLacks:
    """Return the refusal of what an API has no word for.

    Args:
        what: it is, as a sentence's beginning: ``the layers of an image``.
        use: what else helps, "" for nothing.
    """
    return HostLacks(f"a Docker API does not tell {what}", hint=f"{use}; {_HERE}" if use else _HERE)


def undone(what: str, use: str = "") -> HostLacks:
    """Return the refusal of what an API cannot do."""
    return HostLacks(f"a Docker API cannot {what}", hint=f"{use}; {_HERE}" if use else _HERE)
