"""``--filter KEY=VALUE`` for lists; conditions of one key are alternatives, as in docker.

Conditions on labels are the exception: all of them must hold.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from ocimagic.dockerfile.match import match
from ocimagic.errors import BadInput, InvalidOption, NotFound, OcimagicError
from ocimagic.model.distribution import SearchHit
from ocimagic.model.moment import moment_ns, unix_ns
from ocimagic.model.network import PREDEFINED
from ocimagic.model.state import Status
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.network import NetworkSummary
    from ocimagic.model.result import ContainerSummary, ImageSummary
    from ocimagic.model.volume import VolumeSummary

Row = TypeVar("Row")

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ALL_OF = frozenset({"label", "label!"})
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_PORT = re.compile(r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?", re.ASCII)


def keep_images(
    images: Iterable[ImageSummary], conditions: Iterable[str], engine: EngineAPI
) -> list[ImageSummary]:
    """Keep the images that fit docker's conditions for ``image ls``.

    Raises:
        InvalidOption: a condition that cannot be understood.
        ImageNotFound: there is no image to compare ages with.
    """
    now = datetime.now().astimezone()
    born = _Births(engine)
    return _keep(
        images,
        conditions,
        {
            "reference": _named,
            "dangling": _dangling,
            "label": _labelled,
            "before": lambda each, value: _age(each.created) < born(value),
            "since": lambda each, value: _age(each.created) > born(value),
            "until": lambda each, value: (
                _age(each.created) <= moment_ns(value, now, option="until")
            ),
        },
    )


def keep_hits(hits: Iterable[SearchHit], conditions: Iterable[str]) -> list[SearchHit]:
    """Keep what was found and fits docker's conditions for ``search``."""
    return _keep(hits, conditions, _HITS)


def check_hits(conditions: Iterable[str]) -> None:
    """Refuse conditions for ``search`` that cannot be understood, before anybody is asked.

    Raises:
        InvalidOption: one of them.
    """
    nothing = SearchHit(name="", description="", stars=0, is_official=False)
    for condition in conditions:
        key, value = _condition(condition, _HITS)
        _HITS[key](nothing, value)


def wants_all(conditions: Iterable[str]) -> bool:
    """Say whether a condition is about containers that do not run, so that all are asked for."""
    return any(each.startswith(("status=", "exited=")) for each in conditions)


def keep_containers(
    containers: Iterable[ContainerSummary], conditions: Iterable[str], engine: EngineAPI
) -> list[ContainerSummary]:
    """Keep the containers that fit docker's conditions for ``container ls``."""
    return _keep(
        containers,
        conditions,
        {
            "name": _called,
            "id": lambda each, value: each.container_id.startswith(value),
            "status": lambda each, value: each.status is _status(value),
            "ancestor": _Ancestry(engine),
            "label": _labelled,
            "exited": lambda each, value: each.exit is not None and str(each.exit.code) == value,
            "before": lambda each, value: each.created < engine.containers.get(value).created,
            "since": lambda each, value: each.created > engine.containers.get(value).created,
            "volume": lambda each, value: any(value in place for place in each.mounts),
            "network": lambda each, value: value in (each.network, *each.networks, *_ids(each)),
            "health": _healthy,
            "publish": _published,
            "expose": _exposed,
            "is-task": lambda _, value: not _truth("is-task", value),
        },
    )


def keep_networks(
    networks: Iterable[NetworkSummary], conditions: Iterable[str]
) -> list[NetworkSummary]:
    """Keep the networks that fit docker's conditions for ``network ls`` and ``prune``.

    Raises:
        InvalidOption: a condition that cannot be understood.
    """
    now = datetime.now().astimezone()
    return _keep(
        networks,
        conditions,
        {
            "name": lambda each, value: value in each.name,
            "id": lambda each, value: each.network_id.startswith(value),
            "driver": lambda each, value: each.driver == value,
            "label": _labelled,
            "label!": lambda each, value: not _labelled(each, value),
            "scope": lambda _, value: value == "local",
            "type": lambda each, value: (
                (each.name in PREDEFINED) == _choice("type", value, ("builtin", "custom"))
            ),
            "dangling": lambda each, value: (
                _truth("dangling", value) == (not each.endpoints and each.name not in PREDEFINED)
            ),
            "until": lambda each, value: (
                unix_ns(each.created) <= moment_ns(value, now, option="until")
            ),
        },
    )


def keep_volumes(
    volumes: Iterable[VolumeSummary], conditions: Iterable[str]
) -> list[VolumeSummary]:
    """Keep the volumes that fit docker's conditions for ``volume ls`` and ``prune``.

    Raises:
        InvalidOption: a condition that cannot be understood.
    """
    return _keep(
        volumes,
        conditions,
        {
            "name": lambda each, value: value in each.name,
            "driver": lambda each, value: each.driver == value,
            "label": _labelled,
            "label!": lambda each, value: not _labelled(each, value),
            "dangling": lambda each, value: _truth("dangling", value) == (not each.users),
        },
    )


def _choice(name: str, value: str, words: tuple[str, str]) -> bool:
    """Say whether a value is the first of two words."""
    if value not in words:
        raise InvalidOption(f"invalid filter '{name}={value}'", hint=f"it is {' or '.join(words)}")
    return value == words[0]


def _ids(container: ContainerSummary) -> list[str]:
    return [each.network_id for each in container.places]


def prune_keeper(conditions: Iterable[str]) -> Callable[[ContainerSummary], bool]:
    """Return what says of a container whether ``container prune`` must leave it.

    Raises:
        InvalidOption: a condition that cannot be understood.
    """
    now = datetime.now().astimezone()
    wanted = list(conditions)
    known: dict[str, Callable[[ContainerSummary, str], bool]] = {
        "until": lambda each, value: unix_ns(each.created) <= moment_ns(value, now, option="until"),
        "label": _labelled,
        "label!": lambda each, value: not _labelled(each, value),
    }
    for condition in wanted:
        key, value = _condition(condition, known)
        if key == "until":
            moment_ns(value, now, option="until")
    return lambda each: not _keep([each], wanted, known)


def image_keeper(conditions: Iterable[str]) -> tuple[Callable[[ImageSummary], bool], bool]:
    """Return what says of an image whether ``image prune`` must leave it.

    And whether images with a name are to go as well: ``dangling=false`` says so.

    Raises:
        InvalidOption: a condition that cannot be understood.
    """
    now = datetime.now().astimezone()
    wanted = list(conditions)
    known: dict[str, Callable[[ImageSummary, str], bool]] = {
        "until": lambda each, value: (
            each.created is not None
            and unix_ns(each.created) <= moment_ns(value, now, option="until")
        ),
        "label": _labelled,
        "label!": lambda each, value: not _labelled(each, value),
        "dangling": lambda _each, value: value.lower() in _BOOLEANS,
    }
    takes_named = False
    for condition in wanted:
        key, value = _condition(condition, known)
        if key == "until":
            moment_ns(value, now, option="until")
        if key == "dangling":
            if value.lower() not in _BOOLEANS:
                raise InvalidOption(f"dangling is true or false, not {value!r}")
            takes_named = not _BOOLEANS[value.lower()]
    return lambda each: not _keep([each], wanted, known), takes_named


def _condition(text: str, known: Iterable[str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if key not in known or not equals:
        near = nearest(key, known)
        hint = f"did you mean {near}=?" if near else f"there are: {', '.join(known)}"
        raise InvalidOption(f"filter {text!r} cannot be understood", hint=hint)
    return key, value


def _keep(
    rows: Iterable[Row],
    conditions: Iterable[str],
    known: Mapping[str, Callable[[Row, str], bool]],
) -> list[Row]:
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        key, value = _condition(condition, known)
        wanted.setdefault(key, []).append(value)
    return [
        row
        for row in rows
        if all(
            (all if key in _ALL_OF else any)(known[key](row, value) for value in values)
            for key, values in wanted.items()
        )
    ]


def _named(image: ImageSummary, pattern: str) -> bool:
    """Match as docker does: what has no name fits nothing, and a star does not cross a slash."""
    if image.repository == "<none>":
        return False
    try:
        return match(pattern, image.name) or match(pattern, image.repository)
    except BadInput as err:
        raise InvalidOption(f"filter reference={pattern!r} is no pattern", why=err.what) from err


def _dangling(image: ImageSummary, value: str) -> bool:
    return (image.repository == "<none>") == _truth("dangling", value)


def _truth(name: str, value: str) -> bool:
    if value.lower() not in {"true", "false", "1", "0"}:
        raise InvalidOption(f"filter {name} takes true or false, not {value!r}")
    return value.lower() in {"true", "1"}


def _called(container: ContainerSummary, pattern: str) -> bool:
    """Look for a name as docker does: a regular expression, with or without the slash."""
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError) as err:
        raise InvalidOption(f"filter name={pattern!r} is no pattern", why=str(err)) from err
    return bool(found.search(container.name) or found.search(f"/{container.name}"))


def _status(value: str) -> Status:
    try:
        return Status(value)
    except ValueError:
        known = [each.value for each in Status]
        near = nearest(value, known)
        hint = f"did you mean status={near}?" if near else f"there are: {', '.join(known)}"
        raise InvalidOption(f"invalid filter 'status={value}'", hint=hint) from None


def _healthy(container: ContainerSummary, value: str) -> bool:
    if value not in _HEALTH:
        raise InvalidOption(
            f"invalid filter 'health={value}'", hint=f"there are: {', '.join(_HEALTH)}"
        )
    return (container.health.status if container.health else "none") == value


def _labelled(
    row: ContainerSummary | ImageSummary | NetworkSummary | VolumeSummary, text: str
) -> bool:
    key, equals, value = text.partition("=")
    return key in row.labels and (not equals or row.labels[key] == value)


def _published(container: ContainerSummary, value: str) -> bool:
    """Compare with the container's ports and the machine's, as docker does."""
    found = [each.container_port for each in container.ports]
    found += [f"{each.host_port}/{each.container_port[-3:]}" for each in container.ports]
    return _has_port("publish", value, found)


def _exposed(container: ContainerSummary, value: str) -> bool:
    return _has_port("expose", value, container.exposed_ports)


def _has_port(name: str, value: str, there: Iterable[str]) -> bool:
    _check_port(name, value)
    ports, _, protocol = value.partition("/")
    first, _, last = ports.partition("-")
    wanted = range(int(first), int(last or first) + 1)
    return any(
        int(port) in wanted and kind == (protocol or "tcp")
        for port, _, kind in (each.partition("/") for each in there)
    )


def _check_port(name: str, value: str) -> None:
    if not _PORT.fullmatch(value):
        raise InvalidOption(
            f"invalid filter '{name}={value}'", hint=f"for example {name}=80/tcp or {name}=80-90"
        )


class _Births:
    """Tells when images were made, each asked for once."""

    def __init__(self, engine: EngineAPI) -> None:
        self._engine = engine
        self._known: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = _age(self._engine.images.inspect(name).config.created)
        return self._known[name]


def _age(created: datetime | None) -> int:
    """Return a moment in nanoseconds; what does not say when it was made is older than all."""
    return unix_ns(created) if created else -1


def _stars(hit: SearchHit, value: str) -> bool:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise InvalidOption(f"invalid filter 'stars={value}'", hint="for example stars=10")
    return hit.stars >= int(value)


_HITS: Mapping[str, Callable[[SearchHit, str], bool]] = {
    "is-official": lambda hit, value: hit.is_official == _truth("is-official", value),
    "is-automated": lambda hit, value: hit.is_automated == _truth("is-automated", value),
    "stars": _stars,
}


class _Ancestry:
    """Tells containers whose image is another one, or stands on all its layers."""

    def __init__(self, engine: EngineAPI) -> None:
        self._engine = engine
        self._layers: dict[str, tuple[str, ...] | None] = {}

    def __call__(self, container: ContainerSummary, name: str) -> bool:
        if name == container.image:
            return True
        ancestor = self._of(name)
        if not ancestor:
            return False
        own = self._of(str(container.image_id)) or ()
        return own[: len(ancestor)] == ancestor

    def _of(self, name: str) -> tuple[str, ...] | None:
        """Return the layers of an image, None if it is not here."""
        if name not in self._layers:
            try:
                config = self._engine.images.inspect(name).config
                self._layers[name] = tuple(str(each) for each in config.diff_ids)
            except NotFound:
                self._layers[name] = None
            except OcimagicError as err:
                raise InvalidOption(f"filter ancestor={name!r} is no image", why=err.what) from err
        return self._layers[name]
