"""Images side by side, and one image layer by layer: what each does, and where two differ."""

from __future__ import annotations

import gc
import json
import re
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING

from ocimagic.engine.adopt import Adoption
from ocimagic.engine.lineage import title
from ocimagic.layers.tarheader import Kind
from ocimagic.model.difference import Difference, FileDifference, ImageDiff
from ocimagic.transfer.layer import layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.build.image_files import ImageFiles
    from ocimagic.build.tree import File
    from ocimagic.layers.toc import TocEntry
    from ocimagic.model.accounts import Accounts
    from ocimagic.model.explored import Explored
    from ocimagic.spec.digest import Digest
    from ocimagic.store.images import StoredImage

_NANOSECONDS = 1_000_000_000
_HISTORY_TIME = re.compile(r"history\[\d+\]\.created")


class Comparing(Adoption):
    """Verbs that compare."""

    def waste(self, name: str) -> Accounts:
        """Say what each layer of an image adds, changes, deletes, and whose bytes it wastes.

        Raises:
            ImageNotFound: there is none of this name.
            BlobNotFound: a layer is gone.
        """
        return self.explore(name).accounts

    def explore(self, name: str) -> Explored:
        """Say of each file of an image which layers did what to it, and what bytes that wastes.

        It is read from the layers' tables of contents: nothing is mounted or unpacked.

        Raises:
            ImageNotFound: there is none of this name.
            BlobNotFound: a layer is gone.
        """
        from ocimagic.layers.accounting import explore
        from ocimagic.layers.toc import toc_from_bytes

        with self._store.in_use(), _without_collector():
            image = self._store.images.find(name)
            tocs = [toc_from_bytes(self._unpacker.toc(layer)) for layer in layers_of(image)]
            history = [(each.created_by, not each.empty_layer) for each in image.config.history]
            found = explore(tocs, history)
        return replace(found, accounts=replace(found.accounts, image=title(image, name)))

    def diff(self, first: str, second: str) -> ImageDiff:
        """Say why two images are not the same: config, layers, and files with their attributes.

        Raises:
            ImageNotFound: there is none of this name.
            BlobNotFound: a layer is gone.
        """
        with self._store.in_use():
            images = [self._store.images.find(name) for name in (first, second)]
            old, new = images
            same_files = old.config.diff_ids == new.config.diff_ids
            files = () if same_files else _files(self._files(old), self._files(new))
            return ImageDiff(
                names=(first, second),
                image_ids=(old.image_id, new.image_id),
                config=_config(json.loads(old.config.raw), json.loads(new.config.raw)),
                layers=tuple(_layers(old, new)),
                files=tuple(files),
            )

    def _files(self, image: StoredImage) -> ImageFiles:
        from ocimagic.build.image_files import ImageFiles
        from ocimagic.layers.mergedtree import MergedTree
        from ocimagic.layers.toc import toc_from_bytes

        layers = layers_of(image)
        merged = MergedTree(toc_from_bytes(self._unpacker.toc(layer)) for layer in layers)
        return ImageFiles(self._store, layers, merged)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Make many small values without Python looking through them for cycles again and again.

    Of 100,000 files that would take as long as the work itself.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _layers(
    old: StoredImage, new: StoredImage
) -> Iterator[tuple[int, Digest | None, Digest | None]]:
    pairs = zip_longest(old.config.diff_ids, new.config.diff_ids)
    return ((number, a, b) for number, (a, b) in enumerate(pairs) if a != b)


def _config(old: object, new: object) -> tuple[Difference, ...]:
    """Compare two configs; when the images were made at two times, that is told once."""
    found = tuple(_fields(old, new))
    if any(each.what == "created" for each in found):
        return tuple(each for each in found if not _HISTORY_TIME.fullmatch(each.what))
    return found


def _fields(old: object, new: object, path: str = "") -> Iterator[Difference]:
    """Compare two JSON documents, leaf by leaf; layers are compared elsewhere."""
    if path == "rootfs" or old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _fields(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and (path == "history" or len(old) == len(new))
    ):
        for number, (a, b) in enumerate(zip_longest(old, new)):
            yield from _fields(a, b, f"{path}[{number}]")
    else:
        yield Difference(what=path, old=_words(old), new=_words(new))


def _words(value: object) -> str:
    """Write a value out: a text as it is, a history's line by what made it, others as JSON."""
    if isinstance(value, dict) and "created_by" in value:
        value = value["created_by"]
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)


def _files(old: ImageFiles, new: ImageFiles) -> Iterator[FileDifference]:
    """Compare two trees; the content of a file is read only if it may differ."""
    before = {found.path: found for found in old.merged.walk()}
    after = {found.path: found for found in new.merged.walk()}
    both = [path for path in before if path in after]
    doubtful = [
        path
        for path in both
        if before[path].entry.kind is after[path].entry.kind is Kind.FILE
        and before[path].entry.size == after[path].entry.size > 0
        and not _is_same_copy(old, new, path)
    ]
    changed = _changed_content(old, new, doubtful)
    for path in sorted(before.keys() | after.keys()):
        there, here = before.get(path), after.get(path)
        if there is None or here is None:
            found = [_only(there is None)]
        else:
            found = list(_attributes(there.entry, here.entry))
            if path in changed:
                found.append(Difference(what="content", old=changed[path][0], new=changed[path][1]))
        if found:
            yield FileDifference(path=f"/{path}", differences=tuple(found))


def _only(in_second: bool) -> Difference:
    return Difference(what="only", old="" if in_second else "here", new="here" if in_second else "")


def _is_same_copy(old: ImageFiles, new: ImageFiles, path: str) -> bool:
    """Say whether both have it from one layer: then there is nothing to read."""
    a, b = old.merged.find(path, follow=False), new.merged.find(path, follow=False)
    if a is None or b is None:
        return False
    same_layer = old.layer(a.layer).diff_id == new.layer(b.layer).diff_id
    return same_layer and a.entry.offset == b.entry.offset


def _changed_content(
    old: ImageFiles, new: ImageFiles, paths: list[str]
) -> Mapping[str, tuple[str, str]]:
    """Return the digests of files whose bytes differ."""
    digests = [
        files.digests([_file(files, path) for path in paths]) if paths else []
        for files in (old, new)
    ]
    pairs = zip(paths, *digests, strict=True)
    return {path: (a[:12], b[:12]) for path, a, b in pairs if a != b}


def _file(files: ImageFiles, path: str) -> File:
    found = files.find(path)
    assert found is not None
    return found


def _attributes(old: TocEntry, new: TocEntry) -> Iterator[Difference]:
    pairs = {
        "kind": (old.kind.name.lower(), new.kind.name.lower()),
        "mode": (f"{old.mode:04o}", f"{new.mode:04o}"),
        "owner": (f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}"),
        "link": (old.linkname, new.linkname),
        "size": (str(old.size), str(new.size)),
        "time": (_seconds(old), _seconds(new)),
    }
    for what, (a, b) in pairs.items():
        if a != b:
            yield Difference(what=what, old=a, new=b)


def _seconds(entry: TocEntry) -> str:
    whole, rest = divmod(entry.mtime_ns, _NANOSECONDS)
    try:
        said = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError):  # a hostile tar's
        return f"{whole}.{rest:09d}"
    return f"{said}.{rest:09d}Z" if rest else f"{said}Z"
