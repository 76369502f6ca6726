"""A command executed in a container beside its first process, as one may ask about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.model.request import ExecOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecDetails:
    """What is known of such a command.

    Attributes:
        attached: the streams that whoever began it wanted: ``stdin``, ``stdout``, ``stderr``.
        running: it began and has not ended.
        exit_code: None until it has ended.
        pid: as seen from the machine; 0 before it began.
    """

    exec_id: str
    container_id: str
    options: ExecOptions
    attached: tuple[str, ...] = ()
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
