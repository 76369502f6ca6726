"""What follows a keyword, and the few ways instructions read it.

Source: facts/build.md section 1.0, "JSON form" and "Words".
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from ocimagic.dockerfile.instructions import Command, ExecForm, ShellForm
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.dockerfile.flags import Flags
    from ocimagic.dockerfile.lex import LogicalLine
    from ocimagic.dockerfile.source import SourceRange

BLANKS = re.compile(r"[\t\v\f\r ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The flags and the rest of one logical line.

    Args:
        keyword: the instruction, in upper case.
        rest: what follows the flags, blanks around it gone.
        flags: typed by name.
        line: the whole line, with its heredocs and source.
        escape: the file's escape character.
    """

    keyword: str
    rest: str
    flags: Flags
    line: LogicalLine
    escape: str

    @property
    def source(self) -> SourceRange:
        """Where the instruction stands."""
        return self.line.source

    @property
    def text(self) -> Mapping[str, str]:
        """The flags that take a text."""
        return self.flags.texts

    def fail(self, what: str, *, at: str = "", hint: str | None = None) -> NoReturn:
        """Raise DockerfileError about ``at`` in this instruction."""
        raise self.source.error(what, at=at, hint=hint)

    def some(self, values: tuple[str, ...], hint: str) -> tuple[str, ...]:
        """Return ``values``; raise DockerfileError if there are none."""
        if not values:
            self.fail(f"{self.keyword} requires at least one argument", hint=hint)
        return values

    def one(self, hint: str) -> str:
        """Return the rest, blanks in it included; raise DockerfileError if it is empty."""
        if not self.rest:
            self.fail(f"{self.keyword} requires exactly one argument", hint=hint)
        return self.rest

    def blank_separated(self) -> tuple[str, ...]:
        """Split the rest at blanks; quotes mean nothing."""
        return tuple(BLANKS.split(self.rest)) if self.rest else ()

    def json_or_blank_separated(self) -> tuple[str, ...]:
        """Read the rest as JSON if it is, else split it at blanks."""
        found = self.json(self.rest)
        return self.blank_separated() if found is None else found

    def json(self, text: str) -> tuple[str, ...] | None:
        """Read a JSON array of texts; None if it is not one, so shell form."""
        if not text.startswith("["):
            return None
        try:
            found = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None  # docker's trap: ['echo', 'hi'] is silently a shell command
        if not all(isinstance(each, str) for each in found):
            self.fail(
                "when using JSON array syntax, arrays must be comprised of strings only",
                at=text,
                hint='put every word in double quotes: ["sleep", "10"]',
            )
        # "\ud800" is legal JSON and no character: docker makes it U+FFFD.
        return tuple(
            each.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for each in found
        )

    def command(self, text: str) -> Command:
        """Read exec form if ``text`` is a JSON array, else shell form."""
        argv = self.json(text)
        return ShellForm(text) if argv is None else ExecForm(argv)


def _no_constant(name: str) -> Any:  # noqa: ANN401  json's own signature
    raise ValueError(name)  # NaN and Infinity are Python's JSON, nobody else's
