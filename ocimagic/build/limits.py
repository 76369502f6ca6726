"""What this version cannot build, said before anything is executed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.errors import NotBuiltYet
from ocimagic.model.options import NetworkMode
from ocimagic.spec.codec import MAX_CONFIG_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocimagic.build.state import StageState
    from ocimagic.dockerfile.source import SourceRange
    from ocimagic.errors import DockerfileError
    from ocimagic.model.options import BuildOptions

_INSECURE = "security.insecure"
_HOST_NETWORK = "network.host"
_FRAME = 6  # bytes of JSON around a text, at least
_LINE = 64
_MOST_PER_CHARACTER = 1 + _FRAME  # ports of one digit, each in a frame of its own


def refuse_unbuilt(instructions: Iterable[ins.Instruction], options: BuildOptions) -> None:
    """Check that each instruction is one we can do, and may.

    Raises:
        NotBuiltYet: says which and where, and what to write instead.
        DockerfileError: it asks for what was not allowed.
    """
    for instruction in instructions:
        if isinstance(instruction, ins.Run):
            _check_rights(instruction, options)
        for what, at, hint in _lacking(instruction):
            raise NotBuiltYet(
                f"{instruction.keyword} {what} is not built yet",
                where=instruction.source.error("", at=at).where,
                hint=hint,
            )


def refuse_too_large(state: StageState, text: str, source: SourceRange) -> StageState:
    """Check that an image of a stage could be read again: its config has a limit.

    A config is measured only where it may have become too large since it last was.

    Args:
        state: behind an instruction, its history line to come.
        text: that line, or what of an instruction goes into the config without one.
        source: of the instruction.

    Returns:
        the state, which knows how much may come without another measuring.

    Raises:
        DockerfileError: it could not.
    """
    most = _MOST_PER_CHARACTER * (len(text) + len(source.logical)) + _LINE
    if most <= state.room:
        return replace(state, room=state.room - most)
    room = MAX_CONFIG_BYTES - _size(state, text)
    if room < 0:
        raise source.error(
            f"the image's config becomes larger than {MAX_CONFIG_BYTES} bytes",
            why="it holds all of ENV, LABEL, EXPOSE and the like, and a line of history for each",
            hint="what is large goes into a file, and COPY takes it",
        )
    return replace(state, room=room)


def _size(state: StageState, text: str) -> int:
    """Return about how many bytes a config has, with one more line of history."""
    config = state.config
    many = (config.exposed_ports, config.volumes, config.on_build, config.cmd or ())
    size = len(text) + sum(len(entry.created_by) + _FRAME for entry in state.made)
    size += sum(map(len, config.env)) + sum(len(each) + _FRAME for part in many for each in part)
    return size + sum(len(name) + len(value) for name, value in config.labels.items())


def _check_rights(run: ins.Run, options: BuildOptions) -> None:
    """Check what a RUN asks for against what was allowed.

    Who builds with ``--network host`` has said yes to that network, as with buildx.
    """
    if run.security == "insecure" and _INSECURE not in options.allow:
        why = "the command would have all capabilities of this machine's root"
        raise _not_allowed(run, _INSECURE, "--security=", why)
    granted = _HOST_NETWORK in options.allow or options.network is NetworkMode.HOST
    if run.network == "host" and not granted:
        why = "the command would reach all that listens on this machine, localhost included"
        raise _not_allowed(run, _HOST_NETWORK, "--network=", why)


def _not_allowed(run: ins.Run, entitlement: str, flag: str, why: str) -> DockerfileError:
    return run.source.error(
        f"granting entitlement {entitlement} is not allowed by this build",
        at=flag,
        why=why,
        hint=f"build with --allow {entitlement} if you trust it, or leave it out",
    )


def _lacking(instruction: ins.Instruction) -> Iterator[tuple[str, str, str]]:
    """Yield what of an instruction is missing, the text it is about, and a hint."""
    match instruction:
        case ins.Run():
            yield from _of_run(instruction)


def _of_run(run: ins.Run) -> Iterator[tuple[str, str, str]]:
    if run.devices:
        yield "--device", f"--device={run.devices[0]}", "leave it out"


def frame(source: SourceRange, at: str = "") -> str:
    """Return the line of the Dockerfile as errors show it, with a mark under ``at``."""
    return source.error("", at=at).where or ""
