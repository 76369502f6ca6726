"""Errors as docker's clients read them: a status, and a sentence that some of them look into.

docker's client takes the exit code of ``run`` from words in the message: "executable file not
found" and "no such file or directory" are 127, "permission denied" is 126.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    ContainerNotFound,
    ImageNotFound,
    NetworkNotFound,
    OcimagicError,
    StartFailed,
    VolumeNotFound,
)
from ocimagic.wire.words import docker_words, start_words

if TYPE_CHECKING:
    from collections.abc import Callable

_CAPITAL = (ContainerNotFound, ImageNotFound)
_START = {
    "create": "failed to create shim task: OCI runtime create failed: ",
    "exec": "OCI runtime exec failed: exec failed: ",
}
_PROCESS = "unable to start container process: "


def failure_status(failure: OcimagicError) -> int:
    """Return the status of HTTP."""
    if isinstance(failure, CommandNotFound | CommandNotExecutable):
        return 400
    return failure.http_status


def failure_message(
    failure: OcimagicError,
    *,
    doing: Literal["create", "exec"] = "create",
    identify: Callable[[str], str] = str,
) -> str:
    """Return the sentence, on one line: what, why, and what to do; docker's where it has one.

    Args:
        failure: what went wrong.
        doing: what a process was to be begun for.
        identify: returns the whole ID of the container of a name.
    """
    what = failure.what
    if isinstance(failure, _CAPITAL) and what.startswith("no such"):
        return what[0].upper() + what[1:]
    if isinstance(failure, VolumeNotFound | NetworkNotFound):
        return docker_words(what, identify)
    said = what if not failure.why else f"{what}: {failure.why}"
    if isinstance(failure, StartFailed):
        words = start_words(" ".join(said.split()))
        if words.endswith(": unknown"):
            return f"{_START[doing]}{_PROCESS}{words}"
    if (words := docker_words(" ".join(said.split()), identify)) != said:
        return words
    if failure.where:
        said += f" ({' '.join(failure.where.split())})"
    said = " ".join(said.split())
    if isinstance(failure, CommandNotFound):
        known = any(each in said for each in ("executable file not found", "no such file or"))
        said = f"{_START[doing]}{said}"
        return said if known else f"{said}: executable file not found in $PATH"
    if isinstance(failure, CommandNotExecutable):
        known = any(each in said.lower() for each in ("permission denied", "is a directory"))
        return f"{_START[doing]}{said}" + ("" if known else ": permission denied")
    return said
