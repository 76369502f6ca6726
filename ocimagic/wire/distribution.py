"""What registries say, as docker's JSON documents.

Spec: Docker Engine API v1.41, ImageSearch, DistributionInspect and SystemAuth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.model.distribution import ManifestDetails, SearchHit
    from ocimagic.model.result import LoggedIn
    from ocimagic.spec.platform import Platform

Document = dict[str, object]


def search_results(hits: Iterable[SearchHit]) -> list[Document]:
    """Return the answer of ImageSearch."""
    return [
        {
            "star_count": each.stars,
            "is_official": each.is_official,
            "name": each.name,
            "is_automated": each.is_automated,
            "description": each.description,
        }
        for each in hits
    ]


def distribution_inspect(details: ManifestDetails) -> Document:
    """Return the answer of DistributionInspect."""
    document = details.document
    content = document.content
    platforms = [each.platform for each in details.manifests if each.platform]
    if isinstance(content, Index):
        platforms = [each.platform for each in content.manifests if each.platform]
    return {
        "Descriptor": {
            "mediaType": content.media_type,
            "digest": str(document.digest),
            "size": len(content.raw),
        },
        "Platforms": [_platform(each) for each in platforms],
    }


def _platform(platform: Platform) -> Document:
    return dict(platform.to_json())


def logged_in(_result: LoggedIn) -> Document:
    """Return the answer of SystemAuth."""
    return {"IdentityToken": "", "Status": "Login Succeeded"}
