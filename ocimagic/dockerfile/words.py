"""Words: quotes, escapes and variables, as far as the Dockerfile language knows them.

It looks like a shell and is not: ``$(...)`` means nothing here, globs are left alone, and
an unset variable is the empty text.  RUN, CMD and ENTRYPOINT text never comes this way; a
real shell in the container reads it.

Source: Dockerfile reference, "Environment replacement"; facts/build.md sections 1.0 and 1.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile.blanks import is_space
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.substitute import MOST_IN_TEXT, MOST_IN_WORD, BadWord, Reader
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_SHOWN = 500  # characters of a word in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What became of a word.

    Args:
        text: the word with variables replaced and quotes removed, blanks kept.
        words: the same, split at blanks that are neither quoted nor escaped.
        used: names that were looked up and found.
        unset: names that were looked up in vain, first use first; those with a fallback
            (``${name:-word}``, ``${name+word}``) are not among them.
    """

    text: str
    words: tuple[str, ...]
    used: frozenset[str]
    unset: tuple[str, ...]


def expand(word: str, env: Mapping[str, str], *, escape: str = "\\", quotes: bool = True) -> str:
    """Replace the variables of a word and remove its quotes and escapes.

    Args:
        word: the text; blanks in it are kept.
        env: the values; a name that is not in it is empty.
        escape: the escape character, backslash or backtick.
        quotes: False leaves quotes alone, as in the body of a heredoc.

    Raises:
        BadWord: for an open quote, a bad substitution, or ``${name:?word}`` without a value.
    """
    return expansion(word, env, escape=escape, quotes=quotes).text


def expansion(
    word: str, env: Mapping[str, str], *, escape: str = "\\", quotes: bool = True
) -> Expansion:
    """Expand a word like `expand` and tell what was used, missing, and its split into words."""
    most = MOST_IN_WORD if quotes else MOST_IN_TEXT
    return _run(Reader(word, env, escape=escape, quotes=quotes, most=most))


def raw_words(line: str, *, escape: str = "\\") -> tuple[str, ...]:
    """Split a line at its unquoted blanks and change nothing else.

    Raises:
        BadWord: as `expand` does.
    """
    return _run(Reader(line, {}, escape=escape, keep_quotes=True, keep_variables=True)).words


def unquote(word: str, *, escape: str = "\\") -> str:
    """Remove quotes and escapes and leave variables as they are written.

    Raises:
        BadWord: as `expand` does.
    """
    return _run(Reader(word, {}, escape=escape, keep_variables=True)).text


def split_words(text: str, *, escape: str = "\\") -> list[str]:
    """Split the arguments of ENV, LABEL and ARG at blanks; quotes and escapes stay in the words.

    An open quote runs to the end: `expand` complains about it later, where a message can say
    which word it is.
    """
    words: list[str] = []
    start: int | None = None
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if start is None:
            if is_space(char):
                at += 1
                continue
            start = at
        if char == escape and quote != "'":
            at += 1  # whatever comes next is data
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif is_space(char):
            words.append(text[start:at])
            start = None
        at += 1
    return words if start is None else [*words, text[start:]]


def _run(reader: Reader) -> Expansion:
    try:
        text, words = reader.until("")
    except BadWord as err:
        raise BadWord(
            f"failed to process {quoted(_cut(reader.source))}: {err.what}",
            fragment=err.fragment,
            why=err.why,
            hint=err.hint,
        ) from None
    return Expansion(
        text=text,
        words=tuple(words),
        used=frozenset(reader.used),
        unset=tuple(dict.fromkeys(reader.unset)),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
