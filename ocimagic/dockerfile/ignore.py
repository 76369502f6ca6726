""".dockerignore: which files of the context the builder does not see.

The last pattern that matches decides.  A pattern that matches a directory also matches all
below it; a later ``!`` pattern brings files back even from there.  Not .gitignore's rules:
``*.log`` means the top directory only, ``**/*.log`` means everywhere.

Source: Dockerfile reference ".dockerignore file"; facts/build.md section 1.2.
"""

from __future__ import annotations

import posixpath
import re

from ocimagic.dockerfile.blanks import SPACES
from ocimagic.dockerfile.match import (
    DEEP,
    DIRECTORIES,
    STAR,
    Matcher,
    check_pattern,
    compiled,
    match,
    take_class,
)
from ocimagic.dockerfile.source import quoted
from ocimagic.errors import BadInput
from ocimagic.spec.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """One line.

    Args:
        line: its 1-based number.
        text: the line as written, blanks around it gone.
        pattern: the path pattern, clean and relative.
        brings_back: it started with ``!``.
        matcher: the pattern compiled.
    """

    line: int
    text: str
    pattern: str
    brings_back: bool
    matcher: Matcher

    def matches(self, path: str) -> bool:
        """Tell whether the path or one of its parents matches."""
        return any(self.matcher.fullmatch(each) for each in (path, *_parents(path)))

    def may_match_below(self, path: str) -> bool:
        """Tell whether something below the directory ``path`` may match by its own name."""
        below = self.pattern.split("/")
        for part in path.split("/"):
            if not below or "**" in below[0]:
                return bool(below)
            # One part is checked on its own: a class that holds "/" is not worth more care.
            if not _part_matches(below.pop(0), part):
                return False
        return bool(below)


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRules:
    """The rules of one .dockerignore, top down."""

    rules: tuple[IgnoreRule, ...] = ()

    @classmethod
    def parse(cls, text: str) -> IgnoreRules:
        """Read a .dockerignore.

        Raises:
            BadInput: for a ``!`` alone or an open class; where says the line.
        """
        lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
        return cls(
            rules=tuple(
                _rule(number, line.strip(SPACES))
                for number, line in lines
                # Only a # in the first column is a comment: " #x" names a file.
                if line.strip(SPACES) and not line.startswith("#")
            )
        )

    @classmethod
    def of(cls, patterns: tuple[str, ...]) -> IgnoreRules:
        """Make rules of ``COPY --exclude`` values; raises like `parse`."""
        return cls(rules=tuple(_rule(0, each.strip(SPACES)) for each in patterns if each.strip()))

    def excludes(self, path: str) -> bool:
        """Tell whether the builder does not see ``path``, relative and ``/``-separated."""
        rule = self._decides(path)
        return rule is not None and not rule.brings_back

    def which(self, path: str) -> str | None:
        """Name the line that excludes ``path``, such as ``*.log (line 3)``; None if none does."""
        rule = self._decides(path)
        if rule is None or rule.brings_back:
            return None
        return f"{rule.text} (line {rule.line})" if rule.line else rule.text

    def may_reinclude_below(self, path: str) -> bool:
        """Tell whether a walker must look into the directory ``path``, even if it is excluded."""
        rule = self._decides(path)
        if rule is None or rule.brings_back:
            return True
        # What excludes a directory excludes all below it, so only later rules can differ.
        later = self.rules[self.rules.index(rule) + 1 :]
        return any(each.brings_back and each.may_match_below(_clean(path)) for each in later)

    def _decides(self, path: str) -> IgnoreRule | None:
        clean = _clean(path)
        if clean == ".":
            return None  # the context itself
        return next((rule for rule in reversed(self.rules) if rule.matches(clean)), None)


def _rule(line: int, text: str) -> IgnoreRule:
    where = f".dockerignore line {line}: {text}" if line else text
    brings_back, pattern = _parted(text)
    pattern = _clean(pattern) if pattern else ""
    if len(pattern) > 1:
        pattern = pattern.removeprefix("/")
    # Docker reads what it has cleaned once more: "!/" is a ! alone, and "a /" is "a".
    again = f"!{pattern}" if brings_back else pattern
    brings_back, pattern = _parted(_clean(again.strip(SPACES)))
    if not pattern:
        raise BadInput(
            f"illegal exclusion pattern: {quoted(text)}",
            where=where,
            hint="put the files to bring back after the !",
        )
    try:
        check_pattern(pattern)
    except BadInput as err:
        raise BadInput(err.what, where=where, hint=err.hint) from None
    return IgnoreRule(
        line=line, text=text, pattern=pattern, brings_back=brings_back, matcher=_matcher(pattern)
    )


def _parted(text: str) -> tuple[bool, str]:
    """Return whether there is a ``!`` in front, and the rest."""
    return text.startswith("!"), text.removeprefix("!").strip(SPACES)


def _clean(path: str) -> str:
    # normpath keeps a double slash at the start, as POSIX allows; Go's Clean does not.
    return posixpath.normpath(re.sub("^/+", "/", path))


def _parents(path: str) -> list[str]:
    """Return a/b and a for a/b/c."""
    return [path[: found.start()] for found in re.finditer("/", path) if found.start()][::-1]


def _part_matches(pattern: str, part: str) -> bool:
    try:
        return match(pattern, part)
    except BadInput:
        return True  # half of a class that holds a "/": look, to be safe


def _matcher(pattern: str) -> Matcher:
    """Translate, ``**`` included: any depth, also none."""
    # Without another wildcard, docker compares ends of texts: **foo also takes xfoo.
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        start, rest = (DIRECTORIES, pattern[3:]) if pattern[2:3] == "/" else (DEEP, pattern[2:])
        return re.compile(start + re.escape(rest), re.DOTALL)
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 3 if pattern.startswith("/", at + 2) else 2
            parts.append(DIRECTORIES if at < len(pattern) else DEEP)
            continue
        if char == "[":
            part, at = take_class(pattern, at)
            parts.append(part)
            continue
        if char == "\\":
            at += 1
            char = pattern[at]
            parts.append(re.escape(char))
        else:
            parts.append({"*": STAR, "?": "[^/]"}.get(char) or re.escape(char))
        at += 1
    return compiled(parts)
