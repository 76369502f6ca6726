"""Images built from a context that the client sends.

Spec: Docker Engine API v1.50, ImageBuild; this is the build of docker's classic client, that of
BuildKit's is in ``buildkit/``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.api.exchange import Answer
from ocimagic.api.files import piped
from ocimagic.api.transfers import telling
from ocimagic.errors import (
    BadInput,
    BuildFailed,
    DockerfileError,
    ImageNotFound,
    InvalidOption,
    InvalidReference,
    NotBuiltYet,
)
from ocimagic.wire.asked import registry_config
from ocimagic.wire.asked_build import build as asked_build
from ocimagic.wire.asked_build import output as asked_output
from ocimagic.wire.building import BuildLines

if TYPE_CHECKING:
    from ocimagic.api.exchange import Exchange
    from ocimagic.api.http import Body
    from ocimagic.api.service import Service
    from ocimagic.model.cache import CacheFrom
    from ocimagic.model.event import Event
    from ocimagic.model.options import BuildOptions


BLOCK = 512
_BUILDKIT = "2"
_MAGIC = slice(257, 262)


def build(service: Service, exchange: Exchange) -> Answer | None:
    """Build an image; what RUN writes goes out at once."""
    if exchange.query.text("version") == _BUILDKIT:
        from ocimagic.api.buildkit.building import build as build_by_session

        return build_by_session(service, exchange)
    options = _cached_by_images(service, asked_build(exchange.query))
    if asked_output(exchange.query):
        raise NotBuiltYet(
            "outputs of a build without a session are not built yet",
            hint="set DOCKER_BUILDKIT=1 for docker's client, or docker save its image",
        )
    logins = registry_config(exchange.request.header("x-registry-config"))
    images = service.with_logins(logins)
    lines = BuildLines(quiet=exchange.query.flag("q"))
    with telling(exchange) as (told, gone), piped(_Whole(exchange.body)) as stdin:

        def on_event(event: Event) -> None:
            told.lines(lines.lines(event))

        try:
            result = images.build(options, stdin=stdin, on_event=on_event, cancelled=gone)
        except DockerfileError as err:
            raise _refused(err) from err
        except BuildFailed:
            told.lines(lines.rest())
            raise
        told.lines(lines.done(result))
    return None


def cancel(service: Service, exchange: Exchange) -> Answer:
    """Stop a build by the name its client gave it."""
    name = exchange.query.text("id")
    if not name:
        raise InvalidOption("build ID not provided")
    service.jobs.stop(name)
    return Answer(200)


class _Whole:
    """A context whose last block is whole: ``docker build -f - PATH`` leaves its rest out.

    Source: moby pkg/archive, ReplaceFileTarWrapper, which closes the pipe before the tar.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._seen = 0
        self._is_tar = False

    def read(self, size: int, /) -> bytes:
        """Return a piece of the context."""
        data = self._body.read(size)
        if not self._seen:
            self._is_tar = data[_MAGIC] == b"ustar"
        if not data and self._is_tar:
            data = bytes(-self._seen % BLOCK)
        self._seen += len(data)
        return data


def _cached_by_images(service: Service, options: BuildOptions) -> BuildOptions:
    """Return the options of a build that may only use the steps of some images, if it says so.

    As in docker's classic builder these have to be here: where none is, no step is cached.
    """
    if not options.cache_from:
        return options
    here = tuple(each for each in options.cache_from if _is_here(service, each))
    return replace(options, cache_from=(), no_cache=options.no_cache or not here)


def _is_here(service: Service, cache: CacheFrom) -> bool:
    if cache.kind == "local":
        return False
    try:
        service.engine.images.inspect(cache.place)
    except (ImageNotFound, InvalidReference):
        return False
    return True


def _refused(failure: DockerfileError) -> BadInput:
    """Return a mistake in a Dockerfile in docker's words."""
    return BadInput(f"dockerfile parse error line {failure.line}: {failure.what}", why=failure.why)
