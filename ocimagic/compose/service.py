"""One service in its long form becomes types."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocimagic.compose import runtime_options
from ocimagic.compose.model import (
    DEFAULT_NETWORK,
    Condition,
    Dependency,
    FileUse,
    Pulling,
    Service,
)
from ocimagic.compose.tree import Node, plain
from ocimagic.compose.volumes import makes_source
from ocimagic.errors import BadInput
from ocimagic.model.network import NetworkChoice, check_mac
from ocimagic.model.options import VolumeMount
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_PULLING = {
    "missing": Pulling.MISSING,
    "if_not_present": Pulling.MISSING,
    "always": Pulling.ALWAYS,
    "never": Pulling.NEVER,
    "build": Pulling.BUILD,
}
_SECRETS = "/run/secrets"
_SHARED = ("pid", "ipc")


@dataclass(frozen=True, slots=True)
class Context:
    """What a service may name.

    Attributes:
        services: names of all services.
        networks: of the file.
        volumes: names by what the file calls them.
        secrets: definitions by name.
        configs: likewise.
        env: the caller's variables and those of ``.env``.
    """

    services: frozenset[str]
    networks: frozenset[str]
    volumes: Mapping[str, str]
    secrets: Mapping[str, Node]
    configs: Mapping[str, Node]
    env: Mapping[str, str]


def service_of(name: str, node: Node, context: Context) -> Service:
    """Return a service.

    Args:
        name: of the service.
        node: in its long form.
        context: what it may name.

    Raises:
        InvalidDocument: it cannot be understood, or names what is not there.
        NotBuiltYet: it asks for what we do not do.
    """
    image, build = node.get("image"), node.get("build")
    if image is None and build is None:
        raise node.wrong("neither image nor build is said", hint="image: NAME, or build: .")
    options = runtime_options.options_of(node, context.volumes, context.env)
    binds, files = _uses(node, context)
    container_name = node.get("container_name")
    made = Service(
        name=name,
        options=replace(options, volumes=(*options.volumes, *binds)),
        document=_document(node),
        build=build,
        image=image.text() if image else None,
        pulling=_pulling(node),
        depends_on=_depends_on(node, context),
        networks=_networks(node, context),
        shares=_shares(node, context),
        volumes_from=_volumes_from(node, context),
        profiles=_texts(node, "profiles"),
        replicas=_replicas(node),
        files=files,
        makes=_makes(node),
        container_name=container_name.text() if container_name else "",
        attached=_attached(node),
    )
    _check_ports(node, made)
    if container_name and made.replicas > 1:
        raise container_name.wrong(
            f"{made.replicas} containers cannot have one name", hint="leave container_name out"
        )
    return made


def _check_ports(node: Node, service: Service) -> None:
    """See that published ports have a network that leads to them.

    Raises:
        InvalidDocument: they have none.
    """
    mode, ports = node.get("network_mode"), node.get("ports")
    if not ports or not service.options.ports:
        return
    if mode and mode.text() not in ("host", "bridge", "default"):
        raise ports.wrong(
            f"ports cannot be published with network_mode: {mode.text()}",
            hint="publish them where the network is"
            if mode.text().startswith("service:")
            else "leave network_mode or ports out",
        )
    if not mode and not service.networks:
        raise ports.wrong("ports cannot be published without a network", hint="networks: [default]")


def _document(node: Node) -> dict[str, object]:
    found = plain(node.value)
    assert isinstance(found, dict)
    return found


def _texts(node: Node, key: str) -> tuple[str, ...]:
    found = node.get(key)
    return found.texts() if found else ()


def _attached(node: Node) -> bool:
    found = node.get("attach")
    return found.truth() if found else True


def _pulling(node: Node) -> Pulling:
    found = node.get("pull_policy")
    if found is None:
        return Pulling.MISSING
    word = found.text()
    if word in ("daily", "weekly", "refresh") or word.startswith("every_"):
        raise found.refused("when an image was pulled is not kept", hint="always, missing or never")
    return _PULLING[found.word_of(_PULLING)]


def _replicas(node: Node) -> int:
    """Return how many containers: ``scale``, or ``deploy.replicas``."""
    scale, deploy = node.get("scale"), node.get("deploy")
    replicas = deploy.get("replicas") if deploy else None
    if deploy and (mode := deploy.get("mode")) and mode.text() != "replicated":
        known = ("replicated", "global", "replicated-job", "global-job")
        if mode.word_of(known) != "global":
            raise mode.refused("jobs belong to a cluster", hint="compose run runs a service once")
    if scale and replicas and scale.whole() != replicas.whole():
        raise scale.wrong(
            f"{scale.whole()} here, and {replicas.whole()} in deploy.replicas", hint="say it once"
        )
    said = scale or replicas
    return said.whole(least=0) if said else 1


def _depends_on(node: Node, context: Context) -> tuple[Dependency, ...]:
    found = node.get("depends_on")
    made = []
    for name, each in found.fields() if found else ():
        required = each.get("required")
        dependency = Dependency(
            service=name,
            condition=_condition(each),
            restart=bool((restart := each.get("restart")) and restart.truth()),
            required=required.truth() if required else True,
        )
        if name in context.services:
            made.append(dependency)
        elif dependency.required:
            raise _no_service(each, name, context)
    return tuple(made)


def _condition(node: Node) -> Condition:
    found = node.get("condition")
    return Condition(found.word_of([c.value for c in Condition])) if found else Condition.STARTED


def _no_service(node: Node, name: str, context: Context) -> BadInput:
    near = nearest(name, context.services)
    known = ", ".join(sorted(context.services))
    hint = f"did you mean {near}?" if near else f"the services are {known}"
    return node.wrong(f"there is no service {name!r}", hint=hint)


def _networks(node: Node, context: Context) -> tuple[tuple[str, NetworkChoice], ...]:
    """Return the networks by their importance; the first one gives the way out."""
    found = node.get("networks")
    if node.get("network_mode"):
        if found:
            raise found.wrong("networks and network_mode do not go together", hint="leave one out")
        return ()
    if found is None:
        # An empty list is no network at all; nothing said is the project's own.
        said = node.map().get("networks", "nothing")
        return (
            () if said == [] else ((DEFAULT_NETWORK, _with_mac(node, NetworkChoice(network=""))),)
        )
    made = []
    for name, each in found.fields():
        if name not in context.networks:
            near = nearest(name, context.networks)
            hint = f"did you mean {near}?" if near else f"add {name}: under networks:"
            raise each.wrong(f"there is no network {name!r}", hint=hint)
        made.append((_weight(each), name, _choice(each)))
    made.sort(key=lambda each: each[:2])
    choices = [(name, choice) for _, name, choice in made]
    if choices:
        choices[0] = (choices[0][0], _with_mac(node, choices[0][1]))
    return tuple(choices)


def _weight(node: Node) -> tuple[int, int]:
    ways = (node.get("gw_priority"), node.get("priority"))
    first, second = (-each.whole() if each else 0 for each in ways)
    return first, second


def _choice(node: Node) -> NetworkChoice:
    def text(key: str) -> str:
        found = node.get(key)
        return found.text() if found else ""

    return NetworkChoice(
        network="",
        aliases=_texts(node, "aliases"),
        ipv4=text("ipv4_address"),
        ipv6=text("ipv6_address"),
        mac=_mac(found) if (found := node.get("mac_address")) else "",
    )


def _with_mac(node: Node, choice: NetworkChoice) -> NetworkChoice:
    found = node.get("mac_address")
    return replace(choice, mac=_mac(found)) if found and not choice.mac else choice


def _mac(node: Node) -> str:
    try:
        return check_mac(node.text())
    except BadInput as err:
        raise node.wrong(err.what, hint=err.hint) from err


def _shares(node: Node, context: Context) -> dict[str, str]:
    """Return what it shares with other services of the file."""
    made = {}
    for key in ("network_mode", *_SHARED):
        found = node.get(key)
        if found and found.text().startswith("service:"):
            name = found.text().removeprefix("service:")
            if name not in context.services:
                raise _no_service(found, name, context)
            made["network" if key == "network_mode" else key] = name
    return made


def _volumes_from(node: Node, context: Context) -> tuple[tuple[str, bool], ...]:
    """Return the services whose volumes it has too, and whether for reading only."""
    found = node.get("volumes_from")
    made = []
    for each in found.items() if found else ():
        if each.text().startswith("container:"):
            continue
        name, _, mode = each.text().partition(":")
        if name not in context.services:
            raise _no_service(each, name, context)
        made.append((name, mode == "ro"))
    return tuple(made)


def _makes(node: Node) -> tuple[str, ...]:
    found = node.get("volumes")
    sources = []
    for each in found.items() if found else ():
        source = each.get("source")
        if each.map().get("type") == "bind" and source and makes_source(each):
            sources.append(source.text())
    return tuple(sources)


def _uses(node: Node, context: Context) -> tuple[tuple[VolumeMount, ...], tuple[FileUse, ...]]:
    """Return its secrets and configs: files that are mounted, and what is copied in.

    A file as it is is mounted, as docker compose does; one that is to have another owner or
    mode is copied, and so is what is no file.
    """
    binds, files = [], []
    for kind, definitions in (("secrets", context.secrets), ("configs", context.configs)):
        found = node.get(kind)
        for each in found.items() if found else ():
            use = _use(each, kind, definitions)
            file = use.source.get("file")
            is_plain = not any(each.get(key) for key in ("uid", "gid", "mode"))
            if file and is_plain:
                binds.append(VolumeMount(source=file.text(), target=use.target, read_only=True))
            else:
                files.append(use)
    return tuple(binds), tuple(files)


def _use(node: Node, kind: str, definitions: Mapping[str, Node]) -> FileUse:
    source = node.get("source")
    if source is None:
        raise node.wrong("source is missing", hint="source: NAME")
    name = source.text()
    if name not in definitions:
        near = nearest(name, definitions)
        hint = f"did you mean {near}?" if near else f"add {name}: under {kind}:"
        raise source.wrong(f"there is no such entry in {kind}: {name!r}", hint=hint)
    definition = definitions[name]
    external = definition.get("external")
    if external and (not isinstance(external.value, bool) or external.truth()):
        raise external.refused(
            "only a swarm keeps secrets and configs outside of a file",
            hint="file:, environment: or content: bring it here",
        )
    target = node.get("target")
    room = _SECRETS if kind == "secrets" else "/"
    uid, gid, mode = node.get("uid"), node.get("gid"), node.get("mode")
    return FileUse(
        name=name,
        source=definition,
        target=posixpath.join(room, target.text() if target else name),
        uid=uid.whole(least=0) if uid else 0,
        gid=gid.whole(least=0) if gid else 0,
        mode=_mode(mode) if mode else 0o444,
    )


def _mode(node: Node) -> int:
    """Read a mode: a number is what YAML made of it, a text is octal."""
    if isinstance(node.value, int):
        return node.value
    try:
        return int(node.text(), 8)
    except ValueError:
        raise node.wrong(f"{node.text()!r} is no mode", hint='write 0440 or "0440"') from None
