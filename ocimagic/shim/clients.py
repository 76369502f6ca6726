"""Who talks to a shim: the door they come in by, and what is sent to each.

Everyone reads the tape at their own pace.  Who is too slow is dropped when the ring begins anew
over what they have not had; only who started the container is waited for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from ocimagic.linux.identity import peer_uid
from ocimagic.shim import protocol
from ocimagic.shim.loop import READ, WRITE
from ocimagic.shim.tape import CAPACITY, CHUNK
from ocimagic.shim.way import SOCKET_NAME
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.shim.loop import Loop
    from ocimagic.shim.tape import Tape

_MAX_CLIENTS = 128
_RECEIVE = 1 << 16
_SEND = 1 << 18
_MAX_QUEUE = 4096
_PATIENCE_S = 30.0
_SETTLE_S = 2.0
_ROOM = CAPACITY - 2 * CHUNK  # a tape is not read on when a patient client is that far behind


@dataclass(slots=True, eq=False)
class Client:
    """Somebody connected.

    Attributes:
        tape: whose output it gets; None for none.
        position: of the tape, up to where it has it.
        patient: the process waits for it rather than losing its output.
        has_spoken: it has said what it wants.
        exec_id: of the command it talks to; "" for the container itself.
        sends_stdin: it has.
        held: it is not listened to, for what it sends is not read.
        is_deaf: it has closed its end; what it sent before that is still taken.
        sender: what it calls itself when it sends stdin.
        acknowledged: how much of its stdin it was told to have arrived.
        queue: messages, each with the position of the tape it comes after.
    """

    door: socket.socket
    tape: Tape | None = None
    position: int = 0
    patient: bool = False
    has_spoken: bool = False
    exec_id: str = ""
    sends_stdin: bool = False
    held: bool = False
    is_deaf: bool = False
    sender: int = 0
    acknowledged: int = 0
    frames: protocol.Frames = field(default_factory=protocol.Frames)
    queue: deque[tuple[int, bytes]] = field(default_factory=deque)

    @property
    def is_behind(self) -> bool:
        """Say whether there is something it has not been sent."""
        return bool(self.queue) or (self.tape is not None and self.position < self.tape.head)


def listen(run_directory: str) -> socket.socket:
    """Open the door for clients, for this account only."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    directory = os.open(run_directory, os.O_PATH | os.O_CLOEXEC)
    try:
        # Through the descriptor, since a socket's path may have 107 bytes only.
        path = f"/proc/self/fd/{directory}/{SOCKET_NAME}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        door.bind(path)
        os.chmod(path, 0o600)
    finally:
        os.close(directory)
    door.listen(64)
    door.setblocking(False)
    return door


def is_ours(connection: socket.socket) -> bool:
    """Say whether the other end is the same account; a second lock beside the directory's."""
    return peer_uid(connection) == os.geteuid()


class Clients:
    """All who are connected now.

    Args:
        loop: of the shim.
        on_frame: is given what a client says.
        on_gone: is told of a client that went.
    """

    def __init__(
        self,
        loop: Loop,
        on_frame: Callable[[Client, bytes, bytes], None],
        on_gone: Callable[[Client], None],
    ) -> None:
        self._loop = loop
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._all: set[Client] = set()
        self._expected: tuple[Tape, bool] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def accept(self, door: socket.socket) -> None:
        """Let in who is at the door, if it is us and there is room."""
        with contextlib.suppress(OSError):
            connection = door.accept()[0]
            crowded = len(self._all) >= _MAX_CLIENTS  # the exit record needs descriptors too
            if crowded or not is_ours(connection):
                connection.close()
            else:
                self.admit(Client(connection))

    def admit(self, client: Client) -> None:
        """Begin to listen to somebody."""
        client.door.setblocking(False)
        self._all.add(client)
        self._watch(client)

    def readers(self, tape: Tape) -> list[Client]:
        """Return who gets the output on a tape."""
        return [each for each in self._all if each.tape is tape]

    def say(self, client: Client, content: Mapping[str, object]) -> None:
        """Send a message, after the output that came before it."""
        if client.is_deaf:
            return
        if len(client.queue) >= _MAX_QUEUE:
            self.drop(client)
            return
        after = 0 if client.tape is None else client.tape.head
        client.queue.append((after, protocol.message(content)))
        self.flush(client)

    def tell(self, content: Mapping[str, object], *, exec_id: str = "") -> None:
        """Send a message to everyone who talks to the same process."""
        for client in list(self._all):
            if client.exec_id == exec_id:
                self.say(client, content)

    def expect(self, tape: Tape, *, patient: bool) -> None:
        """Keep what is on a tape for the clients of a killed shim, who will be back.

        Args:
            tape: what they read.
            patient: the process waits for one of them.
        """
        self._expected = (tape, patient)

    def first_is_back(self) -> None:
        """The process waits for nobody who is not there."""
        if self._expected is not None:
            self._expected = (self._expected[0], False)

    def expect_nobody(self) -> None:
        """Who was to come back has, or will not."""
        self._expected = None

    def are_missing(self, count: int) -> bool:
        """Say whether of so many clients of a killed shim some may still come back."""
        return self._expected is not None and sum(each.has_spoken for each in self._all) < count

    @property
    def are_expected(self) -> bool:
        """Say whether clients of a killed shim may still come back."""
        return self._expected is not None

    def pass_on(self, tape: Tape) -> None:
        """Send what is new on a tape, as far as each takes it."""
        behind = self._expected is not None and self._expected[0] is tape
        for client in self.readers(tape):
            self.flush(client)
            behind |= client.is_behind
        if not behind and tape.settle():
            for client in self.readers(tape):
                client.position = tape.head

    def is_waited_for(self, tape: Tape) -> bool:
        """Say whether a patient client is so far behind that its process is to wait."""
        if self._expected == (tape, True) and tape.head - tape.tail > _ROOM:
            return True
        return any(
            each.patient and tape.head - each.position > _ROOM for each in self.readers(tape)
        )

    def senders(self, exec_id: str) -> list[Client]:
        """Return who has sent stdin to a process."""
        return [each for each in self._all if each.sends_stdin and each.exec_id == exec_id]

    def hold(self, client: Client, *, held: bool) -> None:
        """Listen to a client no more, or again: it writes faster than its process reads."""
        if client.held != held:
            client.held = held
            self._watch(client)

    def flush(self, client: Client) -> None:
        """Send what a client takes now."""
        if client not in self._all:
            return
        try:
            while self._send(client):
                continue
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            client.is_deaf = True
            client.queue.clear()
            client.tape, client.patient = None, False
        except OSError:
            self.drop(client)
            return
        self._watch(client)

    def _send(self, client: Client) -> bool:
        """Send one piece; say whether there was one."""
        tape = client.tape
        if tape is not None:
            limit = client.queue[0][0] if client.queue else tape.head
            if client.position < limit:
                if client.position < tape.tail:
                    raise OSError("too slow: the tape has begun anew")
                length = min(limit - client.position, _SEND)
                client.position += client.door.sendmsg(tape.parts(client.position, length))
                return True
        if not client.queue:
            return False
        after, packet = client.queue.popleft()
        sent = 0
        try:
            sent = client.door.send(packet)
        finally:
            if sent < len(packet):
                client.queue.appendleft((after, packet[sent:]))
        return True

    def _watch(self, client: Client) -> None:
        """Wait for what is wanted of a client just now; it may be nothing."""
        wanted = WRITE if client.is_behind else 0
        if not client.held:
            wanted |= READ
        self._loop.watch(client.door.fileno(), wanted, lambda events: self._serve(client, events))

    def _serve(self, client: Client, events: int) -> None:
        if events & WRITE:
            self.flush(client)
        if events & READ and client in self._all:
            try:
                data = client.door.recv(_RECEIVE)
                if not data:
                    self.drop(client)
                    return
                for kind, payload in client.frames.feed(data):
                    client.has_spoken = True
                    self._on_frame(client, kind, payload)
            except BlockingIOError:
                return
            except (OSError, protocol.ProtocolError):
                self.drop(client)

    def drop(self, client: Client) -> None:
        """Let go of somebody."""
        if client in self._all:
            self._all.discard(client)
            self._loop.forget(client.door.fileno())
            client.queue.clear()
            client.door.close()
            self._on_gone(client)

    def abandon(self) -> None:
        """Close this process's ends: another one of our processes goes on with them."""
        for client in self._all:
            client.door.close()
        self._all.clear()

    def flush_all(self) -> None:
        """Give slow clients a bounded time to take the rest, and let go of all."""
        for client in list(self._all):
            patience = _PATIENCE_S if client.patient else _SETTLE_S
            deadline = time.monotonic() + patience
            with contextlib.suppress(OSError):
                while (left := deadline - time.monotonic()) > 0:
                    client.door.settimeout(left)
                    if not self._send(client):
                        break
            client.door.close()
        self._all.clear()
