"""Search: what a registry's own catalogue of images finds.

Spec: version 1 of docker's index, which Docker Hub and a few others still speak for this:
``GET /v1/search?q=TERM&n=COUNT``; source: moby's ``registry/search_session.go`` and
``api/types/registry/search.go``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ocimagic.errors import InvalidDocument, RateLimited, RegistryAnswered
from ocimagic.model.distribution import SearchHit
from ocimagic.registry.message import Request
from ocimagic.registry.refusal import RegistryWords
from ocimagic.registry.upload import AGENT
from ocimagic.spec.codec import MAX_MANIFEST_BYTES, decode
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    import threading

    from ocimagic.registry.transport import Transport
    from ocimagic.spec.codec import Fields

HUB_INDEX = "https://index.docker.io"


def search(
    transport: Transport,
    registry: str,
    term: str,
    limit: int,
    *,
    cancelled: threading.Event | None = None,
) -> list[SearchHit]:
    """Return what a registry finds, in its own order.

    Args:
        transport: connections.
        registry: host, with a port if it has one.
        term: any words.
        limit: at most so many.
        cancelled: stops it when set.

    Raises:
        RegistryAnswered: it cannot be searched, or what it answers is no list.
        RateLimited, RegistryUnreachable: it does not answer now.
    """
    is_hub = registry == DEFAULT_REGISTRY
    base = HUB_INDEX if is_hub else transport.base_url(registry, cancelled=cancelled)
    url = f"{base}/v1/search?{urlencode({'q': term, 'n': limit})}"
    request = Request("GET", url, {"User-Agent": AGENT, "Accept": "application/json"})
    patience = transport.patience
    with transport.open(request, cancelled=cancelled) as answer:
        if answer.status != 200:
            words = RegistryWords.parse(answer.error_text(within_s=patience.error_body_s))
            why = str(words) or f"HTTP {answer.status}"
            if answer.status == 429:
                raise RateLimited(f"{registry} asks us to slow down", why=why)
            raise RegistryAnswered(
                f"{registry} cannot be searched",
                why=why,
                hint=f"if it lists its repositories: registry ls {registry}",
            )
        raw = answer.read(max_bytes=MAX_MANIFEST_BYTES, within_s=patience.body_s, what="search")
    try:
        results = decode(raw, what="search", max_bytes=MAX_MANIFEST_BYTES).children("results")
        return [_hit(each) for each in results[:limit]]
    except InvalidDocument as err:
        raise RegistryAnswered(f"{registry}: {err.what}", why=err.why) from err


def _hit(fields: Fields) -> SearchHit:
    return SearchHit(
        name=fields.text("name"),
        description=fields.text("description", ""),
        stars=fields.number("star_count", 0),
        is_official=fields.flag("is_official"),
        is_automated=fields.flag("is_automated"),
    )
