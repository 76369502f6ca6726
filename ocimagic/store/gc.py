"""What nobody needs any more, and taking it away.

Roots are images (named or not), containers, build steps and what those came to.  A sweep runs
alone: every pull, build and run holds the store's lock shared while it works.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING

from ocimagic.errors import OcimagicError
from ocimagic.home.locks import forget_lock
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass
from ocimagic.store import collecting, objects
from ocimagic.store.snapshots import EMPTY, copied_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ocimagic.store.store import Store

GRACE_S = 600.0
_PART_KEPT_S = 86400.0
_RUN_NAME = re.compile(r"[0-9a-f]{12}|build-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep took away."""

    blobs: tuple[Digest, ...]
    snapshots: tuple[str, ...]
    freed_bytes: int


def sweep(store: Store, remove_trees: Callable[[Sequence[Path]], None]) -> Swept:
    """Take away every blob and snapshot that no root leads to.

    Args:
        store: the caller holds its lock alone.
        remove_trees: removes directories that may belong to other ids.
    """
    # What others wrote into the layout is ours from now on; and a view that a killed engine
    # did not write would lead to what is about to go.
    store.layout.publish_held()
    needed, keys = _needed(store)
    gone = _forget_objects(store, needed)
    needed |= {Digest(each.name) for each in store.objects.everywhere(objects.CONTENT)}
    doomed = [digest for digest in _stored(store) if digest not in needed]
    # What is known of a blob goes before it: a kill in between leaves a file for the next sweep.
    _forget_layers(store, doomed)
    freed = sum(store.blobs.remove(digest) for digest in doomed)
    directories = [*_doomed_snapshots(store, keys), *gone]
    freed += sum(_tree_bytes(each) for each in directories)
    remove_trees(directories)
    _remove_parts(store.home.ingest.glob("*.part"), GRACE_S)
    tidy(store, remove_trees)
    return Swept(tuple(doomed), tuple(each.name for each in directories), freed)


def needed_blobs(store: Store) -> set[Digest]:
    """Return what images, containers and the build cache of the engine stand on."""
    return _needed(store)[0]


def _forget_objects(store: Store, needed: set[Digest]) -> list[Path]:
    """Forget what clients of the containerd role keep no more; return directories to remove."""
    names = {str(row[0]) for row in store.database.rows("SELECT reference FROM names")}
    stale = collecting.unnamed(store.objects, names, objects.DEFAULT)
    for each in [*stale, *collecting.doomed(store.objects, needed, objects.DEFAULT)]:
        with contextlib.suppress(objects.ObjectNotFound):
            store.objects.remove(each.namespace, each.kind, each.name)
    known = {str(each.document["number"]) for each in store.objects.everywhere(objects.SNAPSHOT)}
    known.add(EMPTY)
    room = store.home.objects / "snapshots"
    return [path for path in room.iterdir() if path.name not in known] if room.exists() else []


def _needed(store: Store) -> tuple[set[Digest], set[str]]:
    """Return digests of needed blobs, and keys of needed snapshots."""
    rows = store.database.rows(
        "SELECT manifest FROM images UNION SELECT manifest FROM containers UNION "
        "SELECT manifest FROM names"
    )
    blobs: set[Digest] = set()
    keys: set[str] = set()
    for (text,) in rows:
        manifest = Digest(str(text))
        blobs.add(manifest)
        try:
            image = store.images.load(manifest)
        except OcimagicError:
            continue  # a damaged image keeps nothing but its name
        blobs |= {image.manifest.as_oci().digest, image.manifest.config.digest}
        blobs |= {layer.digest for layer in image.manifest.layers}
        keys |= {*image.config.diff_ids, *image.chain_ids, *map(copied_key, image.chain_ids)}
    targets = store.database.rows("SELECT target FROM names UNION SELECT target FROM nameless")
    blobs |= {Digest(str(row[0])) for row in targets}
    used = "SELECT diff_id FROM steps_use UNION SELECT diff_id FROM results_use"
    for (diff_id,) in store.database.rows(used):
        keys.add(str(diff_id))
        blobs.add(Digest(str(diff_id)))  # a plain layer, or a file that is no layer at all
        blobs |= {
            Digest(str(row[0]))
            for row in store.database.rows("SELECT digest FROM layers WHERE diff_id = ?", diff_id)
        }
    return blobs, keys


def _stored(store: Store) -> list[Digest]:
    """List the blobs; but not what another program may be writing, its index to come."""
    base = store.home.data / "blobs"
    known = {str(row[0]) for row in store.database.rows("SELECT digest FROM blobs")}
    return [
        Digest(name)
        for algorithm in base.iterdir()
        for blob in algorithm.iterdir()
        if len(blob.name) in (64, 128)
        and ((name := f"{algorithm.name}:{blob.name}") in known or _age_s(blob) > GRACE_S)
    ]


def _forget_layers(store: Store, digests: Sequence[Digest]) -> None:
    with store.database.transaction() as cursor:
        cursor.executemany("DELETE FROM layers WHERE digest = ?", [(each,) for each in digests])


def _doomed_snapshots(store: Store, keys: set[str]) -> list[Path]:
    with store.database.transaction() as cursor:
        for key, _number in cursor.execute("SELECT key, number FROM snapshots").fetchall():
            if key not in keys:
                cursor.execute("DELETE FROM snapshots WHERE key = ?", (key,))
        known = {str(row[0]) for row in cursor.execute("SELECT number FROM snapshots")}
        # A container stands on what it was made with, even if that was unpacked anew since.
        for (document,) in cursor.execute("SELECT document FROM containers"):
            known.update(json.loads(document)["layers"])
    return [path for path in store.home.snapshots.iterdir() if path.name not in known | {EMPTY}]


def _tree_bytes(path: Path) -> int:
    """Return the size a snapshot was recorded with; measuring it would cost a walk."""
    try:
        return int((path / "size").read_text())
    except (OSError, ValueError):
        return 0


def tidy(store: Store, remove_trees: Callable[[Sequence[Path]], None]) -> None:
    """Take away what killed engines left: quick enough for the start of an engine.

    Args:
        store: the caller holds its lock alone, so nobody pulls, builds or creates.
        remove_trees: removes directories that may belong to other ids.
    """
    home = store.home
    remove_trees([*home.snapshots.glob("new-*"), *_orphans(store)])
    for kind in ("build", "commit", "load"):
        _remove_parts(home.ingest.glob(f"{kind}-*"), -1)
    _remove_parts(home.run.glob("secret-*"), -1)
    _remove_parts(home.ingest.glob("*.part"), _PART_KEPT_S)
    # What does not need the store's lock to be written must have been left for a while.
    _remove_parts([*home.data.glob(".*.*"), *home.own.glob(".*.*")], GRACE_S)
    remove_trees([path for path in home.own.glob("tmp*") if _age_s(path) > GRACE_S])
    for path in home.locks.iterdir():
        if path.name != "store":
            forget_lock(home.locks, path.name)


def _orphans(store: Store) -> list[Path]:
    """Return directories of containers and builds that no row knows."""
    # Listed before the rows are read: a container may be removed meanwhile, but none is made.
    home = store.home
    found = list(home.containers.iterdir())
    # Below the run root of the usual place are those of all other data roots.
    running = [path for path in home.run.iterdir() if _RUN_NAME.fullmatch(path.name)]
    known = {each.container_id for each in store.containers.all()}
    short = {each[:12] for each in known}
    return [
        *(path for path in found if path.name not in known),
        *(path for path in running if path.name not in short),
    ]


def _remove_parts(paths: Iterable[Path], age_s: float) -> None:
    """Remove unfinished files that nobody wrote to for a while."""
    for path in paths:
        if _age_s(path) > age_s:
            path.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
