"""The one database of a data root: names, images, layers, snapshots, containers, build steps.

::

    names       reference → target (digest the name pointed at) and manifest (for our platform)
    parts       (reference, manifest) → platform  which images are here of the index under a name
    nameless    target (of an index without a name) → manifest (for our platform); its parts are in
                nameless_parts
    images      manifest → image_id            every image here, named or not
    blobs       digest → size                  a blob somebody verified; its file is in blobs/
    layers      (diff_id, digest) → sizes      what a layer blob holds when unpacked
    packed      (diff_id, kind) → digest, size a layer as it was compressed for a push
    snapshots   key → number                   key is a diff_id, or a chain_id where the layer
                                               cannot be unpacked without its parent
    containers  id → name, manifest, document
    steps       cache key → document           build cache
    steps_use   (cache key, diff_id)           which layers a step keeps
    steps_last  slot → document                what an instruction was made of the last time,
                                               to say why it is not found
    results     image_id → manifest, config    what a build step came to: an image that is not
                                               published, and which one it was made of
    results_use (image_id, diff_id)            which layers it keeps
    networks    id → name, document
    leases      (network, address) → container who has an address, as long as it runs
    volumes     name → document                its files are in volumes/
    timelines   manifest → document            how an image was pulled or built here
    objects     (namespace, kind, name)        what clients of the containerd role keep, each a
                → document                     document of its kind; see ``store.objects``

``boot_id`` marks a row whose files may still be in the page cache only: NULL once they
were written out.  After a machine crash such a row is dropped and its files made anew or
verified again.

Any number of processes use it: WAL, short transactions, nobody is the leader.
"""

from __future__ import annotations

from typing import ClassVar

from ocimagic.home.database import Database

_FIRST = """
CREATE TABLE names (reference TEXT PRIMARY KEY, target TEXT NOT NULL, manifest TEXT NOT NULL,
                    updated REAL NOT NULL);
CREATE TABLE images (manifest TEXT PRIMARY KEY, image_id TEXT NOT NULL, added REAL NOT NULL);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, boot_id TEXT);
CREATE TABLE layers (diff_id TEXT NOT NULL, digest TEXT NOT NULL, blob_bytes INTEGER NOT NULL,
                     tar_bytes INTEGER NOT NULL, unpacked_bytes INTEGER NOT NULL,
                     PRIMARY KEY (diff_id, digest));
CREATE TABLE snapshots (key TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, boot_id TEXT);
CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, manifest TEXT NOT NULL,
                         created REAL NOT NULL, document TEXT NOT NULL);
CREATE TABLE steps (key TEXT PRIMARY KEY, document TEXT NOT NULL, used REAL NOT NULL);
CREATE TABLE steps_use (key TEXT NOT NULL REFERENCES steps ON DELETE CASCADE,
                        diff_id TEXT NOT NULL);
CREATE INDEX images_by_id ON images (image_id);
CREATE INDEX steps_by_layer ON steps_use (diff_id);
"""
_SINCE_VERSION_1 = """
CREATE TABLE packed (diff_id TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL,
                     size INTEGER NOT NULL, PRIMARY KEY (diff_id, kind));
"""
_SINCE_VERSION_2 = """
CREATE TABLE steps_last (slot TEXT PRIMARY KEY, document BLOB NOT NULL, used REAL NOT NULL);
CREATE INDEX steps_last_by_use ON steps_last (used);
"""
_SINCE_VERSION_3 = """
CREATE TABLE results (image_id TEXT PRIMARY KEY, key TEXT NOT NULL, parent TEXT,
                      created TEXT NOT NULL, lines INTEGER NOT NULL, manifest BLOB NOT NULL,
                      config BLOB NOT NULL, made REAL NOT NULL);
CREATE TABLE results_use (image_id TEXT NOT NULL REFERENCES results ON DELETE CASCADE,
                          diff_id TEXT NOT NULL, PRIMARY KEY (image_id, diff_id));
CREATE INDEX results_by_key ON results (key);
CREATE INDEX results_by_layer ON results_use (diff_id);
"""
_SINCE_VERSION_4 = """
CREATE TABLE parts (reference TEXT NOT NULL REFERENCES names ON DELETE CASCADE,
                    manifest TEXT NOT NULL, platform TEXT, PRIMARY KEY (reference, manifest));
CREATE INDEX parts_by_manifest ON parts (manifest);
"""
_SINCE_VERSION_5 = """
CREATE TABLE nameless (target TEXT PRIMARY KEY, manifest TEXT NOT NULL);
CREATE TABLE nameless_parts (target TEXT NOT NULL REFERENCES nameless ON DELETE CASCADE,
                             manifest TEXT NOT NULL, platform TEXT,
                             PRIMARY KEY (target, manifest));
CREATE INDEX nameless_by_manifest ON nameless_parts (manifest);
"""
_SINCE_VERSION_6 = """
CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created REAL NOT NULL,
                       document TEXT NOT NULL);
CREATE TABLE leases (network TEXT NOT NULL REFERENCES networks ON DELETE CASCADE,
                     address TEXT NOT NULL, container TEXT NOT NULL,
                     PRIMARY KEY (network, address));
CREATE INDEX leases_by_container ON leases (container);
"""
_SINCE_VERSION_7 = """
CREATE TABLE volumes (name TEXT PRIMARY KEY, created REAL NOT NULL, document TEXT NOT NULL);
"""
_SINCE_VERSION_8 = """
CREATE TABLE timelines (manifest TEXT PRIMARY KEY REFERENCES images ON DELETE CASCADE,
                        document TEXT NOT NULL);
"""
_SINCE_VERSION_9 = """
CREATE TABLE objects (namespace TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
                      created REAL NOT NULL, updated REAL NOT NULL, document TEXT NOT NULL,
                      PRIMARY KEY (namespace, kind, name));
CREATE INDEX objects_by_kind ON objects (kind, name);
"""


class ImageDatabase(Database):
    """The database of a data root."""

    noun = "image database"
    steps: ClassVar[tuple[str, ...]] = (
        _FIRST,
        _SINCE_VERSION_1,
        _SINCE_VERSION_2,
        _SINCE_VERSION_3,
        _SINCE_VERSION_4,
        _SINCE_VERSION_5,
        _SINCE_VERSION_6,
        _SINCE_VERSION_7,
        _SINCE_VERSION_8,
        _SINCE_VERSION_9,
    )
    if_newer = (
        "this data root was written by a newer ocimagic",
        "upgrade ocimagic, or set OCIMAGIC_ROOT to another directory",
    )
