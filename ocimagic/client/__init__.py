"""The engine's verbs over any Docker Engine API: dockerd's, podman's, our own."""

from __future__ import annotations

from ocimagic.client.client import ApiClient

__all__ = ["ApiClient"]
