"""Values of the engine's and messages: what all services translate alike."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ocimagic.containerd import messages
from ocimagic.containerd.door import UNARY, Method
from ocimagic.engine.crud.snapshots import MountPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import SimpleNamespace

    from ocimagic.containerd.door import Message

Empty = messages.well_known.Empty


def time_of(seconds: float) -> Message:
    """Return a moment, of seconds since 1970."""
    moment = messages.well_known.Timestamp()
    moment.FromNanoseconds(int(seconds * 1_000_000) * 1000)
    return moment


def paths(request: Message) -> Sequence[str]:
    """Return which fields an update is about; none for all."""
    return tuple(request.update_mask.paths)


def kept_any(value: Message) -> dict[str, str] | None:
    """Return a value of a client's own to be kept, None if there is none."""
    if not value.type_url:
        return None
    return {"type_url": value.type_url, "value": base64.b64encode(value.value).decode()}


def any_of(kept: Mapping[str, str] | None) -> Message:
    """Return a client's own value as it came."""
    if kept is None:
        return messages.well_known.Any()
    return messages.well_known.Any(type_url=kept["type_url"], value=base64.b64decode(kept["value"]))


def mounts(found: Sequence[MountPoint]) -> list[Any]:
    """Return mounts as messages."""
    return [
        messages.types.Mount(type=each.type, source=each.source, options=each.options)
        for each in found
    ]


def mount_points(given: Sequence[Any]) -> list[MountPoint]:
    """Return the mounts that a client names."""
    return [MountPoint(each.type, each.source, tuple(each.options)) for each in given]


def methods(
    package: SimpleNamespace, table: Mapping[str, tuple[str, str, Callable[..., Any]]]
) -> dict[str, Method]:
    """Return methods of one answer each.

    Args:
        package: where the messages are.
        table: the name to those of request and answer ("" for none), and what is called.
    """
    return {
        name: Method(
            getattr(package, request) if request else Empty,
            getattr(package, answer) if answer else Empty,
            call,
            UNARY,
        )
        for name, (request, answer, call) in table.items()
    }
