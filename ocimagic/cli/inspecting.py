"""``inspect`` for containers, images, networks, volumes, and whichever of these has the name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.cli.template import fill
from ocimagic.cli.values import InspectDocument, Names
from ocimagic.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.cli.session import Session

KINDS = ("container", "image", "network", "volume")  # docker's order


def inspected(
    session: Session, names: tuple[str, ...], template: str, *, kind: str, size: bool = False
) -> InspectDocument | Names:
    """Look names up and show their documents, or what a template makes of them.

    Args:
        session: has the engine.
        names: names or IDs.
        template: ``json``, a template, or "" for the documents.
        kind: one of ``KINDS``, or "" for any, in this order.
        size: look how much containers take on disk.
    """
    found = [_find(session, name, kind, size=size) for name in names]
    documents = [document for _, document in found]
    if template:
        wanted = "{{json .}}" if template == "json" else template
        return Names(tuple(fill(wanted, document) for document in documents))
    kinds = {each for each, _ in found}
    return InspectDocument(kinds.pop() if len(kinds) == 1 else "mixed", documents)


def _find(session: Session, name: str, kind: str, *, size: bool) -> tuple[str, dict[str, object]]:
    looks: dict[str, Callable[[], dict[str, object]]] = {
        "container": lambda: _container(session, name, size=size),
        "image": lambda: _image(session, name),
        "network": lambda: _network(session, name),
        "volume": lambda: _volume(session, name),
    }
    if kind:
        return kind, looks[kind]()
    for each, look in looks.items():
        with suppress(NotFound):
            return each, look()
    raise NotFound(
        f"no container, image, network or volume is called {name!r}",
        hint="image ls, container ls -a, network ls and volume ls list them",
    )


def _image(session: Session, name: str) -> dict[str, object]:
    from ocimagic.wire.image import image_inspect

    return image_inspect(session.engine().images.inspect(name))


def _network(session: Session, name: str) -> dict[str, object]:
    from ocimagic.wire.network import network_inspect

    return network_inspect(session.engine().networks.inspect(name))


def _volume(session: Session, name: str) -> dict[str, object]:
    from ocimagic.wire.volume import volume_inspect

    return volume_inspect(session.engine().volumes.inspect(name))


def _container(session: Session, name: str, *, size: bool) -> dict[str, object]:
    from ocimagic.wire.container import container_inspect

    return container_inspect(session.engine().containers.inspect(name, size=size))
