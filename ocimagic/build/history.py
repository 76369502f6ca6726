"""What ``image history`` shows of each instruction; docker's wording, our mark at the end.

Source: facts/build.md section 1.3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.build.config_steps import working_dir
from ocimagic.dockerfile import instructions as ins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.build.state import StageState

_MARK = " # ocimagic"


def created_by(state: StageState, instruction: ins.Instruction) -> str:
    """Return the history text of an expanded instruction.

    Args:
        state: before the instruction.
        instruction: any but FROM; docker's histories have no line for ONBUILD.
    """
    match instruction:
        case ins.Run():
            return _run(state, instruction)
        case ins.Copy() | ins.Add():
            return _copy(instruction)
        case ins.Env(pairs=pairs) | ins.Label(pairs=pairs):
            words = " ".join(f"{pair.key}={pair.value}" for pair in pairs)
            return f"{instruction.keyword} {words}"
        case ins.Arg(args=args):
            return "ARG " + " ".join(
                each.name if each.default is None else f"{each.name}={each.default}"
                for each in args
            )
        case ins.Cmd(command=command) | ins.Entrypoint(command=command):
            return f"{instruction.keyword} {_words(argv(state, command))}"
        case ins.Expose(ports=words) | ins.Volume(paths=words) | ins.Shell(argv=words):
            return f"{instruction.keyword} [{' '.join(words)}]"
        case ins.Workdir(path=path):
            return f"WORKDIR {working_dir(state.config.working_dir, path)}"
        case _:
            return _plain(instruction)


def argv(state: StageState, command: ins.Command | ins.Script) -> tuple[str, ...]:
    """Return what a command comes to: exec form as it is, the others behind the shell."""
    match command:
        case ins.ExecForm(argv=words):
            return words
        case ins.ShellForm(text=text):
            return (*state.shell, text)
        case ins.Script(path=path):
            return (*state.shell, path)


def _run(state: StageState, run: ins.Run) -> str:
    args = state.scope.run_args()
    said = "".join(f"{name}={value} " for name, value in args)
    counted = f"|{len(args)} {said}" if args else ""
    return f"RUN {counted}{' '.join(argv(state, run.command))}{_MARK}"


def _copy(copy: ins.Copy | ins.Add) -> str:
    flags = ["--parents"] if isinstance(copy, ins.Copy) and copy.parents else []
    flags += [f"--{name}={value}" for name, value in _flags(copy) if value]
    heredocs = (f"<<{each.name}" for each in copy.heredocs)
    words = [copy.keyword, *flags, *copy.sources, *heredocs, copy.destination]
    return " ".join(words) + _MARK


def _flags(copy: ins.Copy | ins.Add) -> Iterable[tuple[str, str | None]]:
    # Not --from: docker leaves it out, and nobody else could look the stage up.
    yield "chown", copy.chown
    yield "chmod", copy.chmod


def _words(words: Iterable[str]) -> str:
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def _plain(instruction: ins.Instruction) -> str:
    match instruction:
        case ins.User(user=value) | ins.StopSignal(signal=value):
            return f"{instruction.keyword} {value}"
        case ins.OnBuild(trigger=value) | ins.Maintainer(name=value):
            return f"{instruction.keyword} {value}"
        case _:
            return instruction.source.logical
