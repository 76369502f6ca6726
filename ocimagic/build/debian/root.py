"""Packages unpacked one upon the other into one layer, without a file system.

What tar would do on a disk is done on paths: links that an earlier package made are followed,
so that ``/bin/sh`` goes to ``/usr/bin/sh`` where ``/bin`` is a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.build.debian.deb import refused
from ocimagic.errors import LayerRefused
from ocimagic.layers.entrypath import Mark, locate, normalise
from ocimagic.layers.tarheader import Entry, Kind
from ocimagic.layers.tarstream import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.build.layer_file import LayerFile

_MAX_LINKS = 40  # as the kernel


class Root:
    """The root that packages are unpacked into.

    Args:
        layer: takes the entries.
        mtime_ns: of what no package says.
    """

    def __init__(self, layer: LayerFile, mtime_ns: int) -> None:
        self._layer = layer
        self._mtime_ns = mtime_ns
        self._kinds: dict[str, Kind] = {"": Kind.DIR}
        self._links: dict[str, str] = {}

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file of our own."""
        entry = Entry(path, Kind.FILE, mode, mtime_ns=self._mtime_ns, size=len(content))
        self._put(path, entry, [content])

    def big_file(self, path: str, content: Iterable[bytes], size: int) -> None:
        """Write a file that comes in pieces."""
        self._put(path, Entry(path, Kind.FILE, 0o644, 0, 0, self._mtime_ns, size), content)

    def link(self, path: str, target: str) -> None:
        """Write a symlink of our own."""
        entry = Entry(path, Kind.SYMLINK, 0o777, mtime_ns=self._mtime_ns, linkname=target)
        self._put(path, entry)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Have a directory."""
        if self._kinds.get(path) is not Kind.DIR:
            self._put(path, Entry(path, Kind.DIR, mode, mtime_ns=self._mtime_ns))

    def package(self, chunks: Iterable[bytes], name: str) -> None:
        """Unpack a package's files.

        Args:
            chunks: the plain tar.
            name: of the package, for errors.

        Raises:
            PackageRefused: a file that no package may have, or a tar that is malformed.
        """
        reader = TarReader(chunks)
        try:
            for entry in reader:
                self._unpack(entry, reader)
        except LayerRefused as err:
            said = f"{err.entry!r}: {err.reason}" if err.entry else err.reason
            raise refused(name, said) from err

    def _unpack(self, entry: Entry, reader: TarReader) -> None:
        if entry.kind in (Kind.CHAR, Kind.BLOCK, Kind.FIFO):
            raise LayerRefused(entry.name, f"a {entry.kind.name.lower()} device or pipe")
        if locate(entry.name).mark is not Mark.PLAIN:
            raise LayerRefused(entry.name, "in a layer this name would delete another file")
        path = self._place(entry.name)
        if entry.kind is Kind.DIR:
            # As dpkg has it: a directory that is there already, or a link to one, stays.
            if self._kinds.get(self._resolve(path)) is not Kind.DIR:
                self._put(path, entry)
            return
        if not path or self._kinds.get(path) is Kind.DIR:
            raise LayerRefused(entry.name, "it would replace a directory")
        if entry.kind is Kind.HARDLINK:
            target = self._place(entry.linkname)
            if self._kinds.get(target) is not Kind.FILE:
                raise LayerRefused(entry.name, f"a hard link to {entry.linkname!r}, which is none")
            entry = entry._replace(linkname=target)
        self._put(path, entry, reader.content())

    def _put(self, path: str, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> None:
        parent = path.rpartition("/")[0]
        if parent and self._kinds.get(parent) is not Kind.DIR:
            if parent in self._kinds:
                raise LayerRefused(entry.name, "its parent is no directory")
            self.directory(parent)
        self._layer.add(entry._replace(name=path), content if entry.kind is Kind.FILE else ())
        # A hard link is the file it names.
        self._kinds[path] = Kind.FILE if entry.kind is Kind.HARDLINK else entry.kind
        self._links.pop(path, None)
        if entry.kind is Kind.SYMLINK:
            self._links[path] = entry.linkname

    def _place(self, name: str) -> str:
        """Return where an entry goes: links on the way are followed, the last part is not."""
        parent, _, last = normalise(name).rpartition("/")
        above = self._resolve(parent)
        return f"{above}/{last}" if above and last else above or last

    def _resolve(self, path: str) -> str:
        """Follow all links on the way to a path, whether or not it exists."""
        if path in self._kinds and self._kinds[path] is not Kind.SYMLINK:
            return path
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            target = self._links.get(here)
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise LayerRefused(path, "links that go round in circles")
            if target.startswith("/"):
                done = []
            todo += [each for each in reversed(target.split("/")) if each not in ("", ".")]
        return "/".join(done)
