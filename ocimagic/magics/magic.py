"""A magic as IPython has it: a name, and what reads its line once that is wanted."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ocimagic.magics.loading import loading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.magics.door import Door
    from ocimagic.magics.session import KernelSession


class Magic:
    """One magic, whose line is read by what ``commands`` has of its name.

    Attributes:
        words: what stands before the words of the line, None if that is none of docker's.
    """

    # IPython reads these two: our own expansion, which needs the names of the caller.
    _ipython_magic_no_var_expand = True
    needs_local_scope = True

    def __init__(self, door: Door, name: str, words: tuple[str, ...] | None) -> None:
        self.door = door
        self.words = words
        self.__name__ = name
        self.__doc__ = f"%{name}" if words is None else f"docker {' '.join(words)}".strip()

    @property
    def session(self) -> KernelSession:
        """What runs the command."""
        return self.door.session

    @cached_property
    def _command(self) -> Any:  # noqa: ANN401  a command's call differs by whether it takes cells
        with loading():
            from ocimagic.magics.commands import command

            return command(self.door.session, self.__name__, self.words or ())

    def __call__(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, object] | None = None
    ) -> object:
        """Run the line, and the cell if there is one."""
        value: object = self._command(line, *([] if cell is None else [cell]), local_ns=local_ns)
        return value

    def getdoc(self) -> str:
        """Return docker's help for this command: what ``%name?`` and Shift-Tab show."""
        text: str = self._command.getdoc()
        return text
