"""``inspect`` for images, containers, and whichever of the two has the name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.cli.template import fill
from ocimagic.cli.values import InspectDocument, Names
from ocimagic.errors import NotFound

if TYPE_CHECKING:
    from ocimagic.cli.session import Session


def inspected(
    session: Session, names: tuple[str, ...], template: str, *, kind: str, size: bool = False
) -> InspectDocument | Names:
    """Look names up and show their documents, or what a template makes of them.

    Args:
        session: has the engine.
        names: names or IDs.
        template: ``json``, a template, or "" for the documents.
        kind: ``image``, ``container``, or "" for either, containers first as in docker.
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
    if kind == "image":
        return "image", _image(session, name)
    try:
        return "container", _container(session, name, size=size)
    except NotFound:
        if kind:
            raise
    try:
        return "image", _image(session, name)
    except NotFound as err:
        raise NotFound(
            f"no image or container is called {name!r}",
            hint="image ls and container ls -a list them",
        ) from err


def _image(session: Session, name: str) -> dict[str, object]:
    from ocimagic.wire.image import image_inspect

    return image_inspect(session.engine().images.inspect(name))


def _container(session: Session, name: str, *, size: bool) -> dict[str, object]:
    from ocimagic.wire.container import container_inspect

    return container_inspect(session.engine().containers.inspect(name, size=size))
