"""What registries hold, as text, tables and trees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.html import table_html
from ocimagic.render.inspect_tree import tree_html
from ocimagic.render.table import Table
from ocimagic.render.units import count, human_seconds, human_size
from ocimagic.spec.descriptor import REFERENCE_DIGEST
from ocimagic.spec.manifest import Index

if TYPE_CHECKING:
    from ocimagic.model.distribution import (
        CopyResult,
        ListPushed,
        ManifestDocument,
        ManifestList,
    )
    from ocimagic.spec.descriptor import Descriptor


def copy_sentence(result: CopyResult) -> str:
    """Say what a copy did."""
    said = f"{result.reference}: digest: {result.digest}"
    taken = [f"{result.there} there already"] if result.there else []
    taken += [f"{result.mounted} mounted from another repository"] if result.mounted else []
    more = f" ({', '.join(taken)})" if taken else ""
    return visible(
        f"{said}\n{count(result.manifests, 'manifest')}, {count(result.blobs, 'blob')}{more}, "
        f"{human_size(result.sent_bytes)} copied, {human_seconds(result.seconds)}",
        lines=True,
    )


# -- manifests -------------------------------------------------------------------


def list_text(made: ManifestList) -> str:
    """Say what ``manifest create`` made, as docker does."""
    return visible(f"Created manifest list {made.reference}")


def list_html(made: ManifestList) -> str:
    """Draw the images of a list."""
    rows = tuple((name, str(platform)) for name, platform in made.entries)
    caption = f"manifest list {made.reference}, not pushed: {count(len(rows), 'image')}"
    return table_html(Table(caption, ("IMAGE", "PLATFORM"), rows))


def list_pushed_text(pushed: ListPushed) -> str:
    """Return the digest of the index, as docker does."""
    return str(pushed.digest)


def list_pushed_html(pushed: ListPushed) -> str:
    """Draw what is in the registry now."""
    rows = tuple((str(platform), str(digest)) for digest, platform in pushed.manifests)
    caption = (
        f"{pushed.reference}: index {pushed.digest}, {human_size(pushed.sent_bytes)} uploaded, "
        f"{human_seconds(pushed.seconds)}"
    )
    return table_html(Table(caption, ("PLATFORM", "DIGEST"), rows))


def manifest_text(found: ManifestDocument) -> str:
    """Write a document with docker's indentation."""
    text = json.dumps(json.loads(found.content.raw), indent="\t", ensure_ascii=False)
    return visible(text, lines=True)


def manifest_html(found: ManifestDocument) -> str:
    """Draw what a document names as a table, and the document as a tree."""
    content = found.content
    parts = content.manifests if isinstance(content, Index) else content.layers
    noun = "manifest" if isinstance(content, Index) else "layer"
    place = {"list": "created here, not pushed", "registry": "in its registry", "store": "here"}
    caption = f"{found.reference}, {place[found.place]}: {count(len(parts), noun)}"
    if content.subject is not None:
        caption += f", about {content.subject.digest}"
    rows = tuple((what_is(each), str(each.digest), human_size(each.size)) for each in parts)
    table = Table(caption, ("WHAT", "DIGEST", "SIZE"), rows, frozenset({"SIZE"}))
    tree = tree_html(json.loads(content.raw), title=content.media_type, open_levels=1)
    return table_html(table) + tree


def what_is(described: Descriptor) -> str:
    """Say in words what a descriptor points at."""
    if described.is_attestation:
        about = described.annotations.get(REFERENCE_DIGEST, "")
        return f"attestation of {about}" if about else "attestation"
    if described.artifact_type:
        return f"artifact {described.artifact_type}"
    return str(described.platform) if described.platform else described.media_type
