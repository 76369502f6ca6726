"""``ocimagic-runtime``: runc's command line over this room.

Those commands that let a process into a container run in a second Python, executed from a
program nobody can write (``sealed``); that one also has no site-packages and starts faster.

Spec: the OCI Runtime Command Line Interface draft, and what docker and podman call.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from ocimagic.errors import HostLacks, InvalidOption, NotBuiltYet, OcimagicError
from ocimagic.runtime.cli.journal import Journal
from ocimagic.runtime.cli.session import Session
from ocimagic.runtime.cli.words import Flag, help_lines, parse
from ocimagic.version import VERSION

PROGRAM = "ocimagic-runtime"
OCI_VERSION = "1.2.0"
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
HELP = Flag("help", "this text", short="h")

# Command: module below runtime.cli, function, its flags there, what it takes, what it is for.
COMMANDS = {
    "create": ("making", "create", "CREATE_FLAGS", "ID", "make a container that waits for start"),
    "start": ("making", "start_command", "", "ID", "let a created container's command begin"),
    "run": ("making", "run", "RUN_FLAGS", "ID", "create, start, wait and delete"),
    "exec": (
        "making",
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
    "update": ("changing", "update", "UPDATE_FLAGS", "ID", "change a container's limits"),
    "events": ("looking", "events", "EVENTS_FLAGS", "ID", "tell what a container uses"),
    "spec": ("documents", "spec", "SPEC_FLAGS", "", "write a config.json to begin with"),
    "features": ("documents", "features", "", "", "tell what this runtime can do"),
}
_REFUSED = ("checkpoint", "restore")
_SEALED = ("create", "run", "exec")
_FAILURE = 1
_EXEC_FAILURE = 255
_START = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from ocimagic.runtime.commandline import main_sealed
main_sealed()
"""


def main() -> NoReturn:
    """Run the command in ``sys.argv`` and exit."""
    _run(sys.argv[1:], is_sealed=False)


def main_sealed() -> NoReturn:
    """Do the same as the second Python."""
    _run(sys.argv[1:], is_sealed=True)


def _run(words: list[str], *, is_sealed: bool) -> NoReturn:
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
        if command in _SEALED and not is_sealed:
            _seal(words)
        root = os.path.abspath(known.text("root") or _default_root())
        _leave(_obey(Session(root, journal), command, known.arguments[1:]))
    except OcimagicError as err:
        journal.error(err)
    except BrokenPipeError:
        _abandon_stdout()
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


def _abandon_stdout() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)


def _seal(words: list[str]) -> NoReturn:
    from ocimagic.runtime.sealed import execute_sealed

    packages = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    execute_sealed(_START, [packages, *words])


def _obey(session: Session, command: str, words: list[str]) -> int:
    if command in _REFUSED:
        raise NotBuiltYet(f"{command}: containers cannot be saved to disk here")
    if command not in COMMANDS:
        raise InvalidOption(f"there is no command {command!r}", hint=f"{PROGRAM} --help")
    module_name, function, flags_name, takes, told = COMMANDS[command]
    module = importlib.import_module(f"ocimagic.runtime.cli.{module_name}")
    flags = getattr(module, flags_name) if flags_name else ()
    given = parse(words, (*flags, HELP))
    if given.has("help"):
        head = [f"{PROGRAM} {command} [flags] {takes}".rstrip(), "", told, "", "FLAGS:"]
        return _say("\n".join([*head, *help_lines((*flags, HELP))]))
    if not os.path.isdir(session.root):
        os.makedirs(session.root, 0o700, exist_ok=True)
    code: int = getattr(module, function)(session, given)
    return code


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
    return f"{PROGRAM} version {VERSION}\ncommit: v{VERSION}\nspec: {OCI_VERSION}\npython: {python}"


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = [f"   {name:<{width}}  {entry[4]}" for name, entry in COMMANDS.items()]
    head = f"{PROGRAM} [flags] COMMAND [flags] [arguments]"
    return "\n".join([head, "", "COMMANDS:", *commands, "", "FLAGS:", *help_lines(GLOBAL_FLAGS)])


if __name__ == "__main__":
    main()
