"""The Release file of a suite: what it is, until when it counts, and the digest of each index.

Spec: Debian wiki, "DebianRepository/Format", sections "Release" and "Packages Indices".
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from ocimagic.build.debian.deb822 import stanza
from ocimagic.errors import InvalidDocument, PackageRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE = re.compile(r"([0-9a-f]{64})\s+([0-9]{1,12})\s+(\S+)")
_MAX_INDEX_BYTES = 1 << 30
_SKEW_S = 86_400


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file that a Release vouches for; ``path`` is below the suite's directory."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a suite says of itself.

    Attributes:
        suite: such as ``stable``, ``codename`` such as ``bookworm``.
        version: of the distribution, "" for those that have none.
        date: when it was made.
        valid_until: None for a suite that does not expire.
        files: by path.
        by_hash: files can be asked for by their digest, so that an update in between hurts nobody.
    """

    origin: str
    suite: str
    codename: str
    version: str
    date: datetime
    valid_until: datetime | None
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    files: Mapping[str, IndexFile]
    by_hash: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a Release file, the signature taken off.

        Raises:
            InvalidDocument: it has no date, or no SHA256 of its files.
        """
        fields = stanza(text, what="the Release file")
        files = {}
        for line in fields.get("sha256", "").splitlines():
            found = _LINE.fullmatch(line.strip())
            if found:
                size = int(found[2])
                files[found[3]] = IndexFile(found[3], size, found[1])
        if not files:
            raise InvalidDocument("the Release file is not valid", why="it has no SHA256 of files")
        expires = fields.get("valid-until")
        return cls(
            origin=fields.get("origin", ""),
            suite=fields.get("suite", ""),
            codename=fields.get("codename", ""),
            version=fields.get("version", ""),
            date=_moment(fields.get("date", "")),
            valid_until=_moment(expires) if expires else None,
            architectures=tuple(fields.get("architectures", "").split()),
            components=tuple(fields.get("components", "").split()),
            files=files,
            by_hash=fields.get("acquire-by-hash", "") == "yes",
        )

    def check_names(self, suite: str) -> None:
        """See that this is the suite that was asked for, not another one under its name.

        Raises:
            PackageRefused: it is another.
        """
        said = {self.suite, self.codename} - {""}
        # Security suites once called themselves "bookworm/updates", and said nothing else.
        if said and not any(suite in (each, each.partition("/")[0]) for each in said):
            raise PackageRefused(
                f"the mirror gives another suite than {suite}",
                why=f"its signed Release says {' and '.join(sorted(said))}",
                hint="name another mirror, or the suite by that name",
            )

    def check_time(self, now: datetime, *, until: bool = True) -> None:
        """See that it counts now.

        Args:
            now: the time.
            until: look at Valid-Until too.

        Raises:
            PackageRefused: it is expired, or from the future.
        """
        if until and self.valid_until is not None and self.valid_until < now:
            raise PackageRefused(
                "the mirror's Release file is too old",
                why=f"it was valid until {self.valid_until:%Y-%m-%d %H:%M} UTC",
                hint="an old one could hide security updates: name another mirror; for a mirror\n"
                "of the past, which stays as it was, add --no-check-valid-until",
            )
        if until and (self.date - now).total_seconds() > _SKEW_S:
            raise PackageRefused(
                "the mirror's Release file is from the future",
                why=f"it says {self.date:%Y-%m-%d %H:%M} UTC",
                hint="is the clock of this machine right?  Else add --no-check-valid-until",
            )

    def packages(self, component: str, architecture: str) -> tuple[IndexFile, IndexFile | None]:
        """Return the index of a component: as it is to be fetched, and as it is unpacked.

        Raises:
            InvalidDocument: the suite has none.
        """
        path = f"{component}/binary-{architecture}/Packages"
        plain = self.files.get(path)
        for ending in (".xz", ".gz", ""):
            packed = self.files.get(path + ending)
            if packed and packed.size <= _MAX_INDEX_BYTES:
                return packed, plain
        raise InvalidDocument(
            f"the suite {self.codename or self.suite} has no packages of {component} "
            f"for {architecture}",
            why=f"it has {' '.join(self.components)} for {' '.join(self.architectures)}",
        )

    def path_of(self, file: IndexFile) -> str:
        """Return where to ask for a file, below the suite's directory."""
        if not self.by_hash:
            return file.path
        return posixpath.join(posixpath.dirname(file.path), "by-hash/SHA256", file.sha256)


def _moment(text: str) -> datetime:
    try:
        # "UTC" is no zone that RFC 5322 knows.
        moment = parsedate_to_datetime(re.sub(r"\b(UTC|Z)$", "+0000", text.strip()))
    except (ValueError, TypeError, OverflowError) as err:
        raise InvalidDocument(
            "the Release file is not valid", why=f"its date cannot be read: {text[:60]!r}"
        ) from err
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
