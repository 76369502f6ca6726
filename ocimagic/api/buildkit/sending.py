"""What a build made, sent to its client: files into a directory of its own, or a tar.

Sources: BuildKit session/filesync (FileSend), tonistiigi/fsutil send.go: here we are the sender.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, BinaryIO

from ocimagic.api.buildkit.filesync import DATA, ERR, FIN, GO_BITS, GO_KINDS, REQ, STAT
from ocimagic.api.buildkit.sessions import lost
from ocimagic.errors import Cancelled
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.tarstream import TarReader
from ocimagic.wire.buildkit import FILE_SEND, messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocimagic.api.buildkit.sessions import Session
    from ocimagic.layers.tarheader import Entry

_PIECE, _FILE_PIECE = 1 << 20, 1 << 15
_LAST_S = 10.0
_MODES = {kind: bits for bits, kind in GO_KINDS.items()}
_SENT = (Kind.FILE, Kind.DIR, Kind.SYMLINK, Kind.FIFO)


def send_tar(session: Session, path: str, stop: threading.Event) -> int:
    """Send a file as it is; return how many bytes.

    Raises:
        SessionLost: the client is gone, or cannot write it.
        Cancelled: nobody wants it any more.
    """
    kind = messages()["moby.filesync.v1"].BytesMessage
    size = 0

    def pieces() -> Iterator[Any]:
        nonlocal size
        with open(path, "rb") as file:
            while not stop.is_set() and (data := file.read(_PIECE)):
                size += len(data)
                yield kind(data=data)

    for _ in _heard(session.stream(FILE_SEND, pieces(), kind, []), stop):
        continue
    return size


def send_files(session: Session, path: str, stop: threading.Event) -> int:
    """Send the files of a tar; return how many bytes.

    Raises:
        SessionLost: the client is gone, or cannot write them.
        Cancelled: nobody wants them any more.
    """
    kind = messages()["fsutil.types"].Packet
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with open(path, "rb") as file:
        sender = _Sender(file, asked)
        try:
            for packet in _heard(session.stream(FILE_SEND, sender.packets(), kind, []), stop):
                if packet.type == ERR:
                    raise lost(FILE_SEND, packet.data[:4096].decode("utf-8", "replace"))
                if packet.type in (REQ, FIN):
                    asked.put(packet)
        finally:
            asked.put(None)
            sender.over.wait(_LAST_S)
        return sender.size


def _heard(call: Any, stop: threading.Event) -> Iterator[Any]:  # noqa: ANN401  of grpcio
    """Yield what a client says, until it says no more."""
    import grpc

    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            if stop.is_set():
                call.cancel()

    watcher = threading.Thread(target=watch, name="ocimagic-api-filesync", daemon=True)
    watcher.start()
    try:
        yield from call
    except grpc.RpcError as err:
        if stop.is_set():
            raise Cancelled("the build was stopped") from None
        raise lost(FILE_SEND, err) from err
    finally:
        over.set()
        watcher.join()
        call.cancel()


class _Sender:
    """Lists the files of a tar in the order of a walk, and sends those that are asked for."""

    def __init__(self, file: BinaryIO, asked: queue.SimpleQueue[Any]) -> None:
        self._kinds = messages()["fsutil.types"]
        self._file = file
        self._asked = asked
        self.size = 0
        self.over = threading.Event()

    def packets(self) -> Iterator[Any]:
        """Yield all there is to say."""
        try:
            entries = sorted(self._entries(), key=lambda each: each.name.split("/"))
            for entry in entries:
                yield self._kinds.Packet(type=STAT, stat=self._stat(entry))
            yield self._kinds.Packet(type=STAT)
            while (packet := self._asked.get()) is not None:
                if packet.type == FIN:
                    yield self._kinds.Packet(type=FIN)
                    return
                if len(entries) > packet.ID:
                    yield from self._content(packet.ID, entries[packet.ID])
        finally:
            self.over.set()

    def _entries(self) -> Iterator[Entry]:
        for entry in TarReader(iter(lambda: self._file.read(_PIECE), b"")):
            name = entry.name.strip("/")
            if entry.kind in _SENT and name not in ("", "."):
                yield entry._replace(name=name)

    def _stat(self, entry: Entry) -> Any:  # noqa: ANN401  a message
        mode = entry.mode & 0o777 | _MODES[entry.kind]
        for bits, meant in GO_BITS.items():
            mode |= bits if entry.mode & meant else 0
        return self._kinds.Stat(
            path=entry.name,
            mode=mode,
            uid=entry.uid,
            gid=entry.gid,
            size=entry.size,
            modTime=entry.mtime_ns,
            linkname=entry.linkname,
        )

    def _content(self, number: int, entry: Entry) -> Iterator[Any]:
        self._file.seek(entry.offset)
        left = entry.size
        while left and (data := self._file.read(min(left, _FILE_PIECE))):
            left -= len(data)
            self.size += len(data)
            yield self._kinds.Packet(type=DATA, ID=number, data=data)
        yield self._kinds.Packet(type=DATA, ID=number)
