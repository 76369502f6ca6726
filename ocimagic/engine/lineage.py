"""What an image is called, which of its layers came with its base, and who else has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDigest
from ocimagic.spec.annotation import BASE_DIGEST, BASE_LAYERS
from ocimagic.spec.digest import Digest
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.store.images import StoredImage
    from ocimagic.store.store import Store


def title(image: StoredImage, asked: str = "") -> str:
    """Return an image's name, with its tag: the one it was asked for by, or its first."""
    names = [each.reference.familiar for each in image.names]
    if image.image_id.hex.startswith(asked) or asked.startswith("sha256:"):
        return asked or next(iter(names), image.image_id.short)
    wanted = Reference.parse(asked).familiar
    return wanted if wanted in names else asked


def base_layers(image: StoredImage, everything: Sequence[StoredImage]) -> int:
    """Count the layers that came with the base: as recorded, else as the store suggests.

    A foreign image does not say what it was built on; the largest other image here whose
    layers are the first ones of this image is taken for its base.
    """
    recorded = image.manifest.annotations.get(BASE_LAYERS, "")
    own = image.config.diff_ids
    # Whoever made the image wrote it: thousands of digits are no number for Python.
    if recorded.isascii() and recorded.isdigit() and len(recorded) <= 4:
        return min(int(recorded), len(own))
    counts = [
        len(other.config.diff_ids)
        for other in everything
        if other.image_id != image.image_id
        and len(other.config.diff_ids) < len(own)
        and own[: len(other.config.diff_ids)] == other.config.diff_ids
    ]
    return max(counts, default=0)


def users_of(
    wanted: set[Digest], everything: Sequence[StoredImage], said: Mapping[Digest, str]
) -> dict[Digest, dict[Digest, str]]:
    """Return which images have which of the wanted layers.

    Args:
        wanted: diff_ids.
        everything: the images to look through.
        said: names for images by ID, better than their own.

    Returns:
        By diff_id: names by image ID.
    """
    users: dict[Digest, dict[Digest, str]] = {}
    for image in everything:
        for diff_id in wanted.intersection(image.config.diff_ids):
            name = said.get(image.image_id) or title(image)
            users.setdefault(diff_id, {})[image.image_id] = name
    return users


def parent_of(store: Store, image: StoredImage) -> Digest | None:
    """Return the image that one was made of here, by a build step or of a container of it."""
    steps = store.results.lineage(image.image_id)
    if len(steps) > 1:
        return steps[1][0]
    if not image.config.container:
        return None
    # What else has a base may have been made in many steps behind it.
    try:
        base = Digest.parse(image.manifest.annotations.get(BASE_DIGEST, ""))
    except InvalidDigest:  # made elsewhere
        return None
    return store.images.image_id(base)


def step_ids(store: Store, image: StoredImage) -> dict[int, Digest]:
    """Return the images that an image was made of step by step, as far as they are known here.

    Returns:
        image_id by the number of history lines it has, the image itself among them.
    """
    history = [each.created_by for each in image.config.history]
    found = {len(history): image.image_id}
    for image_id, lines in store.results.lineage(image.image_id)[1:]:
        if lines is not None:
            # A step that wrote no line came to more than the one before it: that is to be entered.
            found.setdefault(lines, image_id)
        for base in store.images.with_id(image_id)[:1] if lines is None else ():
            said = [each.created_by for each in base.config.history]
            if said == history[: len(said)]:
                found.setdefault(len(said), image_id)
    return found
