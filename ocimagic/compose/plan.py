"""What has to be done for a service, by what is wanted and what is there: values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.compose.there import Instance


class Recreate(Enum):
    """Which containers are replaced: changed ones, all, or none."""

    CHANGED = "changed"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Create:
    """Make a new container."""

    number: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Make a container in the place of another one, whose unnamed volumes it gets."""

    old: Instance


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave a container as it is; start it if it does not run."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Remove:
    """Stop and remove a container that is not wanted any more."""

    instance: Instance


Step = Create | Replace | Keep | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A service as it is to be.

    Attributes:
        replicas: how many containers.
        config_hash: of it.
        image_id: of its image; "" where that is not known, and so not compared.
    """

    replicas: int
    config_hash: str
    image_id: str


def plan(
    wanted: Wanted, there: Iterable[Instance], recreate: Recreate = Recreate.CHANGED
) -> tuple[Step, ...]:
    """Return the steps for one service; those that remove come first.

    Of several containers with one number, which a killed ``up`` leaves, the one that is as
    wanted stays.

    Args:
        wanted: the service.
        there: its containers.
        recreate: which of them are replaced.
    """
    removed: list[Step] = []
    kept: dict[int, Instance] = {}
    for each in sorted(there, key=lambda each: _rank(each, wanted)):
        if each.number in kept or each.number < 1:
            removed.append(Remove(each))
        else:
            kept[each.number] = each
    # The lowest numbers stay; where all are to be changed that is as good as any.
    removed += [Remove(kept.pop(number)) for number in sorted(kept)[wanted.replicas :]]
    steps: list[Step] = []
    for number in sorted(kept):
        is_replaced = recreate is Recreate.ALWAYS or (
            recreate is Recreate.CHANGED and not is_as_wanted(kept[number], wanted)
        )
        steps.append(Replace(kept[number]) if is_replaced else Keep(kept[number]))
    free = (number for number in range(1, wanted.replicas + len(kept) + 1) if number not in kept)
    steps += [Create(next(free)) for _ in range(wanted.replicas - len(kept))]
    return (*removed, *steps)


def is_as_wanted(instance: Instance, wanted: Wanted) -> bool:
    """Tell whether a container was made from this service and this image."""
    same_image = not wanted.image_id or instance.image_id == wanted.image_id
    return instance.config_hash == wanted.config_hash and same_image


def _rank(instance: Instance, wanted: Wanted) -> tuple[bool, bool, str]:
    return not is_as_wanted(instance, wanted), not instance.is_running, instance.name


def changes(steps: Iterable[Step]) -> bool:
    """Tell whether a plan makes a container that was not there."""
    return any(isinstance(step, Create | Replace) for step in steps)
