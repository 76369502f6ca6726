"""What was understood and could not be done: by this machine, the runtime or a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors.base import OcimagicError

if TYPE_CHECKING:
    from collections.abc import Sequence


class StorageError(OcimagicError):
    """The data root cannot be read or written."""


class DiskFull(StorageError):
    """No space is left under the data root."""

    http_status = 507


class HostLacks(OcimagicError):
    """This machine cannot give what was asked: kernel, privileges or a missing program."""

    http_status = 501


class NotBuiltYet(OcimagicError):
    """A thing docker can do and this version cannot; the message says so plainly."""

    http_status = 501


class Cancelled(OcimagicError):
    """The user stopped it; what was finished before is kept."""

    exit_code = 130


class StartFailed(OcimagicError):
    """The runtime could not make the container.

    Args:
        phase: the name of the runtime phase that failed.
    """

    def __init__(
        self,
        what: str,
        *,
        phase: str = "",
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, where=where)
        self.phase = phase


class CommandNotFound(StartFailed):
    """The command is not in the image."""

    exit_code = 127
    http_status = 400


class CommandNotExecutable(StartFailed):
    """The command is there but cannot be executed: no x bit, a directory, a wrong format."""

    exit_code = 126
    http_status = 400


class BuildFailed(OcimagicError):
    """A build that did not reach an image."""

    exit_code = 1


class StepFailed(BuildFailed):
    """A RUN step that ended with a non-zero exit code.

    Args:
        command_exit_code: what the command ended with.
        command: its words.
        tail: the last lines it wrote, oldest first.
    """

    def __init__(
        self,
        what: str,
        *,
        command_exit_code: int,
        command: str = "",
        tail: Sequence[str] = (),
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, where=where)
        self.command_exit_code = command_exit_code
        self.command = command
        self.tail = tuple(tail)
        self.image_id = ""  # what the step was to work on can be run by it
