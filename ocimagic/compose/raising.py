"""``up``: what is wanted and what is there become one, service by service.

Each step leaves something that the next ``up`` understands, so that one that was killed in
the middle is simply done again: a container in the place of another one is complete before
the old one goes, and of two with one number the one that is as wanted stays.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.compose import labels, making, resources
from ocimagic.compose.model import Condition
from ocimagic.compose.order import in_order
from ocimagic.compose.plan import Create, Keep, Recreate, Remove, Replace, Wanted, changes, plan
from ocimagic.compose.there import Instance, instance_of, look, of_service
from ocimagic.compose.waiting import Waiting
from ocimagic.errors import InvalidOption, InvalidState, OcimagicError
from ocimagic.model.event import Notice
from ocimagic.model.state import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.compose.model import Dependency, Project, Service
    from ocimagic.compose.plan import Step
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import OnEvent
    from ocimagic.model.options import RunOptions

    Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """How services are brought up.

    Attributes:
        recreate: which containers are replaced.
        recreate_needs: likewise, of services that were not named.
        named: services that were named, none for all.
        starts: False only makes the containers.
        renew_volumes: unnamed volumes are not taken over.
        grace_s: from the stop signal to SIGKILL; None is the service's own.
    """

    recreate: Recreate = Recreate.CHANGED
    recreate_needs: Recreate = Recreate.CHANGED
    named: frozenset[str] = frozenset()
    starts: bool = True
    renew_volumes: bool = False
    grace_s: float | None = None


class Raising:
    """Brings the enabled services of a project up.

    Args:
        engine: that has them.
        project: what is wanted.
        images: IDs of the services' images, by service.
        raised: how.
        tell: hears what was done.
        on_event: hears warnings.
        cancelled: stops it.
    """

    def __init__(
        self,
        engine: EngineAPI,
        project: Project,
        images: Mapping[str, str],
        raised: Raised,
        *,
        tell: Tell,
        on_event: OnEvent,
        cancelled: threading.Event | None,
    ) -> None:
        self._engine = engine
        self._project = project
        self._images = images
        self._raised = raised
        self._tell = tell
        self._on_event = on_event
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._there = look(engine, project.name)
        self._leaders: dict[str, Instance] = {}
        self._instances: dict[str, list[Instance]] = {}
        self._changed: set[str] = set()
        for each in self._there:
            self._leaders.setdefault(each.service, each)

    def run(self) -> dict[str, list[Instance]]:
        """Bring them up; return the containers by service.

        Raises:
            OcimagicError: one cannot be.
        """
        resources.make_networks(self._engine, self._project, self._tell)
        resources.make_volumes(self._engine, self._project, self._tell)
        services = {name: self._project.services[name] for name in self._project.enabled}
        needs = {name: {each.service for each in s.needs} for name, s in services.items()}
        in_order(needs, self._service, self._cancelled)
        return self._instances

    # -- one service -----------------------------------------------------------------

    def _service(self, name: str) -> None:
        service = self._project.services[name]
        if self._raised.starts:
            for need in service.depends_on:
                if need.service in self._project.enabled:
                    self._await(service, need)
        steps = self._steps(service)
        if changes(steps):
            self._changed.add(name)
        resources.make_directories(service)
        resources.check_sources(service)
        made: list[Instance] = []
        for step in steps:
            found = self._step(service, step)
            if found is not None:
                made.append(found)
                with self._lock:
                    self._leaders[name] = made[0]
        self._instances[name] = made

    def _await(self, service: Service, need: Dependency) -> None:
        """Wait until what a service needs is as it has to be.

        Raises:
            InvalidState: it cannot be any more.
        """
        waiting = Waiting(self._engine, self._cancelled)
        ids = [each.container_id for each in self._instances.get(need.service, ())]
        if need.condition is not Condition.STARTED:
            self._tell("Container", self._names(need.service), "Waiting")
        try:
            waiting.until(need.condition, ids)
        except InvalidState as err:
            if not need.required:
                self._tell("Service", need.service, f"not there for {service.name}: {err.what}")
                return
            raise InvalidState(
                f"service {service.name} cannot start: {err.what}", why=err.why, hint=err.hint
            ) from err
        if need.condition is not Condition.STARTED:
            word = "Healthy" if need.condition is Condition.HEALTHY else "Exited"
            self._tell("Container", self._names(need.service), word)

    def _names(self, service: str) -> str:
        return ", ".join(each.name for each in self._instances.get(service, ()))

    def _steps(self, service: Service) -> tuple[Step, ...]:
        raised = self._raised
        is_named = not raised.named or service.name in raised.named
        recreate = raised.recreate if is_named else raised.recreate_needs
        wanted = Wanted(
            replicas=service.replicas,
            config_hash=making.config_hash(self._project, service, self._leaders),
            image_id=self._images.get(service.name, ""),
        )
        if service.replicas > 1 and any(port.host_port and not port.last_host_port
                                        for port in service.options.ports):  # fmt: skip
            self._tell("Service", service.name, "has several containers and one published port")
        return plan(wanted, of_service(self._there, service.name), recreate)

    def _step(self, service: Service, step: Step) -> Instance | None:
        match step:
            case Remove(instance):
                self._remove(instance)
                return None
            case Create(number):
                name = making.container_name(self._project, service, number)
                made = self._create(service, number, name, self._options(service))
                self._tell("Container", name, "Created")
                return self._started(made)
            case Replace(old):
                return self._started(self._replace(service, old))
            case Keep(instance):
                return self._kept(service, instance)

    def _options(self, service: Service) -> RunOptions:
        made = making.made_options(self._project, service, self._leaders)
        if service.options.ports and not made.ports:
            text = f"service {service.name} has the machine's network: its ports are there already"
            self._on_event(Notice(text))
        return made

    def _create(self, service: Service, number: int, name: str, options: RunOptions) -> Instance:
        """Make a container, with its secrets and configs in it."""
        own = labels.of_container(
            self._project,
            service,
            number=number,
            config_hash=making.config_hash(self._project, service, self._leaders),
            image_id=self._images.get(service.name, ""),
        )
        made = self._engine.containers.create(
            making.labelled(options, own, name), on_event=self._on_event
        )
        try:
            put_files(self._engine, self._project, service, made.container_id)
        except OcimagicError:
            self._engine.containers.remove(made.container_id, force=True, volumes=True)
            raise
        return instance_of(made)

    def _replace(self, service: Service, old: Instance) -> Instance:
        """Make a container in the place of another one, which goes only then."""
        options = self._options(service)
        if not self._raised.renew_volumes:
            before = self._engine.containers.inspect(old.container_id).options
            options = making.with_volumes_of(options, before)
        name = making.container_name(self._project, service, old.number)
        new = self._create(service, old.number, f"{old.container_id[:12]}_{name}", options)
        self._engine.containers.stop(old.container_id, grace_s=self._raised.grace_s)
        self._engine.containers.remove(
            old.container_id, force=True, volumes=self._raised.renew_volumes
        )
        named = instance_of(self._engine.containers.rename(new.container_id, name))
        self._tell("Container", name, "Recreated")
        return named

    def _kept(self, service: Service, instance: Instance) -> Instance:
        """Leave a container, under its right name."""
        name = making.container_name(self._project, service, instance.number)
        if instance.name != name:
            # An up that was killed after it made this one in the place of another.
            found = self._engine.containers.rename(instance.container_id, name)
            instance = instance_of(found)
        restarts = any(
            each.restart and each.service in self._changed for each in service.depends_on
        )
        if restarts and instance.is_running and self._raised.starts:
            self._engine.containers.restart(instance.container_id, grace_s=self._raised.grace_s)
            self._tell("Container", name, "Restarted")
            return instance
        if instance.summary.status is Status.PAUSED and self._raised.starts:
            self._engine.containers.unpause(instance.container_id)
        if instance.is_running:
            self._tell("Container", name, "Running")
            return instance
        return self._started(instance)

    def _started(self, instance: Instance) -> Instance:
        if not self._raised.starts:
            return instance
        found = instance_of(self._engine.containers.start(instance.container_id))
        self._tell("Container", instance.name, "Started")
        return found

    def _remove(self, instance: Instance) -> None:
        self._engine.containers.stop(instance.container_id, grace_s=self._raised.grace_s)
        self._engine.containers.remove(instance.container_id, force=True)
        self._tell("Container", instance.name, "Removed")


def put_files(engine: EngineAPI, project: Project, service: Service, container_id: str) -> None:
    """Copy secrets and configs into a container that does not run yet."""
    if service.files:
        tar = making.files_tar(service.files, project.env)
        engine.containers.write_archive(container_id, "/", tar)


def check_scale(project: Project, scale: Mapping[str, int]) -> None:
    """See that ``--scale`` names services that may have several containers.

    Raises:
        InvalidOption: it does not.
    """
    for name, number in scale.items():
        if name not in project.services:
            raise InvalidOption(f"--scale {name}={number}: there is no service {name!r}")
        if number > 1 and project.services[name].container_name:
            raise InvalidOption(
                f"--scale {name}={number}: {number} containers cannot have one name",
                hint="leave container_name out of the file",
            )
