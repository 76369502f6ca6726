"""What a command runs in: the engine and everything else that is not on its line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import InvalidOption
from ocimagic.model.event import ignore
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from ocimagic.cli.last import Last
    from ocimagic.model.containers import AttachmentAPI, TerminalAPI
    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.event import OnEvent
    from ocimagic.model.explanation import Deed


class Served(Protocol):
    """What is served until it is closed: docker's API, or containerd's services.

    Attributes:
        url: where it listens.
    """

    url: str

    @property
    def hint(self) -> str:
        """Return a command that uses it."""
        ...

    @property
    def is_served(self) -> bool:
        """Say whether it still listens."""
        ...

    def close(self) -> None:
        """Stop listening; containers stay."""
        ...


class Console(Protocol):
    """Where a person can see a container's terminal and type into it."""

    def size(self) -> tuple[int, int] | None:
        """Return rows and columns, None if they are not known yet."""
        ...

    def drive(self, attachment: AttachmentAPI, terminal: TerminalAPI) -> bool:
        """Show what it writes and send what is typed, until its output ends.

        Returns:
            Whether that goes on by itself; the attachment is the console's to close then.
        """
        ...


@dataclass(slots=True)
class Session:
    """The surroundings of one command.

    Attributes:
        engine: makes the engine when the first verb needs it, and returns the same again.
        on_event: gets progress, and output while it is written.
        env: for ``-e NAME`` and ``--env-file``.
        cwd: what relative paths start from.
        stdin: what ``-i``, ``build -`` and ``-f -`` read: bytes, or a file descriptor.
        cancelled: set it to stop what runs.
        program: how usage lines call us.
        console: for ``-t``; None where nobody could type.
        out: takes bytes that are no text, such as a tar; None returns them as a value.
        ask: asks a person a question and returns the answer; None where nobody is.
        ask_secret: the same, and the answer is not shown.
        measures: lists say what containers use, too: docker's own command line does not.
        stays: the engine outlives the command, and what it serves with it.
        on_interrupt: what cancelling does to a container in the foreground: ``stop`` it, ``kill``
            it at once, or ``detach``, which lets go of it.
        line: the command as it was given; "" to take docker's words for it.
        last: the command before this one that can be explained; None where nobody knows.
        deeds: what this one said it did, if it does many things.
        served: APIs that go on after the command; whoever the session is of closes them.
    """

    engine: Callable[[], EngineAPI]
    on_event: OnEvent = ignore
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    stdin: int | bytes | None = None
    cancelled: threading.Event | None = None
    program: str = "docker"
    console: Console | None = None
    out: Callable[[bytes], object] | None = None
    ask: Callable[[str], str] | None = None
    ask_secret: Callable[[str], str] | None = None
    measures: bool = False
    stays: bool = False
    on_interrupt: str = "stop"
    line: str = ""
    last: Last | None = None
    deeds: list[Deed] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)

    def path(self, text: str) -> str:
        """Return a path that was typed as an absolute one; ``~`` is the user's home."""
        home = self.env.get("HOME")
        if home and (text == "~" or text.startswith("~/")):
            text = home + text[1:]
        return os.path.abspath(os.path.join(self.cwd, text))

    def console_for(self, *, tty: bool, interactive: bool) -> Console | None:
        """Return where a container's terminal is shown; None when nobody is to type into it.

        Raises:
            InvalidOption: somebody is, and there is no terminal.
        """
        if not tty or not interactive:
            return None
        if self.console is None and isinstance(self.stdin, int):
            raise InvalidOption(
                "the input device is not a TTY",
                why="-t with -i needs a terminal that somebody can type into",
                hint="leave -t out, or run it in a terminal",
            )
        return None if isinstance(self.stdin, bytes) else self.console

    def confirm(self, warning: str) -> bool:
        """Ask whether to go on, as docker does before it removes many things.

        Raises:
            InvalidOption: there is nobody to ask.
        """
        if self.ask is None:
            raise InvalidOption("nobody is here to answer a question", hint="add -f to go on")
        answer = self.ask(f"{warning}\nAre you sure you want to continue? [y/N] ")
        return answer.strip().lower() in {"y", "yes"}
