"""What all errors of ocimagic have, and how one crosses a process border."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_FIELD = 4096  # characters


class OcimagicError(Exception):
    """Base of all errors that ocimagic raises on purpose.

    Args:
        what: what is so, in one short sentence without a full stop.
        why: the cause, if it is known.
        hint: what the user can do.
        where: file, line, layer or host the error is about.
    """

    exit_code: ClassVar[int] = 125
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.where = where

    def lines(self) -> list[str]:
        """Return the message for people: what, then why, where and try, a line each."""
        said = [self.what]
        for word, text in (("why", self.why), ("where", self.where), ("try", self.hint)):
            if text:
                head, *rest = text.splitlines()
                said.append(f"  {word:<6}{head}")
                said.extend(f"        {line}" for line in rest)
        return said

    def __str__(self) -> str:
        return "\n".join(self.lines())


def pack(err: OcimagicError) -> dict[str, object]:
    """Return an error as a JSON object, to cross a process border.

    Long texts are cut: a command or a path in them may be megabytes, a frame is not.
    """
    fields = {
        name: f"{value[:_MAX_FIELD]}…" if isinstance(value, str) and value[_MAX_FIELD:] else value
        for name, value in vars(err).items()
    }
    return {"error": type(err).__name__, "fields": fields}


def unpack(message: Mapping[str, object]) -> OcimagicError:
    """Return the error that ``pack`` was given, with its class and all its fields."""
    kind, fields = _known().get(str(message["error"]), OcimagicError), message["fields"]
    assert isinstance(fields, dict)
    err: OcimagicError = kind.__new__(kind)
    Exception.__init__(err, fields["what"])
    vars(err).update(fields)
    return err


def _known() -> dict[str, type[OcimagicError]]:
    """Return all classes that are loaded, those of single rooms too, by their names."""
    found: dict[str, type[OcimagicError]] = {}
    classes: list[type[OcimagicError]] = [OcimagicError]
    while classes:
        kind = classes.pop()
        found[kind.__name__] = kind
        classes += kind.__subclasses__()
    return found
