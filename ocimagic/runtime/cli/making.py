"""The commands that make processes: create, run, start, exec."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidOption, InvalidState
from ocimagic.runtime.bundle import load_bundle
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.cli.foreground import Foreground
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.create import Init, destroy, start
from ocimagic.runtime.execute import execute
from ocimagic.runtime.state import ContainerState, connect, locked
from ocimagic.spec.codec import decode
from ocimagic.spec.process import CAPABILITY_SETS, Process, User
from ocimagic.spec.runtime import USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.bundle import Bundle
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

_STDIO = (0, 1, 2)
_FIRST_FD = 3
_ALIVE = ("created", "running", "paused")

_MAKING = (
    Flag("console-socket", "socket that gets the master of the terminal", "PATH"),
    Flag("pid-file", "file that gets the process's pid", "PATH"),
    Flag("preserve-fds", "descriptors after stderr that the command keeps", "N"),
)
_BUNDLE = (
    Flag("bundle", "directory with config.json; by default the current one", "PATH", "b"),
    *_MAKING,
    Flag("no-pivot", "the machine's root is its initramfs: move instead of pivot"),
    Flag("no-new-keyring", "keep the caller's session keyring"),
)
CREATE_FLAGS = _BUNDLE
RUN_FLAGS = (
    *_BUNDLE,
    Flag("detach", "return when the command has begun", short="d"),
    Flag("keep", "do not delete the container when it is over"),
    Flag("no-subreaper", "accepted; orphans are never waited for"),
)
EXEC_FLAGS = (
    *_MAKING,
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


def create(session: Session, words: Words) -> int:
    """Make a container that waits for ``start``."""
    container_id = words.only_argument()
    bundle = _bundle(words)
    _check_console(bundle.config.process, words, detach=True)
    init = _make(session, bundle, container_id, words, door=True)
    init.let_go()
    return 0


def start_command(session: Session, words: Words) -> int:
    """Let a created container's command begin."""
    state = session.load(words.only_argument())
    with locked(state.directory):
        state = session.load(state.container_id)
        status = state.status()
        if status != "created":
            raise InvalidState(f"cannot start a container that is {status}")
        if not state.config.get("process"):
            raise InvalidState("there is nothing to start", why="config.json has no process")
        start(Channel(connect(state.start_path)), state, session.journal.warning)
    return 0


def run(session: Session, words: Words) -> int:
    """Create, start, wait for the end and delete; return the command's exit code."""
    container_id = words.only_argument()
    bundle, detach = _bundle(words), words.has("detach")
    _check_console(bundle.config.process, words, detach=detach)
    init = _make(session, bundle, container_id, words)
    if detach:
        init.start()
        return 0
    code = Foreground(init).run()
    if words.has("keep"):
        return code
    with contextlib.suppress(FileNotFoundError):
        destroy(init.state, session.journal.warning)
    return code


def execute_command(session: Session, words: Words) -> int:
    """Execute another process in a container; return its exit code."""
    if not words.arguments:
        raise InvalidOption("at least one argument is needed: the container ID")
    container_id, *args = words.arguments
    state = session.load(container_id)
    process, user = _process(state, words, args)
    detach = words.has("detach")
    _check_console(process, words, detach=detach)
    kept, process = _preserved(words, process)
    init = execute(
        state,
        process,
        _STDIO,
        user=user,
        console_socket=words.text("console-socket") or None,
        preserve_fds=kept,
        cgroup_path=words.text("cgroup") or None,
        ignore_paused=words.has("ignore-paused"),
        on_warning=session.journal.warning,
    )
    _write_pid(words, init)
    if detach:
        init.start()
        return 0
    return Foreground(init).run()


def _bundle(words: Words) -> Bundle:
    path = os.path.abspath(words.text("bundle") or ".")
    try:
        return load_bundle(path, {})
    except OSError as err:
        raise InvalidDocument(
            "config.json cannot be read", why=err.strerror, where=str(err.filename)
        ) from err


def _make(
    session: Session, bundle: Bundle, container_id: str, words: Words, *, door: bool = False
) -> Init:
    """Make a container and tell its pid; nothing is left of it if that fails."""
    kept, process = _preserved(words, bundle.config.process)
    bundle = replace(bundle, config=replace(bundle.config, process=process))
    init = Init.create(
        bundle,
        container_id,
        _STDIO,
        state_root=session.root,
        console_socket=words.text("console-socket") or None,
        preserve_fds=kept,
        on_warning=session.journal.warning,
        no_pivot=words.has("no-pivot"),
        no_new_keyring=words.has("no-new-keyring"),
        door=door,
    )
    try:
        _write_pid(words, init)
    except BaseException:
        init.close()
        from ocimagic.runtime.container import delete

        delete(init.state, force=True)
        raise
    return init


def _check_console(process: Process, words: Words, *, detach: bool) -> None:
    """Refuse a terminal that nobody would have, and a receiver without a terminal."""
    wants = bool(words.text("console-socket"))
    if detach and process.terminal and not wants:
        raise InvalidOption(
            "a terminal of a detached process needs a console socket",
            hint="give --console-socket, or set process.terminal to false",
        )
    if wants and not (detach and process.terminal):
        raise InvalidOption(
            "a console socket is only for a detached process with a terminal",
            hint="leave --console-socket out",
        )


def _preserved(words: Words, process: Process) -> tuple[int, Process]:
    """Return how many descriptors are kept, and the process told of those of $LISTEN_FDS."""
    listening = os.environ.get("LISTEN_FDS", "")
    count = int(listening) if listening.isascii() and listening.isdigit() else 0
    if count:
        env = (*process.env, f"LISTEN_FDS={count}", "LISTEN_PID=1")
        process = replace(process, env=env)
    kept = words.number("preserve-fds") + count
    for fd in range(_FIRST_FD, _FIRST_FD + kept):
        try:
            os.fstat(fd)
        except OSError as err:
            raise InvalidOption(f"descriptor {fd} is to be preserved, but it is not open") from err
        os.set_inheritable(fd, True)
    return kept, process


def _write_pid(words: Words, init: Init) -> None:
    path = words.text("pid-file")
    if not path:
        return
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(init.pid))
        os.rename(temporary, path)
    except OSError as err:
        raise InvalidOption(
            "the pid file cannot be written", why=f"{path}: {err.strerror}"
        ) from err


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
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) >= 1 << 32:
        raise InvalidOption(f"invalid {what}: {text!r}", hint="it is a number")
    return int(text)
