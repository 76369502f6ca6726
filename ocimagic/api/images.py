"""Images: looking at them, tagging and removing them.

Spec: Docker Engine API v1.50, "Image".
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.system import conditions
from ocimagic.errors import ImageNotFound, InvalidOption, NotFound
from ocimagic.render.table import status_words
from ocimagic.spec.reference import Reference
from ocimagic.wire.disk import cache_pruned, image_deleted, images_pruned, system_df
from ocimagic.wire.distribution import distribution_inspect, search_results
from ocimagic.wire.filters import image_keeper, keep_hits, keep_images
from ocimagic.wire.image import history as history_document
from ocimagic.wire.image import image_inspect, image_list, made_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.api.exchange import Exchange
    from ocimagic.api.service import Service

_SEARCHED = 25


def listed(service: Service, exchange: Exchange) -> Answer:
    """List images."""
    asked = conditions(exchange)
    if name := exchange.query.text("filter"):  # before API 1.28
        asked.append(f"reference={name}")
    found = service.engine.images.list(all=exchange.query.flag("all"))
    kept = keep_images(found, asked, service.engine)
    shared = exchange.query.flag("shared-size")
    return Answer(200, image_list(kept, shared_size=shared))


def inspect(service: Service, _exchange: Exchange, image: str) -> Answer:
    """Return everything known of an image."""
    try:
        with with_tag(image):
            found = service.engine.images.inspect(image)
            return Answer(200, image_inspect(found) | made_of(found))
    except ImageNotFound as err:  # docker says it twice, and clients look into it
        said = f"no such image: {image}: {err.what[0].upper()}{err.what[1:]}"
        raise NotFound(said) from err


@contextmanager
def with_tag(image: str) -> Iterator[None]:
    """Name an image that is not here with its tag, as docker does."""
    try:
        yield
    except ImageNotFound as err:
        raise ImageNotFound(f"no such image: {tagged(image)}") from err


def tagged(image: str) -> str:
    """Return a name with the tag that it means."""
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"


def history(service: Service, _exchange: Exchange, image: str) -> Answer:
    """Return how an image was made."""
    with with_tag(image):
        tags = service.engine.images.inspect(image).tags
        return Answer(200, history_document(service.engine.images.history(image), tags))


def tag(service: Service, exchange: Exchange, image: str) -> Answer:
    """Give an image one more name."""
    with with_tag(image):
        service.engine.images.tag(image, named(exchange))
    return Answer(201)


def named(exchange: Exchange) -> str:
    """Return the name that a query asks for with ``repo`` and ``tag``.

    Raises:
        InvalidReference: it is none.
    """
    repository, tag = exchange.query.text("repo"), exchange.query.text("tag")
    return str(Reference.parse(f"{repository}:{tag}" if tag else repository))


def remove(service: Service, exchange: Exchange, image: str) -> Answer:
    """Take a name away, and the image if it has none left."""
    with with_tag(image):
        removed = service.engine.images.remove(image, force=exchange.query.flag("force"))
    return Answer(200, image_deleted(removed))


def prune(service: Service, exchange: Exchange) -> Answer:
    """Take images away that nobody needs."""
    keep, everything = image_keeper(conditions(exchange))
    pruned = service.engine.system.disk.prune_images(all=everything, keep=keep)
    return Answer(200, images_pruned(pruned))


def prune_cache(service: Service, _exchange: Exchange) -> Answer:
    """Forget all build steps."""
    return Answer(200, cache_pruned(service.engine.system.disk.prune_cache()))


def usage(service: Service, _exchange: Exchange) -> Answer:
    """Say what is on disk."""
    engine = service.engine
    images = engine.images.list(all=True)
    containers = engine.containers.list(all=True, size=True)
    volumes = engine.volumes.all()
    now = datetime.now().astimezone()
    document = system_df(
        engine.system.disk.usage(),
        images,
        containers,
        volumes,
        lambda each: status_words(each, now),
    )
    return Answer(200, document)


def search(service: Service, exchange: Exchange) -> Answer:
    """Search a registry."""
    term = exchange.query.text("term")
    if not term:
        raise InvalidOption("no search term was given")
    limit = exchange.query.number("limit") or _SEARCHED
    with exchange.watched() as gone:
        hits = service.engine.images.search(term, limit=limit, cancelled=gone)
    return Answer(200, search_results(keep_hits(hits, conditions(exchange))))


def distribution(service: Service, _exchange: Exchange, image: str) -> Answer:
    """Say what a registry has under a name."""
    return Answer(200, distribution_inspect(service.engine.manifests.details(image)))
