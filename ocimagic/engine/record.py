"""A container's document in the database: what was asked for, as JSON and back.

The types of the fields are the schema, and only what differs from the default is written: a
container is looked up often.  A field that an older version did not know has its default, one
that a newer version wrote is left out: data roots outlive versions.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Self

from ocimagic.model.options import RunOptions
from ocimagic.model.policy import HealthOptions
from ocimagic.spec.platform import Platform
from ocimagic.spec.record import dataclass, field

VERSION = 2

# Names in those types that their modules import for type checkers only.
_NAMES: dict[str, object] = {
    "Mapping": Mapping,
    "Platform": Platform,
    "RunOptions": RunOptions,
    "HealthOptions": HealthOptions,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the engine remembers of a container besides its row.

    Attributes:
        command: what runs, entrypoint included.
        network: what it really gets: ``none``, ``host`` or ``container:ID``.
        layers: snapshot names, bottom first.
        labels: the image's and those asked for.
        stop_signal: its number; 0 in documents of older versions.
        health: the image's check and what was asked for, all filled in; None for no check.
        shell: what the image says runs a command line, () for ``/bin/sh -c``.
        exposed_ports: the image's and those asked for, ``port/protocol``.
        joined: namespace type to the ID of the container that it is shared with.
        links: what it calls other containers of the bridge, to their IDs.
        runtime: path of another runtime than ours, or "".
        made: what the engine noted while it made it, see ``engine.timeline``; "" for nothing.
    """

    options: RunOptions
    image_id: str
    command: tuple[str, ...]
    hostname: str
    network: str
    layers: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = 0
    health: HealthOptions | None = None
    shell: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    joined: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    made: str = ""

    def encode(self) -> str:
        """Write it as JSON."""
        content = _plain(self)
        assert isinstance(content, dict)
        return json.dumps(content | {"version": VERSION})

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read it back; nobody may change what is in it, for others get the same."""
        document = _decoded(text)
        assert isinstance(document, cls)
        return document


@lru_cache(maxsize=1024)  # who lists containers reads each of them, again and again
def _decoded(text: str) -> object:
    content = json.loads(text)
    if "version" not in content:  # the first version knew no labels but those asked for
        content["labels"] = content["options"].get("labels", {})
    return _typed(Document, content)


def with_made(document: str, made: str) -> str:
    """Return an encoded document with its ``made``, which is known only when all else is."""
    return f'{document[:-1]}, "made": {json.dumps(made)}}}'


@cache
def _defaults(kind: type) -> dict[str, object]:
    """Return the default of each field of a dataclass, MISSING for one that has none."""
    return {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(kind)
    }


def _plain(value: object) -> object:
    """Turn a value into what JSON has."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {
            name: _plain(found)
            for name, usual in _defaults(value.__class__).items()
            if (found := getattr(value, name)) != usual
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


@cache
def _schema(kind: type) -> dict[str, object]:
    """Return the types of a dataclass's fields."""
    return typing.get_type_hints(kind, localns=_NAMES)


def _typed(kind: Any, value: Any) -> object:  # noqa: ANN401  types and JSON at run time
    """Turn JSON back into a value of a type that a document uses."""
    if is_dataclass(kind):
        assert isinstance(kind, type)
        known = _schema(kind)
        return kind(**{name: _typed(known[name], item) for name, item in value.items()
                       if name in known})  # fmt: skip
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (some,) = (each for each in inner if each is not type(None))
        return None if value is None else _typed(some, value)
    if origin is tuple:
        several = len(inner) == 2 and inner[1] is Ellipsis
        kinds = [inner[0]] * len(value) if several else inner
        return tuple(_typed(each, item) for each, item in zip(kinds, value, strict=True))
    if origin is Mapping:
        return {key: _typed(inner[1], item) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return value
