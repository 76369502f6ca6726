"""Images of docker's JSON documents: the inverse of ``image``.

Spec: Docker Engine API v1.41, ImageInspect, ImageSummary, HistoryResponseItem.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidReference
from ocimagic.model.result import HistoryLine, ImageDetails, ImageSummary
from ocimagic.spec.config import ContainerConfig, ImageConfig
from ocimagic.spec.digest import Digest
from ocimagic.spec.platform import Platform
from ocimagic.spec.reference import Reference
from ocimagic.wire.read_container import digest, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.spec.codec import Fields

_NONE = "<none>"
_NAMELESS = f"{_NONE}:{_NONE}"
_MISSING = "<missing>"


def image_details(document: Fields) -> ImageDetails:
    """Read the document of ``image inspect``; it stays with the result.

    Manifest, layers' sizes and history are not in it.

    Raises:
        InvalidDocument: it is none.
    """
    base = document.child("Base")
    platform = Platform(
        document.text("Os", "linux"),
        document.text("Architecture", ""),
        document.text("Variant", ""),
        document.text("OsVersion", ""),
    )
    labels = document.child("Config").text_map("Labels")
    return ImageDetails(
        image_id=digest(document.text("Id")),
        tags=tuple(_familiar(each) for each in document.texts("RepoTags") if each != _NAMELESS),
        digests=tuple(each for each in document.texts("RepoDigests") if _NONE not in each),
        config=ImageConfig(
            platform=platform,
            created=moment(document, "Created"),
            author=document.text("Author", ""),
            config=ContainerConfig.from_fields(document.child("Config")),
            diff_ids=tuple(digest(each) for each in document.child("RootFS").texts("Layers")),
        ),
        manifest=None,
        layers=(),
        size_bytes=document.number("Size", 0),
        base_name=base.text("Name", "") or labels.get("org.opencontainers.image.base.name", ""),
        base_digest=base.text("Digest", "")
        or labels.get("org.opencontainers.image.base.digest", ""),
        parent=digest(parent) if (parent := document.text("Parent", "")) else None,
        document=dict(document.value),
    )


def _familiar(name: str) -> str:
    """Return a name as docker shows it: podman writes it out in full."""
    try:
        return Reference.parse(name).familiar
    except InvalidReference:
        return name


def image_rows(documents: Iterable[Fields]) -> tuple[ImageSummary, ...]:
    """Read ``GET /images/json``, one row for each name, newest first."""
    rows = [row for each in documents for row in _rows(each)]
    oldest = datetime(1970, 1, 1, tzinfo=UTC)
    return tuple(sorted(rows, key=lambda each: each.created or oldest, reverse=True))


def _rows(document: Fields) -> Iterator[ImageSummary]:
    seconds = document.integer("Created", 0, least=-(1 << 62))
    digests = dict(_digests(document.texts("RepoDigests")))
    names = [each for each in document.texts("RepoTags") if each != _NAMELESS]
    pairs = [_familiar(each).rpartition(":")[::2] for each in names]
    # What was pulled by its digest has a repository and no tag.
    pairs += [(each, _NONE) for each in digests if not names and each != _NONE]
    for repository, tag in pairs or [(_NONE, _NONE)]:
        yield ImageSummary(
            repository=repository,
            tag=tag,
            image_id=digest(document.text("Id")),
            digest=digests.get(repository),
            created=datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None,
            size_bytes=document.number("Size", 0),
            shared_bytes=max(0, document.integer("SharedSize", 0, least=-1)),
            labels=document.text_map("Labels"),
        )


def _digests(texts: Iterable[str]) -> Iterator[tuple[str, Digest]]:
    for text in texts:
        name, sign, value = text.partition("@")
        if sign:
            yield _familiar(f"{name}:x").rpartition(":")[0], Digest.parse(value)


def history_lines(documents: Iterable[Fields]) -> tuple[HistoryLine, ...]:
    """Read the answer of ImageHistory, newest first; which layer a line made it does not say."""
    return tuple(_line(each) for each in documents)


def _line(each: Fields) -> HistoryLine:
    image_id, seconds = each.text("Id", _MISSING), each.integer("Created", 0, least=-(1 << 62))
    return HistoryLine(
        image_id=None if image_id in ("", _MISSING) else digest(image_id),
        created=datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None,
        created_by=each.text("CreatedBy", ""),
        size_bytes=each.number("Size", 0),
        comment=each.text("Comment", ""),
        diff_id=None,
        from_base=False,
    )


def deleted(documents: Iterable[Fields]) -> tuple[tuple[str, ...], tuple[Digest, ...]]:
    """Read the answer of ImageDelete: names that are gone, and IDs and digests that are."""
    untagged, gone = [], []
    for each in documents:
        if name := each.text("Untagged", ""):
            untagged.append(_familiar(name))
        if text := each.text("Deleted", ""):
            gone.append(digest(text))
    if not untagged and not gone:
        raise InvalidDocument("nothing was said of what was removed")
    return tuple(untagged), tuple(gone)
