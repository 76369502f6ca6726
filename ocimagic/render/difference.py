"""Where two images differ, as tables and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.escape import shorten, visible
from ocimagic.render.html import paragraph, table_html
from ocimagic.render.layer_graph import wall_html
from ocimagic.render.table import Table
from ocimagic.render.text import table_text
from ocimagic.render.units import count

if TYPE_CHECKING:
    from ocimagic.model.difference import Difference, ImageDiff

_MOST_FILES = 200


def diff_tables(found: ImageDiff) -> tuple[Table, ...]:
    """Lay out where two images differ: their config, their layers, their files."""
    first, second = _titles(found)
    tables = []
    if found.config:
        rows = tuple(
            (each.what, shorten(each.old, 60), shorten(each.new, 60)) for each in found.config
        )
        tables.append(Table("config", ("FIELD", first, second), rows))
    if found.layers:
        cells = tuple(
            (str(number), old.short if old else "", new.short if new else "")
            for number, old, new in found.layers
        )
        tables.append(Table("layers", ("LAYER", first, second), cells, frozenset({"LAYER"})))
    if found.files:
        shown = tuple(
            (each.path, *_told(one))
            for each in found.files[:_MOST_FILES]
            for one in each.differences
        )
        caption = count(len(found.files), "file")
        if len(found.files) > _MOST_FILES:
            caption += f", the first {_MOST_FILES}"
        tables.append(Table(caption, ("FILE", "WHAT", first, second), shown))
    return tuple(tables)


def _told(one: Difference) -> tuple[str, str, str]:
    """Return what differs and how it is in both."""
    if one.what == "only":
        return "is there", "yes" if one.old else "no", "yes" if one.new else "no"
    return one.what, one.old, one.new


def _titles(found: ImageDiff) -> tuple[str, str]:
    """Return what the two are called; of an ID, as much as tells it from others."""
    first, second = (
        image_id.short if name in {image_id, image_id.hex} else name
        for name, image_id in zip(found.names, found.image_ids, strict=True)
    )
    return first, second


def diff_sentence(found: ImageDiff) -> str:
    """Say whether two images are one."""
    first, second = _titles(found)
    if found.same:
        return f"{first} and {second} are one image: {found.image_ids[0].short}"
    parts = [
        f"{len(found.config)} of the config",
        count(len(found.layers), "layer"),
        count(len(found.files), "file"),
    ]
    return f"{first} and {second} differ: {', '.join(parts)}"


def diff_text(found: ImageDiff) -> str:
    """Draw both as plain text."""
    tables = "\n\n".join(table_text(each) for each in diff_tables(found))
    return "\n\n".join(part for part in (tables, visible(diff_sentence(found))) if part)


def diff_html(found: ImageDiff) -> str:
    """Draw both as HTML."""
    parts = [paragraph(diff_sentence(found))]
    if found.stacks and found.layers:
        parts.append(wall_html(found.stacks))
    return "".join([*parts, *map(table_html, diff_tables(found))])
