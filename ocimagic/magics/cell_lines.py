"""A Dockerfile that is the body of a cell: its lines are counted as the cell counts them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.errors import DockerfileError
from ocimagic.model.built import BuildChecked, BuildResult
from ocimagic.model.event import Notice, StepStarted

if TYPE_CHECKING:
    from ocimagic.errors import OcimagicError
    from ocimagic.model.event import Event


class LineShift:
    """From lines of a Dockerfile to lines of the cell it stands in.

    Args:
        above: lines of the cell above the Dockerfile's first.
    """

    _LINE = re.compile(r"\b(?:Dockerfile|cell|-) line (\d+)")

    def __init__(self, above: int) -> None:
        self._above = above

    def event(self, event: Event) -> Event:
        """Return an event with the cell's line number."""
        if isinstance(event, StepStarted) or (isinstance(event, Notice) and event.line):
            return replace(event, line=(event.line or 0) + self._above)
        return event

    def result(self, value: object) -> object:
        """Return a build result with the cell's line numbers."""
        if isinstance(value, BuildChecked):
            moved = (replace(each, line=each.line + self._above) for each in value.warnings)
            return replace(value, warnings=tuple(moved))
        if not isinstance(value, BuildResult):
            return value
        steps = tuple(replace(step, line=step.line + self._above) for step in value.steps)
        return replace(
            value, steps=steps, warnings=tuple(self._text(text) for text in value.warnings)
        )

    def error(self, error: OcimagicError) -> None:
        """Change an error's line and text, in place: its traceback stays."""
        if isinstance(error, DockerfileError):
            error.line += self._above
        error.what = self._text(error.what)
        error.args = (error.what, *error.args[1:])
        error.why = self._text(error.why) if error.why else error.why
        error.hint = self._text(error.hint) if error.hint else error.hint
        error.where = self._frame(error.where) if error.where else error.where

    def _text(self, text: str) -> str:
        return self._LINE.sub(lambda found: f"cell line {int(found[1]) + self._above}", text)

    def _frame(self, frame: str) -> str:
        """Rewrite a code frame; the caret below moves with its line."""
        head, *below = frame.split("\n")
        said = self._text(head)
        moved = len(said) - len(head)
        return "\n".join([said, *(_shift(line, moved) for line in below)])


def _shift(line: str, by: int) -> str:
    if line.strip(" ") != "^":
        return line
    return " " * max(0, len(line) - 1 + by) + "^"
