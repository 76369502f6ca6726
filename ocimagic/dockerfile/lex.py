"""Lines: from the text of a Dockerfile to its directives and logical lines.

A logical line is one instruction: continuation lines joined with nothing between them,
comments between them dropped, the bodies of its heredocs taken off and kept raw.

Source: Dockerfile reference, "Format", "Parser directives" and "Here-Documents";
facts/build.md section 1.0.
"""

from __future__ import annotations

import re
from typing import NoReturn

from ocimagic.dockerfile import words
from ocimagic.dockerfile.blanks import SPACES
from ocimagic.dockerfile.source import SourceRange
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.errors import DockerfileError
from ocimagic.spec.record import dataclass

MAX_LINE_BYTES = 65_535
DEFAULT_ESCAPE = "\\"

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_KNOWN_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)")
_TAKES_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The ``# key=value`` lines at the top, which only the first lines can be.

    Args:
        syntax: the front end asked for, or None.
        escape: the escape character, backslash or backtick.
        check: the text of ``# check=``, for lint.
        syntax_line: 1-based line of ``syntax``, 0 without one.
    """

    syntax: str | None = None
    escape: str = DEFAULT_ESCAPE
    check: str = ""
    syntax_line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """One ``<<NAME`` and its body.

    Args:
        name: the end word without its quotes; for COPY also the file's name.
        body: the lines up to the end word, each with its line ending, tabs included.
        expand: False if any part of the word was quoted, so that ``$`` stays ``$``.
        strip_tabs: it was written ``<<-``.
    """

    name: str
    body: str = ""
    expand: bool = True
    strip_tabs: bool = False

    @property
    def content(self) -> str:
        """The body, with leading tabs gone from each line if it was written ``<<-``."""
        return re.sub(r"^\t+", "", self.body, flags=re.MULTILINE) if self.strip_tabs else self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One instruction before anyone asks what it means.

    Args:
        keyword: its first word as written.
        rest: what follows the keyword, blanks around it gone.
        heredocs: in the order of their ``<<``; the words themselves are still in ``rest``.
        source: where it stands.
    """

    keyword: str
    rest: str
    heredocs: tuple[Heredoc, ...]
    source: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexed:
    """All there is to know about a Dockerfile without knowing any instruction.

    Args:
        directives: from the first lines.
        lines: the instructions, top down.
        empty_continuations: 1-based last lines of instructions with an empty line inside.
    """

    directives: Directives
    lines: tuple[LogicalLine, ...]
    empty_continuations: tuple[int, ...]


def lex(text: str, *, escape: str | None = None) -> Lexed:
    """Split a Dockerfile into logical lines.

    Args:
        text: the file; a byte order mark and CRLF line ends are taken.
        escape: the escape character, where no directive can say it (ONBUILD triggers).

    Raises:
        DockerfileError: for a bad directive, a line too long, a heredoc without its end, or an
            escape character that stands for itself.
    """
    physical = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(physical, 1):
        if len(line.encode(errors="surrogatepass")) > MAX_LINE_BYTES:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}",
                line=number,
                hint="move the data into a file and COPY it",
            )
    if escape is None:
        directives, first = _directives(physical)
    else:
        directives, first = Directives(escape=escape), 0
    return _Lines(physical, first, directives).read()


def split_instruction(text: str) -> tuple[str, str]:
    """Split a logical line into its keyword and the rest; either may be ""."""
    keyword, *rest = _BLANKS.split(text.strip(SPACES), maxsplit=1)
    return keyword, (rest[0].strip(SPACES) if rest else "")


def parse_heredoc(word: str) -> Heredoc | None:
    """Read a word like ``<<-"EOF"``; None if it is no heredoc.  The body is still empty."""
    found = _HEREDOC.fullmatch(word)
    if not found:
        return None
    try:
        raw = words.raw_words(found[3])
        name = words.unquote(raw[0]) if len(raw) == 1 else ""
    except BadWord:
        return None
    if not name:
        return None
    return Heredoc(name=name, expand=name == raw[0], strip_tabs=found[2] == "-")


def _directives(physical: list[str]) -> tuple[Directives, int]:
    """Read the directives and return them with the index of the first line after them."""
    found: dict[str, tuple[str, int]] = {}
    index = 0
    # docker finds "syntax" below a shebang, too.
    if physical[0].startswith("#!"):
        index = 1
    while index < len(physical):
        line = physical[index].strip(SPACES)
        matched = _DIRECTIVE.fullmatch(line)
        key = matched[1].lower() if matched else ""
        if not matched or key not in _KNOWN_DIRECTIVES:
            break
        if key in found:
            raise DockerfileError(
                f"only one {key} parser directive can be used",
                line=index + 1,
                source=physical[index].rstrip(),
                hint=f"keep one; the other is on line {found[key][1]}",
            )
        found[key] = (matched[2], index + 1)
        index += 1
    escape, line_number = found.get("escape", (DEFAULT_ESCAPE, 0))
    if escape not in {"\\", "`"}:
        raise DockerfileError(
            f"invalid escape token '{escape}' does not match ` or \\",
            line=line_number,
            column=physical[line_number - 1].rfind(escape) + 1,
            source=physical[line_number - 1].rstrip(),
            hint="write # escape=\\ or # escape=`",
        )
    syntax, syntax_line = found.get("syntax", (None, 0))
    check = found.get("check", ("", 0))[0]
    return Directives(syntax=syntax, escape=escape, check=check, syntax_line=syntax_line), index


class _Lines:
    """A reader of physical lines; ``index`` is the next one."""

    def __init__(self, physical: list[str], first: int, directives: Directives) -> None:
        self.physical = physical
        self.index = first
        self.directives = directives
        self.empty: list[int] = []
        escape = re.escape(directives.escape)
        # Doubled, the escape is a literal and the line ends here.
        self.continued = re.compile(rf"(?<!{escape}){escape}[ \t]*$")

    def read(self) -> Lexed:
        lines: list[LogicalLine] = []
        comments: list[str] = []
        while self.index < len(self.physical):
            start = self.index
            line = self._next().strip(SPACES)
            if line.startswith("#"):
                comments.append(line[1:].strip(SPACES))
                continue
            if line:
                text = self._joined(start)
                if not text.strip(SPACES):
                    self._nothing(start)
                lines.append(self._logical(start, text, tuple(comments)))
            comments.clear()
        return Lexed(
            directives=self.directives, lines=tuple(lines), empty_continuations=tuple(self.empty)
        )

    def _nothing(self, start: int) -> NoReturn:
        escape = self.directives.escape
        raise DockerfileError(
            f"unknown instruction: nothing but {escape}",
            line=start + 1,
            source=self.physical[start].rstrip(),
            why="it continues a line, and no other line comes",
            hint=f"take the {escape} away",
        )

    def _next(self) -> str:
        line = self.physical[self.index]
        self.index += 1
        return line.rstrip("\r")

    def _joined(self, start: int) -> str:
        """Join the line at ``start`` with its continuations, and stop after the last."""
        text, more = self._without_escape(self.physical[start].rstrip("\r").lstrip(SPACES))
        has_empty = False
        while more and self.index < len(self.physical):
            line = self._next()
            bare = line.strip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                # The text's last "\n" leaves an empty piece behind: that is no line.
                has_empty = has_empty or self.index < len(self.physical)
                continue
            piece, more = self._without_escape(line)
            text += piece
        if has_empty:
            self.empty.append(self.index)
        return text

    def _without_escape(self, line: str) -> tuple[str, bool]:
        found = self.continued.search(line)
        return (line[: found.start()], True) if found else (line, False)

    def _logical(self, start: int, text: str, comments: tuple[str, ...]) -> LogicalLine:
        keyword, rest = split_instruction(text)
        heredocs = tuple(
            self._body_of(heredoc, start) for heredoc in self._heredocs(keyword.upper(), rest)
        )
        written = [line.rstrip("\r") for line in self.physical[start : self.index]]
        source = SourceRange(
            start_line=start + 1,
            end_line=self.index,
            text="\n".join(written),
            logical=text.strip(SPACES),
            comments=comments,
        )
        return LogicalLine(keyword=keyword, rest=rest, heredocs=heredocs, source=source)

    def _heredocs(self, keyword: str, rest: str) -> list[Heredoc]:
        if keyword == "ONBUILD":
            keyword, rest = split_instruction(rest)
        if "<<" not in rest or keyword.upper() not in _TAKES_HEREDOCS:
            return []
        try:
            # Never the file's escape character: docker reads this line as a shell would.
            candidates = words.raw_words(rest)
        except BadWord:
            return []  # an open quote is the shell's to refuse, not ours
        return [found for word in candidates if (found := parse_heredoc(word))]

    def _body_of(self, heredoc: Heredoc, start: int) -> Heredoc:
        body: list[str] = []
        while self.index < len(self.physical):
            raw = self.physical[self.index]
            self.index += 1
            line = raw.rstrip("\r")
            if (line.lstrip("\t") if heredoc.strip_tabs else line) == heredoc.name:
                return Heredoc(
                    name=heredoc.name,
                    body="".join(body),
                    expand=heredoc.expand,
                    strip_tabs=heredoc.strip_tabs,
                )
            body.append(raw + "\n")
        source = self.physical[start].rstrip("\r")
        raise DockerfileError(
            "unterminated heredoc",
            line=start + 1,
            column=source.find("<<") + 1 or None,
            source=source,
            why=f"no line is exactly {heredoc.name}, up to the end of the file",
            hint=f"put {heredoc.name} alone on a line after the text, without blanks around it",
        )
