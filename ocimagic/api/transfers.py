"""Images on their way: pulled, pushed, saved, loaded, imported, built, committed.

Spec: Docker Engine API v1.50, ImageCreate, ImagePush, ImageGet, ImageLoad, ImageCommit.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimagic.api.exchange import TAR, Answer, Exchange
from ocimagic.api.files import Late
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.request import ImportOptions
from ocimagic.spec.platform import Platform
from ocimagic.wire.asked import commit as asked_commit
from ocimagic.wire.asked import login
from ocimagic.wire.distribution import logged_in
from ocimagic.wire.progress import (
    PullLines,
    PushLines,
    failure,
    imported_lines,
    load_lines,
    loaded_lines,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ocimagic.api.exchange import Pieces
    from ocimagic.api.http import Body
    from ocimagic.api.service import Service
    from ocimagic.model.event import Event


class Told:
    """The lines of something that goes on, from the threads that it goes on in.

    Until the first line a failure has its status; after it, it is a line of its own.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lock = threading.Lock()
        self._pieces: Pieces | None = None

    def begin(self) -> None:
        """Send the head of the answer: from now on a failure is a line."""
        if self._pieces is None:
            self._pieces = self._exchange.begin()

    def lines(self, lines: Iterable[object]) -> None:
        """Send lines."""
        with self._lock:
            for each in lines:
                self.begin()
                assert self._pieces is not None
                self._pieces.line(each)

    def close(self) -> None:
        """Say that nothing more comes."""
        self.begin()
        assert self._pieces is not None
        self._pieces.close()

    @property
    def has_begun(self) -> bool:
        """Say whether a line was sent."""
        return self._pieces is not None


@contextmanager
def telling(exchange: Exchange) -> Iterator[tuple[Told, threading.Event]]:
    """Yield what takes the lines of something, and what is set when the client goes."""
    told = Told(exchange)
    with exchange.watched() as gone:
        try:
            yield told, gone
        except OcimagicError as err:
            if gone.is_set() or not told.has_begun:
                raise
            told.lines([failure(err)])
        told.close()


def create(service: Service, exchange: Exchange) -> None:
    """Pull an image, or import one."""
    if source := exchange.query.text("fromSrc"):
        _import(service, exchange, source)
        return
    name, tag = exchange.query.text("fromImage"), exchange.query.text("tag")
    if not name:
        raise InvalidOption("invalid reference format: no image is named")
    platform = _platform(exchange)
    lines = PullLines()
    with telling(exchange) as (told, gone), service.logged_in(exchange, name) as images:

        def on_event(event: Event) -> None:
            told.lines(lines.lines(event))

        if tag or "@" in name or ":" in name.rpartition("/")[2]:
            whole = f"{name}{'@' if ':' in tag else ':'}{tag}" if tag else name
            result = images.pull(whole, platform=platform, on_event=on_event, cancelled=gone)
            told.lines(lines.done(result))
        else:
            for each in images.pull_all(name, platform=platform, on_event=on_event, cancelled=gone):
                told.lines(lines.done(each))


def _platform(exchange: Exchange) -> Platform | None:
    text = exchange.query.text("platform")
    return Platform.parse(text) if text else None


def _import(service: Service, exchange: Exchange, source: str) -> None:
    repository, tag = exchange.query.text("repo"), exchange.query.text("tag")
    options = ImportOptions(
        reference=f"{repository}:{tag}" if tag and repository else repository,
        changes=exchange.query.texts("changes"),
        message=exchange.query.text("message"),
        platform=_platform(exchange),
    )
    with telling(exchange) as (told, gone):
        made = service.engine.images.import_(
            _file(exchange.body) if source == "-" else source, options, cancelled=gone
        )
        told.lines(imported_lines(made))


def _file(body: Body) -> BinaryIO:
    """Return a body as what archives are read from: nothing but ``read`` is asked of it."""
    return cast("BinaryIO", body)


def push(service: Service, exchange: Exchange, image: str) -> None:
    """Bring an image to its registry."""
    tag = exchange.query.text("tag")
    lines = PushLines()
    with telling(exchange) as (told, gone), service.logged_in(exchange, image) as images:
        results = images.push(
            f"{image}:{tag}" if tag else image,
            all_tags=not tag,
            on_event=lambda event: told.lines(lines.lines(event)),
            cancelled=gone,
        )
        for each in results:
            told.lines(lines.done(each))


def save(service: Service, exchange: Exchange, image: str = "") -> None:
    """Send images as one archive."""
    names = [
        name for text in exchange.query.texts("names") for name in text.split(",") if name
    ] or [image]
    late = Late(exchange, TAR)
    with exchange.watched() as gone:
        service.engine.images.save(names, late.write, cancelled=gone)
    late.close()


def load(service: Service, exchange: Exchange) -> None:
    """Load all images of an archive, or none."""
    quiet = exchange.query.flag("quiet")
    platform = _platform(exchange)
    with telling(exchange) as (told, gone):
        told.begin()  # dockerd says in the stream what is wrong with an archive
        on_event: Callable[[Event], None] = (
            (lambda _event: None) if quiet else lambda event: told.lines(load_lines(event))
        )
        loaded = service.engine.images.load(
            _file(exchange.body), platform=platform, on_event=on_event, cancelled=gone
        )
        told.lines(loaded_lines(loaded))


def commit(service: Service, exchange: Exchange) -> Answer:
    """Make an image of a container."""
    container, options = asked_commit(exchange.query, exchange.json())
    made = service.engine.containers.commit(container, options)
    return Answer(201, {"Id": str(made.image_id)})


def auth(service: Service, exchange: Exchange) -> Answer:
    """Try a login; docker's client keeps it, not we."""
    given = login(exchange.json())
    result = service.engine.images.login(given.server, given.username, given.password, keep=False)
    return Answer(200, logged_in(result))
