"""``down``, ``stop`` and their like: services are taken down in the reverse of their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.compose import resources
from ocimagic.compose.order import in_order, reverse
from ocimagic.compose.there import look
from ocimagic.errors import ContainerNotFound, ImageNotFound, OcimagicError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from ocimagic.compose.model import Project
    from ocimagic.compose.there import Instance
    from ocimagic.model.engine import EngineAPI

    Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """How a project goes.

    Attributes:
        volumes: with those that it made.
        images: ``all``, ``local`` for those without a name of their own, "" for none.
        orphans: with containers of services that the file has no more.
        grace_s: from the stop signal to SIGKILL; None is each container's own.
        named: services; none for all, with networks and volumes.
    """

    volumes: bool = False
    images: str = ""
    orphans: bool = False
    grace_s: float | None = None
    named: tuple[str, ...] = ()


class Lowering:
    """Takes containers of a project down.

    Args:
        engine: that has them.
        project: the whole.
        tell: hears what was done.
        cancelled: stops it.
    """

    def __init__(
        self,
        engine: EngineAPI,
        project: Project,
        tell: Tell,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._engine = engine
        self._project = project
        self._tell = tell
        self._cancelled = cancelled

    def down(self, how: Lowered) -> list[str]:
        """Remove what there is of the project; return what to say of what stays."""
        there = look(self._engine, self._project.name)
        known = set(how.named or self._project.services)
        one_off = [] if how.named else list(look(self._engine, self._project.name, one_off=True))
        orphans = [each for each in there if each.service not in self._project.services]
        mine = [each for each in there if each.service in known]
        for each in [*one_off, *(orphans if how.orphans else [])]:
            self._gone(each, how)
        self._reversed(mine, lambda each: self._gone(each, how))
        if how.named:
            return []
        told = self._told_of(orphans if not how.orphans else [])
        told += resources.remove_networks(self._engine, self._project, self._tell)
        if how.volumes:
            told += resources.remove_volumes(self._engine, self._project, self._tell)
        if how.images:
            told += self._remove_images(how.images)
        return told

    def _told_of(self, orphans: Iterable[Instance]) -> list[str]:
        names = ", ".join(each.name for each in orphans)
        if not names:
            return []
        said = "containers of services that are not in the file stay"
        return [f"{said}: {names} (--remove-orphans removes them)"]

    def stop(self, instances: Iterable[Instance], grace_s: float | None = None) -> None:
        """Stop containers, those first that need the others."""

        def act(each: Instance) -> None:
            if each.is_running:
                self._engine.containers.stop(each.container_id, grace_s=grace_s)
                self._tell("Container", each.name, "Stopped")

        self._reversed(instances, act)

    def remove(self, instances: Iterable[Instance], *, volumes: bool) -> None:
        """Remove containers that do not run."""
        for each in instances:
            self._engine.containers.remove(each.container_id, force=True, volumes=volumes)
            self._tell("Container", each.name, "Removed")

    def _gone(self, instance: Instance, how: Lowered) -> None:
        try:
            if instance.is_running:
                self._engine.containers.stop(instance.container_id, grace_s=how.grace_s)
                self._tell("Container", instance.name, "Stopped")
            self._engine.containers.remove(instance.container_id, force=True, volumes=how.volumes)
        except ContainerNotFound:  # another one was faster
            return
        self._tell("Container", instance.name, "Removed")

    def _reversed(self, instances: Iterable[Instance], act: Callable[[Instance], None]) -> None:
        """Act on containers side by side, but each after all that need its service."""
        known = {each.container_id: each for each in instances}
        services = self._project.services
        names = {each.service for each in known.values()}
        needs = {
            name: {each.service for each in services[name].needs} if name in services else set()
            for name in names
        }
        before = reverse(needs)
        first = {
            key: {
                other
                for name in before[each.service]
                for other, found in known.items()
                if found.service == name
            }
            for key, each in known.items()
        }
        # What was begun is brought to its end: a half-stopped project helps nobody.
        in_order(first, lambda key: act(known[key]))

    def _remove_images(self, which: str) -> list[str]:
        told = []
        for service in self._project.services.values():
            if which == "local" and service.image:
                continue
            image = self._project.image_of(service)
            try:
                self._engine.images.remove(image)
                self._tell("Image", image, "Removed")
            except ImageNotFound:
                continue
            except OcimagicError as err:
                told.append(f"image {image} stays: {err.why or err.what}")
        return told
