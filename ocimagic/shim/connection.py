"""A conversation with one shim, which may be killed meanwhile and be another one then.

Who reads sees each byte once: the connection knows how much of each stream it has had, and
asks the next shim for the rest.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidState, StartFailed, unpack
from ocimagic.shim import protocol
from ocimagic.shim.outcome import Started, mapping
from ocimagic.shim.way import SentInput, Way, connect_door

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_POLL_S = 0.1
_ABORT_S = 10.0
_RETRY_S = 0.02
_MAX_RETRIES = 50
_ANSWER_S = 60.0
_PIECE = 1 << 16

Frame = tuple[bytes, bytes]


class Connection:
    """A conversation with one shim; close it with ``close`` or a with-block.

    Args:
        door: connected.
        run_directory: of the container: where the next shim listens; None to end with this one.
        attached: the shim sends output from its first byte on.

    Attributes:
        missed: bytes of output that were too old for the next shim to know.
        timeline: how the container began, as JSON, if that is not to be found in its files later.
    """

    def __init__(
        self, door: socket.socket, run_directory: Path | None = None, *, attached: bool = False
    ) -> None:
        self._door = door
        self._frames = protocol.Frames()
        self._sending = threading.Lock()
        self._way = Way(run_directory)
        self._held: deque[Frame] = deque()
        self._requests = 0
        self._over = False
        self._fruitless = 0
        # What it takes to go on with the next shim.
        self._exec_id = ""
        self._is_first = attached
        self._had: dict[bytes, int] | None = _nothing() if attached else None
        self._sent = SentInput()
        self.missed = 0
        self.timeline = ""
        self._way.remember()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; the container does not notice, and a thread that still sends is told so."""
        self._over = True
        self._way.close()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    @property
    def sender(self) -> int:
        """Return what this connection calls itself when it sends stdin."""
        return self._sent.name

    # -- what is asked ---------------------------------------------------------

    def attach(self, *, offsets: Mapping[str, int] | None = None) -> None:
        """Ask for output from now on.

        Args:
            offsets: how many bytes of ``stdout`` and ``stderr`` are known already: what comes
                after them is sent, as far as the shim still has it.
        """
        request: dict[str, object] = {"op": "attach", "sender": self._sent.name}
        if offsets is not None:
            request["offsets"] = dict(offsets)
        if self._had is None:
            self._had = _nothing()
        self._say(request)

    def kill(self, number: int) -> None:
        """Ask for a signal to the process."""
        self._press({"op": "kill", "signal": number})

    def resize(self, rows: int, columns: int) -> None:
        """Say how large the terminal is that shows the process."""
        self._press({"op": "resize", "size": [rows, columns]})

    def stop(self, number: int, grace_s: float) -> None:
        """Have the shim send a signal, kill what is left after a time, and not start it again.

        The exit comes as the last of ``frames``.
        """
        self._call({"op": "stop", "signal": number, "grace_s": grace_s})

    def pause(self) -> None:
        """Freeze all processes of the container."""
        self._call({"op": "pause"})

    def resume(self) -> None:
        """Let them go on."""
        self._call({"op": "resume"})

    def update(
        self,
        resources: Mapping[str, object] | None,
        restart: Mapping[str, object] | None = None,
    ) -> tuple[str, ...]:
        """Change limits (runtime-spec ``resources``) and restart policy; return warnings."""
        answer = self._call({"op": "update", "resources": resources, "restart": restart})
        warnings = answer.get("warnings", ())
        assert isinstance(warnings, list | tuple)
        return tuple(map(str, warnings))

    def rename(self, name: str) -> None:
        """Say what the container is called from now on."""
        self._call({"op": "update", "name": name})

    def connect(self, endpoint: Mapping[str, object]) -> None:
        """Bring the container into one more network."""
        self._call({"op": "connect", "endpoint": endpoint})

    def disconnect(self, network_id: str) -> None:
        """Take the container out of a network."""
        self._call({"op": "disconnect", "network_id": network_id})

    def write_timelines(self) -> None:
        """Have it written down how commands began that were executed just now."""
        self._call({"op": "write_timelines"})

    def stats(self) -> Mapping[str, object]:
        """Return what the container uses, as ``runc events --stats`` prints it under ``data``."""
        return self._call({"op": "stats"})

    def processes(self) -> list[int]:
        """Return the process ids, as seen from the machine."""
        pids = self._call({"op": "processes"})["processes"]
        assert isinstance(pids, list)
        return [int(each) for each in pids]

    def execute(
        self,
        exec_id: str,
        process: Mapping[str, object],
        *,
        stdin: bool,
        detach: bool,
        console_size: tuple[int, int] | None = None,
        engine: str = "",
    ) -> None:
        """Start a command in the container; this connection belongs to it from now on.

        Wait for it with ``started``, then read ``frames``; the exit is the last.

        Args:
            exec_id: not used before in this container.
            process: as in config.json.
            stdin: keep it open.
            detach: nobody wants its output.
            console_size: rows and columns, where it has a terminal.
            engine: what the engine noted of it so far; the shim then tells the rest in a file.
        """
        self._exec_id = exec_id
        self._had = None if detach else _nothing()
        self._say(
            {
                "op": "execute",
                "exec_id": exec_id,
                "process": dict(process),
                "stdin": stdin,
                "detach": detach,
                "console_size": console_size,
                "engine": engine,
                "sender": self._sent.name,
            }
        )

    def abort(self) -> None:
        """Kill the container and wait until its shim has seen it off."""
        self.kill(signal.SIGKILL)
        for _ in self.frames(deadline=time.monotonic() + _ABORT_S):
            continue

    def send_stdin(self, data: bytes) -> None:
        """Send bytes for stdin; empty bytes close it."""
        pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)] or [b""]
        for piece in pieces:
            with self._sending:
                self._sent.add(piece)
                if not self._sent.is_lost:  # else all of it is sent again, in its order
                    self._write(protocol.frame(protocol.STDIN, piece))

    # -- what is heard ---------------------------------------------------------

    def started(self) -> Started:
        """Wait until the command began.

        Raises:
            OcimagicError: why it did not.
        """
        for kind, payload in self.frames():
            if kind == protocol.MESSAGE:
                content = protocol.parse_message(payload)
                if "error" in content:
                    raise unpack(mapping(content["error"]))
                if "started" in content:
                    self._way.remember()
                    return Started.from_message(mapping(content["started"]))
        raise StartFailed(
            "the shim ended before the container began",
            why="it was killed, or it has a defect",
            hint="look into launcher.log in the data root",
        )

    def frames(
        self, *, cancelled: threading.Event | None = None, deadline: float | None = None
    ) -> Iterator[Frame]:
        """Yield frames until the process is over, ``cancelled`` is set or the time has come.

        Args:
            cancelled: looked at ten times a second.
            deadline: in time.monotonic() seconds.
        """
        while True:
            while self._held:
                yield self._held.popleft()
            if cancelled is not None and cancelled.is_set():
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            patience = _POLL_S if cancelled is not None else left
            if left is not None and patience is not None:
                patience = min(left, patience)
            if not self._receive(patience):
                return

    def hold(self, frames: Sequence[Frame]) -> None:
        """Let frames be the next ones that ``frames`` yields."""
        self._held.extendleft(reversed(frames))

    def _receive(self, patience: float | None) -> bool:
        """Wait for frames and hold them; say whether there can be more."""
        if self._door.fileno() < 0:
            return False
        if not select.select([self._door], [], [], patience)[0]:
            return True
        try:
            data = self._door.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if data:
            self._fruitless = 0
            for kind, payload in self._frames.feed(data):
                self._note(kind, payload)
            return True
        return not self._over and self._return()

    def _note(self, kind: bytes, payload: bytes) -> None:
        """Hold a frame for who reads, and remember what it means for the next shim."""
        if kind == protocol.MESSAGE:
            content = protocol.parse_message(payload)
            if self._heed(content):
                return
        elif self._had is not None:
            self._had[kind] += len(payload)
        self._held.append((kind, payload))

    def _heed(self, content: Mapping[str, object]) -> bool:
        """Look at a message; say whether it was for us alone."""
        if "exit" in content:
            # A container that is started again has more to say, its next shim too.
            self._over = not mapping(content["exit"]).get("restarting")
        elif "stdin" in content:
            self._sent.acknowledge(int(str(content["stdin"])))
            return True
        elif "timeline" in content:
            self.timeline = str(content["timeline"])
            return True
        elif "attached" in content:
            attached = mapping(content["attached"])
            if self._had is not None:
                for kind, name in protocol.STREAMS.items():
                    self._had[kind] = int(str(attached[name]))
            self.missed += int(str(attached["missed"]))
            self._resend(int(str(attached.get("stdin", 0))))
        return False

    # -- when the shim is another one -------------------------------------------

    def _return(self) -> bool:
        """Connect to the next shim and go on where the last one was; False if there is none."""
        self._fruitless += 1
        if self._fruitless > _MAX_RETRIES:
            return False
        select.select([], [], [], _RETRY_S * (self._fruitless - 1))
        door = self._way.connect()
        if door is None:
            return False
        with self._sending:
            self._door.close()
            self._door = door
            self._frames = protocol.Frames()
            self._sent.is_lost = self._sent.is_used
            request: dict[str, object] = {
                "op": "attach",
                "exec_id": self._exec_id,
                "sender": self._sent.name,
                "first": self._is_first,
                "quiet": self._had is None,
            }
            if self._had is not None:
                had = {protocol.STREAMS[kind]: count for kind, count in self._had.items()}
                request["offsets"] = had
            self._write(protocol.message(request))
        return True

    def _resend(self, arrived: int) -> None:
        """Send the input again that did not arrive."""
        with self._sending:
            if self._sent.is_lost:
                self._sent.is_lost = False
                for piece in self._sent.after(arrived):
                    self._write(protocol.frame(protocol.STDIN, piece))

    # -- sending ---------------------------------------------------------------

    def _call(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Ask and wait for the answer; asked again if the shim dies meanwhile.

        Raises:
            OcimagicError: what the shim says is wrong.
            InvalidState: it is gone.
        """
        self._requests += 1
        packet = dict(request) | {"id": self._requests}
        deadline = time.monotonic() + _ANSWER_S
        self._say(packet)
        door = self._door
        while (left := deadline - time.monotonic()) > 0:
            for frame in list(self._held):
                content = _content(frame)
                if content.get("id") == self._requests:
                    self._held.remove(frame)
                    if "error" in content:
                        raise unpack(mapping(content["error"]))
                    return mapping(content["reply"])
            if not self._receive(left):
                break
            if self._door is not door:
                door = self._door
                self._say(packet)
        raise InvalidState("the container is not running", why="its shim does not answer")

    def _press(self, content: Mapping[str, object]) -> None:
        """Say what cannot wait until the process has read all of its input."""
        door = self._way.connect() if self._sent.is_used else None
        if door is None:
            self._say(content)
            return
        about = {"op": "attach", "exec_id": self._exec_id, "sender": 0, "quiet": True}
        with door, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            door.sendall(protocol.message(about) + protocol.message(content))

    def _say(self, content: Mapping[str, object]) -> None:
        with self._sending:
            self._write(protocol.message(content))

    def _write(self, packet: bytes) -> None:
        # A shim that has just ended cannot listen: its last message says so to the reader.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._door.sendall(packet)


def connect(run_directory: Path) -> Connection:
    """Connect to the shim of a running container.

    Raises:
        InvalidState: nobody answers there.
    """
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connect_door(door, run_directory)
    except OSError as err:
        door.close()
        raise InvalidState("the container is not running", why=str(err)) from err
    return Connection(door, run_directory)


def _nothing() -> dict[bytes, int]:
    return dict.fromkeys(protocol.STREAMS, 0)


def _content(frame: Frame) -> Mapping[str, object]:
    kind, payload = frame
    return protocol.parse_message(payload) if kind == protocol.MESSAGE else {}
