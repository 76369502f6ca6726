"""Which command was the last one that ``explain`` can tell of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.cli.values import Acted
from ocimagic.model.built import BuildResult
from ocimagic.model.report import ExecResult
from ocimagic.model.result import ContainerSummary, PullResult, RunResult
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.errors import OcimagicError
    from ocimagic.model.explanation import Deed


@dataclass(frozen=True, slots=True)
class Last:
    """The last command that can be explained.

    Attributes:
        line: as it was given, in docker's words.
        subject: ID or name of its container or image; "" for none that is known.
        failure: why it came to nothing; None if it did its work.
        deeds: of ``compose up``: what it did, and first for which project.
    """

    line: str
    subject: str = ""
    failure: OcimagicError | None = None
    deeds: tuple[Deed, ...] = ()


# Verbs whose failure is worth a story.
_TOLD = frozenset({"run", "create", "start", "restart", "pull", "build"})


def last_of(value: object, line: str, deeds: Sequence[Deed] = ()) -> Last | None:
    """Return what a command's result can be explained by; None for other commands.

    Args:
        value: the result.
        line: as it was given.
        deeds: what it said it did, see ``Session``.
    """
    if deeds and _is_of_project(deeds[0]):
        return Last(line, deeds[0].name, deeds=tuple(deeds))
    if isinstance(value, tuple) and value:
        value = value[-1]
    match value:
        case RunResult() | ContainerSummary():
            return Last(line, value.container_id)
        case PullResult() | BuildResult():
            return Last(line, str(value.image_id))
        case ExecResult():
            return Last(line, value.exec_id)
        case Acted(verb="started" | "restarted", names=[*_, name]):
            return Last(line, name)
        case Acted(verb=word) if word.endswith(" a command in"):
            return Last(line, "last")
        case _:
            return None


def _is_of_project(deed: Deed) -> bool:
    from ocimagic.model.explanation import PROJECT_DEED

    return deed.kind == PROJECT_DEED


def failed(verb: str, line: str, failure: OcimagicError, deeds: Sequence[Deed] = ()) -> Last | None:
    """Return what a command that failed can be explained by; None for other commands.

    Args:
        verb: its last word of docker's, ``run``.
        line: as it was given.
        failure: why.
        deeds: what it had done by then, see ``Session``.
    """
    if told := last_of(None, line, deeds):
        return replace(told, failure=failure)
    return Last(line, failure=failure) if verb in _TOLD else None
