"""A stretch of a Dockerfile, so that everything made of it can say where it came from."""

from __future__ import annotations

import json
import re

from ocimagic.errors import DockerfileError
from ocimagic.spec.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRange:
    """The physical lines of one instruction, heredoc bodies included.

    Args:
        start_line: 1-based number of the first line.
        end_line: 1-based number of the last line, inclusive.
        text: those lines as written, joined by newlines.
        logical: the instruction as one line: continuations joined, comments and bodies gone.
        comments: the comment lines directly above, without their ``#``.
    """

    start_line: int
    end_line: int
    text: str
    logical: str
    comments: tuple[str, ...] = ()

    def locate(self, fragment: str, *, last: bool = False) -> tuple[int, int | None]:
        """Return the line and column, both 1-based, where ``fragment`` stands.

        A whole word is preferred to a part of one; comment lines are passed over.  What is
        not found on one line (it may be split by a continuation) is at the first line, with
        no column.
        """
        numbered = list(enumerate(self.text.split("\n"), self.start_line))
        if last:
            numbered.reverse()
        for pattern in (rf"(?<!\S){re.escape(fragment)}(?!\S)", re.escape(fragment)):
            for number, line in numbered:
                found = [] if line.lstrip().startswith("#") else list(re.finditer(pattern, line))
                if fragment and found:
                    return number, found[-1 if last else 0].start() + 1
        return self.start_line, None

    def error(
        self,
        what: str,
        *,
        at: str = "",
        last: bool = False,
        why: str | None = None,
        hint: str | None = None,
    ) -> DockerfileError:
        """Return, for the caller to raise, an error that points into this range.

        Args:
            what: what is so, with docker's phrase where there is one.
            at: the text the error is about; "" means the whole instruction.
            last: point at the last place where ``at`` stands, not the first.
            why: the cause.
            hint: what to do.
        """
        line, column = self.locate(at, last=last)
        source = self.text.split("\n")[line - self.start_line]
        return DockerfileError(what, line=line, column=column, source=source, why=why, hint=hint)


def quoted(text: str) -> str:
    """Return ``text`` in double quotes, as Go's %q and so docker's messages have it."""
    return json.dumps(text, ensure_ascii=False)
