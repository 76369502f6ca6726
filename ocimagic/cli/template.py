"""Docker's ``--format``: Go's text templates over JSON documents.

Known are fields, variables, pipelines, ``if``, ``with`` and ``range``, Go's own functions but
``call``, and docker's ``json join split title lower upper pad truncate println``.

Source: Go's package text/template; docker/cli's templates.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.cli.template_functions import FUNCTIONS, go_text, truth
from ocimagic.cli.template_syntax import (
    Action,
    Assign,
    Branch,
    Call,
    Literal,
    Node,
    Path,
    Pipeline,
    Text,
    parse,
)
from ocimagic.errors import InvalidOption
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["fill", "fill_table", "go_text"]

# Maps of docker's documents: a name they do not have is a name without a value.
_MAPS = frozenset(
    ("Labels", "Annotations", "Sysctls", "Ports", "Networks", "Volumes", "ExposedPorts", "Tmpfs",
     "Options", "PortBindings", "StorageOpt", "Data", "Attributes")
)  # fmt: skip
_ESCAPES = {r"\n": "\n", r"\t": "\t"}
_MIN_WIDTH, _PADDING = 10, 3
_NO_VALUE = "<no value>"


def fill(
    template: str,
    document: Mapping[str, object],
    methods: Mapping[str, Callable[..., object]] | None = None,
) -> str:
    """Fill a template from a document.

    Args:
        template: in Go's language.
        document: what ``.`` is.
        methods: what can be asked of the document with an argument: ``.Label "name"``.

    Raises:
        InvalidOption: it cannot be understood, or asks for a field that is not there.
    """
    if "{{" not in template and "}}" not in template:
        return _unescaped(template)
    nodes = parse(_unescaped(template))
    run = _Run(document, methods or {})
    run.nodes(nodes, document)
    return "".join(run.out)


def fill_table(
    template: str,
    heads: Mapping[str, str],
    rows: Iterable[tuple[Mapping[str, object], Mapping[str, Callable[..., object]]]],
) -> str:
    """Fill a template for each row below a line of heads; tabs part the columns.

    Args:
        template: what follows ``table``.
        heads: field to head.
        rows: each a document and its methods.
    """
    head = fill(template, heads, {"Label": lambda name: str(name).upper()})
    lines = [head, *(fill(template, row, methods) for row, methods in rows)]
    return "\n".join(_aligned([line.split("\t") for line in lines]))


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pad all cells but the last of a line, as Go's tabwriter does for docker."""
    count = max(len(cells) for cells in lines)
    widths = [
        max((len(cells[at]) for cells in lines if at < len(cells) - 1), default=0)
        for at in range(count)
    ]
    drawn = []
    for cells in lines:
        *padded, last = cells
        wide = (max(_MIN_WIDTH, widths[at] + _PADDING) for at in range(len(padded)))
        drawn.append("".join(cell.ljust(w) for cell, w in zip(padded, wide, strict=True)) + last)
    return drawn


def _unescaped(template: str) -> str:
    r"""Read ``\t`` and ``\n`` as a shell's single quotes leave them, outside of actions only."""
    parts = re.split(r"(\{\{.*?\}\})", template, flags=re.DOTALL)
    for at in range(0, len(parts), 2):
        for typed, meant in _ESCAPES.items():
            parts[at] = parts[at].replace(typed, meant)
    return "".join(parts)


class _Run:
    """One filling of one template."""

    def __init__(self, document: object, methods: Mapping[str, Callable[..., object]]) -> None:
        self.out: list[str] = []
        self._methods = methods
        self._variables: list[tuple[str, object]] = [("$", document)]

    def nodes(self, nodes: Sequence[Node], dot: object) -> None:
        """Write what the nodes come to."""
        for node in nodes:
            match node:
                case Text(text):
                    self.out.append(text)
                case Action(pipeline):
                    value = self._pipeline(pipeline, dot)
                    if not pipeline.assigns:
                        self.out.append(_NO_VALUE if value is None else go_text(value))
                case Branch():
                    depth = len(self._variables)
                    self._branch(node, dot)
                    del self._variables[depth:]

    def _branch(self, node: Branch, dot: object) -> None:
        if node.word == "range":
            self._range(node, dot)
            return
        value = self._pipeline(node.pipeline, dot)
        if truth(value):
            self.nodes(node.then, value if node.word == "with" else dot)
        else:
            self.nodes(node.otherwise, dot)

    def _range(self, node: Branch, dot: object) -> None:
        names = [each.name for each in node.pipeline.assigns]
        value = self._calls(node.pipeline, dot)
        pairs = _pairs(value)
        if not pairs:
            self.nodes(node.otherwise, dot)
        for key, item in pairs:
            depth = len(self._variables)
            given = [item] if len(names) == 1 else [key, item]
            self._variables.extend(zip(names, given, strict=False))
            self.nodes(node.then, item)
            del self._variables[depth:]

    def _pipeline(self, pipeline: Pipeline, dot: object) -> object:
        value = self._calls(pipeline, dot)
        for assign in pipeline.assigns:
            self._assign(assign, value)
        return value

    def _assign(self, assign: Assign, value: object) -> None:
        if assign.declares:
            self._variables.append((assign.name, value))
            return
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == assign.name:
                self._variables[at] = (assign.name, value)
                return
        raise InvalidOption(f"the template has no variable {assign.name}")

    def _calls(self, pipeline: Pipeline, dot: object) -> object:
        value: object = None
        for number, call in enumerate(pipeline.calls):
            value = self._call(call, dot, (value,) if number else ())
        return value

    def _call(self, call: Call, dot: object, piped: tuple[object, ...]) -> object:
        if call.function:
            function = FUNCTIONS.get(call.function)
            if function is None:
                near = nearest(call.function, FUNCTIONS)
                raise InvalidOption(
                    f"the template function {call.function!r} is not known",
                    hint=f"did you mean {near}?" if near else None,
                )
            given = [self._operand(each, dot) for each in call.operands]
            return function(*given, *piped)
        first, *rest = call.operands
        if isinstance(first, Path) and len(first.fields) == 1 and first.fields[0] in self._methods:
            method = self._methods[first.fields[0]]
            given = [self._operand(each, dot) for each in rest]
            try:
                return method(*given, *piped)
            except TypeError as err:
                name = first.fields[0]
                raise InvalidOption(f'.{name} wants one argument: .{name} "NAME"') from err
        if rest or piped:
            raise InvalidOption("a template can give arguments to functions only")
        return self._operand(call.operands[0], dot)

    def _operand(self, operand: Literal | Path | Pipeline, dot: object) -> object:
        match operand:
            case Literal(value):
                return value
            case Path(start, fields):
                return self._walk(self._start(start, dot), fields)
            case Pipeline():
                return self._walk(self._calls(operand, dot), operand.fields)

    def _start(self, start: str | Pipeline, dot: object) -> object:
        if isinstance(start, Pipeline):
            return self._calls(start, dot)
        if start == ".":
            return dot
        for name, value in reversed(self._variables):
            if name == start:
                return value
        raise InvalidOption(f"the template has no variable {start}")

    def _walk(self, value: object, fields: Sequence[str]) -> object:
        inside = ""
        for key in fields:
            if not isinstance(value, dict):
                if value is None:
                    return None
                raise InvalidOption(
                    f".{'.'.join(fields)} has no field {key!r}",
                    why="what is before it is no object",
                )
            if key not in value:
                if inside in _MAPS:
                    return None
                near = nearest(key, value)
                hint = f"did you mean {near}?" if near else f"there are: {', '.join(value)}"
                raise InvalidOption(f"no field {key!r} in .{'.'.join(fields)}", hint=hint)
            inside, value = key, value[key]
        return value


def _pairs(value: object) -> list[tuple[object, object]]:
    """Return what ``range`` goes over: the keys of a map in order, or numbers."""
    match value:
        case dict():
            return sorted(value.items())
        case list() | tuple():
            return list(enumerate(value))
        case None | "":
            return []
        case bool():
            pass
        case int():
            return [(number, number) for number in range(value)]
    raise InvalidOption(f"a template cannot range over {go_text(value)!r}")
