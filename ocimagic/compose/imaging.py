"""The images of a project: built, pulled, or there already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.compose.building import build_options
from ocimagic.compose.model import Pulling
from ocimagic.errors import (
    BuildFailed,
    Cancelled,
    DockerfileError,
    ImageNotFound,
    InvalidOption,
    OcimagicError,
)
from ocimagic.model.event import Notice

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from ocimagic.compose.model import Project, Service
    from ocimagic.model.built import BuildResult
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import OnEvent
    from ocimagic.model.result import PullResult, PushResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesWanted:
    """How images come to be there.

    Attributes:
        build: build those that can be built even if they are there; False never.
        pulling: instead of what the file says.
    """

    build: bool | None = None
    pulling: Pulling | None = None


class Imaging:
    """Has the images of services there.

    Args:
        engine: that keeps them.
        project: the whole.
        on_event: hears how pulls and builds move on.
        cancelled: stops them.
        tell: hears what was done.
    """

    def __init__(
        self,
        engine: EngineAPI,
        project: Project,
        on_event: OnEvent,
        cancelled: threading.Event | None,
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._engine = engine
        self._project = project
        self._on_event = on_event
        self._cancelled = cancelled
        self._tell = tell

    def ensure(self, wanted: ImagesWanted) -> dict[str, str]:
        """Have the image of each enabled service there; return their IDs by service.

        Raises:
            OcimagicError: one cannot be built or pulled.
        """
        done: dict[str, str] = {}  # several services may share one
        for name in sorted(self._project.enabled):
            service = self._project.services[name]
            image = self._project.image_of(service)
            if image not in done or service.build is not None:
                done[image] = self._one(service, image, wanted, seen=image in done)
        return {
            name: done[self._project.image_of(self._project.services[name])]
            for name in self._project.enabled
        }

    def _one(self, service: Service, image: str, wanted: ImagesWanted, *, seen: bool) -> str:
        pulling = wanted.pulling or service.pulling
        if service.build is not None and pulling is not Pulling.ALWAYS:
            is_asked = wanted.build or (pulling is Pulling.BUILD and wanted.build is None)
            there = self.image_id(image)
            if is_asked or (there is None and not service.image):
                if wanted.build is False:
                    raise self._absent(service, image, "--no-build")
                return str(self.build(service).image_id)
            if there is None and wanted.build is not False and pulling is not Pulling.NEVER:
                return self._pull_or_build(service, image)
            if there is not None:
                return there
            raise self._absent(service, image, "pull_policy: never")
        if pulling is Pulling.ALWAYS and not seen:
            if service.build is not None:
                return self._pull_or_build(service, image)
            return str(self.pull(service).image_id)
        there = self.image_id(image)
        if there is not None:
            return there
        if pulling is Pulling.NEVER:
            raise self._absent(service, image, "pull_policy: never")
        if pulling is Pulling.BUILD:
            raise InvalidOption(f"service {service.name} has nothing to build", hint="build: .")
        return str(self.pull(service).image_id)

    def _pull_or_build(self, service: Service, image: str) -> str:
        """Pull what has a name of its own; where no registry has it, build it."""
        try:
            return str(self.pull(service).image_id)
        except Cancelled:
            raise
        except OcimagicError as err:
            self._tell("Image", image, f"is built, as it cannot be pulled: {err.what}")
            return str(self.build(service).image_id)

    def _absent(self, service: Service, image: str, why: str) -> ImageNotFound:
        return ImageNotFound(
            f"no image {image} for service {service.name}",
            why=f"{why} says not to get it",
            hint=f"%compose_build {service.name}" if service.build else f"%image_pull {image}",
        )

    def image_id(self, image: str) -> str | None:
        """Return the ID of an image, None if it is not here."""
        try:
            return str(self._engine.images.inspect(image).image_id)
        except ImageNotFound:
            return None

    def pull(self, service: Service) -> PullResult:
        """Pull the image of a service."""
        image = self._project.image_of(service)
        result = self._engine.images.pull(
            image,
            platform=service.options.platform,
            on_event=self._on_event,
            cancelled=self._cancelled,
        )
        self._tell("Image", image, "Pulled")
        return result

    def build(
        self,
        service: Service,
        *,
        no_cache: bool = False,
        pull: bool = False,
        args: Mapping[str, str] | None = None,
    ) -> BuildResult:
        """Build the image of a service."""
        assert service.build is not None
        image = self._project.image_of(service)
        options = build_options(service.build, image, self._project.secrets, self._project.env)
        platform = service.options.platform
        options = replace(
            options,
            no_cache=options.no_cache or no_cache,
            pull=options.pull or pull,
            build_args={**options.build_args, **(args or {})},
            platforms=options.platforms or ((platform,) if platform else ()),
        )
        try:
            result = self._engine.images.build(
                options, on_event=self._on_event, cancelled=self._cancelled
            )
        except (DockerfileError, BuildFailed) as err:
            whose = f"this is the build of service {service.name}, {service.build.place}"
            err.why = f"{err.why}\n{whose}" if err.why else whose
            raise
        self._tell("Image", image, "Built")
        return result

    # -- the verbs -----------------------------------------------------------------

    def build_all(
        self,
        *,
        no_cache: bool = False,
        pull: bool = False,
        args: Mapping[str, str] | None = None,
    ) -> list[BuildResult]:
        """Build the images of the enabled services that can be built.

        Raises:
            OcimagicError: one cannot be.
        """
        return [
            self.build(service, no_cache=no_cache, pull=pull, args=args)
            for service in self._services()
            if service.build is not None
        ]

    def pull_all(
        self,
        *,
        ignore_failures: bool = False,
        ignore_buildable: bool = False,
        only_missing: bool = False,
    ) -> list[PullResult]:
        """Pull the images of the enabled services.

        Raises:
            OcimagicError: one cannot be.
        """
        found: list[PullResult] = []
        done: set[str] = set()
        for service in self._services():
            image = self._project.image_of(service)
            is_left = service.build is not None and (ignore_buildable or not service.image)
            if is_left or image in done or service.pulling in (Pulling.NEVER, Pulling.BUILD):
                continue
            if only_missing and self.image_id(image) is not None:
                continue
            done.add(image)
            try:
                found.append(self.pull(service))
            except Cancelled:
                raise
            except OcimagicError as err:
                if not ignore_failures:
                    raise
                self._on_event(Notice(f"service {service.name}: {err.what}"))
        return found

    def push_all(self) -> list[PushResult]:
        """Push the images of the enabled services that can be built.

        Raises:
            OcimagicError: one cannot be.
        """
        return [
            each
            for service in self._services()
            if service.build is not None and service.image
            for each in self._engine.images.push(
                service.image, on_event=self._on_event, cancelled=self._cancelled
            )
        ]

    def _services(self) -> list[Service]:
        return [self._project.services[name] for name in sorted(self._project.enabled)]
