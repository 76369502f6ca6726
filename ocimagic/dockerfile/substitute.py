"""The reader behind `words.expand`: ``$name``, ``${name...}``, quotes and escapes.

Source: facts/build.md section 1.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile import shellpattern
from ocimagic.dockerfile.blanks import is_space, split_at_blanks
from ocimagic.errors import BadInput
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
_MAX_DEPTH = 100  # ${a:-${a:-... nests by recursion; nobody writes more than three
MOST_IN_WORD = 256 << 10  # Linux starts no program with a variable of more than 128 KiB
MOST_IN_TEXT = 4 << 20


class BadWord(BadInput):
    """A word whose quotes or substitutions cannot be understood.

    Args:
        what: what is so.
        fragment: the part of the word it is about, to point at it in the source.
    """

    def __init__(
        self, what: str, *, fragment: str, why: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.fragment = fragment


@dataclass(slots=True)
class _Pieces:
    """The text read so far, and its words."""

    text: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    word: list[str] = field(default_factory=list)

    def literal(self, text: str) -> None:
        self.text.append(text)
        self.word.append(text)

    def blank_splits(self, text: str) -> None:
        self.text.append(text)
        if len(text) == 1:
            if is_space(text):
                self.close()
            else:
                self.word.append(text)
            return
        first, *others = split_at_blanks(text)
        self.word.append(first)
        for part in others:
            self.close()
            self.word.append(part)

    def close(self) -> None:
        if word := "".join(self.word):
            self.words.append(word)
        self.word.clear()


class Reader:
    """A left-to-right reader of one word.

    Args:
        source: the word; the reader stands before its first character.
        env: values of variables.
        escape: the escape character.
        quotes: False makes a quote a character like any other.
        keep_quotes: quotes mean what they mean and stay in the text; so do escapes.
        keep_variables: variables stay as they are written.
        most: characters that variables may put into it.
    """

    def __init__(
        self,
        source: str,
        env: Mapping[str, str],
        *,
        escape: str,
        quotes: bool = True,
        keep_quotes: bool = False,
        keep_variables: bool = False,
        most: int = MOST_IN_WORD,
    ) -> None:
        self.source = source
        self.left = self.most = most
        self.env = env
        self.escape = escape
        self.quotes = quotes
        self.keep_quotes = keep_quotes
        self.keep_variables = keep_variables
        self.at = 0
        self.depth = 0
        self.used: set[str] = set()
        self.unset: list[str] = []

    def _peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        self.at += 1
        return char

    def until(self, stop: str, *, keep_escapes: bool = False) -> tuple[str, list[str]]:
        """Read up to ``stop``, which is consumed, or to the end if it is ""."""
        pieces = _Pieces()
        keep_escapes = keep_escapes or self.keep_quotes
        while char := self._peek():
            if char == stop:
                self.at += 1
                pieces.close()
                return "".join(pieces.text), pieces.words
            if char == "$":
                pieces.blank_splits(self._dollar())
            elif char == "'" and self.quotes:
                pieces.literal(self._single_quoted())
            elif char == '"' and self.quotes:
                pieces.literal(self._double_quoted())
            elif char == self.escape:
                self.at += 1
                # An escape at the very end protects nothing and is dropped.
                pieces.literal((char if keep_escapes else "") + self._take())
            else:
                pieces.blank_splits(self._take())
        if stop:
            raise BadWord(f"syntax error: missing '{stop}'", fragment=self.source)
        pieces.close()
        return "".join(pieces.text), pieces.words

    def _single_quoted(self) -> str:
        start = self.at
        end = self.source.find("'", start + 1)
        if end < 0:
            raise _open_quote(self.source[start:], "single-quote", "'")
        self.at = end + 1
        return self.source[start : end + 1] if self.keep_quotes else self.source[start + 1 : end]

    def _double_quoted(self) -> str:
        start = self.at
        self.at += 1
        text: list[str] = []
        while (char := self._peek()) != '"':
            if not char:
                raise _open_quote(self.source[start:], "double-quote", '"')
            if char == "$":
                text.append(self._dollar())
                continue
            self.at += 1
            if char == self.escape:
                # Only these three can be escaped in here: "\n" stays two characters.
                protected = self._peek() in ('"', "$", self.escape)
                text.append(char if self.keep_quotes or not protected else "")
                char = self._take() if protected else ""
            text.append(char)
        self.at += 1
        inner = "".join(text)
        return f'"{inner}"' if self.keep_quotes else inner

    def _dollar(self) -> str:
        start = self.at
        self.at += 1
        if self._peek() == "{":
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise BadWord("syntax error: too many nested ${", fragment=self.source)
            self.at += 1
            value = self._braces(start)
            self.depth -= 1
        elif name := self._name():
            value = self._value(name)
        else:
            return "$"
        if self.keep_variables:
            return self.source[start : self.at]
        self.left -= len(value)
        if self.left < 0:
            raise self._too_long(start)
        return value

    def _name(self) -> str:
        start = self.at
        if self._peek() in _SPECIAL_PARAMETERS:
            self.at += 1
        elif self._peek().isdecimal():
            while self._peek().isdecimal():
                self.at += 1
        else:
            while self._peek().isalpha() or self._peek().isdecimal() or self._peek() == "_":
                self.at += 1
        return self.source[start : self.at]

    def _value(self, name: str) -> str:
        if name in self.env:
            self.used.add(name)
        else:
            self.unset.append(name)
        return self.env.get(name, "")

    def _braces(self, start: int) -> str:
        """Read from after ``${`` to its ``}`` and give its value."""
        if not self._peek():
            raise self._never_closed(start)
        if self._peek() in "{}:":
            self.at += 1
            raise self._bad(
                start, "syntax error: bad substitution", "name a variable between ${ and }"
            )
        name = self._name()
        operator = self._take()
        if operator == "}":
            return self._value(name)
        if operator == ":":
            operator += self._take()
        if not operator[-1:] or not self._peek():
            raise self._never_closed(start)
        if operator == "/":
            return self._replaced(name, start)
        if operator.lstrip(":") in {"-", "+", "?", "#", "%"}:
            return self._modified(name, operator, start)
        raise self._bad(
            start,
            f"unsupported modifier ({operator}) in substitution",
            "docker knows - :- + :+ ? :? # ## % %% / and // after the name",
        )

    def _modified(self, name: str, operator: str, start: int) -> str:
        sign = operator[-1]
        word = self._operand("}", start, keep_escapes=sign in "#%")
        if self.keep_variables:
            return ""
        present = name in self.env and (operator[0] != ":" or self.env[name] != "")
        if sign in "-+":
            if name in self.env:
                self.used.add(name)
            return (self.env[name] if sign == "-" else word) if present else word * (sign == "-")
        if sign == "?":
            if present:
                return self._value(name)
            state = "empty" if name in self.env else "unset"
            raise self._bad(
                start,
                f"{name}: {word or f'is not allowed to be {state}'}",
                f"give it a value: --build-arg {name}=..., or ARG/ENV {name}=... above",
            )
        value = self._value(name)
        longest = word.startswith(sign)
        pattern = word[1:] if longest else word
        trim = shellpattern.trim_prefix if sign == "#" else shellpattern.trim_suffix
        try:
            return trim(value, pattern, longest=longest)
        except ValueError as err:
            raise self._bad(start, f"invalid pattern ({pattern}) in substitution: {err}") from None

    def _replaced(self, name: str, start: int) -> str:
        every = self._peek() == "/"
        self.at += every
        pattern = self._operand("/", start, keep_escapes=True)
        replacement = self._operand("}", start, keep_escapes=True)
        if self.keep_variables:
            return ""
        value = self._value(name)
        try:
            most = max(self.left, 0)
            return shellpattern.replace(value, pattern, replacement, every=every, most=most)
        except OverflowError:
            raise self._too_long(start) from None
        except ValueError as err:
            raise self._bad(start, f"invalid pattern ({pattern}) in substitution: {err}") from None

    def _operand(self, stop: str, start: int, *, keep_escapes: bool) -> str:
        try:
            return self.until(stop, keep_escapes=keep_escapes)[0]
        except BadWord:
            if not self._peek() and stop == "/":
                raise self._bad(
                    start, "syntax error: missing '/' in ${}", "write ${name/pattern/replacement}"
                ) from None
            if not self._peek():
                raise self._never_closed(start) from None
            raise

    def _too_long(self, start: int) -> BadWord:
        return self._bad(
            start,
            f"variables make this longer than {self.most} characters",
            "a value that is put into itself again and again has no end; what is large goes into "
            "a file, and COPY takes it",
        )

    def _never_closed(self, start: int) -> BadWord:
        return self._bad(
            start,
            "syntax error: missing '}'",
            "close the ${ with a }; a word with blanks in it needs quotes",
        )

    def _bad(self, start: int, what: str, hint: str | None = None) -> BadWord:
        return BadWord(what, fragment=self.source[start : self.at], hint=hint)


def _open_quote(fragment: str, kind: str, char: str) -> BadWord:
    return BadWord(
        f"unexpected end of statement while looking for matching {kind}",
        fragment=fragment,
        hint=f"close the quote with {char}, or put the escape character before it",
    )
