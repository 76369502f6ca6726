"""A suite as its mirror has it now: Release fetched and judged, then its Packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.build.debian import signature
from ocimagic.build.debian.deb822 import unsigned
from ocimagic.build.debian.fetch import RemoteFile
from ocimagic.build.debian.release import Release
from ocimagic.errors import (
    DigestMismatch,
    InvalidDocument,
    LayerRefused,
    PackageRefused,
    SignatureRefused,
    SuiteNotFound,
)
from ocimagic.layers.compress import decompressed_archive
from ocimagic.registry.origin import shown_url
from ocimagic.spec.digest import Digest
from ocimagic.transfer.layer import chunks_of

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.build.debian.fetch import Fetcher
    from ocimagic.build.debian.release import IndexFile
    from ocimagic.build.debian.sites import Site
    from ocimagic.store.store import Store

_MAX_RELEASE_BYTES = 16 << 20
_MAX_SIGNATURE_BYTES = 1 << 20
_MOST_PLAIN_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite.

    Attributes:
        keys: fingerprints that signed it; none if nobody looked.
        indexes: its Packages, each as fetched and as unpacked.
    """

    site: Site
    release: Release
    keys: tuple[str, ...]
    indexes: tuple[tuple[IndexFile, IndexFile | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a suite has to prove.

    Attributes:
        signed: it must be signed by a key of its site.
        until: its Valid-Until must not be over.
        keyring: how the usual one's package is called, for hints.
    """

    now: datetime
    signed: bool = True
    until: bool = True
    keyring: str = ""


def find_suite(fetcher: Fetcher, site: Site, architecture: str, trust: Trust) -> Suite:
    """Fetch and judge a suite's Release.

    Raises:
        SuiteNotFound: the mirror has none of that name.
        SignatureRefused: it is not signed by whom it must be.
        PackageRefused: outdated, or another suite.
        InvalidDocument: it cannot be read, or has nothing for this processor.
    """
    text, keys = _release(fetcher, site, trust)
    release = Release.parse(text)
    release.check_names(site.suite)
    release.check_time(trust.now, until=trust.until)
    # Debian's security suites say "updates/main" where everybody says "main".
    known = {each.rpartition("/")[2] for each in release.components}
    components = [each for each in site.components if each in known or not known]
    if not components:
        raise InvalidDocument(
            f"the suite {site.suite} has none of {' '.join(site.components)}",
            why=f"it has {' '.join(release.components)}",
            where=shown_url(site.url),
        )
    indexes = tuple(release.packages(each, architecture) for each in components)
    return Suite(site, release, keys, indexes)


def _release(fetcher: Fetcher, site: Site, trust: Trust) -> tuple[str, tuple[str, ...]]:
    where = shown_url(f"{site.url}/InRelease")
    document = fetcher.document(f"{site.url}/InRelease", max_bytes=_MAX_RELEASE_BYTES)
    detached = None
    if document is None:
        where = shown_url(f"{site.url}/Release")
        document = fetcher.document(f"{site.url}/Release", max_bytes=_MAX_RELEASE_BYTES)
        if document is None:
            raise SuiteNotFound(
                f"the mirror has no suite {site.suite}",
                where=shown_url(site.url),
                hint="is it spelled like a codename of the distribution, such as bookworm?",
            )
        detached = fetcher.document(f"{site.url}/Release.gpg", max_bytes=_MAX_SIGNATURE_BYTES)
        if detached is None and trust.signed:
            raise SignatureRefused(
                "the mirror's Release file is not signed",
                where=where,
                hint=signature.UNCHECKED_HINT.format("nothing: name another mirror"),
            )
    if not trust.signed:
        try:
            return unsigned(document.decode()), ()
        except UnicodeDecodeError as err:
            raise InvalidDocument("the Release file is not UTF-8", where=where) from err
    signed = signature.check(document, detached, _keyrings(site, trust), where=where)
    return signed.text, signed.keys


def _keyrings(site: Site, trust: Trust) -> list[Path | bytes]:
    if not site.keyrings:
        raise SignatureRefused(
            "the signature of the mirror cannot be checked",
            why="the distribution's keys are not on this machine",
            where=shown_url(site.url),
            hint=signature.UNCHECKED_HINT.format(
                f"them (apt install {trust.keyring}), or name them with --keyring FILE"
            ),
        )
    return [each.encode() if "-----BEGIN" in each else Path(each) for each in site.keyrings]


def index_files(suite: Suite) -> list[RemoteFile]:
    """Return what has to be fetched to know a suite's packages."""
    base = suite.site.url
    return [
        RemoteFile(
            name=f"{suite.site.suite} {packed.path}",
            urls=tuple(
                dict.fromkeys((f"{base}/{suite.release.path_of(packed)}", f"{base}/{packed.path}"))
            ),
            size=packed.size,
            digest=Digest(f"sha256:{packed.sha256}"),
        )
        for packed, _ in suite.indexes
    ]


def read_index(store: Store, packed: IndexFile, plain: IndexFile | None) -> bytes:
    """Return a Packages file, uncompressed and checked again.

    Raises:
        PackageRefused: it does not unpack to what the Release file says.
    """
    limit = plain.size if plain else _MOST_PLAIN_BYTES
    with store.blobs.open(Digest(f"sha256:{packed.sha256}")) as blob:
        try:
            raw = b"".join(decompressed_archive(chunks_of(blob), max_bytes=limit))
        except LayerRefused as err:
            raise PackageRefused(f"{packed.path} cannot be unpacked", why=err.reason) from err
    if plain and Digest.of(raw) != f"sha256:{plain.sha256}":
        raise DigestMismatch(
            f"{packed.path}, uncompressed",
            expected=f"sha256:{plain.sha256}",
            actual=Digest.of(raw),
            hint="name another mirror",
        )
    return raw
