"""Everything that can be done with containers behind an API."""

from __future__ import annotations

from ocimagic.client.files import Files
from ocimagic.client.life import Life


class RemoteContainers(Life, Files):
    """Verbs on containers; ``name`` is a name or a container ID, whole or its first digits."""
