"""The ``ocimagic`` command: the grammar on a terminal.

Results go to standard output, everything else to standard error.  The exit code is the
container's own for ``run``, else that of the error (125, 126, 127, 1 for a failed build).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.cli.compose_rows import Ended
from ocimagic.cli.grammar import docker_words, execute, find
from ocimagic.cli.session import Session
from ocimagic.cli.terminal import Terminal
from ocimagic.cli.values import Exits, LogText
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.model.archive import Saved
from ocimagic.model.built import BuildChecked
from ocimagic.model.difference import ImageDiff
from ocimagic.model.report import Copied, ExecResult, Verified
from ocimagic.model.result import ContainerSummary, RunResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from ocimagic.cli.session import Console
    from ocimagic.model.engine import EngineAPI

INTERRUPTED = 130
BROKEN_PIPE = 141
_FRONT = {"--root": "DIR", "--docker-host": "URL"}


def run(
    argv: Sequence[str], *, make_engine: Callable[[str | None], EngineAPI] | None = None
) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: the words after ``ocimagic``.
        make_engine: makes the engine over a data root; None stands for the usual one.
    """
    make_engine = make_engine or _make_engine
    stdout, stderr = sys.stdout.buffer, sys.stderr.buffer
    try:
        with ExitStack() as undo:
            return _command(list(argv), make_engine, stdout, stderr, undo)
    except OcimagicError as err:
        return _failed(err, stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us is gone; the interpreter must not trip over it again when it flushes.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return BROKEN_PIPE


def _command(
    argv: list[str],
    make_engine: Callable[[str | None], EngineAPI],
    stdout: BinaryIO,
    stderr: BinaryIO,
    undo: ExitStack,
) -> int:
    front, words = _split_front(argv)
    if host := front.get("--docker-host"):
        if "--root" in front:
            raise InvalidOption("--root and --docker-host name two engines", hint="choose one")
        make_engine = _asking(host)
    terminal = Terminal(stdout, stderr, redraws=stderr.isatty())
    verb = find(words)
    cancelled = threading.Event()
    if verb and verb.cancellable:
        undo.enter_context(_Interrupts(cancelled))
    session = Session(
        engine=_Lazy(front.get("--root"), make_engine, undo),
        on_event=terminal,
        env=os.environ,
        cwd=_current_directory(),
        stdin=0,
        cancelled=cancelled,
        program="ocimagic",
        console=_console(),
        out=partial(_write_bytes, stdout),
        ask=_ask if _is_terminal(0) else None,
        ask_secret=_ask_secret if _is_terminal(0) else None,
    )
    try:
        value = execute(words, session)
    except OcimagicError:
        terminal.end()
        # An engine that was told to stop may call that an error of its own.
        if cancelled.is_set():
            return INTERRUPTED
        raise
    terminal.end()
    shown = value is not None and value is terminal.refreshed
    code = 0 if shown else _print(value, stdout, stderr)
    return INTERRUPTED if cancelled.is_set() else code


def _console() -> Console | None:
    """Return the terminal that somebody sits at, if there is one."""
    if not _is_terminal(0):
        return None
    from ocimagic.cli.console import TerminalConsole

    return TerminalConsole(0, 1)


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _ask(question: str) -> str:
    """Ask on standard error, so that standard output stays what scripts read."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()


def _ask_secret(question: str) -> str:
    """Ask on the terminal itself, which shows nothing of the answer."""
    from getpass import getpass

    return getpass(question)


def _write_bytes(stdout: BinaryIO, data: bytes) -> None:
    if stdout.isatty():
        raise InvalidOption(
            "a tar is not for a terminal", hint="add > FILE, or -o FILE where there is one"
        )
    stdout.write(data)


def _current_directory() -> str:
    try:
        return os.getcwd()
    except OSError as err:
        hint = "cd to one that is there"
        raise InvalidOption("the current directory is gone", hint=hint) from err


def _split_front(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Take ``--root DIR`` and ``--docker-host URL`` off the front; all else is docker's grammar."""
    found: dict[str, str] = {}
    words = argv
    while words and (name := words[0].partition("=")[0]) in _FRONT:
        if "=" in words[0]:
            found[name], words = words[0].partition("=")[2], words[1:]
        elif len(words) < 2:
            hint = f"ocimagic {name} {_FRONT[name]} COMMAND"
            raise InvalidOption(f"option {name} needs a value", hint=hint)
        else:
            found[name], words = words[1], words[2:]
    return found, words


def _asking(host: str) -> Callable[[str | None], EngineAPI]:
    """Return what makes a client of a Docker API."""

    def make(_root: str | None) -> EngineAPI:
        from ocimagic.client.certificates import client_at

        # As docker's own client: TLS where the environment says so.
        verify = os.environ.get("DOCKER_TLS_VERIFY") and host.startswith("tcp://")
        usual = os.path.expanduser("~/.docker")
        certificates = os.environ.get("DOCKER_CERT_PATH") or usual if verify else ""
        return client_at(host, os.environ, certificates)

    return make


class _Lazy:
    """Makes the engine when a verb first asks, and closes it at the end."""

    def __init__(
        self,
        root: str | None,
        make_engine: Callable[[str | None], EngineAPI],
        undo: ExitStack,
    ) -> None:
        self._root = root
        self._make_engine = make_engine
        self._undo = undo
        self._engine: EngineAPI | None = None

    def __call__(self) -> EngineAPI:
        if self._engine is None:
            self._engine = self._make_engine(self._root)
            self._undo.callback(self._engine.close)
        return self._engine


class _Interrupts:
    """Ctrl-C asks the engine to stop; a second one does not wait for it."""

    def __init__(self, cancelled: threading.Event) -> None:
        self._cancelled = cancelled
        self._before: object = None

    def __enter__(self) -> None:
        # Only the main thread may set handlers; elsewhere Ctrl-C is someone else's.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if callable(self._before) or isinstance(self._before, int):
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        self._cancelled.set()


def _print(value: object, stdout: BinaryIO, stderr: BinaryIO) -> int:
    """Print a result as docker does and return the exit code."""
    match value:
        case None | Saved():  # docker says nothing of what it saved
            return 0
        case RunResult(exit_code=code) | ExecResult(exit_code=code) | Ended(exit_code=code):
            return code  # its output was shown while it ran
        case Exits(verb="attach", ends=((_, ended),)):
            return ended.code if ended else 0
        case ContainerSummary(container_id=container_id):
            return _line(container_id, stdout)
        case Verified(exit_code=code) | BuildChecked(exit_code=code) | ImageDiff(exit_code=code):
            return _line(_drawn(value), stdout) or code
        case Copied():
            # docker says it only to somebody who looks on.
            return _line(_drawn(value), stderr) if stderr.isatty() else 0
        case LogText():
            for stream, data in value.chunks():
                (stdout if stream == "stdout" else stderr).write(data)
            stdout.flush()
            stderr.flush()
            return 0
        case _:
            return _line(_drawn(value), stdout)


def _drawn(value: object) -> str:
    from ocimagic.render.display import as_text

    return as_text(value, datetime.now(UTC))


def _line(text: str, out: BinaryIO) -> int:
    if text:
        out.write(text.encode(errors="backslashreplace") + b"\n")
        out.flush()
    return 0


def _failed(error: OcimagicError, stderr: BinaryIO) -> int:
    from ocimagic.render.error import error_text

    _line(f"ocimagic: {_shell_words(error_text(error))}", stderr)
    return error.exit_code


def _shell_words(text: str) -> str:
    """Say ``%image_pull`` as ``ocimagic image pull``: hints are written for a notebook."""
    for magic, words in docker_words().items():
        text = re.sub(rf"%{magic}\b", " ".join(("ocimagic", *words)), text)
    return text


def _make_engine(root: str | None) -> EngineAPI:
    from ocimagic.engine import Engine

    return Engine(root=root)
