"""The launcher: the only process of an engine that forks.

A small Python with one thread, started once per engine.  It knows the runtime already, so a
container costs a fork and not a start of Python.  As an ordinary user it first moves into a
user namespace of its own, where it is root.  It ends when its engine lets go of the socket;
the shims it forked go on.

Requests arrive as one datagram of JSON with descriptors attached; each answer goes over the
first descriptor, a stream of frames (``protocol``).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pwd
import signal
import socket
import sys
from typing import NoReturn

from ocimagic.errors import OcimagicError, StorageError, pack
from ocimagic.linux import syscalls
from ocimagic.runtime.bundle import load_bundle
from ocimagic.shim import protocol, userns, worker
from ocimagic.shim.monitor import Monitor, Task

MAX_REQUEST = 1 << 16
MAX_FDS = 8
_TOO_LONG: dict[str, object] = {}


def main() -> NoReturn:
    """Serve the engine whose socket is descriptor ``argv[1]`` until it is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    syscalls.set_process_name("ocimagic-launch")
    try:
        ids = _become_root()
    except OcimagicError as err:
        control.send(json.dumps(pack(err)).encode())
        os._exit(0)
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is loaded now is shared by all forks: keep the collector from touching its pages.
    gc.disable()
    gc.freeze()
    control.send(json.dumps({"ready": {"ids": ids, "pid": os.getpid()}}).encode())
    filters: dict[bytes, bytes] = {}
    while True:
        data, fds, flags, _ = socket.recv_fds(control, MAX_REQUEST, MAX_FDS)
        if not data:
            os._exit(0)
        whole = not flags & socket.MSG_TRUNC
        _obey(control, json.loads(data) if whole else _TOO_LONG, fds, filters)


def _become_root() -> int:
    """Return how many ids containers have here; 0 means all of the machine's."""
    uid = os.geteuid()
    if uid == 0:
        # Prove it at once, in a child: unshare cannot be undone.
        child = os.fork()
        if child == 0:
            try:
                syscalls.unshare(syscalls.CLONE_NEWNS)
            except OSError as err:
                os._exit(err.errno or 1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return 0
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return userns.enter((name, str(uid)))


def _reap(_signal: int, _frame: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _obey(
    control: socket.socket, request: dict[str, object], fds: list[int], filters: dict[bytes, bytes]
) -> None:
    reply = socket.socket(fileno=fds[0])
    try:
        if request is _TOO_LONG:
            _answer(
                reply, StorageError("a request to the launcher is cut", why=f"{MAX_REQUEST} bytes")
            )
        elif request["op"] == "container":
            _launch(control, request, reply, filters)
        else:
            _work(control, request, reply, fds[1:])
    except OcimagicError as err:
        _answer(reply, err)
    except OSError as err:
        _answer(reply, StorageError("the launcher cannot do this", why=str(err)))
    finally:
        reply.close()
        for fd in fds[1:]:
            os.close(fd)


def _answer(reply: socket.socket, err: OcimagicError) -> None:
    with contextlib.suppress(OSError):
        reply.sendall(protocol.message({"error": pack(err)}))


def _launch(
    control: socket.socket,
    request: dict[str, object],
    reply: socket.socket,
    filters: dict[bytes, bytes],
) -> None:
    bundle = load_bundle(str(request["bundle"]), filters)
    task = Task(
        container_id=str(request["id"]),
        directory=str(request["directory"]),
        run_directory=str(request["run_directory"]),
        log_path=str(request.get("log_path") or request["log"]),
        interactive=bool(request["interactive"]),
        remove=bool(request["remove"]),
        tied=bool(request.get("tied")),
        attached=bool(request.get("attached")),
    )
    if _fork() == 0:
        control.close()
        _run_child(lambda: Monitor(task, bundle, reply).run())


def _work(
    control: socket.socket, request: dict[str, object], reply: socket.socket, fds: list[int]
) -> None:
    if _fork() == 0:
        control.close()
        _run_child(lambda: worker.run(request, reply, fds))


def _fork() -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir("/")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return pid


def _run_child(job: object) -> NoReturn:
    """Run a child's whole life; a defect ends it loudly in the launcher's error file."""
    assert callable(job)
    try:
        job()
    except BaseException:  # noqa: BLE001  the last frame of a forked process
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
