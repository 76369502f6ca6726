"""The build context: a directory of the machine, read only where the Dockerfile points.

Whatever links lie in it, nothing outside it is read: paths are resolved component by
component, as if the context were ``/``, and a file is opened without following links and
compared with what was seen before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ocimagic.build.tree import Content, File
from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.errors import BuildFailed
from ocimagic.layers.tarheader import Kind
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.build.content import HashCache

IGNORE_NAME = ".dockerignore"
_MAX_IGNORE = 16 << 20
_EXECUTABLE, _PLAIN = 0o755, 0o644
_MAX_LINKS = 40  # as the kernel
_CHUNK = 1 << 20
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIR,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
    # It means nothing without its process; BuildKit makes an empty file of it.
    stat.S_IFSOCK: Kind.FILE,
}
_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def ignore_rules(directory: str, dockerfile_name: str) -> IgnoreRules:
    """Return the rules that a context has, for whoever only checks; none if it has none.

    Args:
        directory: of the context, whatever it is.
        dockerfile_name: ``NAME.dockerignore`` beside it wins over ``.dockerignore``.

    Raises:
        BadInput: the rules cannot be understood.
    """
    for name in (os.path.basename(dockerfile_name) + IGNORE_NAME, IGNORE_NAME):
        with contextlib.suppress(OSError), open(os.path.join(directory, name), "rb") as file:
            return IgnoreRules.parse(file.read(_MAX_IGNORE).decode("utf-8", "surrogateescape"))
    return IgnoreRules()


class Context:
    """The files that COPY and ADD may take.

    Args:
        directory: an existing directory.
        dockerfile_name: ``NAME.dockerignore`` beside it wins over ``.dockerignore``; "" is for
            a directory that has none, None for one in which neither file counts.
        hashes: knows the content of files that did not change.
        beside: another directory whose files win, and are seen beside those of the first.
        mtime: seconds since 1970 that all files are said to be from; then their modes are
            0755 or 0644 too, as git has them, for what a umask and a checkout left differs
            from machine to machine.

    Raises:
        BuildFailed: it is no directory.
        BadInput: its .dockerignore cannot be understood.
    """

    def __init__(
        self,
        directory: str,
        dockerfile_name: str | None,
        hashes: HashCache,
        *,
        beside: str = "",
        mtime: int | None = None,
    ) -> None:
        self.directory = os.path.realpath(directory)
        if not os.path.isdir(self.directory):
            raise BuildFailed(
                f"the build context {directory} is not a directory",
                hint="name the directory that COPY and ADD read from",
            )
        self._beside = beside
        self._hashes = hashes
        self._mtime_ns = None if mtime is None else mtime * 1_000_000_000
        self.ignore_name, self._ignore = IGNORE_NAME, IgnoreRules()
        if dockerfile_name is not None:
            self._read_ignore(os.path.basename(dockerfile_name))

    def find(self, path: str) -> File | None:
        """Look up a path; see ``Tree.find``.  What .dockerignore excludes is not there."""
        resolved = self._resolve(path)
        return None if resolved is None or not self._visible(resolved) else resolved

    def unfiltered(self, path: str) -> File | None:
        """Look up a path whatever .dockerignore says: builders read their own files so."""
        return self._resolve(path)

    def children(self, directory: File) -> Sequence[File]:
        """List a directory without what .dockerignore excludes."""
        try:
            names = self._names(directory.path)
        except OSError as err:
            raise self._unreadable(directory.path, err) from err
        prefix = directory.path + "/" if directory.path else ""
        found = (self._look(prefix + name) for name in sorted(names, key=os.fsencode))
        return [file for file in found if file is not None and self._visible(file)]

    def contents(self, files: Sequence[File]) -> Iterator[Content]:
        """Yield contents in the order asked."""
        for index, file in enumerate(files):
            yield Content(index, {}, ContextReader(self, file))

    def digests(self, files: Sequence[File]) -> list[str]:
        """Return digests, reading only what changed since it was read last."""
        return self._hashes.digests([(each.identity, ContextReader(self, each)) for each in files])

    def missing(self, path: str) -> tuple[str, str]:
        """Explain why there is no such path: a cause and a hint."""
        where = f"the build context is {self.directory}"
        resolved = self._resolve(path)
        if resolved is not None:
            rule = self._excluded_by(resolved.path)
            return f"{self.ignore_name} excludes it: {rule}; {where}", (
                f"change {self.ignore_name}, or copy something else"
            )
        link = self._dead_link(path)
        if link:
            return f"{link}; {where}", "a link cannot lead out of the build context"
        parent, _, name = _clean(path).rpartition("/")
        while parent and self._resolve(parent) is None:
            parent, _, name = parent.rpartition("/")
        directory = self._resolve(parent)
        names: list[str] = []
        if directory is not None and directory.kind is Kind.DIR:
            with contextlib.suppress(BuildFailed):
                names = [each.name for each in self.children(directory)]
        near = nearest(name, names)
        here = f"{parent}/" if parent else ""
        if near:
            return where, f"did you mean {here}{near}?"
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return where, f"{here or 'it'} has {shown}" if names else "the context has no files"

    def _read_ignore(self, dockerfile_name: str) -> None:
        for name in (dockerfile_name + IGNORE_NAME, IGNORE_NAME):
            file = self._resolve(name)
            if file is not None and file.kind is Kind.FILE:
                raw = b"".join(ContextReader(self, file))
                self.ignore_name = name
                self._ignore = IgnoreRules.parse(raw.decode("utf-8", "surrogateescape"))
                return

    def _at(self, path: str) -> str:
        if self._beside and os.path.lexists(os.path.join(self._beside, path)):
            return os.path.join(self._beside, path)
        return f"{self.directory}/{path}" if path else self.directory

    def _names(self, path: str) -> set[str]:
        if not self._beside:
            return set(os.listdir(self._at(path)))
        found: set[str] = set()
        for top in (self.directory, self._beside):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.update(os.listdir(os.path.join(top, path)))
        return found

    def _resolve(self, path: str) -> File | None:
        """Walk a path inside the context, links included."""
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        file = self._look("")
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                file = self._look("/".join(done))
                continue
            file = self._look("/".join([*done, part]))
            if file is None or (todo and file.kind not in (Kind.DIR, Kind.SYMLINK)):
                return None
            if file.kind is not Kind.SYMLINK:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            if file.linkname.startswith("/"):
                done = []
            todo += [each for each in reversed(file.linkname.split("/")) if each not in ("", ".")]
            file = self._look("/".join(done))
        return file

    def _look(self, path: str) -> File | None:
        """Describe what is there, a link itself and not its target."""
        try:
            told = os.lstat(self._at(path))
            kind = _KINDS.get(stat.S_IFMT(told.st_mode))
            if kind is None:
                return None
            link = os.readlink(self._at(path)) if kind is Kind.SYMLINK else ""
        except ValueError:  # a NUL byte
            return None
        except OSError as err:
            if err.errno in _NOT_THERE:
                return None
            raise self._unreadable(path, err) from err
        identity = (told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns)
        # Windows knows no x bit; docker gives it to everything, so that scripts run.
        mode = stat.S_IMODE(told.st_mode) if os.name == "posix" else 0o755
        size = told.st_size if kind is Kind.FILE else 0
        mtime_ns = told.st_mtime_ns
        if self._mtime_ns is not None:
            mtime_ns = self._mtime_ns
            mode = _EXECUTABLE if kind is Kind.DIR or mode & stat.S_IXUSR else _PLAIN
        links = told.st_nlink if kind is Kind.FILE else 1
        return File(path, kind, mode, 0, 0, mtime_ns, size, link, identity, links)

    def _visible(self, file: File) -> bool:
        if not self._ignore.rules or not self._ignore.excludes(file.path):
            return True
        if file.kind is not Kind.DIR or not self._ignore.may_reinclude_below(file.path):
            return False
        # An excluded directory is there for the sake of what a later ! brings back in it.
        return bool(self.children(file))

    def _excluded_by(self, path: str) -> str:
        return self._ignore.which(path) or "a pattern"

    def _dead_link(self, path: str) -> str | None:
        """Find the link on the way that leads to nothing inside the context."""
        parts = [part for part in _clean(path).split("/") if part]
        for count in range(1, len(parts) + 1):
            parent = self._resolve("/".join(parts[: count - 1]))
            if parent is None:
                return None
            prefix = parent.path + "/" if parent.path else ""
            file = self._look(prefix + parts[count - 1])
            if file and file.kind is Kind.SYMLINK and self._resolve(file.path) is None:
                return f"{file.path} is a link to {file.linkname}, which is not in the context"
        return None

    def open_file(self, file: File) -> int:
        """Open a file that was seen before; close it yourself.

        Raises:
            BuildFailed: unreadable, or not what it was.
        """
        try:
            fd = os.open(self._at(file.path), _OPEN)
        except OSError as err:
            raise self._unreadable(file.path, err) from err
        told = os.fstat(fd)
        if not stat.S_ISREG(told.st_mode) or (told.st_dev, told.st_ino) != file.identity[:2]:
            os.close(fd)
            raise BuildFailed(
                f"{file.path} changed while it was copied",
                where=self.directory,
                hint="build again when nothing writes into the context",
            )
        return fd

    def _unreadable(self, path: str, err: OSError) -> BuildFailed:
        return BuildFailed(
            f"cannot read {path or 'the build context'}",
            why=err.strerror or str(err),
            where=self.directory,
            hint=f"change its permissions, or exclude it in {IGNORE_NAME}",
        )


class ContextReader:
    """Reads one file each time it is iterated."""

    def __init__(self, context: Context, file: File) -> None:
        self._context = context
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        if not self._file.size:  # a socket, perhaps, and that cannot be opened
            return
        fd = self._context.open_file(self._file)
        left = self._file.size
        try:
            while left and (chunk := os.read(fd, min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk
        finally:
            os.close(fd)


def _clean(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/")).replace(os.sep, "/").lstrip("/")
