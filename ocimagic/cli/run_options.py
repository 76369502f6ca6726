"""The options of ``run`` and ``create``: from words to ``RunOptions``."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocimagic.errors import InvalidOption, NotBuiltYet, nearest
from ocimagic.model.options import NetworkMode, PullPolicy, RunOptions, VolumeMount
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ocimagic.cli.session import Session

F = TypeVar("F", bound="Callable[..., Any]")

MAX_TEXT_BYTES = 4 << 20

_OPTIONS = (
    click.option("--rm", "remove", is_flag=True, help="Remove the container when it exits"),
    click.option("-i", "--interactive", is_flag=True, help="Keep standard input open"),
    click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable"),
    click.option("--env-file", multiple=True, metavar="FILE", help="Read variables from a file"),
    click.option("-v", "--volume", multiple=True, metavar="SRC:DST[:ro]", help="Bind a directory"),
    click.option("-w", "--workdir", metavar="DIR", help="Working directory in the container"),
    click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or ID"),
    click.option("--name", metavar="NAME", help="Name the container"),
    click.option("--entrypoint", metavar="CMD", help="Replace the image's ENTRYPOINT"),
    click.option("--read-only", is_flag=True, help="Mount the root file system read-only"),
    click.option("--network", "--net", "network", metavar="none|host", help="Choose the network"),
    click.option("-h", "--hostname", metavar="NAME", help="Host name in the container"),
    click.option("-l", "--label", multiple=True, metavar="KEY[=VALUE]", help="Set a label"),
    click.option("--cap-add", multiple=True, metavar="CAP", help="Add a capability"),
    click.option("--cap-drop", multiple=True, metavar="CAP", help="Drop a capability"),
    click.option("--security-opt", multiple=True, metavar="OPT", help="no-new-privileges"),
    click.option("--stop-signal", metavar="SIGNAL", help="Signal that stops the container"),
    click.option("--stop-timeout", type=click.IntRange(0), metavar="SECONDS",
                 help="Wait this long before SIGKILL"),
    click.option("--pull", metavar="always|missing|never", default="missing",
                 help="When to ask the registry"),
    click.option("--platform", metavar="OS/ARCH", help="Choose among the image's platforms"),
    click.option("-q", "--quiet", is_flag=True, help="Do not show the pull"),
)  # fmt: skip


def run_parameters(function: F) -> F:
    """Decorate a verb with everything ``create`` takes; ``run`` adds ``-d``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    words = click.argument("words", nargs=-1, required=True, metavar="IMAGE")
    return words(function)


def run_options(
    session: Session, words: tuple[str, ...], given: Mapping[str, Any], *, detach: bool
) -> RunOptions:
    """Turn parsed words into the request.

    Args:
        session: for relative paths and variables of the user.
        words: the image, then the command.
        given: click's values by parameter name.
        detach: ``-d``.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: a value that docker knows and this version does not.
    """
    image, *command = words
    if not image:
        raise InvalidOption("the image name is empty")
    entrypoint = given["entrypoint"]
    timeout = given["stop_timeout"]
    options = RunOptions(
        image=image,
        command=tuple(command),
        name=given["name"],
        entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
        env=tuple(_environment(session, given["env_file"], given["env"])),
        working_dir=given["workdir"],
        user=given["user"],
        volumes=tuple(volume(session, text) for text in given["volume"]),
        network=network(given["network"]),
        hostname=given["hostname"],
        labels=pairs("--label", given["label"]),
        read_only=given["read_only"],
        detach=detach,
        remove=given["remove"],
        interactive=given["interactive"],
        no_new_privileges=_no_new_privileges(given["security_opt"]),
        cap_add=given["cap_add"],
        cap_drop=given["cap_drop"],
        stop_signal=given["stop_signal"],
        platform=platform(given["platform"]),
        pull=_pull(given["pull"]),
    )
    return options if timeout is None else replace(options, stop_timeout_s=float(timeout))


def platform(text: str | None) -> Platform | None:
    """Read ``--platform``."""
    return Platform.parse(text) if text else None


def network(text: str | None) -> NetworkMode:
    """Read ``--network``."""
    if text is None:
        return NetworkMode.DEFAULT
    try:
        return NetworkMode(text)
    except ValueError:
        raise NotBuiltYet(
            f"network {text!r} is not built yet",
            why="this version has no bridge networks",
            hint="write --network none or --network host",
        ) from None


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` or ``KEY``, whose value is empty."""
    result = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidOption(f"{option} {text!r} has no key", hint=f"write {option} KEY=VALUE")
        result[key] = value
    return result


def volume(session: Session, text: str) -> VolumeMount:
    """Read ``-v SOURCE:TARGET[:MODE]``; a relative source starts at the session's directory."""
    source, *rest = text.split(":")
    hint = "write -v SOURCE:TARGET or -v SOURCE:TARGET:ro"
    if len(rest) not in {1, 2} or not source:
        why = "a volume without a source comes with a later version" if text else None
        raise InvalidOption(f"volume {text!r} cannot be understood", why=why, hint=hint)
    if "\0" in text:
        raise InvalidOption(f"volume {text!r} holds a NUL character")
    if not source.startswith(("/", ".", "~")):
        raise NotBuiltYet(
            f"named volumes such as {source!r} are not built yet",
            hint=f"for a directory write -v ./{source}:{rest[0]}",
        )
    if not rest[0].startswith("/"):
        raise InvalidOption(f"the target {rest[0]!r} of volume {text!r} is not absolute", hint=hint)
    return VolumeMount(
        source=session.path(source),
        target=os.path.normpath(rest[0]),
        read_only=_read_only(rest[1] if len(rest) == 2 else "rw", text),
    )


def _read_only(mode: str, text: str) -> bool:
    read_only = False
    for word in mode.split(","):
        if word not in {"ro", "rw"}:
            raise NotBuiltYet(
                f"mode {word!r} of volume {text!r} is not built yet", hint="ro and rw are"
            )
        read_only = word == "ro"
    return read_only


def _no_new_privileges(texts: Iterable[str]) -> bool:
    result = False
    for text in texts:
        name, _, value = text.replace(":", "=", 1).partition("=")
        if name != "no-new-privileges" or value not in {"", "true", "false"}:
            raise NotBuiltYet(
                f"--security-opt {text} is not built yet",
                why="containers always run under docker's default seccomp profile",
                hint="--security-opt no-new-privileges is built",
            )
        result = value != "false"
    return result


def _pull(text: str) -> PullPolicy:
    try:
        return PullPolicy(text)
    except ValueError:
        known = [policy.value for policy in PullPolicy]
        near = nearest(text, known)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(known)}"
        raise InvalidOption(f"--pull {text!r} is not a pull policy", hint=hint) from None


def _environment(session: Session, files: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    """Yield ``NAME=value``: the files first, so that ``-e`` wins."""
    for name in files:
        for number, line in enumerate(read_text(session.path(name)).splitlines(), 1):
            text = line.lstrip()
            if text and not text.startswith("#"):
                yield from _variable(session, text, f"{name} line {number}")
    for text in texts:
        yield from _variable(session, text, "--env")


def _variable(session: Session, text: str, where: str) -> Iterator[str]:
    name, equals, _ = text.partition("=")
    if not name or any(char.isspace() for char in name) or "\0" in text:
        raise InvalidOption(
            f"variable {text!r} cannot be understood", where=where, hint="write NAME=value"
        )
    if equals:
        yield text
    elif name in session.env:
        yield f"{name}={session.env[name]}"


def read_text(path: str) -> str:
    """Read a small UTF-8 file that the user named.

    Raises:
        InvalidOption: not there, not readable, not text, or too large.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_TEXT_BYTES + 1)
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise InvalidOption(f"cannot read {path}", why=why) from err
    return as_text(raw, path)


def as_text(raw: bytes, name: str) -> str:
    """Decode what a user gave as text.

    Raises:
        InvalidOption: not UTF-8, or too large.
    """
    if len(raw) > MAX_TEXT_BYTES:
        raise InvalidOption(f"{name} is too large", why=f"the limit is {MAX_TEXT_BYTES >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InvalidOption(f"{name} is not UTF-8 text", why=str(err)) from err
