"""The kernel's one engine and the way every magic goes: words in, a value out."""

from __future__ import annotations

import atexit
import getpass
import os
import shlex
import threading
import time
from collections import ChainMap
from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.cli.grammar import execute, find
from ocimagic.cli.last import Last, failed, last_of
from ocimagic.cli.rows import Rows
from ocimagic.cli.session import Session
from ocimagic.cli.values import LogText, Names
from ocimagic.errors import OcimagicError
from ocimagic.magics.drawing import draw
from ocimagic.magics.errors import ContainerExit
from ocimagic.magics.last_build import LastBuild
from ocimagic.magics.listing import Listing
from ocimagic.magics.live import LiveViews
from ocimagic.magics.loading import loading
from ocimagic.magics.screen import (
    CellScreen,
    HtmlProgress,
    NoProgress,
    TextProgress,
    WidgetProgress,
)
from ocimagic.magics.streaming import Foreground
from ocimagic.model.result import ContainerSummary, RunResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from ocimagic.cli.session import Console, Served
    from ocimagic.magics.cell_lines import LineShift
    from ocimagic.magics.config import OciMagic
    from ocimagic.magics.screen import Progress
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import Event, OnEvent
    from ocimagic.model.explanation import Deed

    MakeEngine = Callable[[str, Mapping[str, str]], EngineAPI]

_LAST_S = 2.0  # a kernel is killed some seconds after it was asked to end


class KernelSession:
    """What the magics of one shell share.

    Attributes:
        ip: the shell.
        config: the user's settings.
        make_engine: makes an engine over a data root, "" for the usual one, that looks up its
            variables in a mapping.
        last_build: what the last ``%%dockerfile`` cell's build did.
        compose_file: the last ``%%compose`` cell, and the options that stood before its verb.
        live: the views that change without being run again.
        last: the last command that can be explained.
    """

    def __init__(
        self,
        ip: InteractiveShell,
        config: OciMagic,
        make_engine: MakeEngine | None = None,
    ) -> None:
        self.ip = ip
        self.config = config
        self.make_engine = make_engine or _make_engine
        self._said: dict[str, str] = config.variables()
        self._started: list[str] = []
        self._served: list[Served] = []
        self._engine: EngineAPI | None = None
        self._lock = threading.Lock()
        self._shown: tuple[object, int] | None = None
        self.last_build: LastBuild | None = None
        self._deeds: list[Deed] = []
        self.compose_file: tuple[bytes, tuple[str, ...]] | None = None
        self.live = LiveViews(ip, config, self._somebody_is_there)
        self.last: Last | None = None
        config.observe(self._root_changed, names=["root", "docker_host", "docker_certs"])
        config.observe(self._said_changed, names=["registry_mirror", "offline"])

    def engine(self) -> EngineAPI:
        """Return the engine; made when the first command needs it."""
        with self._lock:
            if self._engine is None:
                # Looked up when it is needed: what the user changes holds from then on.
                environment = ChainMap(self._said, os.environ)
                if self.config.docker_host:
                    self._engine = _client(self.config, environment)
                else:
                    self._engine = self.make_engine(self.config.root, environment)
                atexit.register(self._end)
            return self._engine

    def ask(self, host: str, certificates: str = "") -> None:
        """Have all commands ask a Docker API from now on, if one answers there.

        Args:
            host: its address, ``env`` for DOCKER_HOST, "" for this notebook's own engine.
            certificates: a directory, "" for no TLS.

        Raises:
            InvalidOption, NeighbourUnreachable, NeighbourError: it cannot be asked; nothing
                has changed.
        """
        if host:
            from ocimagic.client.certificates import client_at

            with client_at(host, os.environ, certificates) as client:
                client.about()
        self.config.docker_certs = certificates
        self.config.docker_host = host

    def asked(self) -> str:
        """Say in one line which engine is asked."""
        from ocimagic.client import ApiClient

        engine = self.engine()
        if isinstance(engine, ApiClient):
            return str(engine.about())
        return f"here: this notebook's own engine, {engine.system.info().data_root}"

    def close(self) -> None:
        """Let the engine go; its containers stay."""
        self.live.end_dashboard()
        for each in self._served:
            each.close()
        self._served.clear()
        with self._lock:
            engine, self._engine = self._engine, None
            atexit.unregister(self._end)
        if engine is not None:
            engine.close()

    def _end(self) -> None:
        """Leave as the kernel ends."""
        if self._engine is not None and self.config.on_kernel_exit == "stop":
            stop_all(self._engine, self._started)
        self.close()

    def _root_changed(self, _change: object) -> None:
        self.last = None
        self.close()

    def _said_changed(self, _change: object) -> None:
        self._said.clear()
        self._said.update(self.config.variables())

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes | None = None,
        quiet: bool = False,
        shift: LineShift | None = None,
    ) -> object:
        """Run one command line in the foreground of the cell and return its value.

        Args:
            words: docker's words, without ``docker``.
            stdin: what the command reads.
            quiet: no progress.
            shift: tells lines of a Dockerfile as lines of the cell.

        Raises:
            OcimagicError: the command failed.
            Interrupted: the user pressed stop.
        """
        verb, line = find(words), shlex.join(["docker", *words])
        screen = CellScreen(NoProgress() if quiet else self._progress())
        value: object = None
        failure: OcimagicError | None = None
        try:
            foreground = Foreground(screen, cancellable=verb is None or verb.cancellable)
            value = foreground.run(self._work(words, stdin, shift, foreground))
            self.last = last_of(value, line, self._deeds) or self.last
        except OcimagicError as err:
            failure = err
            told = failed(verb.name or "", line, err, self._deeds) if verb else None
            self.last = told or self.last
            if shift:
                shift.error(err)
            raise
        finally:
            value = shift.result(value) if shift else value
            value = Listing(value) if isinstance(value, tuple) else value
            shown = screen.end(value, lambda value: draw(value, self.config), failure)
            if shown or _says_nothing(value):
                self._shown = (value, self.ip.execution_count)
        if isinstance(value, ContainerSummary):
            self._started.append(value.container_id)
        if isinstance(value, RunResult) and value.exit_code and self.config.check:
            raise ContainerExit(value)
        return value

    def on_screen(self, value: object) -> bool:
        """Tell whether this very value was left in place of progress in the running cell."""
        return (
            self._shown is not None
            and self._shown[0] is value
            and self._shown[1] == self.ip.execution_count
        )

    def _work(
        self,
        words: Sequence[str],
        stdin: bytes | None,
        shift: LineShift | None,
        foreground: Foreground,
    ) -> Callable[[OnEvent, threading.Event], object]:
        """Bind a command to the place it is typed in; the engine runs in another thread."""
        cwd, environment = os.getcwd(), dict(os.environ)
        build = LastBuild() if shift else None
        self._deeds = []
        self.last_build = build or self.last_build

        def work(on_event: OnEvent, cancelled: threading.Event) -> object:
            def told(event: Event) -> None:
                event = shift.event(event) if shift else event
                if build:
                    build.see(event)
                on_event(event)

            session = Session(
                engine=self.engine,
                on_event=told,
                env=environment,
                cwd=cwd,
                stdin=stdin,
                cancelled=cancelled,
                console=self._console(foreground, told, cancelled),
                ask=self._asker(foreground),
                ask_secret=self._asker(foreground, secret=True),
                measures=True,
                stays=True,
                on_interrupt=self.config.on_interrupt,
                last=self.last,
                deeds=self._deeds,
                served=self._served,
            )
            return execute(list(words), session)

        return work

    def _console(
        self, foreground: Foreground, on_event: OnEvent, cancelled: threading.Event
    ) -> Console | None:
        """Return where a container's terminal can be shown: a cell, or IPython's own terminal."""
        if getattr(self.ip, "kernel", None) is None:
            if not _is_terminal():
                return None
            from ocimagic.cli.console import TerminalConsole

            return TerminalConsole(0, 1)
        if not self._somebody_is_there():
            return None
        from ocimagic.magics.console import NotebookConsole

        return NotebookConsole(
            foreground.in_cell, on_event, cancelled, has_widget=self._has_terminal_widget
        )

    def _has_terminal_widget(self) -> bool:
        if self.config.terminal == "lines":
            return False
        from ocimagic.widgets.terminal import is_available

        return is_available()

    def _asker(
        self, foreground: Foreground, *, secret: bool = False
    ) -> Callable[[str], str] | None:
        """Return what asks the user a question; None where nobody could answer."""
        # Looked up when it is called: a kernel puts its own in their places.
        ask = (getpass.getpass) if secret else (input)
        if getattr(self.ip, "kernel", None) is None:
            there = _is_terminal()
        else:
            there = self._somebody_is_there()
        return (lambda text: str(foreground.in_cell(lambda: ask(text)))) if there else None

    def _somebody_is_there(self) -> bool:
        """Tell whether the front end lets cells ask; tools that execute notebooks do not."""
        kernel = getattr(self.ip, "kernel", None)
        return bool(getattr(kernel, "_allow_stdin", False))

    def _progress(self) -> Progress:
        """Choose how to show progress: only a notebook can change what it has shown."""
        wanted = self.config.progress
        in_notebook = getattr(self.ip, "kernel", None) is not None
        if wanted == "none":
            return NoProgress()
        if wanted == "text" or not in_notebook:
            return TextProgress()
        if wanted == "widget":
            return WidgetProgress()
        return HtmlProgress(only_text=self.config.display == "text")


def _is_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def _says_nothing(value: object) -> bool:
    """Tell a value whose text is empty, or was written line by line already."""
    match value:
        case LogText(streamed=True) | Names(lines=()):
            return True
        case Listing(items=Rows() as rows):
            return bool(rows.template) and not rows
        case _:
            return False


def _make_engine(root: str, environment: Mapping[str, str]) -> EngineAPI:
    with loading():
        from ocimagic.engine import Engine

    engine: EngineAPI = Engine(root=root or None, environment=environment)
    return engine


def _client(config: OciMagic, environment: Mapping[str, str]) -> EngineAPI:
    from ocimagic.client.certificates import client_at

    client: EngineAPI = client_at(config.docker_host, environment, config.docker_certs)
    return client


def stop_all(engine: EngineAPI, names: Sequence[str], within_s: float = _LAST_S) -> None:
    """Stop containers, with little patience; those that are gone are no matter.

    No threads: an interpreter that ends may start none.
    """
    deadline_s = time.monotonic() + within_s
    for each in names:
        with suppress(OcimagicError):
            engine.containers.stop(each, grace_s=max(0, deadline_s - time.monotonic()))
