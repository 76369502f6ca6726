"""The command that runs another process in a container: exec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidOption
from ocimagic.runtime.cli.handing import HANDED_FLAGS, STDIO, check_console, preserved, write_pid
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.execute import execute
from ocimagic.spec.codec import decode
from ocimagic.spec.process import CAPABILITY_SETS, Process, User
from ocimagic.spec.record import replace
from ocimagic.spec.runtime import USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words
    from ocimagic.runtime.state import ContainerState

EXEC_FLAGS = (
    *HANDED_FLAGS,
    Flag("process", "document that says what to execute", "PATH", "p"),
    Flag("cwd", "working directory", "PATH"),
    Flag("env", "NAME=value, besides the container's", "NAME=VALUE", "e", many=True),
    Flag("tty", "give it a terminal", short="t"),
    Flag("user", "uid[:gid]", "USER", "u"),
    Flag("additional-gids", "further group ids", "GID", "g", many=True),
    Flag("detach", "return when the command has begun", short="d"),
    Flag("process-label", "SELinux label", "LABEL"),
    Flag("apparmor", "AppArmor profile", "PROFILE"),
    Flag("no-new-privs", "set no_new_privs"),
    Flag("cap", "add a capability", "NAME", "c", many=True),
    Flag("cgroup", "go into a cgroup below the container's", "[CONTROLLER:]PATH"),
    Flag("ignore-paused", "do it even in a paused container"),
)


def execute_command(session: Session, words: Words) -> int:
    """Execute another process in a container; return its exit code."""
    if not words.arguments:
        raise InvalidOption("at least one argument is needed: the container ID")
    container_id, *args = words.arguments
    state = session.load(container_id)
    process, user = _process(state, words, args)
    detach = words.has("detach")
    check_console(process, words, detach=detach)
    kept, process = preserved(words, process)
    init = execute(
        state,
        process,
        STDIO,
        user=user,
        console_socket=words.text("console-socket") or None,
        preserve_fds=kept,
        cgroup_path=words.text("cgroup") or None,
        ignore_paused=words.has("ignore-paused"),
        on_warning=session.journal.repetition,
    )
    write_pid(words, init)
    if detach:
        init.start()
        return 0
    from ocimagic.runtime.cli.foreground import Foreground

    return Foreground(init).run()


def _process(state: ContainerState, words: Words, args: list[str]) -> tuple[Process, str | None]:
    """Return what to execute, and as whom by the container's own names."""
    if path := words.text("process"):
        return _with_flags(_read_process(path), words), None
    if not args:
        raise InvalidOption("there is no command to execute")
    config = state.runtime_config
    base = replace(config.process, args=tuple(args), terminal=False, console_size=None)
    user = config.annotations.get(USER_ANNOTATION)
    if said := words.text("user"):
        base, user = replace(base, user=_user(said)), None
    if gids := words.texts("additional-gids"):
        groups = tuple(_number(each, "group id") for each in gids)
        base = replace(base, user=replace(base.user, additional_gids=groups))
    return _with_flags(base, words), user


def _read_process(path: str) -> Process:
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as err:
        raise InvalidDocument(
            "the process document cannot be read", why=f"{path}: {err.strerror}"
        ) from err
    return Process.parse(decode(raw, what="process"))


def _with_flags(process: Process, words: Words) -> Process:
    """Change a process as the flags say."""
    if words.has("tty"):
        process = replace(process, terminal=True)
    if words.has("no-new-privs"):
        process = replace(process, no_new_privileges=True)
    if cwd := words.text("cwd"):
        process = replace(process, cwd=cwd)
    if label := words.text("process-label"):
        process = replace(process, selinux_label=label)
    if profile := words.text("apparmor"):
        process = replace(process, apparmor_profile=profile)
    env = tuple(words.texts("env"))
    process = replace(process, env=(*process.env, *env))
    return replace(process, capabilities=_capabilities(process.capabilities, words.texts("cap")))


def _capabilities(
    sets: Mapping[str, tuple[str, ...]], more: list[str]
) -> dict[str, tuple[str, ...]]:
    """Add capabilities to all sets but the inheritable and the ambient one (CVE-2022-29162)."""
    names = tuple(
        each if each.startswith("CAP_") else f"CAP_{each}" for each in map(str.upper, more)
    )
    kept = ("inheritable", "ambient")
    return {
        name: sets.get(name, ()) if name in kept else (*sets.get(name, ()), *names)
        for name in CAPABILITY_SETS
    }


def _user(said: str) -> User:
    """Read ``uid[:gid]``; names are for who knows the image (CVE of crun: 2026-30892)."""
    uid, colon, gid = said.partition(":")
    return User(uid=_number(uid, "user id"), gid=_number(gid, "group id") if colon else 0)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) >= (1 << 32) - 1:
        raise InvalidOption(f"invalid {what}: {text!r}", hint="it is a number")
    return int(text)
