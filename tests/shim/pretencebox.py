"""A process in a root of its own and, with one id only, who answers for it: no container around.

Run with a JSON request as its argument, in a user namespace or as real root; see ``run``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(place: Path, code: str, *, pretends: bool, snapshots=(), seconds=60) -> dict:
    """Run Python code in ``place/fs``; return its ``out`` and what is recorded of leaves.

    Args:
        place: gets ``fs``, the root, and ``owners``.
        code: sees ``out``, a list, and ``do``, which calls a function and notes what came of it.
        pretends: in a user namespace with one id, answered; else as this process, unanswered.
        snapshots: directories of lower layers.
        seconds: it may take.
    """
    (place / "fs").mkdir(parents=True, exist_ok=True)
    (place / "fs").chmod(0o755)
    request = {"place": str(place), "code": code, "pretends": pretends,
               "snapshots": [str(each) for each in snapshots]}  # fmt: skip
    words = [sys.executable, __file__, json.dumps(request)]
    if pretends:
        words = ["unshare", "--user", "--map-root-user", *words]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout) | {"said": done.stderr}


def do_in(out):
    def do(function, *words, **more):
        try:
            out.append(function(*words, **more))
        except OSError as err:
            out.append(f"errno {err.errno}")
        return out[-1]

    return do


def subject(request, door_path, reply):
    """Be the process that is answered for."""
    import ctypes
    import mmap
    import resource
    import stat
    import struct
    import threading
    import time

    from ocimagic.bundle.pretence import pretending
    from ocimagic.linux import syscalls
    from ocimagic.runtime.seccomp_filter import make_filter
    from ocimagic.spec.process import Process
    from ocimagic.spec.runtime import RuntimeConfig

    room = {"os": os, "ctypes": ctypes, "stat": stat, "struct": struct, "socket": socket,
            "threading": threading, "time": time, "sys": sys, "json": json,
            "syscalls": syscalls, "resource": resource, "mmap": mmap,
            "libc": ctypes.CDLL(None, use_errno=True)}  # fmt: skip
    out: list = []
    room |= {"out": out, "do": do_in(out)}
    code = compile(request["code"], "program", "exec")
    filter_, door = None, socket.socket(socket.AF_UNIX)
    if request["pretends"]:
        kernel = tuple(map(int, os.uname().release.split(".")[:2]))
        config = RuntimeConfig(process=Process(args=("x",)))
        config = pretending(config, door_path, os.uname().machine, kernel)
        filter_ = make_filter(config.seccomp, {})
        door.connect(door_path)
    os.chroot(f"{request['place']}/fs")
    os.chdir("/")
    if filter_ is not None:
        listener = filter_.load()
        socket.send_fds(door, [json.dumps({"pid": os.getpid()}).encode()], [listener])
        os.close(listener)
    door.close()
    exec(code, room)
    os.write(reply, json.dumps(out).encode())


def main():
    request = json.loads(sys.argv[1])
    reader, reply = os.pipe()
    if not request["pretends"]:
        child = os.fork()
        if not child:
            subject_or_die(request, "", reply)
        finish(child, reader, reply, {}, request)
        return
    place = request["place"]
    os.chdir(place)
    door = socket.socket(socket.AF_UNIX)
    Path("door").unlink(missing_ok=True)
    door.bind("door")
    door.listen(1)
    control, end = os.pipe()
    answerer = os.fork()
    if not answerer:
        os.close(end)
        os.close(reply)
        answer_or_die(request, door, control)
    child = os.fork()
    if not child:
        os.close(end)
        subject_or_die(request, "door", reply)
    door.close()
    finish(child, reader, reply, {"answerer": answerer, "end": end}, request)


def answer_or_die(request, door, control):
    from ocimagic.shim.pretence.pretend import pretend

    code = 1
    try:
        words = {"place": request["place"], "snapshots": request["snapshots"]}
        asked = pretend(words, [door.detach(), control])["asked"]
        # It stands in /proc, unless nobody came.
        left = len(os.listdir("self/fd")) if asked else 0
        os.write(2, f"asked {asked} open {left}\n".encode())
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


def subject_or_die(request, door_path, reply):
    code = 1
    try:
        subject(request, door_path, reply)
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child, reader, reply, more, request):
    os.close(reply)
    raw = b""
    while piece := os.read(reader, 1 << 16):
        raw += piece
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answered = 0
    if more:
        os.close(more["end"])
        answered = os.waitstatus_to_exitcode(os.waitpid(more["answerer"], 0)[1])
    leaves = {}
    path = f"{request['place']}/owners"
    if os.path.exists(path):
        with open(path) as file:
            leaves = json.load(file)
    json.dump({"out": json.loads(raw or b"null"), "leaves": leaves, "status": status,
               "answered": answered}, sys.stdout)  # fmt: skip


if __name__ == "__main__":
    main()
