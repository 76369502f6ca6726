"""What another engine on this machine is to us: images to list, and an archive of some of them.

Two kinds answer: a daemon over its socket (``daemon.py``) and podman's program
(``podman.py``).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import InvalidDigest, InvalidDocument, InvalidReference, NeighbourError
from ocimagic.spec.codec import decode_list
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from ocimagic.spec.codec import Fields

Check = Callable[[], None]  # called again and again; may raise

PIECE_BYTES = 256 << 10
BEGIN_S = 600.0  # docker and podman write an archive to their own disk before they send it
IDLE_S = 60.0
LEAST_BYTES_PER_S = 1024
MAX_LIST_BYTES = 32 << 20
_LOOK_S = 0.2  # how late a stop may be seen


@dataclass(frozen=True, slots=True)
class ImageThere:
    """An image that a neighbour has.

    Attributes:
        image_id: what it calls it: the config's digest; docker over containerd's store calls
            it by its manifest's or index's.
        names: with tags.
        size_bytes: as it counts.
        created: None when it does not say.
    """

    image_id: Digest
    names: tuple[Reference, ...]
    size_bytes: int
    created: datetime | None


class Neighbour(Protocol):
    """An engine that can be asked."""

    @property
    def shown(self) -> str:
        """Return which one it is, for people."""
        ...

    def images(self) -> list[ImageThere]:
        """List its images, each once.

        Raises:
            NeighbourUnreachable: it cannot be asked.
            NeighbourError: it refuses, or answers nonsense.
        """
        ...

    def archive(self, image_ids: Sequence[Digest]) -> Generator[bytes]:
        """Yield an archive of some images, as it comes; to be closed by whoever asked.

        Raises:
            ImageNotFound: one is not there any more.
            NeighbourUnreachable, NeighbourError: as ``images``, or it broke off.
        """
        ...


class Waiting:
    """How long an answer is waited for: for its beginning, between pieces, and in all.

    Args:
        begin_s: until its first byte.
        check: called while waiting.
    """

    def __init__(self, begin_s: float, check: Check) -> None:
        self._check = check
        self._latest = time.monotonic() + begin_s
        self._idle_s = begin_s
        self._has_begun = False

    def came(self, count: int) -> None:
        """Allow more time for what follows, since something came; but no long silence any more."""
        if not self._has_begun:
            self._has_begun = True
            self._latest, self._idle_s = time.monotonic() + IDLE_S, IDLE_S
        self._latest += count / LEAST_BYTES_PER_S

    def wait(self, descriptor: int) -> None:
        """Wait until there is something to read.

        Raises:
            TimeoutError: nothing came for too long, or too little did.
        """
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        until = min(self._latest, time.monotonic() + self._idle_s)
        self._check()
        while not readable.poll(max(0, min(_LOOK_S, until - time.monotonic())) * 1000):
            self._check()
            if time.monotonic() >= until:
                raise TimeoutError


def parse_list(raw: bytes, shown: str) -> list[ImageThere]:
    """Read a list of images: of docker's API, of podman's, or of podman's program.

    Raises:
        NeighbourError: it is none.
    """
    found: dict[Digest, ImageThere] = {}
    try:
        for each in map(_image, decode_list(raw, what="list of images", max_bytes=MAX_LIST_BYTES)):
            known = found.setdefault(each.image_id, each)
            names = tuple(dict.fromkeys((*known.names, *each.names)))
            found[each.image_id] = replace(known, names=names)
    except (InvalidDocument, InvalidDigest) as err:
        raise NeighbourError(
            f"{shown} does not list its images",
            why=": ".join(filter(None, (err.what, err.why))),
            hint="is it docker or podman that answers there?",
        ) from err
    return list(found.values())


def _image(fields: Fields) -> ImageThere:
    said = fields.text("Id")
    names = fields.texts("RepoTags") or fields.texts("Names")
    return ImageThere(
        image_id=Digest.parse(said if ":" in said else f"sha256:{said}"),
        names=tuple(_tags(names)),
        size_bytes=fields.number("Size", 0),
        created=_moment(fields.integer("Created", 0, least=-(1 << 63))),
    )


def _tags(texts: Iterable[str]) -> Iterator[Reference]:
    """Yield what is a name with a tag: ``<none>:<none>`` and digests are left out."""
    for text in texts:
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            continue
        if reference.tag and reference.digest is None:
            yield reference


def _moment(seconds: int) -> datetime | None:
    try:
        # Below zero is Go's year 1: the image does not say.
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
