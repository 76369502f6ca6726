"""The last steps: wait for the start, run the last hooks, become the command.

Spec: runtime-spec runtime.md, "Start"; "Lifecycle" steps 6 to 8.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NoReturn

from ocimagic.errors import CommandNotExecutable, CommandNotFound, StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.notes import are_taken, end
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.hooks import run_hooks
from ocimagic.runtime.privileges import load_filter
from ocimagic.runtime.reaper import stay_first
from ocimagic.runtime.traced import traced

if TYPE_CHECKING:
    from ocimagic.runtime.channel import Message
    from ocimagic.runtime.program import Context


def wait_for_start(context: Context) -> None:
    """Say that all is ready and wait; a creator that dies takes this process with it."""
    # Others may run in the container from now on: what is here, the machine's environment too,
    # is none of their business (CVE-2016-9962).  execve makes the command dumpable again.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    # All that can be told of what was done here: after execve this process is another program.
    told = {"notes": end()} if are_taken() else {}
    context.channel.say("ready", **told)
    heard = context.channel.hear()
    if heard is not None and heard.type == "let go":
        heard = _wait_at_door(context)
    if heard is None:
        os._exit(125)
    context.state = heard.fields


def _wait_at_door(context: Context) -> Message:
    """Wait for whoever comes to start this process; who only looks goes away again."""
    assert context.door is not None
    while True:
        context.channel.close()
        context.channel = Channel(context.door.accept()[0])
        with contextlib.suppress(StartFailed):  # whoever says what nobody understands
            heard = context.channel.hear()
            if heard is not None and heard.type == "start":
                return heard


def run_start_hooks(context: Context) -> None:
    """Run the startContainer hooks, inside, just before the command."""
    run_hooks("startContainer", context.config.hooks.start_container, context.state, "/")


def execute(context: Context) -> NoReturn:
    """Become the command; nothing but the streams and what is to be preserved is left open."""
    process = context.process
    if not process.args:
        raise StartFailed("there is nothing to start", why="config.json has no process")
    if context.seccomp and not context.seccomp.listener_path:
        load_filter(context)
    if context.stays:
        stay_first()
    program, args = context.command, list(process.args)
    if context.tracer:
        where = (context.tracer, context.root_path, process.cwd, context.identity)
        program, args = context.tracer, traced(*where, context.command, args)
    try:
        os.execve(program, args, context.environment)  # noqa: S606  no shell is the point
    except OSError as err:
        raise _exec_failure(context.command, process.args[0], err) from err


def _exec_failure(path: str, name: str, err: OSError) -> StartFailed:
    if err.errno == errno.ENOENT:
        return CommandNotFound(
            f"cannot run {name!r}: no such file or directory",
            why=f"{path} is there, but the interpreter or loader it names is not",
            hint="a script needs its #! program, a dynamic program its libraries, in the image",
        )
    reasons = {
        errno.ENOEXEC: "exec format error: made for another processor, or a script without #!",
        errno.EACCES: "permission denied",
    }
    return CommandNotExecutable(
        f"cannot run {name!r}: {reasons.get(err.errno or 0, err.strerror)}", why=path
    )
