"""One form for each thing: what can be written short is written long.

Short and long form mean the same, so that files can be merged key by key.  Paths become
absolute here, since each file's start from its own place.

Spec: Compose Specification 05-services.md and build.md, "Short syntax".
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ocimagic.compose.ports import long_ports
from ocimagic.compose.tree import Map, Node, Seq, Value
from ocimagic.compose.volumes import long_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.compose.tree import Place

# Lists of KEY=VALUE that may be mappings.
_PAIRS = ("environment", "labels", "annotations", "sysctls")
_BUILD_PAIRS = ("args", "labels", "additional_contexts")
# Lists that may be one text.
_LISTS = ("tmpfs", "dns", "dns_search", "label_file")
_DEFAULT_SECTIONS = ("networks", "volumes")


def normal(root: Map, directory: str) -> Map:
    """Return a file in its long form.

    Args:
        root: as read, its variables put in.
        directory: what relative paths start from.
    """
    node = Node(root, root.place)
    made = root.copied()
    if isinstance(root.get("services"), Map):
        made.put("services", _each(node.at("services"), lambda each: _service(each, directory)))
    for section in _DEFAULT_SECTIONS:
        if isinstance(root.get(section), Map):
            made.put(section, _each(node.at(section), _resource))
    for section in ("secrets", "configs"):
        if isinstance(root.get(section), Map):
            made.put(section, _each(node.at(section), lambda each: _file(each, directory)))
    return made


def _each(node: Node, change: Callable[[Node], Value]) -> Map:
    made = node.map().copied()
    for key, each in node.fields():
        made.put(key, change(each))
    return made


def _service(node: Node, directory: str) -> Value:
    """Write one service in its long form."""
    if not isinstance(node.value, Map):
        return node.value
    made = node.value.copied()
    for key, each in node.fields():
        if each.value is not None:
            change = _SERVICE.get(key)
            made.put(key, change(each, directory) if change else each.value)
    return made


def _resource(node: Node) -> Value:
    if not isinstance(node.value, Map):
        return node.value
    made = node.value.copied()
    if node.get("labels"):
        made.put("labels", pairs(node.at("labels")))
    return made


def _file(node: Node, directory: str) -> Value:
    if not isinstance(node.value, Map):
        return node.value
    made = node.value.copied()
    if path := node.get("file"):
        made.put("file", absolute(path.text(), directory))
    if node.get("labels"):
        made.put("labels", pairs(node.at("labels")))
    return made


def absolute(path: str, directory: str) -> str:
    """Return a path as an absolute one; ``~`` is the user's home."""
    return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))


def pairs(node: Node, _directory: str = "") -> Value:
    """Write ``KEY=VALUE`` of a list as keys with values; without ``=`` there is no value."""
    if not isinstance(node.value, Seq):
        return node.value
    made = Map(node.place)
    for each in node.items():
        key, equals, value = each.text().partition("=")
        made.put(key, value if equals else None, each.place)
    return made


def listed(node: Node, _directory: str = "") -> Value:
    """Write one text as a list of it."""
    if isinstance(node.value, Map | Seq):
        return node.value
    return seq(node.place, node.value)


def seq(place: Place, *values: Value) -> Seq:
    """Make a list whose items stand at one place."""
    made = Seq(place)
    for each in values:
        made.add(each, place)
    return made


def _named(node: Node, _directory: str) -> Value:
    """Write a list of names as keys without values: ``networks``."""
    if not isinstance(node.value, Seq):
        return node.value
    made = Map(node.place)
    for each in node.items():
        made.put(each.text(), None, each.place)
    return made


def _depends_on(node: Node, _directory: str) -> Value:
    if not isinstance(node.value, Seq):
        return node.value
    made = Map(node.place)
    for each in node.items():
        condition = Map(each.place)
        condition.put("condition", "service_started")
        made.put(each.text(), condition, each.place)
    return made


def _command(node: Node, _directory: str) -> Value:
    """Split a text as a shell does."""
    if not isinstance(node.value, str):
        return node.value
    try:
        words = shlex.split(node.value)
    except ValueError as err:
        raise node.wrong(f"{node.value!r} cannot be split into words", why=str(err)) from err
    return seq(node.place, *words)


def _health(node: Node, _directory: str) -> Value:
    if not isinstance(node.value, Map):
        return node.value
    made = node.value.copied()
    if isinstance(node.value.get("test"), str):
        test = node.at("test")
        made.put("test", seq(test.place, "CMD-SHELL", test.value))
    return made


def _ports(node: Node, _directory: str) -> Value:
    if not isinstance(node.value, Seq):
        return node.value
    made = Seq(node.place)
    for each in node.items():
        for port in long_ports(each):
            made.add(port, each.place)
    return made


def _volumes(node: Node, directory: str) -> Value:
    if not isinstance(node.value, Seq):
        return node.value
    made = Seq(node.place)
    for each in node.items():
        volume = long_volume(each)
        source = volume.get("source")
        if volume.get("type") == "bind" and isinstance(source, str):
            volume.put("source", absolute(source, directory))
        made.add(volume, each.place)
    return made


def _files(node: Node, _directory: str) -> Value:
    """Write names of secrets or configs as what is taken from them."""
    if not isinstance(node.value, Seq):
        return node.value
    made = Seq(node.place)
    for each in node.items():
        if isinstance(each.value, Map):
            made.add(each.value, each.place)
        else:
            use = Map(each.place)
            use.put("source", each.text())
            made.add(use, each.place)
    return made


def _env_file(node: Node, directory: str) -> Value:
    made = Seq(node.place)
    for each in Node(listed(node), node.place, node.path).items():
        entry = Map(each.place)
        if isinstance(each.value, Map):
            entry = each.value.copied()
        else:
            entry.put("path", each.text())
        if isinstance(entry.get("path"), str):
            entry.put("path", absolute(str(entry["path"]), directory))
        made.add(entry, each.place)
    return made


def _label_file(node: Node, directory: str) -> Value:
    made = Seq(node.place)
    for each in Node(listed(node), node.place, node.path).items():
        made.add(absolute(each.text(), directory), each.place)
    return made


def _build(node: Node, directory: str) -> Value:
    made = Map(node.place)
    if isinstance(node.value, Map):
        made = node.value.copied()
        for key in _BUILD_PAIRS:
            if node.get(key):
                made.put(key, pairs(node.at(key)))
        if node.get("secrets"):
            made.put("secrets", _files(node.at("secrets"), directory))
        if node.get("ssh"):
            made.put("ssh", listed(_as_pairs(node.at("ssh"))))
        if node.get("extra_hosts"):
            made.put("extra_hosts", _hosts(node.at("extra_hosts"), directory))
    else:
        made.put("context", node.text())
    if not isinstance(made.get("context", "."), str):
        return made
    context = str(made.get("context", "."))
    if "://" not in context and not context.startswith("git@"):
        made.put("context", absolute(context, directory))
    return made


def _as_pairs(node: Node) -> Node:
    """Write keys with values as a list of ``KEY=VALUE``."""
    if not isinstance(node.value, Map):
        return node
    made = Seq(node.place)
    for key, each in node.fields():
        made.add(key if each.value is None else f"{key}={each.text()}", each.place)
    return Node(made, node.place, node.path)


def _hosts(node: Node, _directory: str) -> Value:
    """Write each host as ``NAME=ADDRESS``."""
    made = Seq(node.place)
    if isinstance(node.value, Map):
        for key, each in node.fields():
            for one in Node(listed(each), each.place, each.path).items():
                made.add(f"{key}={one.text()}", each.place)
        return made
    for each in node.items():
        text = each.text()
        separator = "=" if "=" in text else ":"
        name, found, address = text.partition(separator)
        if not found or not address:
            raise each.wrong(f"{text!r} names no address", hint="write NAME=ADDRESS")
        made.add(f"{name}={address.removeprefix('[').removesuffix(']')}", each.place)
    return made


def _extends(node: Node, directory: str) -> Value:
    made = Map(node.place)
    if isinstance(node.value, Map):
        made = node.value.copied()
        if isinstance(made.get("file"), str):
            made.put("file", absolute(str(made["file"]), directory))
    else:
        made.put("service", node.text())
    return made


def _devices(node: Node, _directory: str) -> Value:
    if not isinstance(node.value, Seq):
        return node.value
    made = Seq(node.place)
    for each in node.items():
        if isinstance(each.value, Map):
            made.add(each.value, each.place)
            continue
        source, *rest = each.text().split(":")
        device = Map(each.place)
        device.put("source", source)
        device.put("target", rest[0] if rest else source)
        device.put("permissions", rest[1] if len(rest) > 1 else "rwm")
        made.add(device, each.place)
    return made


def _deploy(node: Node, _directory: str) -> Value:
    if not isinstance(node.value, Map) or not node.get("labels"):
        return node.value
    made = node.value.copied()
    made.put("labels", pairs(node.at("labels")))
    return made


_SERVICE: dict[str, Callable[[Node, str], Value]] = {
    **dict.fromkeys(_PAIRS, pairs),
    **dict.fromkeys(_LISTS, listed),
    "label_file": _label_file,
    "networks": _named,
    "depends_on": _depends_on,
    "command": _command,
    "entrypoint": _command,
    "healthcheck": _health,
    "ports": _ports,
    "volumes": _volumes,
    "secrets": _files,
    "configs": _files,
    "env_file": _env_file,
    "build": _build,
    "extra_hosts": _hosts,
    "extends": _extends,
    "devices": _devices,
    "deploy": _deploy,
}
