"""Where a copy goes: docker's rules of ``cp`` as values, and the machine's side of it.

Source: Docker CLI reference, ``docker container cp``; compared with docker 28.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.errors import BadInput, NotFound
from ocimagic.layers.tarstream import TarWriter
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ocimagic.model.report import PathInfo

CONTENTS = "."


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied.

    Attributes:
        name: the last component of its path, or ``CONTENTS`` for what a directory holds.
    """

    name: str
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Target:
    """Where it shall go.

    Attributes:
        path: without slashes at its end.
        is_directory: it is there, and is one.
        wants_directory: it was written with a slash at its end.
    """

    path: str
    exists: bool
    is_directory: bool
    wants_directory: bool


def plan(source: Source, target: Target) -> tuple[str, str]:
    """Return the directory to unpack in, and the name of what comes there.

    Raises:
        BadInput: a directory onto a file, or a file as a directory.
    """
    if target.is_directory:
        return target.path or "/", source.name
    if target.exists and source.is_directory:
        raise BadInput(f"cannot copy a directory onto the file {target.path}")
    if target.wants_directory and not source.is_directory:
        raise BadInput(
            f"no such directory: {target.path}/",
            hint="leave the slash at the end out to give the copy this name",
        )
    above, name = os.path.split(target.path)
    return above or ".", name


def source_name(path: str) -> str:
    """Return how a copy of a path is called: ``a/b`` is b, ``a/b/.`` is what is in it."""
    if path.endswith("/.") or path == "." or not path.strip("/"):
        return CONTENTS
    name = path.rstrip("/").rpartition("/")[2]
    return os.path.basename(os.path.abspath(path)) or CONTENTS if name == ".." else name


def absolute(path: str) -> str:
    """Return a path in a container as an absolute one; docker starts at ``/``."""
    return path if path.startswith("/") else f"/{path}"


def target_in(container: str, path: str, look: Callable[[str, bool], PathInfo]) -> Target:
    """Look at where in a container a copy shall go; a symlink there is followed once.

    Args:
        container: its name, for errors.
        path: as it was asked for.
        look: says what a path is, with a symlink at its end followed or not.

    Raises:
        NotFound: there is no directory that it could be in.
    """
    where = absolute(path)
    wants = where.endswith(("/", "/."))
    plain = where.removesuffix("/.").rstrip("/")
    with contextlib.suppress(NotFound):
        found = look(plain or "/", wants)
        if stat.S_ISLNK(found.mode):
            plain = os.path.join(os.path.dirname(plain), found.link_target).rstrip("/")
            found = look(plain or "/", True)
        return Target(plain, True, found.is_directory, wants)
    above = os.path.dirname(plain) or "/"
    try:
        is_there = look(above, True).is_directory
    except NotFound:
        is_there = False
    if not is_there:
        raise NotFound(f"could not find the directory {above} in container {container}")
    return Target(plain, False, False, wants)


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Files of the machine that are copied into a container."""

    path: str
    source: Source
    follow: bool

    @classmethod
    def look(cls, path: str, *, follow: bool) -> LocalSource:
        """Look at what is to be copied.

        Raises:
            NotFound: it is not there.
        """
        follow = follow or path.endswith(("/", "/."))
        try:
            told = os.stat(path, follow_symlinks=follow)
        except OSError as err:
            raise NotFound(f"no such file: {path}", why=err.strerror) from err
        source = Source(source_name(path), stat.S_ISDIR(told.st_mode))
        return cls(os.path.abspath(path), source, follow)

    def write(self, name: str, out: Callable[[bytes | memoryview], object]) -> None:
        """Write it as a tar whose first entry is called ``name``."""
        # Only here: where there is no Linux, this room is loaded as well.
        from ocimagic.layers.archive import write_tree

        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_tree(root, self.path, name, TarWriter(out), follow=self.follow)
        finally:
            os.close(root)


def local_target(path: str) -> Target:
    """Look at where on the machine a copy shall go; a symlink there is followed.

    Raises:
        BadInput: the directory it would be in is not there.
    """
    wants = path.endswith(("/", "/.")) or path in (".", "..")
    real = os.path.realpath(path)
    try:
        is_directory = stat.S_ISDIR(os.stat(real).st_mode)
        exists = True
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        exists = is_directory = False
    above = os.path.dirname(real)
    if not os.path.isdir(above):
        raise BadInput(f"invalid output path: the directory {above} does not exist")
    return Target(real, exists, is_directory, wants)


def unpack_here(chunks: Iterable[bytes], directory: str, *, owners: bool) -> None:
    """Unpack a tar that a container gave into a directory of the machine.

    No link in the tar leads out of the directory; device nodes are left out.

    Args:
        chunks: the tar.
        directory: where.
        owners: give the files the owners they have in the container.
    """
    from ocimagic.layers.attributes import IdPolicy
    from ocimagic.layers.extract import extract

    ids = IdPolicy.REAL if owners else IdPolicy.SINGLE
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        extract(chunks, fd, "", ids=ids, devices=False)
    finally:
        os.close(fd)
