"""Containers: the CRUD of the class notes' "containerd", all verbs in one object."""

from __future__ import annotations

from ocimagic.engine.insides import Insides
from ocimagic.engine.own_layer import OwnLayer
from ocimagic.engine.streams import Streams
from ocimagic.engine.watching import Watching


class Containers(Insides, Streams, OwnLayer, Watching):
    """Verbs on containers; ``name`` is a name or an ID, whole or its first digits."""
