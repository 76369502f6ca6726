"""Run hooks: programs that somebody wants run at a point of a container's life.

Each gets the container's state as JSON on stdin.  What it writes is kept for the error only.

Spec: runtime-spec config.md, "POSIX-platform Hooks".
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, NoReturn

from ocimagic.errors import StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.identity import wait_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocimagic.spec.hooks import Hook

_SAID_BYTES = 4096


def run_hooks(kind: str, hooks: Sequence[Hook], state: Mapping[str, object], cwd: str) -> None:
    """Run hooks one after the other, in the namespaces of the caller.

    Args:
        kind: its name in the specification, for the error.
        hooks: in order.
        state: what each reads on stdin.
        cwd: the directory each starts in.

    Raises:
        StartFailed: one failed; those after it were not run.
    """
    for number, hook in enumerate(hooks, 1):
        failure = _run(hook, state, cwd)
        if failure:
            raise StartFailed(f"{kind} hook {number} failed: {hook.path}", why=failure)


def run_all_hooks(
    kind: str,
    hooks: Sequence[Hook],
    state: Mapping[str, object],
    cwd: str,
    on_warning: Callable[[str], None],
) -> None:
    """Run hooks one after the other, all of them; a failure is a warning."""
    for number, hook in enumerate(hooks, 1):
        failure = _run(hook, state, cwd)
        if failure:
            on_warning(f"{kind} hook {number} failed: {hook.path}: {failure}")


def _run(hook: Hook, state: Mapping[str, object], cwd: str) -> str:
    """Run one hook; return why it failed, "" when it did not."""
    # Files in memory and not pipes: neither a hook that reads nothing, nor what it leaves
    # running with its stdout, can hold us up.
    told, said = os.memfd_create("state"), os.memfd_create("said")
    try:
        os.write(told, json.dumps(state).encode())
        os.lseek(told, 0, os.SEEK_SET)
        pid, pidfd = syscalls.clone3(0)
        if pid == 0:
            _become(hook, told, said, cwd)
        try:
            failure = _outcome(pidfd, hook.timeout_s)
        finally:
            os.close(pidfd)
        if failure:
            words = os.pread(said, _SAID_BYTES, 0).decode(errors="replace").strip()
            return f"{failure}: {words}" if words else failure
        return ""
    finally:
        os.close(told)
        os.close(said)


def _become(hook: Hook, told: int, said: int, cwd: str) -> NoReturn:
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        syscalls.reset_signals()
        for number, fd in enumerate((told, said, said)):
            os.dup2(fd, number, inheritable=True)
        os.chdir(cwd)
        syscalls.close_range(3, flags=syscalls.CLOSE_RANGE_CLOEXEC)
        environment = dict(each.partition("=")[::2] for each in hook.env)
        os.execve(hook.path, hook.args or (hook.path,), environment)  # noqa: S606  no shell is the point
    except OSError as err:
        os.write(said, f"{err.strerror}".encode())
    except BaseException as err:  # noqa: BLE001  the last frame before _exit must not unwind
        os.write(said, repr(err).encode())
    os._exit(127)


def _outcome(pidfd: int, timeout_s: int | None) -> str:
    is_over = wait_end(pidfd, None if timeout_s is None else timeout_s * 1000)
    if not is_over:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert status is not None
    if not is_over:
        return f"it took longer than {timeout_s} s"
    if status.si_code == os.CLD_EXITED:
        return f"exit status {status.si_status}" if status.si_status else ""
    return f"killed by signal {status.si_status}"
