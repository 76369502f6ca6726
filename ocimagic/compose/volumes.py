"""``volumes`` of a service: the short form made long, and the long one as a mount.

Spec: Compose Specification 05-services.md, "volumes".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocimagic.compose.quantity import bytes_of
from ocimagic.compose.tree import Map, Node
from ocimagic.model.options import BindRecursion, TmpfsMount, VolumeMount

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_RECURSIONS = {
    "enabled": BindRecursion.ENABLED,
    "disabled": BindRecursion.DISABLED,
    "writable": BindRecursion.WRITABLE,
    "readonly": BindRecursion.READONLY,
}
_CONSISTENCIES = ("consistent", "cached", "delegated")
_HINT = "write NAME:/target, ./directory:/target or /target, and :ro if it is to be so"


def long_volume(node: Node) -> Map:
    """Return the long form of one entry.

    Raises:
        InvalidDocument: it cannot be understood.
    """
    if isinstance(node.value, Map):
        return _filled(node.value)
    parts = node.text().split(":")
    if not all(parts) or len(parts) > 3:
        raise node.wrong(f"{node.text()!r} cannot be understood", hint=_HINT)
    source, target = ("", parts[0]) if len(parts) == 1 else parts[:2]
    if not target.startswith("/"):
        raise node.wrong(f"the target {target!r} is not absolute", hint=_HINT)
    is_bind = source.startswith(("/", ".", "~"))
    made = Map(node.place)
    made.put("type", "bind" if is_bind else "volume")
    if source:
        made.put("source", source)
    made.put("target", os.path.normpath(target))
    own = Map(node.place)
    if is_bind:
        own.put("create_host_path", value=True)
    if len(parts) == 3:
        _mode(node, parts[2], made, own)
    if own:
        made.put("bind" if is_bind else "volume", own)
    return made


def _mode(node: Node, mode: str, made: Map, own: Map) -> None:
    """Take ``ro,z,rslave,nocopy``."""
    for word in mode.split(","):
        if word in ("ro", "rw"):
            if word == "ro":
                made.put("read_only", value=True)
        elif word in ("z", "Z") and made["type"] == "bind":
            own.put("selinux", word)
        elif word in _PROPAGATIONS and made["type"] == "bind":
            own.put("propagation", word)
        elif word == "nocopy" and made["type"] == "volume":
            own.put("nocopy", value=True)
        elif word not in (*_CONSISTENCIES, "z", "Z"):
            raise node.wrong(f"mode {word!r} of {node.text()!r} is not understood", hint=_HINT)


def _filled(value: Map) -> Map:
    made = value.copied()
    if isinstance(made.get("target"), str):
        made.put("target", os.path.normpath(str(made["target"])))
    return made


def mount(node: Node, names: Mapping[str, str]) -> VolumeMount | TmpfsMount:
    """Return what one entry in its long form mounts.

    Args:
        node: the entry.
        names: of the project's volumes, by what the file calls them.

    Raises:
        InvalidDocument: it cannot be understood, or names a volume that is not there.
        NotBuiltYet: it is of a type that we do not have.
    """
    type_ = node.get("type")
    word = type_.word_of(("bind", "volume", "tmpfs", "image", "npipe", "cluster")) if type_ else ""
    target = node.get("target")
    if not word or target is None:
        raise node.wrong("a volume needs a type and a target", hint=_HINT)
    if not target.text().startswith("/") or target.text().strip("/") == "":
        raise target.wrong(f"{target.text()!r} is no directory to mount at", hint=_HINT)
    if type_ and word in ("image", "npipe", "cluster"):
        raise type_.refused(f"there are no volumes of type {word}")
    if word == "tmpfs":
        return _tmpfs(node, target.text())
    if word == "bind":
        return _bind(node, target.text())
    return _volume(node, target.text(), names)


def _is_read_only(node: Node) -> bool:
    found = node.get("read_only")
    return bool(found and found.truth())


def _tmpfs(node: Node, target: str) -> TmpfsMount:
    words = ["ro"] if _is_read_only(node) else []
    if own := node.get("tmpfs"):
        if size := own.get("size"):
            words.append(f"size={bytes_of(size)}")
        if mode := own.get("mode"):
            number = mode.value if isinstance(mode.value, int) else int(mode.text(), 8)
            words.append(f"mode={number:o}")
    return TmpfsMount(target=target, options=tuple(words))


def _bind(node: Node, target: str) -> VolumeMount:
    source = node.get("source")
    if source is None:
        raise node.wrong("a bind has no source", hint="source: ./directory")
    own = node.get("bind") or Node(None, node.place, node.path)
    propagation, recursive, label = (
        own.get("propagation"), own.get("recursive"), own.get("selinux"),
    )  # fmt: skip
    return VolumeMount(
        source=source.text(),
        target=target,
        read_only=_is_read_only(node),
        propagation=propagation.word_of(_PROPAGATIONS) if propagation else "",
        recursion=_RECURSIONS[recursive.word_of(_RECURSIONS)]
        if recursive
        else BindRecursion.ENABLED,
        relabel=label.word_of(("z", "Z")) if label else "",
    )


def _volume(node: Node, target: str, names: Mapping[str, str]) -> VolumeMount:
    source = node.get("source")
    own = node.get("volume") or Node(None, node.place, node.path)
    no_copy, part, labels = own.get("nocopy"), own.get("subpath"), own.get("labels")
    if source and source.text() not in names:
        known = ", ".join(names) or "none"
        raise source.wrong(
            f"there is no volume {source.text()!r}",
            why=f"the file's volumes: {known}",
            hint=f"add it under volumes:, or write ./{source.text()} for a directory",
        )
    return VolumeMount(
        target=target,
        read_only=_is_read_only(node),
        kept=True,
        name=names[source.text()] if source else "",
        no_copy=bool(no_copy and no_copy.truth()),
        part=part.text() if part else "",
        labels={key: each.text() for key, each in labels.fields()} if labels else {},
    )


def makes_source(node: Node) -> bool:
    """Tell whether the source of a bind is made where there is none."""
    own = node.get("bind")
    asked = own.get("create_host_path") if own else None
    # Of the long form too: compose-spec says true is the default.
    return asked.truth() if asked else True
