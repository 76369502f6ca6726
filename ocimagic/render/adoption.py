"""What another engine on this machine has, and what came from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.table import Table
from ocimagic.render.text import table_text
from ocimagic.render.units import count, human_age, human_seconds, human_size

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.model.archive import Adoptable, Adopted, LoadedImage

_HEADS = ("IMAGE", "IMAGE ID", "CREATED", "SIZE", "HERE")


def adoptable_table(adoptable: Adoptable, now: datetime) -> Table:
    """Lay out what could be adopted, a row for each name."""
    rows = tuple(
        (
            name,
            each.image_id.short,
            human_age(each.created, now),
            human_size(each.size_bytes),
            "yes" if each.is_here else "no",
        )
        for each in adoptable.images
        for name in each.tags or ("<none>",)
    )
    caption = f"{adoptable.source}: {count(len(adoptable.images), 'image')}"
    return Table(caption, _HEADS, rows, frozenset({"SIZE"}))


def adoptable_text(adoptable: Adoptable, now: datetime) -> str:
    """Say who has what."""
    table = adoptable_table(adoptable, now)
    return (
        f"{visible(table.caption)}\n{table_text(table)}" if table.rows else visible(table.caption)
    )


def adopted_text(adopted: Adopted) -> str:
    """Say what came and what did not have to."""
    lines = [line for each in adopted.images for line in _taken(each)]
    lines += [f"Adopted image: {_title(each)}" for each in adopted.loaded.images]
    lines += [f"Here already: {_title(each)}" for each in adopted.known]
    came = len(adopted.loaded.images)
    size, took = human_size(adopted.received_bytes), human_seconds(adopted.seconds)
    if not lines:
        return visible(f"{adopted.source} has no image with a name")
    if came:
        lines.append(f"{count(came, 'image')}, {size} in {took}")
    return visible("\n".join([*lines[:-1], f"{lines[-1]} from {adopted.source}"]), lines=True)


def _title(image: LoadedImage) -> str:
    names = ", ".join(image.tags)
    return f"{names} ({image.image_id.short})" if names else str(image.image_id)


def _taken(image: LoadedImage) -> list[str]:
    return [
        f"The image {tag} already exists, renaming the old one with ID {old} to empty string"
        for tag, old in image.replaced
    ]
