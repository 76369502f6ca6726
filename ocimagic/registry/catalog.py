"""Names in a registry's directory, and which repository has which blob: one small database.

::

    tags       (repository, tag) → digest
    manifests  (repository, digest) → media type, size, and what the list of referrers says
    blobs      (repository, digest)
    parts      (repository, manifest, digest) → size       what a manifest names

A blob's file may be in several repositories; it is taken away with its last row.
"""

from __future__ import annotations

from typing import ClassVar

from ocimagic.home.database import Database

_FIRST = """
CREATE TABLE tags (repository TEXT, tag TEXT, digest TEXT NOT NULL,
                   PRIMARY KEY (repository, tag));
CREATE TABLE manifests (repository TEXT, digest TEXT, media_type TEXT NOT NULL,
                        size INTEGER NOT NULL, subject TEXT, artifact_type TEXT NOT NULL,
                        annotations TEXT NOT NULL, PRIMARY KEY (repository, digest));
CREATE TABLE blobs (repository TEXT, digest TEXT, PRIMARY KEY (repository, digest));
CREATE TABLE parts (repository TEXT, manifest TEXT, digest TEXT, size INTEGER NOT NULL,
                    PRIMARY KEY (repository, manifest, digest));
CREATE INDEX manifests_by_subject ON manifests (repository, subject);
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE INDEX blobs_by_digest ON blobs (digest);
CREATE INDEX parts_by_digest ON parts (repository, digest);
"""


class Catalog(Database):
    """The database of one registry."""

    noun = "registry's database"
    steps: ClassVar[tuple[str, ...]] = (_FIRST,)
    if_newer = (
        "this registry was written by a newer ocimagic",
        "upgrade ocimagic, or name another directory with --data",
    )
    is_durable = True  # what a client was told is kept must survive a power cut
