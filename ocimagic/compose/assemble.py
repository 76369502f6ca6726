"""The merged file becomes a project: networks, volumes, services, and which of them count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.compose.model import DEFAULT_NETWORK, Network, Project, Service, Volume
from ocimagic.compose.service import Context, service_of
from ocimagic.compose.tree import Map, Node, plain
from ocimagic.errors import BadInput, HostLacks, InvalidDocument, InvalidOption
from ocimagic.model.network import NetworkOptions, Subnet
from ocimagic.model.volume import (
    check_driver_options,
    check_volume_driver,
    check_volume_name,
)
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MTU = "com.docker.network.driver.mtu"


def project_of(
    root: Map,
    *,
    name: str,
    directory: str,
    files: Sequence[str],
    profiles: Iterable[str],
    env: Mapping[str, str],
) -> Project:
    """Return a project.

    Args:
        root: all files merged, in their long form.
        name: of the project.
        directory: what its paths start from.
        files: it came from.
        profiles: that are asked for; ``*`` is all.
        env: the caller's variables and those of ``.env``.

    Raises:
        InvalidDocument: it cannot be understood, or names what is not there.
        NotBuiltYet: it asks for what we do not do.
    """
    node = Node(root, root.place)
    networks = _networks(node, name)
    volumes = _volumes(node, name)
    found = node.get("services")
    if not found or not found.map():
        raise node.wrong(
            "there are no services", hint="services:, and a name with image: or build:"
        )
    context = Context(
        services=frozenset(found.map()),
        networks=frozenset(networks),
        volumes={key: each.name for key, each in volumes.items()},
        secrets=_definitions(node, "secrets"),
        configs=_definitions(node, "configs"),
        env=env,
    )
    services, enabled = _services(found, context, frozenset(profiles))
    return Project(
        name=name,
        directory=directory,
        files=tuple(files),
        services=services,
        enabled=enabled,
        networks=_used(networks, services, enabled),
        volumes=volumes,
        secrets=context.secrets,
        document=_document(root, name),
        env=env,
    )


def _services(
    node: Node, context: Context, profiles: frozenset[str]
) -> tuple[dict[str, Service], frozenset[str]]:
    """Return all services, and the names of those that no profile leaves out."""
    services = {key: service_of(key, each, context) for key, each in node.fields()}
    _check_circle(node, services)
    return services, frozenset(n for n, s in services.items() if _is_enabled(s, profiles))


def _is_enabled(service: Service, wanted: frozenset[str]) -> bool:
    return not service.profiles or "*" in wanted or bool(wanted & set(service.profiles))


def _document(root: Map, name: str) -> dict[str, object]:
    found = plain(root)
    assert isinstance(found, dict)
    return {"name": name, **{k: v for k, v in found.items() if k not in ("name", "version")}}


def _definitions(node: Node, section: str) -> dict[str, Node]:
    found = node.get(section)
    return dict(found.fields()) if found else {}


# -- networks and volumes ----------------------------------------------------------------


def _external(node: Node) -> tuple[bool, str]:
    """Return whether it is made elsewhere, and the name that the older form gives it."""
    found = node.get("external")
    if found is None:
        return False, ""
    if isinstance(found.value, Map):
        named = found.get("name")
        return True, named.text() if named else ""
    return found.truth(), ""


def _networks(node: Node, project: str) -> dict[str, Network]:
    found = node.get("networks")
    made = {key: _network(key, each, project) for key, each in found.fields()} if found else {}
    if DEFAULT_NETWORK not in made:
        options = NetworkOptions(name=f"{project}_{DEFAULT_NETWORK}")
        made[DEFAULT_NETWORK] = Network(key=DEFAULT_NETWORK, options=options)
    return made


def _network(key: str, node: Node, project: str) -> Network:
    external, older = _external(node)
    named = node.get("name")
    name = named.text() if named else older or (key if external else f"{project}_{key}")
    driver, mtu = node.get("driver"), 0
    options = _texts_of(node, "driver_opts")
    if _MTU in options:
        if not options[_MTU].isdigit():
            raise node.at("driver_opts").at(_MTU).wrong("expected a whole number")
        mtu = int(options[_MTU])
    word = driver.text() if driver else "bridge"
    if driver and word not in ("bridge", "default"):
        raise driver.refused(f"there is no network driver {word!r}", hint="write bridge")
    if (ipv4 := node.get("enable_ipv4")) and not ipv4.truth():
        raise ipv4.refused("each network has addresses of IPv4")
    return Network(
        key=key,
        external=external,
        options=NetworkOptions(
            name=name,
            subnets=_subnets(node),
            ipv6=_truth(node, "enable_ipv6"),
            internal=_truth(node, "internal"),
            attachable=_truth(node, "attachable"),
            mtu=mtu,
            labels=_texts_of(node, "labels"),
            options=options,
        ),
    )


def _truth(node: Node, key: str) -> bool:
    found = node.get(key)
    return bool(found and found.truth())


def _texts_of(node: Node, key: str) -> dict[str, str]:
    found = node.get(key)
    return {k: "" if v.value is None else v.text() for k, v in found.fields()} if found else {}


def _subnets(node: Node) -> tuple[Subnet, ...]:
    ipam = node.get("ipam")
    driver = ipam.get("driver") if ipam else None
    if driver and driver.text() != "default":
        raise driver.refused("there is one way here to give out addresses", hint="leave it out")
    config = ipam.get("config") if ipam else None
    made = []
    for each in config.items() if config else ():
        subnet = each.get("subnet")
        if subnet is None:
            raise each.wrong("subnet is missing", hint="subnet: 172.28.0.0/16")
        gateway, part = each.get("gateway"), each.get("ip_range")
        made.append(
            Subnet(
                subnet=subnet.text(),
                gateway=gateway.text() if gateway else "",
                ip_range=part.text() if part else "",
                reserved=_texts_of(each, "aux_addresses"),
            )
        )
    return tuple(made)


def _used(
    networks: Mapping[str, Network], services: Mapping[str, Service], enabled: frozenset[str]
) -> dict[str, Network]:
    """Leave out the project's own network where no service is in it."""
    keys = {key for name in enabled for key, _ in services[name].networks}
    return {k: each for k, each in networks.items() if k != DEFAULT_NETWORK or k in keys}


def _volumes(node: Node, project: str) -> dict[str, Volume]:
    found = node.get("volumes")
    return {key: _volume(key, each, project) for key, each in found.fields()} if found else {}


def _volume(key: str, node: Node, project: str) -> Volume:
    external, older = _external(node)
    named, driver = node.get("name"), node.get("driver")
    name = named.text() if named else older or (key if external else f"{project}_{key}")
    options = _texts_of(node, "driver_opts")
    try:
        check_volume_driver(driver.text() if driver else "")
        check_volume_name(name)
        check_driver_options(options)
    except (BadInput, HostLacks) as err:
        raise node.wrong(err.what, why=err.why, hint=err.hint) from err
    return Volume(
        key=key,
        name=name,
        labels=_texts_of(node, "labels"),
        options=options,
        external=external,
    )


# -- which services ----------------------------------------------------------------------


def _check_circle(node: Node, services: Mapping[str, Service]) -> None:
    """See that no service needs itself.

    Raises:
        InvalidDocument: some do; names them.
    """
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            circle = " → ".join((*chain[chain.index(name) :], name))
            raise _circle(node.at(name), circle)
        if name not in done:
            for each in services[name].needs:
                visit(each.service, (*chain, name))
            done.add(name)

    for name in services:
        visit(name, ())


def _circle(node: Node, circle: str) -> InvalidDocument:
    return node.wrong("services need each other in a circle", why=circle)


def _check_names(project: Project, names: Sequence[str]) -> None:
    """See that services are there.

    Raises:
        InvalidOption: one is not.
    """
    for name in names:
        if name not in project.services:
            near = nearest(name, project.services)
            known = ", ".join(sorted(project.services))
            raise InvalidOption(
                f"there is no service {name!r}",
                hint=f"did you mean {near}?" if near else f"the services are {known}",
            )


def chosen(project: Project, names: Sequence[str], *, with_needs: bool = True) -> Project:
    """Return a project that has only some services enabled.

    Args:
        project: the whole.
        names: those that were named; none is all that are enabled.
        with_needs: what they need, too.

    Raises:
        InvalidOption: there is no such service.
    """
    _check_names(project, names)
    # Who names a service asks for its profiles, but not for those of what it needs.
    wanted = set(names) or set(project.enabled)
    left = list(wanted) if with_needs else []
    while left:
        service = project.services[left.pop()]
        for each in service.needs:
            if each.service in wanted:
                continue
            if each.service not in project.enabled and project.services[each.service].profiles:
                own = set(project.services[each.service].profiles)
                if not own & set(service.profiles):
                    if not each.required:
                        continue
                    raise InvalidOption(
                        f"service {service.name} needs {each.service}, whose profile is not asked "
                        "for",
                        hint=f"--profile {min(own)}",
                    )
            wanted.add(each.service)
            left.append(each.service)
    return replace(project, enabled=frozenset(wanted))
