"""Short jobs that need the launcher's privileges: unpacking, comparing and removing trees.

A worker is one fork for one job.  It answers with ``{"progress": …}`` messages and, last,
``{"result": …}`` or ``{"error": …}``.  A mount it needs is made in a mount namespace of its
own and goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import DiskFull, OcimagicError, StorageError, pack
from ocimagic.linux import mounting, syscalls
from ocimagic.shim import protocol
from ocimagic.shim.removal import remove_path

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

Request = dict[str, object]


def refuse(reply: socket.socket, err: OcimagicError) -> None:
    """Answer that a job cannot be done."""
    with contextlib.suppress(OSError):  # the engine is gone: nobody asks any more
        reply.sendall(protocol.message({"error": pack(err)}))


def run(request: Request, reply: socket.socket, fds: list[int]) -> None:
    """Do one job and answer."""
    syscalls.set_process_name("ocimagic-worker")
    jobs: dict[str, Callable[[Request, list[int]], Request]] = {
        "apply": _apply,
        "diff": _diff,
        "remove": _remove,
        "probe": _probe,
        "probe_images": _probe_images,
        "probe_records": _probe_records,
        "files": _files,
        "pretend": _pretend,
        "probe_networks": _probe_networks,
        "sweep_networks": _sweep_networks,
    }
    try:
        answer: Request = {"result": jobs[str(request["op"])](request, fds)}
    except OcimagicError as err:
        answer = {"error": pack(err)}
    except OSError as err:
        kind = DiskFull if err.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        failure = kind("cannot work on the data root", why=err.strerror, where=_name(err.filename))
        answer = {"error": pack(failure)}
    with contextlib.suppress(OSError):  # the engine is gone: nobody asks any more
        reply.sendall(protocol.message(answer))


def _name(filename: object) -> str | None:
    return os.fsdecode(filename) if isinstance(filename, str | bytes) else None


def _apply(request: Request, fds: list[int]) -> Request:
    from ocimagic.shim.unpack import unpack_layer

    return unpack_layer(request, fds[0])


def _diff(request: Request, fds: list[int]) -> Request:
    from ocimagic.layers.pack import pack_changes

    return pack_changes(request, fds[0])


def _files(request: Request, fds: list[int]) -> Request:
    from ocimagic.shim import files, volume_files

    jobs = files.JOBS | volume_files.JOBS
    return jobs[str(request["job"])](request, fds)


def _pretend(request: Request, fds: list[int]) -> Request:
    from ocimagic.shim.pretence.pretend import pretend

    return pretend(request, fds)


def _remove(request: Request, _fds: list[int]) -> Request:
    paths = request["paths"]
    assert isinstance(paths, list)
    for path in paths:
        remove_path(str(path))
    return {}


def _probe_images(request: Request, _fds: list[int]) -> Request:
    """Try to mount an image that is a file of the data root, as layers are.

    Request: ``directory``.  Result: ``why`` it does not work, "" if it does.
    """
    from ocimagic.layers.erofs.image import write_image

    directory = str(request["directory"])
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            write_image((), fd)
            syscalls.unshare(syscalls.CLONE_NEWNS)
            mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)
            mounting.mount(f"/proc/self/fd/{fd}", directory, "erofs", mounting.MS_RDONLY)
            mounting.umount(directory)
        finally:
            os.close(fd)
    except OSError as err:
        return {"why": err.strerror}
    return {"why": ""}


def _probe_records(request: Request, _fds: list[int]) -> Request:
    """Try whether owners that cannot be had can be recorded, and shown to a container.

    Request: ``directory``, of the data root.  Result: ``why`` not, "" if they can.
    """
    from ocimagic.shim.pretence.probe import why_not

    return {"why": why_not(str(request["directory"]))}


def _probe_networks(_request: Request, _fds: list[int]) -> Request:
    """Try whether an ordinary account can have networks.

    Result: ``why`` not, "" if it can.
    """
    from ocimagic.network.probe import why_not

    return {"why": why_not()}


def _sweep_networks(request: Request, _fds: list[int]) -> Request:
    """Take away what killed containers of an ordinary account left of their networks.

    Request: ``room`` and ``table``, and what is ``living``; its lock is held by who asks.
    Result: what is ``gone``.
    """
    from ocimagic.network.sweep import Living, clean_ground

    living = request["living"]
    assert isinstance(living, dict)
    told = Living(living["bridges"], tuple(living["links"]), living["containers"])
    return {"gone": clean_ground(Path(str(request["room"])), str(request["table"]), told)}


def _probe(request: Request, _fds: list[int]) -> Request:
    """Try an overlay mount in a directory of the data root, with and without privileges."""
    import tempfile

    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounting.mount(None, "/", None, mounting.MS_PRIVATE | mounting.MS_REC)
    directory = tempfile.mkdtemp(dir=str(request["directory"]))
    try:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{directory}/{name}")
        options = f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work"
        if request["userxattr"]:
            options += ",userxattr"
        try:
            mounting.mount("overlay", f"{directory}/root", "overlay", 0, options)
        except OSError as err:
            return {"overlay": False, "why": err.strerror}
        mounting.umount(f"{directory}/root")
        return {"overlay": True, "why": ""}
    finally:
        remove_path(directory)
