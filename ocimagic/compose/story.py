"""How a project came to be what it is: its networks, volumes and containers, by their own times.

Each is told from what the engine keeps of it; what ``up`` said it did and waited for comes on top
where somebody heard it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.compose import labels, raising, resources
from ocimagic.compose.there import look
from ocimagic.compose.verbs import Compose
from ocimagic.compose.waiting import Waiting
from ocimagic.engine.story_failure import failed_step
from ocimagic.errors import NotFound
from ocimagic.home.source import source_of
from ocimagic.model.explanation import (
    PROJECT_DEED,
    Deed,
    Explanation,
    Moment,
    Party,
    Step,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.compose.there import Instance
    from ocimagic.errors import OcimagicError
    from ocimagic.model.engine import EngineAPI

_OWN = {"Created", "Started"}  # told with more figures from what was noted of the container


def tell(
    engine: EngineAPI,
    name: str,
    *,
    line: str = "",
    deeds: Sequence[Deed] = (),
    failure: OcimagicError | None = None,
) -> Explanation:
    """Return the story of a project.

    Args:
        engine: that has it.
        name: of the project.
        line: the command; "" where nobody knows it.
        deeds: what that command said it did, the beginning first.
        failure: why it went no further.

    Raises:
        NotFound: there is nothing of that project.
    """
    instances = look(engine, name)
    if not instances and failure is None:
        raise NotFound(f"no project is called {name!r}", hint="%compose_ls lists them")
    found = _Telling(engine, name, instances, tuple(deeds)).steps()
    if failure is not None:
        found.append(failed_step(failure))
    times = [each.at_s for each in found if each.at_s is not None]
    began_s = deeds[0].at_s if deeds else min(times, default=0.0)
    alive = sum(each.is_running for each in instances)
    ending = f"{alive} of {len(instances)} containers run"
    if failure is not None:
        ending = f"failed with exit code {failure.exit_code}: {failure.what}"
    return Explanation(
        kind="compose",
        name=name,
        line=line,
        began=datetime.fromtimestamp(began_s, UTC).isoformat(),
        seconds=max(times, default=began_s) - began_s if deeds else None,
        ending=ending,
        steps=tuple(_since(began_s, each) for each in found),
        lacks=_lacks(deeds),
    )


def _since(began_s: float, step: Step) -> Step:
    """Return a step whose times count from the beginning instead of from 1970."""

    def at_s(wall_s: float | None) -> float | None:
        return None if wall_s is None else max(wall_s - began_s, 0.0)

    moments = tuple(replace(each, at_s=at_s(each.at_s)) for each in step.moments)
    return replace(step, at_s=at_s(step.at_s), moments=moments)


def _lacks(deeds: Sequence[Deed]) -> tuple[str, ...]:
    said = "What docker compose would send to a daemon is not told: only what was done."
    if deeds:
        return (said,)
    unknown = "Which command did it is not known, nor what it waited for: it was given elsewhere."
    return said, f"{unknown} Times are those of each thing itself."


@dataclass(frozen=True, slots=True)
class _Telling:
    """Makes the steps, by the clock on the wall."""

    engine: EngineAPI
    name: str
    instances: tuple[Instance, ...]
    deeds: tuple[Deed, ...]

    def steps(self) -> list[Step]:
        """Return them in order."""
        found = [*self._networks(), *self._volumes(), *self._waits(), *self._others()]
        for each in self.instances:
            found += self._container(each)
        found.sort(key=lambda step: step.at_s or 0.0)
        return [self._order(found), *found]

    def _did(self, kind: str, name: str, *words: str) -> bool:
        """Say whether this command did something; of an unknown one, that it may have."""
        return not self.deeds or any(
            (each.kind, each.name) == (kind, name) and each.word in words for each in self.deeds
        )

    # -- the whole -----------------------------------------------------------------

    def _order(self, found: Sequence[Step]) -> Step:
        """Tell in which order services came, and who said so."""
        started = [each for each in found if each.party is Party.SHIM]
        names = [dict(each.facts)["service"] for each in started]
        order = " → ".join(dict.fromkeys(names)) or "none started"
        facts: list[tuple[str, str]] = [("services in order", order)]
        for each in self.instances:
            said = each.summary.labels
            if needs := said.get(labels.DEPENDS_ON):
                facts.append((f"{each.service} needs", _needs(needs)))
        if self.instances:
            said = self.instances[0].summary.labels
            facts += [("files", said.get(labels.FILES, "")),
                      ("directory", said.get(labels.DIRECTORY, ""))]  # fmt: skip
        return Step(
            party=Party.CLIENT,
            to=Party.CLIENT,
            title=f"project {self.name}: {order}",
            at_s=self.deeds[0].at_s if self.deeds else None,
            facts=tuple(dict(facts).items()),
            source=source_of(raising.Raising.run),
            more=(source_of(Compose.up),),
        )

    def _waits(self) -> Iterator[Step]:
        """Tell what was waited for, and how long."""
        since = {}
        for deed in self.deeds:
            if deed.word == "Waiting":
                since[deed.name] = deed.at_s
            elif deed.word in ("Healthy", "Exited") and deed.name in since:
                began_s = since.pop(deed.name)
                yield Step(
                    party=Party.CLIENT,
                    to=Party.DAEMON,
                    title=f"{deed.name} is {deed.word.lower()}: who needs it may start",
                    at_s=deed.at_s,
                    seconds=deed.at_s - began_s,
                    facts=(("waited for", deed.name), ("until", deed.word.lower())),
                    source=source_of(Waiting.until),
                )

    def _others(self) -> Iterator[Step]:
        """Tell what else was done: what ran already, was replaced, removed or not there."""
        known = {each.name for each in self.instances}
        for deed in self.deeds:
            is_told = deed.kind == "Container" and deed.name in known and deed.word in _OWN
            is_told |= deed.kind in ("Network", "Volume") and deed.word == "Created"
            if (
                is_told
                or deed.kind == PROJECT_DEED
                or deed.word in ("Waiting", "Healthy", "Exited")
            ):
                continue
            yield Step(
                party=Party.CLIENT,
                to=Party.DAEMON,
                title=f"{deed.kind.lower()} {deed.name}: {deed.word}",
                at_s=deed.at_s,
                facts=((deed.kind.lower(), deed.name), ("done", deed.word)),
            )

    # -- networks and volumes --------------------------------------------------------

    def _networks(self) -> Iterator[Step]:
        for each in self.engine.networks.all():
            is_ours = each.labels.get(labels.PROJECT) == self.name
            if not (is_ours and self._did("Network", each.name, "Created")):
                continue
            yield Step(
                party=Party.CLIENT,
                to=Party.DAEMON,
                title=f"network {each.name}",
                at_s=each.created.timestamp(),
                facts=(
                    ("network ID", each.network_id),
                    ("driver", each.driver),
                    *((f"subnet {one.subnet}", f"gateway {one.gateway}") for one in each.subnets),
                    (
                        "who is in it",
                        " ".join(sorted(one.container for one in each.endpoints)) or "none",
                    ),
                ),
                source=source_of(resources.make_networks),
            )

    def _volumes(self) -> Iterator[Step]:
        for each in self.engine.volumes.all():
            is_ours = each.labels.get(labels.PROJECT) == self.name
            if not (is_ours and self._did("Volume", each.name, "Created")):
                continue
            yield Step(
                party=Party.CLIENT,
                to=Party.DAEMON,
                title=f"volume {each.name}",
                at_s=each.created.timestamp(),
                facts=(("driver", each.driver), ("mountpoint", each.mountpoint)),
                source=source_of(resources.make_volumes),
            )

    # -- containers ------------------------------------------------------------------

    def _container(self, instance: Instance) -> Iterator[Step]:
        """Tell of one from its own story, which says the rest."""
        own = self.engine.explainer.explain(instance.container_id)
        summary = instance.summary
        if self._did("Container", summary.name, "Created", "Recreated"):
            yield self._created(instance, own)
        if self._did("Container", summary.name, "Started", "Restarted"):
            yield from _started(instance, own)
        ended = summary.exit
        if ended and (not self.deeds or ended.finished.timestamp() >= self.deeds[0].at_s):
            yield Step(
                party=Party.PROCESS,
                to=Party.SHIM,
                title=f"{instance.name}: exit code {ended.code}",
                at_s=ended.finished.timestamp(),
                facts=(("exit code", str(ended.code)), _link(instance)),
            )

    def _created(self, instance: Instance, own: Explanation) -> Step:
        summary = instance.summary
        making = [each for each in own.steps if each.to in (Party.IMAGES, Party.BUNDLE)]
        created_s = summary.created.timestamp()
        return Step(
            party=Party.CLIENT,
            to=Party.DAEMON,
            title=f"create container {instance.name}",
            at_s=created_s,
            seconds=max((each.at_s for each in making if each.at_s is not None), default=None),
            facts=(
                ("service", instance.service),
                ("container ID", instance.container_id),
                ("image", f"{summary.image}, {summary.image_id}"),
                ("command", " ".join(summary.command)),
                ("networks", " ".join(summary.networks) or summary.network),
                *((f"mounted on {where}", name) for name, where in summary.mounts),
                _link(instance),
            ),
            moments=tuple(
                Moment(at_s=None if each.at_s is None else created_s + each.at_s, name=each.title)
                for each in making
            ),
            source=source_of(raising.Raising._create),  # noqa: SLF001  it is shown, not called
        )


def _started(instance: Instance, own: Explanation) -> Iterator[Step]:
    """Tell of the start, unless it never was, or nobody noted it."""
    begun_s = datetime.fromisoformat(own.began).timestamp()
    launched = next((e for e in own.steps if (e.party, e.to) ==
                     (Party.CONTAINERD, Party.SHIM)), None)  # fmt: skip
    executed = next((e for e in own.steps if (e.party, e.to) ==
                     (Party.SHIM, Party.PROCESS)), None)  # fmt: skip
    if launched is None or executed is None or executed.at_s is None or launched.at_s is None:
        return
    said = dict(launched.facts)
    summary = instance.summary
    yield Step(
        party=Party.SHIM,
        to=Party.PROCESS,
        title=f"start {instance.name}: process {dict(executed.facts).get('pid outside')}",
        at_s=begun_s + executed.at_s,
        seconds=executed.at_s - launched.at_s,
        facts=(
            ("service", instance.service),
            ("shim", said.get("shim", "")),
            ("first process", said.get("first process", "")),
            *((each.network, " ".join(map(str, each.addresses))) for each in summary.places),
            *(
                (f"port {one.host_ip}:{one.host_port}", f"leads to {one.container_port}")
                for one in summary.ports
            ),
            _link(instance),
        ),
        moments=tuple(
            Moment(at_s=None if each.at_s is None else begun_s + each.at_s, name=each.title)
            for each in own.steps
            if each.party in (Party.SHIM, Party.RUNC)
        ),
        source=source_of(raising.Raising._started),  # noqa: SLF001  it is shown, not called
    )


def _link(instance: Instance) -> tuple[str, str]:
    return ("its own story", f"%explain {instance.name}")


def _needs(text: str) -> str:
    """Return docker compose's label as a sentence: ``db:service_healthy:false``."""
    pieces = (each.split(":") for each in text.split(",") if each)
    return ", ".join(f"{each[0]}: {each[1]}" if each[1:] else each[0] for each in pieces)
