"""A project and its engine: the verbs of compose, for the shell, the magics and Python.

Example::

    from ocimagic import Engine
    from ocimagic.compose.files import Surroundings
    from ocimagic.compose.load import LoadOptions, load
    from ocimagic.compose.asked import UpOptions
    from ocimagic.compose.verbs import Compose

    with Engine() as engine:
        project = load(LoadOptions(files=("compose.yaml",)), Surroundings(cwd="."))
        Compose(engine, project).up(UpOptions())
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.compose import making, raising, resources
from ocimagic.compose.asked import OneOff, UpOptions
from ocimagic.compose.assemble import chosen
from ocimagic.compose.following import Follower, Prefixes
from ocimagic.compose.imaging import Imaging
from ocimagic.compose.lowering import Lowered, Lowering
from ocimagic.compose.model import Condition
from ocimagic.compose.order import in_order
from ocimagic.compose.raising import Raising
from ocimagic.compose.there import Instance, look, of_service
from ocimagic.compose.waiting import Waiting
from ocimagic.errors import Cancelled, ContainerNotFound, InvalidOption
from ocimagic.model.event import Notice, OnEvent, ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocimagic.compose.model import Project, Service
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.options import RunOptions
    from ocimagic.model.result import ExitStatus


def _nothing(_kind: str, _name: str, _word: str) -> None:
    """Take what was done: the default listener."""


class Compose:
    """The verbs on one project.

    Args:
        engine: that runs it.
        project: what its file says.
        on_event: hears pulls, builds, output and warnings.
        tell: hears what was done, as ``("Container", "demo-web-1", "Started")``.
        cancelled: stops what runs.
    """

    def __init__(
        self,
        engine: EngineAPI,
        project: Project,
        *,
        on_event: OnEvent = ignore,
        tell: Callable[[str, str, str], None] = _nothing,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.engine = engine
        self.project = project
        self._on_event = on_event
        self._tell = tell
        self._cancelled = cancelled

    # -- up and down -----------------------------------------------------------------

    def up(self, options: UpOptions) -> dict[str, list[Instance]]:
        """Make and start what the file says; what is as it says stays as it is.

        Returns:
            The containers by service.

        Raises:
            OcimagicError: a service cannot be; what was started goes on.
        """
        raising.check_scale(self.project, options.scale)
        project = _scaled(self.project, options.scale)
        project = chosen(project, options.services, with_needs=options.with_needs)
        raised = replace(options.raised, named=frozenset(options.services))
        self._orphans(remove=options.orphans)
        images = self._imaging(project).ensure(options.images)
        instances = Raising(
            self.engine,
            project,
            images,
            raised,
            tell=self._tell,
            on_event=self._on_event,
            cancelled=self._cancelled,
        ).run()
        if options.wait:
            waiting = Waiting(self.engine, self._cancelled, options.wait_timeout_s)
            waiting.up([each.container_id for all_of in instances.values() for each in all_of])
        return instances

    def _orphans(self, *, remove: bool) -> None:
        """Remove containers of services that the file has no more, or say that there are."""
        there = look(self.engine, self.project.name)
        orphans = [each for each in there if each.service not in self.project.services]
        if remove:
            lowering = self._lowering()
            lowering.stop(orphans)
            lowering.remove(orphans, volumes=False)
        elif orphans:
            names = ", ".join(each.name for each in orphans)
            self._on_event(
                Notice(f"there are containers of services that are not in the file: {names}; "
                       "--remove-orphans removes them")
            )  # fmt: skip

    def attached(
        self,
        begin: Callable[[], Mapping[str, Sequence[Instance]]],
        prefixes: Callable[[Sequence[str]], Prefixes],
        *,
        stops_at_first: bool = False,
        grace_s: float | None = None,
    ) -> list[tuple[Instance, ExitStatus | None]]:
        """Bring services up and show what they write until they end, or the user has enough.

        Args:
            begin: brings them up; returns the containers by service.
            prefixes: makes what stands before the lines of some names.
            stops_at_first: the end of one ends all.
            grace_s: from the stop signal to SIGKILL.

        Returns:
            How they ended, the first to end first.

        Raises:
            Cancelled: the user stopped it; all of them were stopped.
        """
        cancelled = self._cancelled or threading.Event()
        since_ns = time.time_ns()
        try:
            made = begin()
        except Cancelled as err:
            self._lowering().stop(self.instances(), grace_s)
            raise self._stopped() from err
        instances = [
            each
            for name, all_of in made.items()
            for each in all_of
            if self.project.services[name].attached
        ]
        shown = prefixes([each.name for each in instances])
        # Its own end, after the containers': their last words are shown, too.
        follower = Follower(self.engine, shown, self._on_event, threading.Event())
        for each in instances:
            follower.follow(each, since_ns=since_ns)
        self._until_end(follower, cancelled, stops_at_first=stops_at_first)
        if cancelled.is_set() or stops_at_first:
            mine = {each.container_id for all_of in made.values() for each in all_of}
            now = [each for each in self.instances() if each.container_id in mine]
            self._lowering().stop(now, grace_s)
        follower.join()
        if cancelled.is_set():
            raise self._stopped()
        return [
            (each, self.engine.containers.get(each.container_id).exit) for each in follower.ended
        ]

    def _stopped(self) -> Cancelled:
        return Cancelled(
            f"stopped by you: the services of {self.project.name} were stopped",
            hint="%compose_up starts them again, %compose_down removes them",
        )

    def _until_end(
        self, follower: Follower, cancelled: threading.Event, *, stops_at_first: bool
    ) -> None:
        """Wait for the end of all, or of the first one."""
        while not cancelled.is_set():
            if follower.wait_some(0.2) or (stops_at_first and follower.ended):
                break

    def down(self, how: Lowered) -> list[str]:
        """Remove containers and networks, and what else is asked for.

        Returns:
            What to say of what stays.
        """
        for name in how.named:
            self._service(name)
        return self._lowering().down(how)

    # -- verbs on containers that are there --------------------------------------------

    def instances(self, services: Sequence[str] = (), *, one_off: bool = False
                  ) -> tuple[Instance, ...]:  # fmt: skip
        """Return the containers of some services, of all that are known if none is named.

        Raises:
            InvalidOption: there is no such service.
        """
        for name in services:
            self._service(name)
        there = look(self.engine, self.project.name, one_off=one_off)
        return tuple(each for each in there if not services or each.service in services)

    def instance(self, service: str, number: int | None = None) -> Instance:
        """Return one container of a service: the first one, or that of a number.

        Raises:
            ContainerNotFound: there is none.
        """
        self._service(service)
        found = of_service(look(self.engine, self.project.name), service)
        for each in found:
            if number is None or each.number == number:
                return each
        which = "" if number is None else f" number {number}"
        raise ContainerNotFound(
            f"service {service} has no container{which}", hint=f"%compose_up {service}"
        )

    def start(self, services: Sequence[str] = ()) -> None:
        """Start containers that are there, in their order.

        Raises:
            ContainerNotFound: there are none.
        """
        instances = self._some(services)
        self._in_order(instances, self._start_one)

    def _start_one(self, instance: Instance) -> None:
        service = self.project.services.get(instance.service)
        for need in service.depends_on if service else ():
            ids = [e.container_id for e in of_service(self.instances(), need.service)]
            if need.condition is not Condition.STARTED:
                Waiting(self.engine, self._cancelled).until(need.condition, ids)
        if not instance.is_running:
            self.engine.containers.start(instance.container_id)
            self._tell("Container", instance.name, "Started")

    def stop(self, services: Sequence[str] = (), grace_s: float | None = None) -> None:
        """Stop containers, those first that need the others."""
        self._lowering().stop(self.instances(services), grace_s)

    def restart(self, services: Sequence[str] = (), grace_s: float | None = None) -> None:
        """Stop containers and start them again, in their order."""

        def act(each: Instance) -> None:
            self.engine.containers.restart(each.container_id, grace_s=grace_s)
            self._tell("Container", each.name, "Restarted")

        self._in_order(self._some(services), act)

    def kill(self, services: Sequence[str] = (), signal: str = "KILL") -> None:
        """Send a signal to the containers that run."""
        for each in self.instances(services):
            if each.is_running:
                self.engine.containers.kill(each.container_id, signal=signal)
                self._tell("Container", each.name, "Killed")

    def pause(self, services: Sequence[str] = ()) -> None:
        """Stop all processes of the containers that run where they are."""
        for each in self.instances(services):
            if each.is_running:
                self.engine.containers.pause(each.container_id)
                self._tell("Container", each.name, "Paused")

    def unpause(self, services: Sequence[str] = ()) -> None:
        """Let the processes of paused containers go on."""
        for each in self.instances(services):
            if each.summary.status.value == "paused":
                self.engine.containers.unpause(each.container_id)
                self._tell("Container", each.name, "Unpaused")

    def remove(
        self, services: Sequence[str] = (), *, stop: bool = False, volumes: bool = False
    ) -> None:
        """Remove containers that do not run."""
        if stop:
            self.stop(services)
        gone = [each for each in self.instances(services) if not each.is_running]
        self._lowering().remove(gone, volumes=volumes)

    def _some(self, services: Sequence[str]) -> tuple[Instance, ...]:
        found = self.instances(services)
        if not found:
            whose = f"service {services[0]}" if services else f"project {self.project.name}"
            raise ContainerNotFound(f"{whose} has no container", hint="%compose_up")
        return found

    def _in_order(self, instances: Sequence[Instance], act: Callable[[Instance], None]) -> None:
        """Act on containers, service after service from those that need nobody."""
        services = self.project.services
        names = {each.service for each in instances}
        needs = {
            name: {each.service for each in services[name].needs} if name in services else set()
            for name in names
        }

        def service(name: str) -> None:
            for each in of_service(instances, name):
                act(each)

        in_order(needs, service, self._cancelled)

    # -- one-off containers ------------------------------------------------------------

    def one_off(
        self, name: str, change: Callable[[RunOptions], RunOptions], options: OneOff
    ) -> tuple[RunOptions, Callable[[str], None]]:
        """Return what a container of ``run`` is made with, its needs brought up before.

        Args:
            name: of the service.
            change: puts in what the command line says.
            options: the rest of it.

        Returns:
            The options, and what puts the secrets and configs into the container made of them.
        """
        service = self._service(name)
        needed = chosen(self.project, (name,), with_needs=options.with_needs)
        if options.with_needs:
            needs = tuple(sorted(needed.enabled - {name}))
            if needs:
                self.up(UpOptions(services=needs, images=options.images))
                waiting = Waiting(self.engine, self._cancelled)
                for need in service.depends_on:
                    ids = [e.container_id for e in of_service(self.instances(), need.service)]
                    waiting.until(need.condition, ids)
        alone = replace(self.project, enabled=frozenset({name}))
        images = self._imaging(alone).ensure(options.images)
        resources.make_networks(self.engine, alone, self._tell)
        resources.make_volumes(self.engine, alone, self._tell)
        resources.make_directories(service)
        resources.check_sources(service)
        slug = secrets.token_hex(6)
        leaders = {each.service: each for each in reversed(look(self.engine, alone.name))}
        made = making.made_options(alone, service, leaders, aliased=options.aliased)
        if not options.ports:
            made = replace(made, ports=())
        own = making.one_off_labels(alone, service, slug, images[name])
        named = making.labelled(made, own, options.name or f"{alone.name}-{name}-run-{slug}")
        return change(named), lambda container_id: raising.put_files(
            self.engine, alone, service, container_id
        )

    # -- images ------------------------------------------------------------------------

    def imaging(self, services: Sequence[str] = (), *, with_needs: bool = False) -> Imaging:
        """Return the verbs on the images of some services, of all if none is named.

        Raises:
            InvalidOption: there is no such service.
        """
        return self._imaging(chosen(self.project, tuple(services), with_needs=with_needs))

    # -- parts -------------------------------------------------------------------------

    def _imaging(self, project: Project) -> Imaging:
        return Imaging(self.engine, project, self._on_event, self._cancelled, self._tell)

    def _lowering(self) -> Lowering:
        return Lowering(self.engine, self.project, self._tell, self._cancelled)

    def _service(self, name: str) -> Service:
        chosen(self.project, (name,), with_needs=False)
        return self.project.services[name]


def _scaled(project: Project, scale: Mapping[str, int]) -> Project:
    """Return a project with other numbers of containers."""
    if any(number < 0 for number in scale.values()):
        raise InvalidOption("--scale takes a number of containers", hint="--scale web=3")
    services = {
        name: replace(service, replicas=scale.get(name, service.replicas))
        for name, service in project.services.items()
    }
    return replace(project, services=services)
