"""Docker's links, from before networks: in the bridge a container is told of others at its start.

Who is linked is known by its ID, so names may change; who is gone is no link any more.  In
networks of one's own, links are more names that only one container knows, see ``network``.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.bundle.directory import CONFIG_NAME
from ocimagic.bundle.linked import Linked, link_environment, link_hosts
from ocimagic.engine.addresses import shown_address
from ocimagic.engine.connected import places
from ocimagic.engine.known_hosts import tell_links
from ocimagic.engine.record import Document
from ocimagic.engine.register import STATE_NAME, read_json
from ocimagic.errors import ContainerNotFound, InvalidOption, InvalidState
from ocimagic.home.location import write_atomic
from ocimagic.model.network import BRIDGE
from ocimagic.model.options import NetworkMode
from ocimagic.model.state import ALIVE
from ocimagic.spec.runtime import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions
    from ocimagic.store.containers import ContainerRecord

_ADDED_NAME = "linked.json"  # which variables of the bundle are those of links
_OF_OTHERS = {
    NetworkMode.HOST: "host type networking",
    NetworkMode.CONTAINER: "container type network",
}


def find_linked(containers: Register, options: RunOptions) -> dict[str, str]:
    """Return the IDs of the containers that a new one is linked to, by what it calls them.

    Raises:
        InvalidOption: one is not there, or has no network that could be shared.
    """
    if options.links and (kind := _OF_OTHERS.get(options.network)):
        raise InvalidOption(
            f"conflicting options: {kind} can't be used with links",
            why="there is no network in which only this container would know them",
        )
    if options.networks and options.networks[0].network != BRIDGE:
        return {}  # they are names in that network
    found: dict[str, str] = {}
    for name, alias in options.links:
        try:
            record = containers.find(name)
            while owner := Document.decode(record.document).joined.get("network"):
                record = containers.find(owner)
        except ContainerNotFound as err:
            raise InvalidOption(f"could not get container for {name}", why=err.what) from err
        if Document.decode(record.document).network == NetworkMode.HOST.value:
            raise InvalidOption(
                f"container {name} cannot be linked to", why="it is in the machine's own network"
            )
        found.setdefault(alias, record.container_id)
    return found


def links_of(containers: Register, document: Document) -> Iterator[tuple[ContainerRecord, str]]:
    """Yield the containers that one is linked to and still are there, with what it calls them."""
    for alias, container_id in document.links.items():
        with suppress(ContainerNotFound):
            yield containers.find(container_id), alias


def linked_as(containers: Register, records: Iterable[ContainerRecord]) -> dict[str, list[str]]:
    """Return what containers are called by others, ``OTHER/NAME``, by their IDs."""
    found: dict[str, list[str]] = {}
    for record in records:
        links = Document.decode(record.document).links
        if links and not containers.is_gone(record):
            for alias, container_id in links.items():
                found.setdefault(container_id, []).append(f"{record.name}/{alias}")
    return found


def introduce(containers: Register, record: ContainerRecord, document: Document) -> None:
    """Tell a container that starts in the bridge of those it is linked to.

    Raises:
        InvalidState: one does not run, or is not in the bridge.
    """
    told = [_looked_at(containers, record, *each) for each in links_of(containers, document)]
    directory = containers.directory(record.container_id)
    with (directory / "hosts").open("a", encoding="utf-8") as file:
        file.writelines(line for each in told for line in link_hosts(each))
    path = directory / "bundle" / CONFIG_NAME
    config = RuntimeConfig.parse(path.read_bytes())
    before = set(linked_env(containers, record))
    own = [each for each in config.process.env if each not in before]
    names = {each.partition("=")[0] for each in own}  # what was asked for stays as it is
    added = [
        entry
        for each in told
        for entry in link_environment(record.name, each)
        if entry.partition("=")[0] not in names
    ]
    note = directory / _ADDED_NAME
    # Whenever this is broken off, all of them can be told from the container's own.
    write_atomic(note, json.dumps([*before, *added]).encode(), durable=False)
    process = replace(config.process, env=(*own, *added))
    write_atomic(path, replace(config, process=process).encode(), durable=False)
    write_atomic(note, json.dumps(added).encode(), durable=False)


def linked_env(containers: Register, record: ContainerRecord) -> tuple[str, ...]:
    """Return what links have put into the environment of a container's bundle."""
    try:
        raw = (containers.directory(record.container_id) / _ADDED_NAME).read_bytes()
    except FileNotFoundError:
        return ()
    return tuple(json.loads(raw))


def _looked_at(
    containers: Register, me: ContainerRecord, record: ContainerRecord, alias: str
) -> Linked:
    document = Document.decode(record.document)
    if containers.status(record)[0] not in ALIVE:
        raise InvalidState(
            f"Cannot link to a non running container: /{record.name} AS /{me.name}/{alias}",
            hint=f"%container_start {record.name}",
        )
    addresses = _addresses(containers, record)
    if not addresses:
        raise InvalidState(
            f"Cannot link to /{record.name}, as it does not belong to the default network",
            hint="in a network of their own containers find each other by name",
        )
    published = (f"{each.container_port}/{each.protocol}" for each in document.options.ports)
    return Linked(
        alias=alias,
        name=record.name,
        hostname=document.hostname,
        addresses=addresses,
        ports=tuple(dict.fromkeys((*document.exposed_ports, *published))),
        env=_asked_env(containers, record, document),
    )


def _asked_env(
    containers: Register, record: ContainerRecord, document: Document
) -> tuple[str, ...]:
    """Return the image's variables and those asked for, without what every container gets."""
    asked = {each.partition("=")[0] for each in document.options.env}
    usual = {"HOSTNAME", "TERM"} if document.options.tty else {"HOSTNAME"}
    linked = set(linked_env(containers, record))
    return tuple(
        each
        for each in containers.runtime_config(record).process.env
        if each not in linked and each.partition("=")[0] not in usual - asked
    )


def _addresses(containers: Register, record: ContainerRecord) -> tuple[str, ...]:
    """Return where a container is in the bridge."""
    state = read_json(containers.directory(record.container_id) / STATE_NAME) or {}
    return tuple(
        shown_address(address)
        for place in places(record, state)
        if place.network == BRIDGE
        for address in place.addresses
    )


def announce(containers: Register, record: ContainerRecord) -> None:
    """Tell those that run and are linked to a container where it is since it was started again."""
    document = Document.decode(record.document)
    for other in containers.store.containers.all():
        links = Document.decode(other.document).links
        aliases = [each for each, linked in links.items() if linked == record.container_id]
        if not aliases or containers.status(other)[0] not in ALIVE:
            continue
        addresses = _addresses(containers, record)
        lines = {
            alias: link_hosts(
                Linked(
                    alias=alias,
                    name=record.name,
                    hostname=document.hostname,
                    addresses=addresses,
                )
            )
            for alias in aliases
        }
        with containers.locked(other):
            tell_links(containers.directory(other.container_id), lines)


def unlink(containers: Register, name: str) -> None:
    """Take a link away, ``CONTAINER/NAME``: who it leads to stays.

    Raises:
        InvalidOption: it is the name of a container.
        ContainerNotFound: there is no such link.
    """
    parent, _, alias = name.strip("/").rpartition("/")
    if not parent:
        containers.find(name)
        raise InvalidOption(
            f"Conflict, cannot remove the default link name of the container {name}",
            hint="write CONTAINER/NAME",
        )
    record = containers.find(parent)
    with containers.locked(record):
        document = Document.decode(containers.find(record.container_id).document)
        if alias not in document.links:
            raise ContainerNotFound(f"No such container: {name}")
        rest = {each: linked for each, linked in document.links.items() if each != alias}
        asked = tuple(each for each in document.options.links if each[1] != alias)
        document = replace(document, links=rest, options=replace(document.options, links=asked))
        containers.store.containers.rewrite(record.container_id, document.encode())
        if containers.status(record)[0] in ALIVE:
            tell_links(containers.directory(record.container_id), {alias: []})
