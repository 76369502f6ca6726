"""What registries hold, as text, tables and trees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.html import table_html
from ocimagic.render.inspect_tree import tree_html
from ocimagic.render.table import Table, digest_id
from ocimagic.render.text import table_text
from ocimagic.render.units import count, human_age, human_seconds, human_size
from ocimagic.spec.descriptor import REFERENCE_DIGEST
from ocimagic.spec.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ocimagic.model.distribution import (
        CopyResult,
        ImageTree,
        ListPushed,
        ManifestDocument,
        ManifestList,
        ReferrerReport,
        RegistryListing,
        SearchHit,
        TreePart,
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


# -- lists ----------------------------------------------------------------------

SEARCH_HEADS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
DESCRIPTION_WIDTH = 45


def listing_table(listing: RegistryListing) -> Table:
    """Lay out the repositories of a registry, or the tags of one."""
    rows = tuple((name,) for name in listing.names)
    return Table(
        f"{listing.place}: {count(len(rows), listing.kind)}", (listing.kind.upper(),), rows
    )


def search_table(hits: Iterable[SearchHit], *, no_trunc: bool = False) -> Table:
    """Lay out ``search`` as docker does."""
    drawn = [search_fields(each, no_trunc=no_trunc) for each in hits]
    shown = [field for field in SEARCH_HEADS if field != "IsAutomated"]
    rows = tuple(tuple(row[field] for field in shown) for row in drawn)
    heads = tuple(SEARCH_HEADS[field] for field in shown)
    return Table(count(len(rows), "image"), heads, rows, frozenset({"STARS"}))


def search_fields(hit: SearchHit, *, no_trunc: bool = False, plain: bool = False) -> dict[str, str]:
    """Return docker's ``search --format`` fields of one image.

    Args:
        hit: what was found.
        no_trunc: whole descriptions.
        plain: true and false instead of docker's mark.
    """
    text = hit.description.replace("\r", "").replace("\n", " ")
    marks = {True: "true", False: "false"} if plain else {True: "[OK]", False: ""}
    return {
        "Name": hit.name,
        "Description": text if no_trunc else shorten(text, DESCRIPTION_WIDTH),
        "StarCount": str(hit.stars),
        "IsOfficial": marks[hit.is_official],
        "IsAutomated": marks[hit.is_automated],
    }


def referrers_table(report: ReferrerReport, now: datetime) -> Table:
    """Lay out what a registry has about an image."""
    rows = tuple(
        (
            str(each.digest),
            each.artifact_type or each.media_type,
            human_size(each.size_bytes),
            human_age(each.created, now) if each.created else "",
        )
        for each in report.referrers
    )
    caption = f"{report.reference}, {report.subject}: {count(len(rows), 'referrer')}"
    if not report.is_listed and rows:
        caption += ", kept under a tag: this registry has no list of them"
    return Table(caption, ("DIGEST", "ARTIFACT TYPE", "SIZE", "CREATED"), rows, frozenset({"SIZE"}))


def referrers_text(report: ReferrerReport, now: datetime) -> str:
    """Draw the table, or say that nothing refers to an image."""
    table = referrers_table(report, now)
    return table_text(table) if table.rows else visible(table.caption)


# -- trees -----------------------------------------------------------------------

_TREE_HEADS = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA")


def trees_text(trees: Iterable[ImageTree], *, no_trunc: bool = False) -> str:
    """Draw each image and, below it, what its index names."""
    rows: list[tuple[str, ...]] = []
    for tree in trees:
        rows.append(_tree_row(tree, no_trunc=no_trunc))
        for number, part in enumerate(tree.parts, 1):
            branch = "└─" if number == len(tree.parts) else "├─"
            rows.append(_part_row(part, tree, f"{branch} ", no_trunc=no_trunc))
    return table_text(Table(count(len(rows), "image"), _TREE_HEADS, tuple(rows)))


def trees_html(trees: Sequence[ImageTree], *, no_trunc: bool = False) -> str:
    """Draw each image with a list of what its index names."""
    items = "".join(_tree_item(each, no_trunc=no_trunc) for each in trees)
    head = f'<p style="margin:.3em 0">{markup(count(len(trees), "image"))}</p>'
    return f"{head}<ul>{items}</ul>"


def _tree_item(tree: ImageTree, *, no_trunc: bool) -> str:
    name, digest, used, content, extra = _tree_row(tree, no_trunc=no_trunc)
    said = f"{used} on disk, {content} of content" + (f", {extra}" if extra else "")
    rows = [_part_row(each, tree, "", no_trunc=no_trunc) for each in tree.parts]
    return (
        f"<li><strong>{markup(name)}</strong> <code>{markup(digest)}</code> {markup(said)}"
        f"<ul>{''.join(map(_part_item, rows))}</ul></li>"
    )


def _part_item(row: tuple[str, ...]) -> str:
    name, digest, used, content, extra = row
    sizes = f"{used} on disk, {content} of content" if used != "-" else ""
    said = ", ".join(each for each in (extra, sizes) if each)
    return f"<li>{markup(name)} <code>{markup(digest)}</code> {markup(said)}</li>"


def _tree_row(tree: ImageTree, *, no_trunc: bool) -> tuple[str, ...]:
    here = [each for each in tree.parts if each.is_here]
    return (
        ", ".join(tree.names) or "<none>",
        digest_id(tree.digest if tree.is_index else tree.image_id, no_trunc=no_trunc),
        human_size(sum(each.size_bytes for each in here)),
        human_size(sum(each.content_bytes for each in here)),
        "in use" if tree.in_use else "",
    )


def _part_row(part: TreePart, tree: ImageTree, branch: str, *, no_trunc: bool) -> tuple[str, ...]:
    used = human_size(part.size_bytes) if part.is_here else "-"
    content = human_size(part.content_bytes) if part.is_here else "-"
    extra = "here" if part.is_here else "not here"
    if part.is_attestation or part.artifact_type:
        extra = "not an image"
    return (
        f"{branch}{_part_name(part, tree)}",
        digest_id(part.digest, no_trunc=no_trunc),
        used,
        content,
        extra,
    )


def _part_name(part: TreePart, tree: ImageTree) -> str:
    if part.is_attestation:
        known = {each.digest: str(each.platform) for each in tree.parts if each.platform}
        about = part.describes and known.get(part.describes, part.describes.short)
        return f"attestation of {about}" if about else "attestation"
    if part.artifact_type:
        return f"artifact {part.artifact_type}"
    return str(part.platform) if part.platform else "unknown platform"


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
    """Write a document with docker's indentation, which is another one for an index."""
    indent = "   " if isinstance(found.content, Index) else "\t"
    return _json(json.loads(found.content.raw), indent)


def manifests_text(documents: Sequence[Mapping[str, object]], *, is_list: bool) -> str:
    """Write what ``manifest inspect --verbose`` shows, as docker does."""
    return _json(documents if is_list else documents[0], "\t")


def _json(document: object, indent: str) -> str:
    return visible(json.dumps(document, indent=indent, ensure_ascii=False), lines=True)


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
