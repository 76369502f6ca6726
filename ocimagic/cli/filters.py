"""``--filter KEY=VALUE`` for lists; conditions of one key are alternatives, as in docker."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from ocimagic.errors import InvalidOption, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ocimagic.model.result import ContainerSummary, ImageSummary

Row = TypeVar("Row")


def keep_images(images: Iterable[ImageSummary], conditions: Iterable[str]) -> list[ImageSummary]:
    """Keep the images that fit ``reference=PATTERN`` and ``dangling=BOOL``."""
    return _keep(images, conditions, {"reference": _named, "dangling": _dangling})


def keep_containers(
    containers: Iterable[ContainerSummary], conditions: Iterable[str]
) -> list[ContainerSummary]:
    """Keep the containers that fit ``name``, ``id``, ``status``, ``label``, ``ancestor``."""
    return _keep(
        containers,
        conditions,
        {
            "name": lambda each, value: value in each.name,
            "id": lambda each, value: each.container_id.startswith(value),
            "status": lambda each, value: each.status.value == value,
            "ancestor": lambda each, value: value in {each.image, each.image_id.short},
            "label": _labelled,
            "exited": lambda each, value: each.exit is not None and str(each.exit.code) == value,
        },
    )


def _keep(
    rows: Iterable[Row],
    conditions: Iterable[str],
    known: Mapping[str, Callable[[Row, str], bool]],
) -> list[Row]:
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if key not in known or not equals:
            near = nearest(key, known)
            hint = f"did you mean {near}=?" if near else f"there are: {', '.join(known)}"
            raise InvalidOption(f"filter {condition!r} cannot be understood", hint=hint)
        wanted.setdefault(key, []).append(value)
    return [
        row
        for row in rows
        if all(any(known[key](row, value) for value in values) for key, values in wanted.items())
    ]


def _named(image: ImageSummary, pattern: str) -> bool:
    return fnmatchcase(image.repository, pattern) or fnmatchcase(image.name, pattern)


def _dangling(image: ImageSummary, value: str) -> bool:
    if value not in {"true", "false", "1", "0"}:
        raise InvalidOption(f"filter dangling takes true or false, not {value!r}")
    return (image.repository == "<none>") == (value in {"true", "1"})


def _labelled(container: ContainerSummary, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in container.labels and (not equals or container.labels[key] == value)
