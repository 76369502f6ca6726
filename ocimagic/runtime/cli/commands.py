"""All commands: which there are, and how one is run."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidOption, NotBuiltYet, OcimagicError
from ocimagic.runtime.cli.journal import Journal
from ocimagic.runtime.cli.session import Session
from ocimagic.runtime.cli.words import Flag, Words, help_lines, parse
from ocimagic.spec.version import OCI_VERSION
from ocimagic.version import VERSION

if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

PROGRAM = "ocimagic-runtime"
# Flags of all commands, before the command.
GLOBAL_FLAGS = (
    Flag("root", "directory of all states", "PATH"),
    Flag("log", "file that errors and warnings are added to", "PATH"),
    Flag("log-format", "text or json", "FORMAT"),
    Flag("debug", "tell what is done"),
    Flag("systemd-cgroup", "accepted; cgroups are made without systemd"),
    Flag("rootless", "accepted; what an ordinary user may is found out", "WORD"),
    Flag("criu", "accepted; nothing is ever checkpointed", "PATH"),
    Flag("version", "which version this is", short="v"),
    Flag("help", "this text", short="h"),
)
_HELP = Flag("help", "this text", short="h")

# Command: module beside this one, function, its flags, what it takes, what it is for.
COMMANDS = {
    "create": ("making", "create", "CREATE_FLAGS", "ID", "make a container that waits for start"),
    "start": ("starting", "start", "", "ID", "let a created container's command begin"),
    "run": ("making", "run", "RUN_FLAGS", "ID", "create, start, wait and delete"),
    "exec": (
        "executing",
        "execute_command",
        "EXEC_FLAGS",
        "ID [COMMAND ARGS...]",
        "run another process in a container",
    ),
    "state": ("looking", "state", "", "ID", "tell a container's state as JSON"),
    "kill": ("changing", "kill", "KILL_FLAGS", "ID [SIGNAL]", "signal a container"),
    "delete": ("changing", "delete", "DELETE_FLAGS", "ID", "undo what create did"),
    "list": ("looking", "list_containers", "LIST_FLAGS", "", "list containers"),
    "ps": ("looking", "ps", "PS_FLAGS", "ID [PS OPTIONS]", "list a container's processes"),
    "pause": ("changing", "pause", "", "ID", "stop all processes of a container"),
    "resume": ("changing", "resume", "", "ID", "let them go on"),
    "update": ("updating", "update", "UPDATE_FLAGS", "ID", "change a container's limits"),
    "events": ("watching", "events", "EVENTS_FLAGS", "ID", "tell what a container uses"),
    "spec": ("documents", "spec", "SPEC_FLAGS", "", "write a config.json to begin with"),
    "features": ("documents", "features", "", "", "tell what this runtime can do"),
}
_REFUSED = ("checkpoint", "restore")
_FAILURE = 1
_EXEC_FAILURE = 255


def run(words: list[str]) -> NoReturn:
    """Run a command line and exit; errors go to stderr and to the log."""
    # Whoever ignores it passes that on, and then nobody learns how a child ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    journal = Journal("", "text")
    command = ""
    try:
        known = parse(words, GLOBAL_FLAGS)
        journal = Journal(known.text("log"), known.text("log-format"), debug=known.has("debug"))
        command = known.arguments[0] if known.arguments else ""
        if known.has("version"):
            _leave(_say(_version()))
        if known.has("help") or command in ("", "help"):
            _leave(_say(_help()))
        root = os.path.abspath(known.text("root") or _default_root())
        session = Session(root, journal)
        journal.debug(f"{' '.join(known.arguments)} (root {root})")
        if known.has("systemd-cgroup"):
            journal.debug("--systemd-cgroup: systemd is not asked, cgroups are made directly")
        _leave(_obey(session, command, known.arguments[1:]))
    except OcimagicError as err:
        journal.error(err)
    except OSError as err:
        where = f": {err.filename}" if err.filename else ""
        journal.error(HostLacks(f"{command}: {err.strerror}{where}"))
    _leave(_EXEC_FAILURE if command == "exec" else _FAILURE)


def _leave(code: int) -> NoReturn:
    """Exit without the interpreter's tidying up, which takes longer than most commands."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or _FAILURE
    os._exit(code)


def _obey(session: Session, command: str, words: list[str]) -> int:
    if command in _REFUSED:
        raise NotBuiltYet(f"{command}: containers cannot be saved to disk here")
    if command not in COMMANDS:
        raise InvalidOption(f"there is no command {command!r}", hint=f"{PROGRAM} --help")
    module_name, function, flags_name, takes, told = COMMANDS[command]
    module = _module(module_name)
    flags = (*(getattr(module, flags_name) if flags_name else ()), _HELP)
    given: Words = parse(words, flags)
    if given.has("help"):
        head = [f"{PROGRAM} {command} [flags] {takes}".rstrip(), "", told, "", "FLAGS:"]
        return _say("\n".join([*head, *help_lines(flags)]))
    if not os.path.isdir(session.root):
        os.makedirs(session.root, 0o700, exist_ok=True)
    code: int = getattr(module, function)(session, given)
    return code


def _module(name: str) -> ModuleType:
    whole = f"ocimagic.runtime.cli.{name}"
    __import__(whole)
    return sys.modules[whole]


def _default_root() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() != 0 and runtime:
        return os.path.join(runtime, "ocimagic", "runtime")
    return "/run/ocimagic/runtime"


def _say(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0


def _version() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    told = f"{PROGRAM} version {VERSION}"
    return f"{told}\ncommit: v{VERSION}\nspec: {OCI_VERSION}\npython: {python}"


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"   {name:<{width}}  {entry[4]}" for name, entry in COMMANDS.items()]
    head = f"{PROGRAM} [flags] COMMAND [flags] [arguments]"
    return "\n".join([head, "", "COMMANDS:", *commands, "", "FLAGS:", *help_lines(GLOBAL_FLAGS)])
