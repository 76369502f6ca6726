"""Containers: the CRUD of the class notes' "containerd", all verbs in one object."""

from __future__ import annotations

from ocimagic.engine.files import Files
from ocimagic.engine.looking import Looking
from ocimagic.engine.processes import Processes
from ocimagic.engine.streams import Streams


class Containers(Looking, Streams, Files, Processes):
    """Verbs on containers; ``name`` is a name or an ID, whole or its first digits."""
