"""What a worker does with the files of a container: copy in and out, compare, export.

Of a running container the root is reached by a descriptor of ``/proc/PID/root``, with all that
is mounted there, and nothing is mounted (CVE-2018-15664, CVE-2026-42306).  Of one that does
not run the stack of layers is mounted in the worker's own mount namespace, where nobody else
can be in the way, and goes with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidState, NotFound, StartFailed
from ocimagic.layers.archive import names_in, stat_path, write_tree
from ocimagic.layers.attributes import IdPolicy, owner_inside
from ocimagic.layers.changes import DELETED, changes, weighed
from ocimagic.layers.copytree import copy_tree
from ocimagic.layers.diff import diff_upper
from ocimagic.layers.extract import extract
from ocimagic.layers.openup import open_up
from ocimagic.layers.ownership import Ownership, record
from ocimagic.layers.tarstream import TarWriter
from ocimagic.linux import mounting, syscalls
from ocimagic.linux.identity import ProcessIdentity
from ocimagic.linux.paths import make_directories, open_in_root, remove_tree
from ocimagic.model.rootfs import Rootfs
from ocimagic.runtime.bind_mount import Bind
from ocimagic.runtime.mount_options import MountOptions
from ocimagic.runtime.rootfs import make_private, mount_images, mount_overlay
from ocimagic.shim.places import Places
from ocimagic.shim.userns import has_one_id
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Request = dict[str, object]
_CHUNK = 1 << 20
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FOR_ALL = 0o1777
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def put_out(request: Request, fds: list[int]) -> Request:
    """Write a path of a container as a tar to the first descriptor.

    Request: ``root`` (see ``_root``), ``path``, ``name``, ``follow``.  Result: ``tar_bytes``.

    Raises:
        NotFound: the path is not there.
    """
    with _root(request, fds) as root, Sink(fds[0]) as sink:
        _look(root, request)
        path, name = str(request["path"]), str(request["name"])
        try:
            write_tree(
                root,
                path,
                name,
                TarWriter(sink.write),
                follow=bool(request["follow"]),
                owner=owner_inside,
                recorded=has_one_id(),
            )
        except (FileNotFoundError, NotADirectoryError) as err:  # it went away meanwhile
            raise NotFound(f"could not find the file {path}", why=err.strerror) from err
    return {"tar_bytes": sink.total}


def take_in(request: Request, fds: list[int]) -> Request:
    """Unpack a tar from the first descriptor into a directory of a container.

    Request: ``root``, ``path``, ``single_id``.  Result: ``entries``.
    """
    ids = IdPolicy.here(single=bool(request["single_id"]))
    with _root(request, fds) as root:
        count = extract(read(fds[0]), root, str(request["path"]), ids=ids, devices=True)
    return {"entries": count}


def look(request: Request, fds: list[int]) -> Request:
    """Say what a path of a container is.

    Request: ``root``, ``path``, ``follow``.  Result: ``name``, ``size``, ``mode``,
    ``mtime_ns``, ``linkname``.

    Raises:
        NotFound: it is not there.
    """
    with _root(request, fds) as root:
        return _look(root, request)


def names(request: Request, fds: list[int]) -> Request:
    """List a directory of a container.

    Request: ``root``, ``path``, ``limit``.  Result: ``names``.

    Raises:
        NotFound: there is no such directory.
    """
    path = str(request["path"])
    with _root(request, fds) as root:
        try:
            return {"names": names_in(root, path, int(str(request["limit"])))}
        except OSError as err:
            raise NotFound(f"could not list the directory {path}", why=err.strerror) from err


def compare(request: Request, fds: list[int]) -> Request:
    """Write what a container changed, as a JSON list, to the first descriptor.

    Request: ``rootfs``, ``bundle``, ``stubs``.  An item is what ``weighed`` makes of a change.
    """
    rootfs = _rootfs(request["rootfs"])
    found, _ = _changes(request)
    with opened(rootfs.upper) as upper, os.fdopen(os.dup(fds[0]), "w") as out:
        json.dump(weighed(upper, found, userxattr=rootfs.userxattr), out)
    return {}


def pack(request: Request, fds: list[int]) -> Request:
    """Write what a container changed as an uncompressed layer tar to the first descriptor.

    Request: as ``compare``, and ``toc`` (a path).  Result: ``diff_id``, ``tar_bytes``,
    ``unpacked_bytes``, ``entries``.
    """
    from ocimagic.layers.toc import toc_to_bytes

    rootfs = _rootfs(request["rootfs"])
    found, same = _changes(request)
    deleted = [path for kind, path in found if kind == DELETED] if rootfs.copied else []
    with Sink(fds[0]) as sink, opened(rootfs.upper) as upper:
        toc = diff_upper(
            upper,
            userxattr=rootfs.userxattr,
            writer=TarWriter(sink.write),
            hidden=same,
            deleted=deleted,
            owner=owner_inside,
            leaves={} if has_one_id() else None,
        )
    with open(str(request["toc"]), "wb") as file:
        file.write(toc_to_bytes(toc))
    return {
        "diff_id": f"sha256:{sink.hasher.hexdigest()}",
        "tar_bytes": sink.total,
        "unpacked_bytes": sum(entry.size for entry in toc),
        "entries": len(toc),
    }


def export(request: Request, fds: list[int]) -> Request:
    """Write the whole root of a container, without what is mounted in it, as a tar.

    Request: ``rootfs``, ``bundle``.  Result: ``tar_bytes``.
    """
    rootfs = _rootfs(request["rootfs"])
    if not rootfs.copied:
        leave_namespace()
    place = _opened_copy(rootfs) if rootfs.copied else view(request)
    with Sink(fds[0]) as sink, opened(place) as root:
        out = TarWriter(sink.write)
        write_tree(root, "/", "", out, owner=owner_inside, recorded=has_one_id())
    return {"tar_bytes": sink.total}


def populate(request: Request, _fds: list[int]) -> Request:
    """Fill the root of a container where nothing can be mounted: its layers, and files.

    Request: ``rootfs``, ``files`` (pairs of a path in the container and one of the machine).
    """
    rootfs = _rootfs(request["rootfs"])
    files = request["files"]
    assert isinstance(files, list)
    os.makedirs(rootfs.upper, exist_ok=True)
    copy_tree(f"{rootfs.base}/{rootfs.lowers[0]}", rootfs.upper)
    with opened(rootfs.upper) as root:
        for target, source in files:
            _put_file(root, str(target), str(source))
        # An image whose /dev is no directory is refused, with words, when it is to start.
        with contextlib.suppress(OSError):
            shared = make_directories(root, "dev/shm", links=False)
            try:
                os.chmod(f"/proc/self/fd/{shared}", _FOR_ALL)
            finally:
                os.close(shared)
    return {}


def _put_file(root: int, target: str, source: str) -> None:
    """Copy a file of the machine to where it would have been mounted, in place of what is there."""
    parent, name = os.path.split(target.lstrip("/"))
    directory = make_directories(root, parent or ".")
    try:
        with contextlib.suppress(FileNotFoundError):
            remove_tree(name, directory)
        with open(source, "rb") as file:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=directory)
            with os.fdopen(fd, "wb") as out:
                out.write(file.read())
                os.fchmod(out.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    finally:
        os.close(directory)


def measure(request: Request, _fds: list[int]) -> Request:
    """Add up the files of a directory.  Request: ``path``.  Result: ``bytes``, ``files``."""
    seen: set[tuple[int, int]] = set()
    total = files = 0
    for directory, _, names in os.walk(str(request["path"])):
        files += len(names) + 1
        for name in names:
            with contextlib.suppress(OSError):  # it went away meanwhile
                told = os.lstat(os.path.join(directory, name))
                key = (told.st_dev, told.st_ino)
                if stat.S_ISREG(told.st_mode) and key not in seen:
                    seen.add(key)
                    total += told.st_size
    return {"bytes": total, "files": files}


def own(request: Request, _fds: list[int]) -> Request:
    """Give a file that is no link to an owner inside.

    Request: ``path``, ``uid``, ``gid``, ``recorded`` (there is one id only: record it).
    """
    uid, gid = int(str(request["uid"])), int(str(request["gid"]))
    if request["recorded"]:
        record(str(request["path"]), Ownership(uid, gid))
    else:
        os.chown(str(request["path"]), uid, gid, follow_symlinks=False)
    return {}


JOBS: dict[str, Callable[[Request, list[int]], Request]] = {
    "put_out": put_out,
    "take_in": take_in,
    "look": look,
    "names": names,
    "compare": compare,
    "pack": pack,
    "export": export,
    "measure": measure,
    "own": own,
    "populate": populate,
}


class Sink:
    """Where a tar goes: counted and hashed on its way."""

    def __init__(self, fd: int) -> None:
        self._out = os.fdopen(os.dup(fd), "wb", buffering=_CHUNK)
        self.hasher = hashlib.sha256()
        self.total = 0

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # who reads has seen enough
            self._out.close()

    def write(self, piece: bytes | memoryview) -> None:
        """Take the next bytes of the tar."""
        self.hasher.update(piece)
        self._out.write(piece)
        self.total += len(piece)


@contextlib.contextmanager
def _root(request: Request, fds: list[int]) -> Iterator[int]:
    """Open the root of a container, as ``root`` of a request says.

    ``{"fd": true}``: the second descriptor.  ``{"pid", "start_ticks", "boot_id"}``: of that
    process.  ``{"rootfs", "bundle", "binds", "writable"}``: of a container that does not run.
    """
    root = request["root"]
    assert isinstance(root, dict)
    if "fd" in root:
        yield fds[1]
        return
    fd = _of_process(root) if "pid" in root else _of_files(root)
    try:
        yield fd
    finally:
        os.close(fd)


def _of_process(root: Request) -> int:
    pid = int(str(root["pid"]))
    process = ProcessIdentity(pid, int(str(root["start_ticks"])), str(root["boot_id"]))
    fd = os.open(f"/proc/{pid}/root", _DIRECTORY)
    # Looked at with the descriptor in hand: whoever has the pid now, the root is that of ours.
    if not process.is_alive():
        os.close(fd)
        raise InvalidState("the container has just ended", hint="try again")
    return fd


def _of_files(root: Request) -> int:
    rootfs = _rootfs(root["rootfs"])
    if rootfs.copied:
        return os.open(_opened_copy(rootfs), _DIRECTORY)
    leave_namespace()
    if root["writable"]:
        place = f"{root['bundle']}/rootfs"
        mount_overlay(rootfs, place)
    else:
        place = view(root)
    fd = os.open(place, _DIRECTORY)
    binds = root["binds"]
    assert isinstance(binds, list)
    places = Places.of(binds)
    if places.are_missing(fd):  # no start has made them yet
        if not root["writable"]:
            os.close(fd)
            mounting.umount(place, mounting.MNT_DETACH)
            mount_overlay(rootfs, place)
            fd = os.open(place, _DIRECTORY)
        places.make(fd)
    for source, target, read_only, part in binds:
        # A volume whose source or place is gone is not there to be copied from.
        with contextlib.suppress(OSError, StartFailed):
            bound = Bind(str(target), str(source), MountOptions(recursive=True), part=str(part))
            _bind(fd, bound, read_only=bool(read_only))
    return fd


def _bind(root_fd: int, bound: Bind, *, read_only: bool) -> None:
    """Show a volume in a stack of layers, by descriptors at both ends."""
    spot = open_in_root(root_fd, bound.destination, os.O_PATH)
    try:
        tree = bound.opened().tree
        try:
            if read_only:
                mounting.set_attributes(tree, mounting.MOUNT_ATTR_RDONLY, recursive=True)
            mounting.move_mount(tree, spot)
        finally:
            os.close(tree)
    finally:
        os.close(spot)


def leave_namespace() -> None:
    """Have mounts of this process's own from now on."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    make_private()


def view(request: Request) -> str:
    """Mount a container's layers with its own changes on top, for reading; return where."""
    rootfs = _rootfs(request["rootfs"])
    place = f"{request['bundle']}/rootfs"
    _stack((os.path.relpath(rootfs.upper, rootfs.base), *rootfs.lowers), rootfs, place)
    return place


def _stack(lowers: tuple[str, ...], rootfs: Rootfs, place: str) -> None:
    mount_images(rootfs)
    # index=off: with an index the kernel refuses a directory that is another mount's upper.
    words = ["lowerdir=" + ":".join(lowers), "userxattr" if rootfs.userxattr else "index=off"]
    os.chdir(rootfs.base)
    try:
        mounting.mount("overlay", place, "overlay", mounting.MS_RDONLY, ",".join(words))
    except OSError as err:
        raise StartFailed(
            "cannot stack a container's layers to read them", why=f"overlay: {err.strerror}"
        ) from err
    finally:
        os.chdir("/")


def _changes(request: Request) -> tuple[list[tuple[str, str]], frozenset[str]]:
    rootfs = _rootfs(request["rootfs"])
    place = f"{request['bundle']}/rootfs"
    if len(rootfs.lowers) > 1:
        leave_namespace()
        _stack(rootfs.lowers, rootfs, place)
    else:  # overlayfs wants two
        if rootfs.images:
            leave_namespace()
            mount_images(rootfs)
        place = os.path.join(rootfs.base, rootfs.lowers[0])
    stubs = request["stubs"]
    assert isinstance(stubs, list)
    top = _opened_copy(rootfs) if rootfs.copied else rootfs.upper
    with opened(top) as upper, opened(place) as lower:
        return changes(
            upper,
            lower,
            userxattr=rootfs.userxattr,
            stubs=[str(each) for each in stubs],
            copied=rootfs.copied,
        )


def _opened_copy(rootfs: Rootfs) -> str:
    """Return the root of a container that is a copy, for this account to read."""
    open_up(rootfs.upper)
    return rootfs.upper


def _rootfs(value: object) -> Rootfs:
    assert isinstance(value, dict)
    return Rootfs.from_fields(Fields(value, "rootfs"))


def _look(root: int, request: Request) -> Request:
    path = str(request["path"])
    try:
        found = stat_path(root, path, follow=bool(request["follow"]))
    except OSError as err:
        raise NotFound(f"could not find the file {path}", why=err.strerror) from err
    return found._asdict()


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Hold a directory open."""
    fd = os.open(path, _OPEN)
    try:
        yield fd
    finally:
        os.close(fd)


def read(fd: int) -> Iterator[bytes]:
    """Yield what comes through a pipe."""
    while chunk := os.read(fd, _CHUNK):
        yield chunk
