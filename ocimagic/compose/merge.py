"""Files over files, and a service over the one it extends: what becomes of two values.

Keys are merged, lists go on, a text takes the place of another; a few things have rules of
their own.  What is there once only (a port, a mount) is told by what makes it so.

Spec: Compose Specification 13-merge.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.compose.tree import Map, Seq

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.compose.tree import Value

Path = tuple[str, ...]
# Key paths below the root; * stands for any key.
_REPLACED = (
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
)


def merged(under: Map, over: Map, path: Path = ()) -> Map:
    """Return the keys of both; where both have one, ``over`` says how they go together."""
    made = under.copied()
    made.tags = {}
    for key, tag in over.tags.items():
        if tag == "reset":
            made.drop(key)
    for key, value in over.items():
        here = (*path, key)
        place = over.places.get(key, over.place)
        if key not in under or over.tags.get(key) == "override":
            made.put(key, value, place)
        else:
            made.put(key, _value(under[key], value, here), place)
    return made


def settled(value: Value) -> Value:
    """Return a value without what ``!reset`` and ``!override`` left, once nothing is below."""
    if isinstance(value, Map):
        made = value.copied()
        made.tags = {}
        for key, each in value.items():
            made.put(key, settled(each))
        return made
    if isinstance(value, Seq):
        items = Seq(value.place)
        for each, place in value.pairs():
            items.add(settled(each), place)
        return items
    return value


def _value(under: Value, over: Value, path: Path) -> Value:
    if over is None and isinstance(under, Map | Seq):
        return under
    if _matches(path, *_REPLACED):
        return over
    if _matches(path, "services.*.logging") and _driver(under) != _driver(over):
        return over
    if isinstance(under, Map) and isinstance(over, Map):
        return merged(under, over, path)
    if isinstance(under, Seq) and isinstance(over, Seq):
        return _joined(under, over, path)
    return over


def _driver(value: Value) -> Value:
    return value.get("driver") if isinstance(value, Map) else None


def _joined(under: Seq, over: Seq, path: Path) -> Seq:
    """Return both lists; of what may be there once, the later one in the place of the first."""
    identity = next(
        (each for pattern, each in _IDENTITIES.items() if _matches(path, pattern)), None
    )
    made = Seq(under.place)
    index: dict[object, int] = {}
    for value, place in (*under.pairs(), *over.pairs()):
        key = identity(value) if identity else None
        if key is not None and key in index:
            made[index[key]] = value
            made.places[index[key]] = place
            continue
        if key is not None:
            index[key] = len(made)
        made.add(value, place)
    return made


def _matches(path: Path, *patterns: str) -> bool:
    for pattern in patterns:
        words = pattern.split(".")
        if len(words) == len(path) and all(
            word in ("*", part) for word, part in zip(words, path, strict=True)
        ):
            return True
    return False


def _itself(value: Value) -> object:
    return value if isinstance(value, str | int | float) else None


def _port(value: Value) -> object:
    if not isinstance(value, Map):
        return None
    return tuple(str(value.get(key, "")) for key in ("host_ip", "published", "target", "protocol"))


def _target(value: Value) -> object:
    return value.get("target") if isinstance(value, Map) else None


def _path(value: Value) -> object:
    return value.get("path") if isinstance(value, Map) else None


def _use(value: Value) -> object:
    """Tell a secret or config by where it is seen."""
    if not isinstance(value, Map):
        return None
    return str(value.get("target") or value.get("source"))


_IDENTITIES: dict[str, Callable[[Value], object]] = {
    "services.*.ports": _port,
    "services.*.volumes": _target,
    "services.*.devices": _target,
    "services.*.secrets": _use,
    "services.*.configs": _use,
    "services.*.env_file": _path,
    "services.*.build.tags": _itself,
    "services.*.build.platforms": _itself,
    "services.*.networks.*.aliases": _itself,
    **dict.fromkeys(
        (f"services.*.{key}" for key in ("cap_add", "cap_drop", "dns", "dns_opt", "dns_search",
                                         "expose", "extra_hosts", "group_add", "profiles",
                                         "security_opt", "tmpfs", "volumes_from", "label_file")),
        _itself,
    ),
}  # fmt: skip
