"""What the verbs on a project take: one frozen value each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.compose.imaging import ImagesWanted
from ocimagic.compose.raising import Raised

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What ``up`` and ``create`` take.

    Attributes:
        services: those named, none for all that are enabled.
        images: how images come to be there.
        recreate: see ``Raised``.
        with_needs: bring up what they need, too.
        scale: how many containers of a service.
        orphans: remove containers of services that the file has no more.
        wait: until they run and are healthy.
        wait_timeout_s: None for ever.
    """

    services: tuple[str, ...] = ()
    images: ImagesWanted = field(default_factory=ImagesWanted)
    raised: Raised = field(default_factory=Raised)
    with_needs: bool = True
    scale: Mapping[str, int] = field(default_factory=dict)
    orphans: bool = False
    wait: bool = False
    wait_timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """How ``run`` makes its container.

    Attributes:
        name: of the container, "" for one that is made up.
        with_needs: bring up what the service needs.
        ports: publish those of the service.
        aliased: others find it by the service's name.
        images: how images come to be there.
    """

    name: str = ""
    with_needs: bool = True
    ports: bool = False
    aliased: bool = False
    images: ImagesWanted = field(default_factory=ImagesWanted)
