"""What a worker does with the files of volumes: filled from an image, packed, unpacked.

Beside its files, ``_data``, a volume's directory may hold ``filling``, a copy that is being
made, and ``filled``, one that is whole.  That one's parts are moved into ``_data``, by whoever
comes next if need be: whatever is killed, a volume is empty or it becomes full.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.layers.archive import write_tree
from ocimagic.layers.attributes import IdPolicy, owner_inside
from ocimagic.layers.copytree import copy_attributes, copy_tree
from ocimagic.layers.extract import extract
from ocimagic.layers.rootdir import OPEN_DIRECTORY
from ocimagic.layers.tarstream import TarWriter
from ocimagic.linux import syscalls
from ocimagic.linux.paths import open_in_root, remove_tree
from ocimagic.shim.files import Request, Sink, leave_namespace, opened, read, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA, _FILLING, _FILLED = "_data", "filling", "filled"
_NOTHING = (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG)
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def fill(request: Request, _fds: list[int]) -> Request:
    """Give volumes that are empty what is in a container's layers at their targets.

    Request: ``rootfs``, ``bundle``, ``volumes``: a list of target, directory, and whether to.
    Result: ``filled``, how many.
    """
    volumes = request["volumes"]
    assert isinstance(volumes, list)
    empty = []
    for target, directory, is_wanted in volumes:
        with opened(str(directory)) as place:
            if _settle(place) and is_wanted:
                empty.append((str(target), str(directory)))
    if not empty:
        return {"filled": 0}
    leave_namespace()
    with opened(view(request)) as root:
        count = sum(_fill(root, target, directory) for target, directory in empty)
    return {"filled": count}


def settle(request: Request, _fds: list[int]) -> Request:
    """Finish or undo what somebody who was killed began.  Request: ``directory``."""
    with opened(str(request["directory"])) as place:
        _settle(place)
    return {}


def pack_volume(request: Request, fds: list[int]) -> Request:
    """Write a volume's files as a tar to the first descriptor.

    Request: ``directory``.  Result: ``tar_bytes``.
    """
    with opened(f"{request['directory']}/{DATA}") as data, Sink(fds[0]) as sink:
        write_tree(data, "/", ".", TarWriter(sink.write), owner=owner_inside)
    return {"tar_bytes": sink.total}


def unpack_volume(request: Request, fds: list[int]) -> Request:
    """Unpack a tar from the first descriptor into a volume.

    An empty volume gets all of it or stays empty; in another one, what is there stays if the
    tar does not have it.

    Request: ``directory``, ``single_id``.  Result: ``entries``.
    """
    ids = IdPolicy.here(single=bool(request["single_id"]))
    with opened(str(request["directory"])) as place:
        is_empty = _settle(place)
        if is_empty:
            os.mkdir(_FILLING, 0o755, dir_fd=place)
        with opened(f"{request['directory']}/{_FILLING if is_empty else DATA}") as root:
            count = extract(read(fds[0]), root, "/", ids=ids, devices=True, itself=True)
        if is_empty:
            _finish(place)
    return {"entries": count}


def _settle(place: int) -> bool:
    """Finish or undo what somebody who was killed began; say whether the volume is empty."""
    with contextlib.suppress(FileNotFoundError):
        remove_tree(_FILLING, place)
    if _is_there(_FILLED, place):
        _move(place)
    with _inside(DATA, place) as data:
        return not os.listdir(data)


def _fill(root: int, target: str, directory: str) -> bool:
    """Copy what a root has at a path into a volume that is empty; say whether it is there."""
    try:
        source = open_in_root(root, target, _PLACE)
    except NotADirectoryError as err:
        raise InvalidOption(
            f"a volume cannot be at {target}", why="the image has a file there, or on the way"
        ) from err
    except OSError as err:
        if err.errno not in _NOTHING:
            raise
        return False
    try:
        with opened(directory) as place:
            os.mkdir(_FILLING, 0o700, dir_fd=place)
            copy_tree(f"/proc/self/fd/{source}", f"/proc/self/fd/{place}/{_FILLING}")
            _finish(place)
    finally:
        os.close(source)
    return True


def _finish(place: int) -> None:
    # Made durable before it counts: after a power cut it would be a full volume of empty files.
    syscalls.syncfs(place)
    os.rename(_FILLING, _FILLED, src_dir_fd=place, dst_dir_fd=place)
    _move(place)


def _move(place: int) -> None:
    """Bring what is in the whole copy into the volume, which containers may have mounted."""
    with _inside(_FILLED, place) as filled, _inside(DATA, place) as data:
        for name in os.listdir(filled):
            os.rename(name, name, src_dir_fd=filled, dst_dir_fd=data)
        copy_attributes(filled, data)
    os.rmdir(_FILLED, dir_fd=place)


@contextlib.contextmanager
def _inside(name: str, place: int) -> Iterator[int]:
    fd = os.open(name, OPEN_DIRECTORY, dir_fd=place)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_there(name: str, place: int) -> bool:
    try:
        os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


JOBS: dict[str, Callable[[Request, list[int]], Request]] = {
    "fill": fill,
    "settle": settle,
    "pack_volume": pack_volume,
    "unpack_volume": unpack_volume,
}
