"""Containers behind an API: found, listed, inspected, counted.

Spec: Docker Engine API v1.41, ContainerList, ContainerInspect, ContainerTop, ContainerStats.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.client.calling import part
from ocimagic.client.refusing import untold
from ocimagic.client.together import asked_together
from ocimagic.errors import ContainerNotFound, NotFound
from ocimagic.model.overview import Overview
from ocimagic.spec.config import ContainerConfig
from ocimagic.wire.read_answers import process_table
from ocimagic.wire.read_container import container_details, container_summary
from ocimagic.wire.read_usage import container_stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.client.calling import Caller
    from ocimagic.model.insides import BundleView, ContainerNamespaces
    from ocimagic.model.own_layer import ContainerLayers
    from ocimagic.model.report import ContainerStats, PortBinding, ProcessTable
    from ocimagic.model.result import ContainerDetails, ContainerSummary
    from ocimagic.spec.codec import Fields

KIND = "container"
_MOST_MEASURED = 64


class Looking:
    """Verbs that change nothing."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self, *, all: bool = False, size: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002
        """List containers, newest first; only those that live unless ``all``.

        A list of the API says little of each; so each is asked for.
        """
        query = {"all": "1"} if all else {}
        listed = self._caller.documents("/containers/json", query=query)

        def ask(container_id: str) -> ContainerSummary | None:
            with suppress(ContainerNotFound):  # it has just gone
                return container_summary(self._document(container_id, size=size))
            return None

        return tuple(asked_together(ask, [each.text("Id") for each in listed]))

    def get(self, name: str) -> ContainerSummary:
        """Return one container as it is now."""
        return container_summary(self._document(name))

    def inspect(self, name: str, *, size: bool = False) -> ContainerDetails:
        """Return everything that the API says of one container."""
        document = self._document(name, size=size)
        config = None
        with suppress(NotFound):  # its image may be gone
            path = f"/images/{part(document.text('Image'), slashes=True)}/json"
            image = self._caller.document("GET", path, kind="image")
            config = ContainerConfig.from_fields(image.child("Config"))
        return container_details(document, config)

    def ports(self, name: str) -> tuple[PortBinding, ...]:
        """Return the published ports."""
        return self.get(name).ports

    def top(self, name: str, ps_options: Sequence[str] = ()) -> ProcessTable:
        """List the processes of a running container."""
        query = {"ps_args": " ".join(ps_options)} if ps_options else {}
        return process_table(
            self._caller.document("GET", self.at(name, "top"), kind=KIND, query=query)
        )

    def stats(
        self,
        *names: str,
        all: bool = False,  # noqa: A002  docker's word
        interval_s: float = 1.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[tuple[ContainerStats, ...]]:
        """Yield what containers use, again and again.

        An API looks for a second or two before it answers: the first is not sooner.
        """
        stop = cancelled or threading.Event()
        while not stop.is_set():
            found = [self.get(each) for each in names] if names else self.list(all=all)
            yield self._measured(found)
            stop.wait(max(0.0, interval_s - 1.0))

    def _measured(self, found: Sequence[ContainerSummary]) -> tuple[ContainerStats, ...]:
        """Ask for all at the same time: docker looks for a second or two before it answers."""

        def ask(each: ContainerSummary) -> ContainerStats | None:
            with suppress(NotFound):  # it has just gone
                path = self.at(each.container_id, "stats")
                document = self._caller.document("GET", path, kind=KIND, query={"stream": "0"})
                return container_stats(document, each.status)
            return None

        return tuple(asked_together(ask, found, _MOST_MEASURED))

    def watch(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        interval_s: float = 2.0,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Overview]:
        """Yield all containers with what they use, again and again."""
        stop = cancelled or threading.Event()
        while not stop.is_set():
            containers = self.list(all=all)
            stats = {each.container_id: each for each in self._measured(containers)}
            taken = datetime.now(UTC)
            yield Overview(taken=taken, containers=containers, stats=stats, is_measured=True)
            stop.wait(interval_s)

    def namespaces(self, name: str) -> ContainerNamespaces:
        """Refuse: no API tells them."""
        raise untold(f"the namespaces of {name}")

    def bundle(self, name: str) -> BundleView:
        """Refuse: no API tells it."""
        raise untold(f"the bundle of {name}", "%container_inspect shows what it does tell")

    def layers(self, name: str) -> ContainerLayers:
        """Refuse: no API tells them."""
        raise untold(f"the layers of {name}", "%container_diff shows what changed")

    # -- for the rest of this room -------------------------------------------------

    def at(self, name: str, verb: str) -> str:
        """Return the path of a verb on a container."""
        return f"/containers/{part(name)}/{verb}"

    def _document(self, name: str, *, size: bool = False) -> Fields:
        if not name:
            raise ContainerNotFound("no such container: a name is missing")
        query = {"size": "1"} if size else {}
        return self._caller.document("GET", self.at(name, "json"), kind=KIND, query=query)
