"""The class notes' "CRUD-style API": what containerd's clients are offered, over one engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.engine.crud.containers import Containers
from ocimagic.engine.crud.content import Content
from ocimagic.engine.crud.diffs import Diffs
from ocimagic.engine.crud.images import Images
from ocimagic.engine.crud.leases import Leases
from ocimagic.engine.crud.room import Namespaces
from ocimagic.engine.crud.snapshots import Snapshots
from ocimagic.engine.crud.tasks import Tasks
from ocimagic.engine.events import events

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from ocimagic.engine.engine import Engine
    from ocimagic.model.system_event import SystemEvent


class Crud:
    """All parts of the containerd role.

    Args:
        engine: whose store, launcher and containers they work on.
    """

    def __init__(self, engine: Engine) -> None:
        self._home = engine.home
        both = engine.containers, engine.images
        self.namespaces = Namespaces(*both)
        self.content = Content(*both)
        self.images = Images(*both)
        self.snapshots = Snapshots(*both)
        self.diffs = Diffs(*both, self.snapshots)
        self.leases = Leases(*both)
        self.containers = Containers(*both)
        self.tasks = Tasks(*both, self.containers, self.snapshots)
        self.root = str(self._home.objects)
        self._journal.parent.mkdir(parents=True, exist_ok=True)

    @property
    def _journal(self) -> Path:
        return self._home.objects / "events" / "events.jsonl"

    def events(self, cancelled: threading.Event) -> Iterator[SystemEvent]:
        """Yield what happens: ``kind`` is the namespace, ``action`` the topic."""
        return events(self._journal, cancelled=cancelled)

    def engine_events(self, cancelled: threading.Event) -> Iterator[SystemEvent]:
        """Yield what the engine tells of its containers and images, as docker does."""
        return events(self._home.journal, cancelled=cancelled)

    def close(self) -> None:
        """Let go of the streams of tasks, which go on."""
        self.tasks.close()
