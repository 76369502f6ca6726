"""The engine behind an API: what it is, what happens there, what is on its disk.

Spec: Docker Engine API v1.41, "System".
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.client.calling import filters
from ocimagic.client.refusing import undone, untold
from ocimagic.client.streams import seconds
from ocimagic.errors import Cancelled, OcimagicError
from ocimagic.model.report import CachePruned, ImagesPruned, SystemPruned
from ocimagic.model.system_event import events_that_fit
from ocimagic.model.volume import VolumesPruned
from ocimagic.wire.read_container import digest
from ocimagic.wire.read_system import disk_usage, system_event, system_info

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.client.calling import Caller
    from ocimagic.client.containers import RemoteContainers
    from ocimagic.client.images import RemoteImages
    from ocimagic.client.volumes import RemoteVolumes
    from ocimagic.errors import OcimagicError as Failure
    from ocimagic.model.explanation import Explanation, HeardRequest
    from ocimagic.model.isolation import Diagnosis
    from ocimagic.model.registry import OnRequest, RegistryAPI, RegistryOptions
    from ocimagic.model.report import DiskUsage
    from ocimagic.model.result import ImageSummary, SystemInfo
    from ocimagic.model.system_event import SystemEvent
    from ocimagic.spec.digest import Digest


class RemoteDisk:
    """Verbs on what is on its disk."""

    def __init__(
        self,
        caller: Caller,
        images: RemoteImages,
        containers: RemoteContainers,
        volumes: RemoteVolumes,
    ) -> None:
        self._caller = caller
        self._images = images
        self._containers = containers
        self._volumes = volumes

    def usage(self) -> DiskUsage:
        """Add up what images, containers, volumes and the build cache take."""
        return disk_usage(self._caller.document("GET", "/system/df"))

    def prune_images(
        self,
        *,
        all: bool = False,  # noqa: A002  docker's word
        keep: Callable[[ImageSummary], bool] = lambda _: False,
    ) -> ImagesPruned:
        """Take images away that no container was made from; those with names only if ``all``."""
        used = {
            digest(each.text("ImageID"))
            for each in self._caller.documents("/containers/json", query={"all": "1"})
        }
        doomed = [
            each
            for each in self._images.list()
            if each.image_id not in used and (all or each.repository == "<none>") and not keep(each)
        ]
        before = self._stored() if doomed else 0
        untagged: list[str] = []
        deleted: list[Digest] = []
        images = set()
        for each in doomed:
            name = str(each.image_id) if "<none>" in each.name else each.name
            with suppress(OcimagicError):  # it is needed by now
                gone = self._images.remove(name)
                untagged += gone.untagged
                deleted += gone.deleted
                images.add(each.image_id)
        freed = before - self._stored() if doomed else 0
        return ImagesPruned(
            untagged=tuple(untagged),
            deleted=tuple(deleted),
            freed_bytes=max(0, freed),
            images=len(images & set(deleted)),
        )

    def _stored(self) -> int:
        return self._caller.document("GET", "/system/df").number("LayersSize", 0)

    def prune_cache(self) -> CachePruned:
        """Forget all build steps."""
        said = self._caller.document("POST", "/build/prune", query={"all": "1"})
        return CachePruned(
            steps=len(said.texts("CachesDeleted")), freed_bytes=said.number("SpaceReclaimed", 0)
        )

    def prune(self, *, all: bool = False, volumes: bool = False) -> SystemPruned:  # noqa: A002
        """Take stopped containers, unused images, the build cache and perhaps volumes away."""
        containers = self._containers.prune()
        return SystemPruned(
            containers=containers,
            volumes=self._volumes.prune() if volumes else VolumesPruned(),
            images=self.prune_images(all=all),
            cache=self.prune_cache(),
        )


class RemoteSystem:
    """Verbs on the engine itself."""

    def __init__(self, caller: Caller, disk: RemoteDisk) -> None:
        self._caller = caller
        self.disk = disk

    def info(self) -> SystemInfo:
        """Return what that machine and that engine can do."""
        return system_info(self._caller.document("GET", "/info"))

    def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        conditions: Iterable[str] = (),
        cancelled: threading.Event | None = None,
    ) -> Iterator[SystemEvent]:
        """Yield what happened since a time, and what happens until another."""
        asked = tuple(conditions)
        fits = events_that_fit(asked)
        wanted: dict[str, list[str]] = {}
        for text in asked:
            key, _, value = text.partition("=")
            wanted.setdefault(key, []).append(value)
        query = filters(wanted) if wanted else {}
        query |= {"since": self._moment(since_ns)} if since_ns else {}
        query |= {"until": self._moment(until_ns, last=True)} if until_ns else {}
        with (
            suppress(Cancelled),
            self._caller.asked("GET", "/events", query=query, cancelled=cancelled) as found,
        ):
            for line in self._caller.lines(*found):
                event = system_event(line)
                if fits(event) and (since_ns or 0) <= event.time_ns <= (until_ns or math.inf):
                    yield event

    def _moment(self, moment_ns: int, *, last: bool = False) -> str:
        """Write a time; podman 4.3 has no event between two that are not whole seconds."""
        _ = self._caller.version
        if not self._caller.is_podman:
            return seconds(moment_ns)
        return str(math.ceil(moment_ns / 1e9) if last else moment_ns // 1_000_000_000)

    def diagnose(self) -> Diagnosis:
        """Refuse: that is of this machine."""
        raise untold("what its machine lacks", "%system_info shows what it does tell")

    def serve_registry(
        self, options: RegistryOptions | None = None, *, on_request: OnRequest | None = None
    ) -> RegistryAPI:
        """Refuse."""
        del options, on_request
        raise undone("serve a registry", "run the image registry in a container")

    def registries(self) -> tuple[RegistryAPI, ...]:
        """Return none: an API serves none."""
        return ()

    def add_registry_user(self, name: str, password: str, *, htpasswd: str | None = None) -> str:
        """Refuse."""
        del password, htpasswd
        raise undone(f"add {name} to the users of a registry")


class NoExplainer:
    """Refuses: what happened inside an engine no API tells."""

    def explain(self, name: str = "last", *, line: str = "", newest: bool = False) -> Explanation:
        """Refuse."""
        del line, newest
        raise untold(f"what happened for {name}", "%system_events shows its events")

    def hear(self, container_id: str, request: HeardRequest) -> None:
        """Refuse: who serves an API is not its client."""
        del request
        raise undone(f"keep what was asked about {container_id}")

    def explain_failure(self, line: str, failure: Failure) -> Explanation:
        """Refuse."""
        del line
        raise untold(f"how far it came before: {failure.what}")
