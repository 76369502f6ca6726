"""What this version cannot build, said before anything is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.errors import NotBuiltYet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.dockerfile.source import SourceRange


def refuse_unbuilt(instructions: Iterable[ins.Instruction]) -> None:
    """Check that each instruction is one we can do.

    Raises:
        NotBuiltYet: says which and where, and what to write instead.
    """
    for instruction in instructions:
        for what, at, hint in _lacking(instruction):
            raise NotBuiltYet(
                f"{instruction.keyword} {what} is not built yet",
                where=instruction.source.error("", at=at).where,
                hint=hint,
            )


def _lacking(instruction: ins.Instruction) -> Iterator[tuple[str, str, str]]:
    """Yield what of an instruction is missing, the text it is about, and a hint."""
    match instruction:
        case ins.Run():
            yield from _of_run(instruction)


def _of_run(run: ins.Run) -> Iterator[tuple[str, str, str]]:
    if run.security == "insecure":
        yield "--security=insecure", "--security=insecure", "leave it out"
    if run.devices:
        yield "--device", f"--device={run.devices[0]}", "leave it out"


def frame(source: SourceRange, at: str = "") -> str:
    """Return the line of the Dockerfile as errors show it, with a mark under ``at``."""
    return source.error("", at=at).where or ""
