"""Errors in a cell: our few lines instead of a traceback, and still an error to every tool.

The class must not be IPython's ``UsageError``: that one leaves no error output, so that
nbmake calls the notebook passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ocimagic.errors import OcimagicError

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.magics.config import OciMagic
    from ocimagic.model.result import RunResult

_RENDER = "_render_traceback_"  # IPython asks an exception for it


class Interrupted(KeyboardInterrupt):
    """The user pressed stop while a command ran."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  try   {self.hint}" if self.hint else self.what

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class ContainerExit(OcimagicError):
    """A foreground container ended non-zero while ``OciMagic.check`` is on.

    Attributes:
        result: what it left.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, result: RunResult) -> None:
        super().__init__(
            f"the container ended with exit code {result.exit_code}",
            where=f"{result.image}, container {result.container_id[:12]}",
            hint="%config OciMagic.check=False makes this a result instead of an error",
        )
        self.result = result


def render_errors(ip: InteractiveShell, config: OciMagic) -> Callable[[], None]:
    """Let IPython show our errors in our words; return what takes that back."""

    def rendered(error: OcimagicError) -> list[str]:
        from ocimagic.render.error import error_text

        lines = error_text(error).splitlines()
        if config.errors != "full":
            return lines
        traceback = ip.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        return [*traceback, "", *lines]

    def take_back() -> None:
        if getattr(OcimagicError, _RENDER, None) is rendered:
            delattr(OcimagicError, _RENDER)

    setattr(OcimagicError, _RENDER, rendered)
    return take_back
