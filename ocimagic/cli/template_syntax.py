"""The grammar of Go's templates: text to a tree.

Source: Go's package text/template, "Actions", "Arguments", "Pipelines", "Variables".
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

_ACTION = re.compile(
    r"""\{\{ (-(?=\s))? \s*
    ( /\*.*?\*/ | (?: "(?:\\.|[^"\\])*" | `[^`]*` | '[^']*' | . )*? )
    \s* ((?<=\s)-)? \}\}""",
    re.DOTALL | re.VERBOSE,
)
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:\\.|[^"\\])*"|`[^`]*`)
    | (?P<char>'(?:\\.|[^'\\])')
    | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+))
    | (?P<variable>\$\w*)
    | (?P<field>\.\w+)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<mark>:=|=|\||,|\(|\)|\.)
    )(?P<space>\s*)""",
    re.VERBOSE,
)
_OPENS = frozenset({"if", "with", "range"})
_LATER = frozenset({"define", "template", "block", "break", "continue"})
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "nil": None}
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, true, false or nil."""

    value: object


@dataclass(frozen=True, slots=True)
class Assign:
    """``$name :=`` or, for one that is there, ``$name =``."""

    name: str
    declares: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its operands, or without a function one operand."""

    function: str
    operands: tuple[Literal | Path | Pipeline, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Calls, each with the value of the one before as its last argument.

    Attributes:
        fields: taken of the value, when it stands in parentheses.
    """

    calls: tuple[Call, ...]
    assigns: tuple[Assign, ...] = ()
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """Fields of what ``start`` is: ``.`` or a variable."""

    start: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """What is written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """What is filled in."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """``if``, ``with`` or ``range``, with what is between it and its ``end``."""

    word: str
    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Action | Branch


def parse(template: str) -> tuple[Node, ...]:
    """Read a template.

    Raises:
        InvalidOption: it cannot be understood.
        NotBuiltYet: an action that Go has and we have not.
    """
    reader = _Reader(_pieces(template), template)
    nodes, word, _ = reader.block(0)
    if word:
        raise InvalidOption(f"template {template!r} has {{{{{word}}}}} without a beginning")
    return nodes


def _pieces(template: str) -> list[tuple[bool, str]]:
    """Cut a template into text and actions, the blanks that ``-`` takes away gone."""
    pieces: list[tuple[bool, str]] = []
    at, trim = 0, False
    for found in _ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if trim else text
        pieces.append((False, text.rstrip() if found[1] else text))
        if not found[2].startswith("/*"):
            pieces.append((True, found[2]))
        at, trim = found.end(), bool(found[3])
    rest = template[at:]
    if "{{" in rest:
        raise InvalidOption(f"template {template!r} has an open {{{{ without }}}}")
    pieces.append((False, rest.lstrip() if trim else rest))
    return pieces


class _Reader:
    """Reads pieces one after the other."""

    def __init__(self, pieces: Sequence[tuple[bool, str]], template: str) -> None:
        self._pieces = list(reversed(pieces))
        self._template = template

    def block(self, depth: int) -> tuple[tuple[Node, ...], str, str]:
        """Read until ``end`` or ``else``; return nodes, that word, and what follows it."""
        if depth > _MAX_DEPTH:
            raise InvalidOption("the template is nested too deeply")
        nodes: list[Node] = []
        while self._pieces:
            is_action, text = self._pieces.pop()
            if not is_action:
                nodes.append(Text(text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                return tuple(nodes), word, rest.strip()
            if word in _LATER:
                raise NotBuiltYet(f"the template action {{{{{word}}}}} is not built yet")
            nodes.append(self._branch(word, rest, depth) if word in _OPENS else _action(text))
        if depth:
            raise InvalidOption(
                f"template {self._template!r} has an open block without {{{{end}}}}"
            )
        return tuple(nodes), "", ""

    def _branch(self, word: str, rest: str, depth: int) -> Branch:
        pipeline = _Tokens(rest).whole()
        then, ended_by, more = self.block(depth + 1)
        otherwise: tuple[Node, ...] = ()
        if ended_by == "else" and more:  # else if: an if of its own, with the same end
            inner, _, condition = more.partition(" ")
            if inner not in ("if", "with"):
                raise InvalidOption(f"the template action {{{{else {more}}}}} cannot be understood")
            otherwise = (self._branch(inner, condition, depth + 1),)
        elif ended_by == "else":
            otherwise, _, _ = self.block(depth + 1)
        return Branch(word, pipeline, then, otherwise)


def _action(text: str) -> Action:
    return Action(_Tokens(text).whole())


class _Tokens:
    """The words of one action."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: list[tuple[str, str, bool]] = []  # kind, text, whether a blank follows
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found or not found.lastgroup:
                raise self._wrong()
            kind = next(k for k in found.groupdict() if k != "space" and found[k] is not None)
            self._found.append((kind, found[kind], bool(found["space"])))
            at = found.end()
        self._at = 0

    def whole(self) -> Pipeline:
        """Read all of it as one pipeline."""
        if not self._found:
            raise self._wrong()
        pipeline = self._pipeline(0)
        if self._at < len(self._found):
            raise self._wrong()
        return pipeline

    def _pipeline(self, depth: int) -> Pipeline:
        if depth > _MAX_DEPTH:
            raise self._wrong()
        assigns = self._assigns()
        calls = [self._call(depth)]
        while self._peek() == ("mark", "|"):
            self._at += 1
            calls.append(self._call(depth))
        return Pipeline(tuple(calls), assigns)

    def _assigns(self) -> tuple[Assign, ...]:
        names = []
        at = self._at
        while at < len(self._found) and self._found[at][0] == "variable":
            names.append(self._found[at][1])
            mark = self._found[at + 1][1] if at + 1 < len(self._found) else ""
            at += 2
            if mark in (":=", "="):
                self._at = at
                return tuple(Assign(name, mark == ":=") for name in names)
            if mark != ",":
                break
        return ()

    def _call(self, depth: int) -> Call:
        function = ""
        kind, text = self._peek()
        if kind == "word" and text not in _CONSTANTS:
            function = text
            self._at += 1
        operands = []
        while self._peek()[0] and self._peek() not in (("mark", "|"), ("mark", ")")):
            operands.append(self._operand(depth))
        if not function and not operands:
            raise self._wrong()
        return Call(function, tuple(operands))

    def _operand(self, depth: int) -> Literal | Path | Pipeline:
        kind, text, blank = self._found[self._at]
        self._at += 1
        match kind:
            case "variable":
                return Path(text, () if blank else self._fields())
            case "field":
                return Path(".", (text[1:], *(() if blank else self._fields())))
            case "word" if text not in _CONSTANTS:
                # A function without arguments among the arguments of another.
                return Pipeline((Call(text, ()),))
            case "mark" if text == ".":
                return Path(".", ())
            case "mark" if text == "(":
                return self._parenthesis(depth)
        return Literal(self._constant(kind, text))

    def _constant(self, kind: str, text: str) -> object:
        match kind:
            case "text":
                return self._string(text)
            case "char":
                return ord(text[1:-1].encode().decode("unicode_escape")[:1] or "\0")
            case "number":
                return _number(text)
            case "word":
                return _CONSTANTS[text]
        raise self._wrong()

    def _parenthesis(self, depth: int) -> Pipeline:
        inner = self._pipeline(depth + 1)
        if self._peek() != ("mark", ")"):
            raise self._wrong()
        blank = self._found[self._at][2]
        self._at += 1
        return Pipeline(inner.calls, (), () if blank else self._fields())

    def _fields(self) -> tuple[str, ...]:
        """Take the fields that follow without a blank."""
        fields = []
        while self._peek()[0] == "field":
            _, text, blank = self._found[self._at]
            fields.append(text[1:])
            self._at += 1
            if blank:
                break
        return tuple(fields)

    def _string(self, text: str) -> str:
        if text.startswith("`"):
            return text[1:-1]
        try:
            return str(json.loads(text, strict=False))
        except ValueError as err:
            raise self._wrong() from err

    def _peek(self) -> tuple[str, str]:
        return self._found[self._at][:2] if self._at < len(self._found) else ("", "")

    def _wrong(self) -> InvalidOption:
        return InvalidOption(
            f"the template action {{{{{self._text}}}}} cannot be understood",
            hint="for example {{.Config.Cmd}}, {{json .State}} or {{range .Mounts}}…{{end}}",
        )


def _number(text: str) -> int | float:
    if text.lower().lstrip("+-").startswith("0x"):
        return int(text, 16)
    return int(text) if re.fullmatch(r"[-+]?\d{1,19}", text) else float(text)
