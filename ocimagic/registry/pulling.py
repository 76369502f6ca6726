"""What a registry answers to those who look and pull.

Spec: distribution-spec "Pull" and "Content Discovery"; RFC 9110 section 14 (ranges).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ocimagic.errors import InvalidDigest
from ocimagic.registry.reply import Refusal
from ocimagic.registry.source import ReferrersSource
from ocimagic.spec import mediatype
from ocimagic.spec.codec import encode
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.registry.exchange import Exchange
    from ocimagic.registry.source import ContentSource

MAX_PAGE = 1000
MAX_REFERRERS_BYTES = 4 << 20  # what the spec asks clients to read
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def send_catalog(exchange: Exchange, source: ContentSource) -> None:
    """Send a page of the list of repositories."""
    _send_page(exchange, "repositories", source.repositories(), {})


def send_tags(exchange: Exchange, source: ContentSource, repository: str) -> None:
    """Send a page of the list of tags."""
    tags = source.tags(repository)
    if tags is None:
        raise _no_repository(repository)
    _send_page(exchange, "tags", tags, {"name": repository})


def _send_page(
    exchange: Exchange, field_name: str, names: Iterable[str], more: Mapping[str, object]
) -> None:
    """Send a sorted list, or the part of it that ``n`` and ``last`` ask for."""
    said = exchange.asked("n") or str(MAX_PAGE)
    if not re.fullmatch(r"[0-9]{1,9}", said):
        raise Refusal(400, "PAGINATION_NUMBER_INVALID", "n must be a whole number")
    count, last = min(int(said), MAX_PAGE), exchange.asked("last") or ""
    left = sorted(name for name in names if name > last)
    page = left[:count]
    headers = {}
    if page and len(left) > len(page):
        headers["Link"] = _link(f"{exchange.url.path}?n={count}", page[-1])
    exchange.send_json({**more, field_name: page}, headers=headers)


def send_manifest(
    exchange: Exchange, source: ContentSource, repository: str, reference: str
) -> None:
    """Send a manifest or index by tag or digest."""
    is_digest = ":" in reference
    digest = parse_digest(reference) if is_digest else source.resolve(repository, reference)
    found = source.manifest(repository, digest) if digest else None
    if digest is None or found is None:
        if source.tags(repository) is None:
            raise _no_repository(repository)
        raise Refusal(404, "MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}")
    raw, media_type = found
    exchange.send_bytes(raw, headers=_content_headers(digest, len(raw), media_type))


def send_blob(exchange: Exchange, source: ContentSource, repository: str, digest_text: str) -> None:
    """Send a blob, or the part of it that is asked for."""
    digest = parse_digest(digest_text)
    blob = source.open_blob(repository, digest)
    if blob is None:
        raise Refusal(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}")
    size, opened = blob
    with opened as file:
        part = _range(exchange.headers.get("Range", ""), size)
        count = size if part is None else len(part)
        headers = _content_headers(digest, count, "application/octet-stream")
        headers["Accept-Ranges"] = "bytes"
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        exchange.send_head(200 if part is None else 206, headers)
        if exchange.command != "HEAD" and count:
            exchange.send_file(file, part.start if part else 0, count)


def send_referrers(
    exchange: Exchange, source: ContentSource, repository: str, digest_text: str
) -> None:
    """Send an index of the manifests that say something about another one."""
    if not isinstance(source, ReferrersSource):
        # Clients take it for a registry from before 1.1, and look at the tags instead.
        raise Refusal(404, "NOT_FOUND", "this registry does not know who refers to whom")
    subject, wanted = parse_digest(digest_text), exchange.asked("artifactType")
    last = exchange.asked("last") or ""
    page: list[dict[str, object]] = []
    headers = {"Content-Type": mediatype.OCI_INDEX}
    size = 0
    for described, artifact_type in source.referrers(repository, subject):
        if described.digest <= last or (wanted and artifact_type != wanted):
            continue
        entry = described.to_json() | {"artifactType": artifact_type}
        size += len(json.dumps(entry))
        if page and size > MAX_REFERRERS_BYTES:
            more = f"artifactType={quote(wanted, safe='')}" if wanted else ""
            headers["Link"] = _link(f"{exchange.url.path}?{more}", str(page[-1]["digest"]))
            break
        page.append(entry)
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    document = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": page}
    exchange.send_bytes(encode(document), headers=headers)


def parse_digest(text: str) -> Digest:
    """Read a digest out of an address.

    Raises:
        Refusal: it is none.
    """
    try:
        return Digest.parse(text)
    except InvalidDigest as err:
        raise Refusal(400, "DIGEST_INVALID", err.what) from err


def _no_repository(repository: str) -> Refusal:
    return Refusal(404, "NAME_UNKNOWN", f"there is no repository {repository}")


def _link(address: str, last: str) -> str:
    joint = "" if address.endswith("?") else "&"
    return f'<{address}{joint}last={quote(last, safe="")}>; rel="next"'


def _content_headers(digest: Digest, length: int, media_type: str) -> dict[str, str]:
    return {
        "Content-Type": media_type,
        "Content-Length": str(length),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }


def _range(header: str, size: int) -> range | None:
    """Return the bytes a Range header asks for, None for all of them.

    Several ranges, or a header we cannot read, ask for all, as the RFC allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return None
    if start >= stop:
        raise Refusal(
            416, "RANGE_INVALID", "the blob ends before that", Content_Range=f"bytes */{size}"
        )
    return range(start, stop)
