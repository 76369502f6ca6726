"""One logical line into one instruction.

Source: Dockerfile reference; facts/build.md sections 1.0 and 1.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.arguments import BLANKS, Arguments
from ocimagic.dockerfile.blanks import SPACES
from ocimagic.dockerfile.flags import FlagKind, parse_duration_ns, read_flags, split_flags
from ocimagic.dockerfile.lex import LogicalLine, split_instruction
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.steps import read_add, read_copy, read_run
from ocimagic.dockerfile.values import check_signal
from ocimagic.dockerfile.words import split_words
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_MIN_INTERVAL_NS = 1_000_000

_TEXT, _SWITCH, _LIST = FlagKind.TEXT, FlagKind.SWITCH, FlagKind.LIST
FLAGS: Mapping[str, Mapping[str, FlagKind]] = {
    "FROM": {"platform": _TEXT},
    "RUN": {"mount": _LIST, "network": _TEXT, "security": _TEXT, "device": _LIST},
    "COPY": {
        "from": _TEXT,
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _SWITCH,
        "parents": _SWITCH,
        "exclude": _LIST,
    },
    "ADD": {
        "chown": _TEXT,
        "chmod": _TEXT,
        "checksum": _TEXT,
        "link": _SWITCH,
        "keep-git-dir": _SWITCH,
        "unpack": _SWITCH,
        "exclude": _LIST,
    },
    "HEALTHCHECK": {
        "interval": _TEXT,
        "timeout": _TEXT,
        "start-period": _TEXT,
        "start-interval": _TEXT,
        "retries": _TEXT,
    },
}


def interpret(line: LogicalLine, *, escape: str) -> ins.Instruction:
    """Read one instruction.

    Args:
        line: from `lex`.
        escape: the file's escape character.

    Raises:
        DockerfileError: for an unknown instruction, or flags or arguments that do not fit.
    """
    keyword = line.keyword.upper()
    reader = _READERS.get(keyword)
    if reader is None:
        _unknown(line)
    flag_words, rest = split_flags(line.rest)
    flags = read_flags(flag_words, FLAGS.get(keyword, {}), keyword=keyword, source=line.source)
    return reader(Arguments(keyword=keyword, rest=rest, flags=flags, line=line, escape=escape))


def _unknown(line: LogicalLine) -> NoReturn:
    near = nearest(line.keyword.upper(), _READERS)
    if near and line.keyword.islower():
        near = near.lower()
    raise line.source.error(
        f"unknown instruction: {line.keyword}" + (f" (did you mean {near}?)" if near else ""),
        at=line.keyword,
        why="a line starts with an instruction, or with # if it is a comment",
        hint=None
        if near
        else "the instructions are "
        + " ".join(_READERS)
        + "; if this line belongs to the one above, that one must end with the escape character",
    )


def _from(args: Arguments) -> ins.From:
    words = args.blank_separated()
    name = None
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            args.fail(
                f"invalid name for build stage: {quoted(words[2])}, "
                "name can't start with a number or contain symbols",
                at=words[2],
                hint="letters first, then letters, digits and - _ .",
            )
    elif len(words) != 1:
        args.fail(
            "FROM requires either one or three arguments",
            at=words[1] if len(words) > 1 else "",
            hint="write FROM image, or FROM image AS name",
        )
    return ins.From(
        source=args.source, base=words[0], name=name, platform=args.text.get("platform")
    )


def _arg(args: Arguments) -> ins.Arg:
    words = tuple(split_words(args.rest, escape=args.escape))
    declared: list[ins.Declared] = []
    for word in args.some(words, "write ARG NAME, or ARG NAME=default"):
        name, equals, default = word.partition("=")
        if not name:
            args.fail("ARG names can not be blank", at=word, hint="put a name before the =")
        declared.append(ins.Declared(name, default if equals else None))
    return ins.Arg(source=args.source, args=tuple(declared))


def _pairs(args: Arguments) -> tuple[tuple[ins.Pair, ...], bool]:
    """Read ``k=v k=v``, or the old ``k v``; the flag tells the old form."""
    hint = f"write {args.keyword} NAME=value"
    words = tuple(split_words(args.rest, escape=args.escape))
    args.some(words, hint)
    if "=" not in words[0]:
        key, *value = BLANKS.split(args.rest, maxsplit=1)
        if not value:
            args.fail(f"{args.keyword} must have two arguments", at=key, hint=hint)
        return (ins.Pair(key, value[0]),), True
    pairs: list[ins.Pair] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            args.fail(
                f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value",
                at=word,
                hint='a value with blanks needs quotes: NAME="two words"',
            )
        if not key:
            args.fail(f"{args.keyword} names can not be blank", at=word, hint=hint)
        pairs.append(ins.Pair(key, text))
    return tuple(pairs), False


def _env(args: Arguments) -> ins.Env:
    pairs, legacy = _pairs(args)
    return ins.Env(source=args.source, pairs=pairs, legacy=legacy)


def _label(args: Arguments) -> ins.Label:
    pairs, legacy = _pairs(args)
    return ins.Label(source=args.source, pairs=pairs, legacy=legacy)


def _expose(args: Arguments) -> ins.Expose:
    ports = args.some(args.blank_separated(), "write EXPOSE 8080, or EXPOSE 53/udp")
    return ins.Expose(source=args.source, ports=tuple(sorted(ports)))


def _volume(args: Arguments) -> ins.Volume:
    paths = args.some(args.json_or_blank_separated(), "write VOLUME /data")
    stripped = tuple(path.strip(SPACES) for path in paths)
    if "" in stripped:
        args.fail("VOLUME specified can not be an empty string", hint="write VOLUME /data")
    return ins.Volume(source=args.source, paths=stripped)


def _stop_signal(args: Arguments) -> ins.StopSignal:
    signal = args.one("write STOPSIGNAL SIGTERM")
    if not set(signal) & set("$'\"\\`"):
        check_signal(signal, args.source)  # the others are read when their variables are known
    return ins.StopSignal(source=args.source, signal=signal)


def _shell(args: Arguments) -> ins.Shell:
    argv = args.json(args.rest)
    hint = 'write SHELL ["/bin/bash", "-c"]'
    if argv is None and args.rest:
        args.fail("SHELL requires the arguments to be in JSON form", at=args.rest, hint=hint)
    return ins.Shell(source=args.source, argv=args.some(argv or (), hint))


def _default_command(args: Arguments) -> ins.Command:
    args.some((args.rest,) if args.rest else (), f'write {args.keyword} ["program", "argument"]')
    return args.command(args.rest)


def _healthcheck(args: Arguments) -> ins.Healthcheck:
    kind, rest = split_instruction(args.rest)
    args.some((kind,) if kind else (), "write HEALTHCHECK CMD command, or HEALTHCHECK NONE")
    if kind.upper() == "NONE":
        if rest:
            args.fail("HEALTHCHECK NONE takes no arguments", at=rest, hint="remove them")
        return ins.Healthcheck(source=args.source, command=None)
    if kind.upper() != "CMD":
        args.fail(
            f"Unknown type {quoted(kind.upper())} in HEALTHCHECK (try CMD)",
            at=kind,
            hint="write HEALTHCHECK CMD command",
        )
    command = args.command(rest)
    if not rest or command == ins.ExecForm(()):
        args.fail("Missing command after HEALTHCHECK CMD", at=kind, hint="write CMD command")
    return ins.Healthcheck(
        source=args.source,
        command=command,
        interval_ns=_interval(args, "interval"),
        timeout_ns=_interval(args, "timeout"),
        start_period_ns=_interval(args, "start-period"),
        start_interval_ns=_interval(args, "start-interval"),
        retries=_retries(args),
    )


def _interval(args: Arguments, name: str) -> int:
    text = args.text.get(name, "0")
    try:
        interval_ns = parse_duration_ns(text)
    except ValueError:
        args.fail(
            f"invalid duration {quoted(text)} for --{name}",
            at=f"--{name}",
            hint="a duration has a unit: 30s, 1m30s, 500ms",
        )
    if interval_ns != 0 and interval_ns < _MIN_INTERVAL_NS:
        args.fail(f"Interval {quoted(name)} cannot be less than 1ms", at=f"--{name}")
    return interval_ns


def _retries(args: Arguments) -> int:
    text = args.text.get("retries", "0")
    if not re.fullmatch("[+-]?[0-9]{1,9}", text):
        args.fail(f"invalid number {quoted(text)} for --retries", at="--retries")
    if int(text) < 0:
        args.fail(f"--retries cannot be negative ({int(text)})", at="--retries")
    return int(text)


def _on_build(args: Arguments) -> ins.OnBuild:
    args.some((args.rest,) if args.rest else (), "write ONBUILD RUN command")
    keyword, rest = split_instruction(args.rest)
    if keyword.upper() == "ONBUILD":
        args.fail("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", hint="write it once")
    if keyword.upper() in {"FROM", "MAINTAINER"}:
        args.fail(f"{keyword.upper()} isn't allowed as an ONBUILD trigger", at=keyword)
    # docker finds a mistake in the trigger only when the child is built: too late for its author.
    trigger = LogicalLine(
        keyword=keyword, rest=rest, heredocs=args.line.heredocs, source=args.source
    )
    interpret(trigger, escape=args.escape)
    bodies = (f"\n{each.body}{each.name}" for each in args.line.heredocs)
    return ins.OnBuild(source=args.source, trigger=args.rest + "".join(bodies))


_READERS: Mapping[str, Callable[[Arguments], ins.Instruction]] = {
    "FROM": _from,
    "RUN": read_run,
    "CMD": lambda args: ins.Cmd(source=args.source, command=_default_command(args)),
    "LABEL": _label,
    "MAINTAINER": lambda args: ins.Maintainer(
        source=args.source, name=args.one("better: LABEL org.opencontainers.image.authors=NAME")
    ),
    "EXPOSE": _expose,
    "ENV": _env,
    "ADD": read_add,
    "COPY": read_copy,
    "ENTRYPOINT": lambda args: ins.Entrypoint(source=args.source, command=_default_command(args)),
    "VOLUME": _volume,
    "USER": lambda args: ins.User(
        source=args.source, user=args.one("write USER name, or USER name:group")
    ),
    "WORKDIR": lambda args: ins.Workdir(source=args.source, path=args.one("write WORKDIR /app")),
    "ARG": _arg,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "HEALTHCHECK": _healthcheck,
    "SHELL": _shell,
}
