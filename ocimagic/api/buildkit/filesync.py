"""Files of a client, asked for over its session and made a tar on their way.

fsutil's protocol: the client lists its files in the order of a walk (STAT, an empty one ends it),
we ask for those that have content by their number (REQ), it sends them in pieces (DATA, an empty
one ends a file), and both say FIN.  Nothing is written here: what comes is as little trusted as
an archive, and goes where archives go.

Source: tonistiigi/fsutil send.go, receive.go, validator.go; BuildKit session/filesync.
"""

from __future__ import annotations

import os
import posixpath
import queue
import stat
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ocimagic.api.buildkit.sessions import SessionLost, lost
from ocimagic.errors import BuildFailed, Cancelled, LayerRefused, OcimagicError
from ocimagic.layers.entrypath import normalise
from ocimagic.layers.tarheader import MAX_ENTRIES, MAX_FILE_BYTES, Entry, Kind
from ocimagic.layers.tarstream import TarReader, TarWriter
from ocimagic.wire.buildkit import FILE_SYNC, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ocimagic.api.buildkit.sessions import Session

STAT, REQ, DATA, FIN, ERR = range(5)
_AHEAD_BYTES, _AHEAD_FILES = 8 << 20, 64  # of what is asked for before its turn comes
# Go's os.FileMode has bits of its own for what no permission is.
GO_KINDS = {
    0: Kind.FILE,
    1 << 31: Kind.DIR,
    1 << 27: Kind.SYMLINK,
    1 << 26: Kind.BLOCK,
    1 << 26 | 1 << 21: Kind.CHAR,
    1 << 25: Kind.FIFO,
}
_GO_TYPE = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
_GO_SOCKET = 1 << 24
GO_BITS = {1 << 23: stat.S_ISUID, 1 << 22: stat.S_ISGID, 1 << 20: stat.S_ISVTX}


_MOST_ASKED = 4096  # letters: servers of gRPC take 8 KiB of metadata
_MAX_LINKS = 40  # as the kernel


class ContextRefused(BuildFailed):
    """What a client sends as its files is malformed, or reaches outside.

    Args:
        entry: the path, or what else it is about.
        reason: what is wrong with it.
    """

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(
            "the files that the client sends cannot be used",
            why=f"{entry[:256]!r}: {reason}",
            hint="nothing of them was kept",
        )


class Wanted:
    """What is asked for.

    Args:
        name: what the client calls the directory: ``dockerfile`` or ``context``.
        follow: paths that are wanted, with what their links lead to; none for all.
        exclude: patterns that the client leaves out.
        keeps: says of a path, and whether it is a directory, whether it is kept.
    """

    def __init__(
        self,
        name: str,
        *,
        follow: Sequence[str] = (),
        exclude: Sequence[str] = (),
        keeps: Callable[[str, bool], bool] = lambda _path, _is_directory: True,
    ) -> None:
        self.name, self.keeps = name, keeps
        self._follow, self._exclude = follow, exclude

    def metadata(self) -> list[tuple[str, str]]:
        """Return it as BuildKit asks; what metadata cannot hold is not asked for, but sorted out.

        Spec: gRPC over HTTP2, "Custom-Metadata": ASCII only.
        """
        told = [("dir-name", self.name)]
        for key, values in (("followpaths", self._follow), ("exclude-patterns", self._exclude)):
            if sum(map(len, values)) < _MOST_ASKED and all(map(_is_tellable, values)):
                told += [(key, each) for each in values]
        return told


def _is_tellable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()


class Received:
    """One directory on its way.

    Args:
        session: whose.
        wanted: of it.
        stop: set when nobody wants it any more, and when it cannot be had.

    Attributes:
        bytes: that came so far, the list of files among them.
    """

    def __init__(self, session: Session, wanted: Wanted, stop: threading.Event) -> None:
        self._kinds = messages()["fsutil.types"]
        self._wanted = wanted
        self.stop = stop
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._session = session
        self._call: Any = None
        self._packets: Iterator[Any] = iter(())
        self.bytes = 0

    def write(self, sink: Callable[[bytes | memoryview], object]) -> None:
        """Write the directory as a tar.

        Args:
            sink: takes it, piece by piece.

        Raises:
            ContextRefused: what comes is malformed or hostile.
            SessionLost: the client is gone, or says that it failed.
            Cancelled: nobody wants it any more.
        """
        over = threading.Event()
        self._call = self._session.stream(
            FILE_SYNC, iter(self._asked.get, None), self._kinds.Packet, self._wanted.metadata()
        )
        self._packets = iter(self._call)
        watcher = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watcher.start()
        try:
            tar = TarWriter(sink)
            tar.add(Entry("./", Kind.DIR, 0o755))
            _Files(self, self._listed()).write(tar)
            self._finish()
            tar.finish()
        except LayerRefused as err:  # of a name that no archive may hold either
            raise ContextRefused(err.entry, err.reason) from err
        finally:
            over.set()
            self._call.cancel()
            self._asked.put(None)
            watcher.join()

    def ask(self, number: int) -> None:
        """Ask for the content of a file."""
        self._asked.put(self._kinds.Packet(type=REQ, ID=number))

    def next(self) -> Any:  # noqa: ANN401  a message
        """Return what comes next."""
        import grpc

        try:
            packet = next(self._packets)
        except StopIteration:
            raise lost(FILE_SYNC, "it ended too early") from None
        except grpc.RpcError as err:
            if self.stop.is_set():
                raise Cancelled("the build was stopped") from None
            raise lost(FILE_SYNC, err) from err
        self.bytes += packet.ByteSize()
        if packet.type == ERR:
            raise lost(FILE_SYNC, packet.data[:4096].decode("utf-8", "replace"))
        return packet

    def _listed(self) -> list[tuple[int, Entry]]:
        """Return the files that are kept, each with the number the client knows it by."""
        order, number = _Order(), 0
        found: list[tuple[int, Entry]] = []
        while True:
            packet = self.next()
            if packet.type != STAT:
                raise ContextRefused(
                    self._wanted.name, "content came before the list of files ended"
                )
            if not packet.HasField("stat"):
                return found
            if number >= MAX_ENTRIES:
                raise ContextRefused(self._wanted.name, f"it has more than {MAX_ENTRIES} files")
            entry = order.checked(packet.stat)
            if entry is not None and self._wanted.keeps(entry.name, entry.kind is Kind.DIR):
                found.append((number, entry))
            number += 1

    def _finish(self) -> None:
        """Say that all is here, and hear the same."""
        self._asked.put(self._kinds.Packet(type=FIN))
        with suppress(SessionLost):  # all is here
            if self.next().type != FIN:
                raise ContextRefused(self._wanted.name, "more came than was asked for")

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            if self.stop.is_set():
                self._call.cancel()
                return


class _Order:
    """Judges a list of files: each in the order of a walk, in a directory that came before it."""

    def __init__(self) -> None:
        self._last: list[str] = []
        self._kinds: dict[str, Entry] = {}

    def checked(self, told: Any) -> Entry | None:  # noqa: ANN401  a message
        """Return a file as an entry of a tar; None for one that no tar has: a socket."""
        path = str(told.path)
        name = normalise(path)
        if not name or name != path.rstrip("/"):
            raise ContextRefused(path, "it is no clean path below the directory")
        parts = name.split("/")
        if parts <= self._last:
            raise ContextRefused(name, "it is not in the order of a walk, or came before")
        self._last = parts
        parent = name.rpartition("/")[0]
        if parent and (parent not in self._kinds or self._kinds[parent].kind is not Kind.DIR):
            raise ContextRefused(name, "no directory that it could be in came before it")
        if told.mode & _GO_TYPE == _GO_SOCKET:
            return None
        entry = self._kinds[name] = self._entry(name, told)
        return entry

    def _entry(self, name: str, told: Any) -> Entry:  # noqa: ANN401
        kind = GO_KINDS.get(told.mode & _GO_TYPE)
        if kind is None:
            raise ContextRefused(name, f"a file of the unknown type {told.mode:#o}")
        link = str(told.linkname)
        if kind is Kind.FILE and link:
            kind, link = Kind.HARDLINK, normalise(link)
            if link not in self._kinds or self._kinds[link].kind is not Kind.FILE:
                raise ContextRefused(name, f"a hard link to {link!r}, which is no file before it")
        size = told.size if kind is Kind.FILE else 0
        if not 0 <= size <= MAX_FILE_BYTES:
            raise ContextRefused(name, f"its size cannot be {size}")
        mode = told.mode & 0o777
        for bit, meant in GO_BITS.items():
            mode |= meant if told.mode & bit else 0
        return Entry(
            name, kind, mode, told.uid, told.gid, told.modTime, size,
            link if kind in (Kind.SYMLINK, Kind.HARDLINK) else "",
            max(0, told.devmajor), max(0, told.devminor), dict(told.xattrs),
        )  # fmt: skip


class _Files:
    """Asks for content ahead of its turn, and keeps what comes before it."""

    def __init__(self, received: Received, listed: Sequence[tuple[int, Entry]]) -> None:
        self._received = received
        self._listed = listed
        self._todo = deque(each for each in listed if each[1].kind is Kind.FILE)
        self._sizes: dict[int, int] = {}
        self._ahead = 0  # bytes that are asked for and not yet used
        self._came: dict[int, deque[bytes]] = {}
        self._counts: dict[int, int] = {}
        self._whole: set[int] = set()

    def write(self, tar: TarWriter) -> None:
        """Write all entries with their content."""
        kept = set()
        for number, entry in self._listed:
            if entry.kind is Kind.HARDLINK and entry.linkname not in kept:
                continue  # what it links to was left out; the client tells it no other way
            kept.add(entry.name)
            content = self._content(number) if entry.kind is Kind.FILE else ()
            tar.add(entry, content)

    def _ask(self) -> None:
        while self._todo and len(self._sizes) < _AHEAD_FILES:
            number, entry = self._todo[0]
            if self._sizes and self._ahead + entry.size > _AHEAD_BYTES:
                return
            self._todo.popleft()
            self._sizes[number], self._came[number], self._counts[number] = entry.size, deque(), 0
            self._ahead += entry.size
            self._received.ask(number)

    def _content(self, number: int) -> Iterator[bytes]:
        self._ask()
        came = self._came[number]
        while True:
            while came:
                yield came.popleft()
            if number in self._whole:
                break
            self._take()
        self._whole.discard(number)
        del self._came[number], self._counts[number]
        self._ahead -= self._sizes.pop(number)
        self._ask()

    def _take(self) -> None:
        packet = self._received.next()
        number = packet.ID
        if packet.type != DATA or number not in self._sizes or number in self._whole:
            raise ContextRefused(f"file {number}", "what came was not asked for")
        if not packet.data:
            self._whole.add(number)
        self._counts[number] += len(packet.data)
        wanted, has = self._sizes[number], self._counts[number]
        if has > wanted or (number in self._whole and has != wanted):
            raise ContextRefused(f"file {number}", f"it has {has} bytes, and {wanted} were said")
        if packet.data:
            self._came[number].append(packet.data)


def read_files(session: Session, name: str, paths: Sequence[str], most: int) -> dict[str, bytes]:
    """Return small files of a directory by their paths, and what links there are lead to.

    Args:
        session: whose.
        name: what the client calls the directory.
        paths: of the files; a client that cannot be told sends all, and links are not followed.
        most: bytes that are too many.

    Raises:
        ContextRefused, SessionLost, Cancelled: see `Received`.
    """
    wanted = Wanted(name, follow=paths)
    if len(wanted.metadata()) == 1:
        wanted.keeps = lambda path, _is_directory: path in paths
    data = bytearray()

    def take(piece: bytes | memoryview) -> None:
        data.extend(piece)
        if len(data) > most:
            raise ContextRefused(wanted.name, f"what was asked for has more than {most} bytes")

    Received(session, wanted, threading.Event()).write(take)
    reader = TarReader(iter([bytes(data)]))
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for entry in reader:
        if entry.kind is Kind.FILE:
            found[entry.name] = b"".join(reader.content())
        elif entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
            beside = entry.name if entry.kind is Kind.SYMLINK else ""
            links[entry.name] = posixpath.normpath(
                posixpath.join("/", posixpath.dirname(beside), entry.linkname)
            )[1:]
    for link in links:
        target = link
        for _ in range(_MAX_LINKS):
            target = links.get(target, target)
        if target in found:
            found[link] = found[target]
    return found


@contextmanager
def tar_of(received: Received, ended: Callable[[OcimagicError | None], object]) -> Iterator[int]:
    """Yield a descriptor to read a directory from as a tar.

    Args:
        received: the directory.
        ended: is told when it came, or why it did not.

    Raises:
        OcimagicError: why the directory did not come whole, whatever its reader made of that.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    failures: list[OcimagicError] = []

    def copy() -> None:
        try:
            with suppress(BrokenPipeError):  # the builder has had enough

                def put(piece: bytes | memoryview) -> None:
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(writer, view) :]

                received.write(put)
                ended(None)
        except OcimagicError as err:
            # What came so far may be a whole archive: nothing may be made of it.
            received.stop.set()
            failures.append(err)
            ended(err)
        finally:
            os.close(writer)

    copier = threading.Thread(target=copy, name="ocimagic-api-filesync", daemon=True)
    copier.start()
    try:
        yield reader
    finally:
        os.close(reader)
        copier.join()
        if failures:
            raise failures[0]
