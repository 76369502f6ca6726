"""Instructions that change nothing but the image's config: pure functions.

There may be tens of thousands of them, so each costs little, however large the config is by then.

Source: Dockerfile reference; facts/build.md section 1.2.
"""

from __future__ import annotations

import posixpath
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from ocimagic.build.cache import cache_key
from ocimagic.dockerfile import instructions as ins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.build.state import StageState
    from ocimagic.spec.config import ContainerConfig


_FEW = 8  # so many are looked for one by one, in what may be long


def applied(state: StageState, instruction: ins.Instruction) -> StageState:
    """Return the state behind an expanded instruction, without its history line.

    Raises:
        DockerfileError: a value that became empty by expansion.
    """
    scope = state.scope.after(instruction)
    config = _configured(state, instruction)
    author = instruction.name if isinstance(instruction, ins.Maintainer) else state.author
    own_cmd = state.has_own_cmd or isinstance(instruction, ins.Cmd)
    return replace(
        state,
        scope=scope,
        config=config,
        config_key=_named(state, config, instruction),
        author=author,
        has_own_cmd=own_cmd,
    )


def _named(state: StageState, config: ContainerConfig, instruction: ins.Instruction) -> str:
    """Name a config by the one before and what is new in it."""
    before = state.config
    if config is before:
        return state.config_key
    match instruction:
        case ins.Env(pairs=pairs) | ins.Label(pairs=pairs):
            new: object = [[pair.key, pair.value] for pair in pairs]
        case ins.Expose(ports=words) | ins.Volume(paths=words):
            new = words
        case ins.OnBuild(trigger=trigger):
            new = trigger
        case _:
            new = {
                each.name: getattr(config, each.name)
                for each in fields(config)
                if getattr(config, each.name) != getattr(before, each.name)
            }
    key = cache_key("config line", before=state.config_key, line=instruction.keyword, new=new)
    return str(key)  # without what it was made of


def _configured(state: StageState, instruction: ins.Instruction) -> ContainerConfig:
    config = state.config
    match instruction:
        case ins.Env(pairs=pairs):
            added = {pair.key: pair.value for pair in pairs}
            return replace(config, env=_environment(state, added))
        case ins.Label(pairs=pairs):
            labels = {**config.labels, **{pair.key: pair.value for pair in pairs}}
            return replace(config, labels=labels)
        case ins.Cmd(command=command):
            return replace(config, cmd=_argv(state, command) or None, args_escaped=True)
        case ins.Entrypoint(command=command):
            # A new entrypoint does not want the arguments that were meant for the old one.
            cmd = config.cmd if state.has_own_cmd else None
            return replace(config, entrypoint=_argv(state, command) or None, cmd=cmd)
        case ins.Expose(ports=ports):
            return replace(config, exposed_ports=_joined(config.exposed_ports, ports))
        case ins.Volume(paths=paths):
            if not all(paths):
                raise instruction.source.error(
                    "VOLUME specified can not be an empty string",
                    hint="write VOLUME /path; a variable in it may have no value",
                )
            return replace(config, volumes=_joined(config.volumes, paths))
        case _:
            return _replaced(state, instruction)


def _replaced(state: StageState, instruction: ins.Instruction) -> ContainerConfig:
    """Handle what sets one field anew."""
    config = state.config
    match instruction:
        case ins.User(user=user):
            return replace(config, user=user)
        case ins.Workdir(path=path):
            return replace(config, working_dir=working_dir(config.working_dir, path))
        case ins.Shell(argv=argv):
            return replace(config, shell=argv)
        case ins.StopSignal(signal=signal):
            return replace(config, stop_signal=signal)
        case ins.Healthcheck():
            return replace(config, healthcheck=_healthcheck(instruction))
        case ins.OnBuild(trigger=trigger):
            return replace(config, on_build=(*config.on_build, trigger))
        case _:
            return config


def working_dir(before: str, path: str) -> str:
    """Join a WORKDIR to the one before; docker keeps an absolute one as it is written."""
    return (
        path if path.startswith("/") else posixpath.normpath("/" + f"{before}/{path}".lstrip("/"))
    )


def in_workdir(state: StageState, path: str) -> str:
    """Return a path of COPY or ADD from the root, without the slash in front.

    ``..`` stays inside; a slash at the end, or ``.``, is not kept.
    """
    joined = path if path.startswith("/") else f"{state.config.working_dir or '/'}/{path}"
    return posixpath.normpath("/" + joined.lstrip("/")).lstrip("/")


def _argv(state: StageState, command: ins.Command) -> tuple[str, ...]:
    return command.argv if isinstance(command, ins.ExecForm) else (*state.shell, command.text)


def _environment(state: StageState, added: Mapping[str, str]) -> tuple[str, ...]:
    """Return ENV with more names; one that is there keeps its place."""
    env, known = list(state.config.env), state.scope.env
    old = [f"{name}={known[name]}" for name in added if name in known]
    if len(env) != len(known) or any(entry not in env for entry in old):
        # Somebody's base says a name twice, or one without a value.
        return tuple(f"{name}={value}" for name, value in {**known, **added}.items())
    for name, value in added.items():
        if name in known:
            env[env.index(f"{name}={known[name]}")] = f"{name}={value}"
        else:
            env.append(f"{name}={value}")
    return tuple(env)


def _joined(before: tuple[str, ...], added: tuple[str, ...]) -> tuple[str, ...]:
    known = before if len(added) < _FEW else set(before)
    return (*before, *(word for word in dict.fromkeys(added) if word not in known))


def _healthcheck(instruction: ins.Healthcheck) -> dict[str, object]:
    command = instruction.command
    if command is None:
        return {"Test": ["NONE"]}
    test = (
        ["CMD", *command.argv] if isinstance(command, ins.ExecForm) else ["CMD-SHELL", command.text]
    )
    times = {
        "Interval": instruction.interval_ns,
        "Timeout": instruction.timeout_ns,
        "StartPeriod": instruction.start_period_ns,
        "StartInterval": instruction.start_interval_ns,
        "Retries": instruction.retries,
    }
    return {"Test": test} | {name: value for name, value in times.items() if value}
