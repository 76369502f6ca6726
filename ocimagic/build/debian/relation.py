"""What a package says of others: ``libc6 (>= 2.36), awk | mawk:any``.

Spec: Debian Policy 7.1; deb-control(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ocimagic.build.debian.version import satisfies
from ocimagic.errors import InvalidDocument

_RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(?::(?P<arch>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<relation>[<>=]{1,2})\s*(?P<version>[^\s()]+)\s*\))?"
    r"(?:\s*\[[^]]*\])?(?:\s*<[^>]*>)*"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """One package that would do.

    Attributes:
        relation: "" where any version does.
    """

    name: str
    relation: str = ""
    version: str = ""

    def is_met_by(self, version: str) -> bool:
        """Say whether this version of the package does; "" is one that is not said."""
        if not self.relation:
            return True
        return bool(version) and satisfies(version, self.relation, self.version)

    def __str__(self) -> str:
        return f"{self.name} ({self.relation} {self.version})" if self.relation else self.name


Clause = tuple[Relation, ...]


def parse_relations(text: str) -> tuple[Clause, ...]:
    """Read a Depends or Provides field: all clauses must hold, of each one alternative.

    Raises:
        InvalidDocument: it cannot be understood.
    """
    clauses = (part.strip() for part in text.replace("\n", " ").split(","))
    return tuple(
        tuple(_relation(each.strip()) for each in clause.split("|")) for clause in clauses if clause
    )


def _relation(text: str) -> Relation:
    found = _RELATION.fullmatch(text)
    if not found:
        raise InvalidDocument("a package's dependencies cannot be read", why=f"{text[:80]!r}")
    return Relation(found["name"], found["relation"] or "", found["version"] or "")
