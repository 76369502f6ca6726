"""What a mirror has: the Packages files of its suites, and what each says of a package.

An index of 60,000 packages is cut into its stanzas; only those that somebody asks for are
read, which takes half a second less.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocimagic.build.debian.deb822 import stanza
from ocimagic.build.debian.relation import Relation, parse_relations
from ocimagic.build.debian.version import key
from ocimagic.errors import InvalidDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.build.debian.relation import Clause

_NAME = re.compile(rb"^Package: ?([a-z0-9][a-z0-9+.-]+)[ \t]*$", re.MULTILINE)
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SIZE = re.compile(r"[0-9]{1,12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DEB_BYTES = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of an index.

    Attributes:
        source: whose index it is from: a number that the caller gave.
        filename: below the mirror's URL.
        size: of the .deb, in bytes.
        depends: what it needs, before it is unpacked or before it is configured.
        provides: names it also answers to; ``version`` of each is "" if it is not said.
    """

    name: str
    version: str
    architecture: str
    source: int
    filename: str
    size: int
    sha256: str
    priority: str = ""
    is_essential: bool = False
    depends: tuple[Clause, ...] = ()
    provides: tuple[Relation, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class PackageIndex:
    """The packages of one or more Packages files; of a name the newest counts."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[int, bytes]]] = {}
        self._marked: set[str] = set()
        self._providers: dict[str, set[str]] | None = None
        self._providing: list[tuple[int, bytes]] = []
        self._best: dict[str, Package] = {}

    def add(self, raw: bytes, source: int) -> None:
        """Take a Packages file.

        Raises:
            InvalidDocument: a stanza that does not begin with a package's name.
        """
        self._best.clear()
        self._providers = None
        for part in raw.split(b"\n\n"):
            text = part.strip(b"\n")
            if not text:
                continue
            found = _NAME.search(text)
            if not found:
                raise _broken(text[:60].decode(errors="replace"), "it names no package")
            name = found[1].decode()
            self._found.setdefault(name, []).append((source, text))
            if b"\nEssential: yes" in text or b"\nPriority: required" in text:
                self._marked.add(name)
            if b"\nProvides:" in text:
                self._providing.append((source, text))

    def __len__(self) -> int:
        return len(self._found)

    def find(self, name: str) -> Package | None:
        """Return the newest package of a name.

        Raises:
            InvalidDocument: its stanza cannot be used.
        """
        if name not in self._best:
            known = [_package(text, source) for source, text in self._found.get(name, ())]
            if not known:
                return None
            # Of equal versions the first: the order of the sources is the user's.
            self._best[name] = max(reversed(known), key=lambda each: key(each.version))
        return self._best[name]

    def providers(self, name: str) -> list[Package]:
        """Return the packages that answer to a name they do not have, by their own names."""
        if self._providers is None:
            self._providers = {}
            for source, text in self._providing:
                package = _package(text, source)
                for each in package.provides:
                    self._providers.setdefault(each.name, set()).add(package.name)
        packages = (self.find(each) for each in sorted(self._providers.get(name, ())))
        return [
            each
            for each in packages
            if each and any(provided.name == name for provided in each.provides)
        ]

    def marked(self) -> Iterator[Package]:
        """Yield what no system can be without: essential or of priority required, sorted."""
        for name in sorted(self._marked):
            package = self.find(name)
            if package and (package.is_essential or package.priority == "required"):
                yield package


def _package(raw: bytes, source: int) -> Package:
    try:
        fields = stanza(raw.decode(), what="a Packages file")
    except UnicodeDecodeError as err:
        raise _broken(raw[:60].decode(errors="replace"), "it is not UTF-8") from err
    name = fields.get("package", "")
    filename, size, sha256 = (fields.get(each, "") for each in ("filename", "size", "sha256"))
    if not _SAFE_NAME.fullmatch(name):  # it becomes a path
        raise _broken(name[:60], "that is no package's name")
    if not _SHA256.fullmatch(sha256):
        raise _broken(name, "it has no SHA256")
    if not _SIZE.fullmatch(size) or not 0 < int(size) <= _MAX_DEB_BYTES:
        raise _broken(name, f"its size is {size[:20]!r}")
    clean = posixpath.normpath(filename)
    if not filename or clean.startswith(("/", "..")) or not re.fullmatch(r"[!-~]+", filename):
        raise _broken(name, f"its file is {filename[:80]!r}")
    if not fields.get("version"):
        raise _broken(name, "it has no version")
    return Package(
        name=name,
        version=fields["version"],
        architecture=fields.get("architecture", ""),
        source=source,
        filename=clean,
        size=int(size),
        sha256=sha256,
        priority=fields.get("priority", ""),
        is_essential=fields.get("essential", "") == "yes",
        depends=(
            *parse_relations(fields.get("pre-depends", "")),
            *parse_relations(fields.get("depends", "")),
        ),
        provides=tuple(_flat(parse_relations(fields.get("provides", "")))),
    )


def _flat(clauses: Iterable[Clause]) -> Iterator[Relation]:
    for clause in clauses:
        yield from clause


def _broken(name: str, why: str) -> InvalidDocument:
    return InvalidDocument(
        "a Packages file of the mirror cannot be used", why=f"{name}: {why}", hint="name another"
    )
