"""What happened to containers, images, networks and volumes: docker's events.

Spec: Docker Engine API v1.50, EventMessage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.spec.nearest import nearest
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CONTAINER, IMAGE, NETWORK, VOLUME, BUILDER = "container", "image", "network", "volume", "builder"
KINDS = (CONTAINER, IMAGE, NETWORK, VOLUME, BUILDER)


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """One thing that happened.

    Attributes:
        kind: of what: ``container``, ``image``, ``network``, ``volume``, ``builder``.
        action: docker's word: ``start``, ``die``, ``health_status: healthy``, …
        actor: its ID, or the name of what has none.
        attributes: what else is known: names, labels, ``exitCode``.
        time_ns: nanoseconds since 1970.
    """

    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0


def events_that_fit(conditions: Iterable[str]) -> Callable[[SystemEvent], bool]:
    """Return what says whether an event fits docker's conditions, ``KEY=VALUE``.

    Those of one key are alternatives, except labels, which must all be there.

    Raises:
        InvalidOption: no such key, or no value.
    """
    wanted: dict[str, list[str]] = {}
    for text in conditions:
        key, sign, value = text.partition("=")
        if key not in _FITS:
            near = nearest(key, _FITS)
            raise InvalidOption(
                f"events have no filter {key!r}",
                hint=f"did you mean {near}?" if near else f"there are: {', '.join(sorted(_FITS))}",
            )
        if not sign or not value:
            raise InvalidOption(f"the filter {text!r} has no value", hint=f"write {key}=VALUE")
        wanted.setdefault(key, []).append(value)

    def fits(event: SystemEvent) -> bool:
        for key, values in wanted.items():
            said = (_FITS[key](event, value) for value in values)
            if not (all(said) if key == "label" else any(said)):
                return False
        return True

    return fits


def _is_of(kind: str) -> Callable[[SystemEvent, str], bool]:
    def fits(event: SystemEvent, value: str) -> bool:
        if event.kind == kind:
            names = (event.attributes.get("name"), event.actor)
            return value in names or (len(value) >= _SHORTEST and event.actor.startswith(value))
        return event.attributes.get(kind) == value

    return fits


def _labelled(event: SystemEvent, value: str) -> bool:
    name, sign, wanted = value.partition("=")
    found = event.attributes.get(name)
    return found is not None and (not sign or found == wanted)


def _of_image(event: SystemEvent, value: str) -> bool:
    said = event.attributes.get("image" if event.kind == CONTAINER else "name", "")
    names = {event.actor, said} if event.kind == IMAGE else {said}
    # A name without a tag stands for all of them.
    return value in names or any(each.rpartition(":")[0] == value for each in names)


_SHORTEST = 4
_FITS: dict[str, Callable[[SystemEvent, str], bool]] = {
    "type": lambda event, value: event.kind == value,
    "event": lambda event, value: event.action == value or event.action.startswith(f"{value}:"),
    "container": _is_of(CONTAINER),
    "network": _is_of(NETWORK),
    "volume": _is_of(VOLUME),
    "image": _of_image,
    "label": _labelled,
    "scope": lambda _, value: value == "local",
    "daemon": lambda _, __: True,
}
