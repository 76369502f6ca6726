"""The process that answers first what every client of docker's asks first, while we compute.

In a notebook the server's threads share Python's lock with whatever a cell computes, so that a
request waits for its turn again and again.  ``_ping`` and ``version`` have the same answer as
long as a server lives: a small process beside it has them, accepts the connections, and hands
each one over at its first other request.  It knows nothing else and keeps nothing; when it is
gone, the server accepts for itself.

It imports little, for it starts from nothing each time.
"""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_RECEIVE = 1 << 16
_IDLE_S = 1.0  # a connection of which nothing comes is the server's, which knows how long to wait
_MOST = 512  # connections at a time; more wait in the kernel
_ANSWERS = 16  # of one connection: so many fit into its buffer, whether its client reads or not
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n"
_HEAD = re.compile(rb"([!-~]+ [!-~]+ HTTP/1\.1)\r\n((?:" + _FIELD + rb")*)\r\n")
# What says that there is a body, or that this is not to be an exchange like any other.
_OTHER = re.compile(
    rb"^(transfer-encoding|expect|upgrade"
    rb"|content-length:(?! *0 *\r)|connection:(?! *keep-alive *\r))",
    re.IGNORECASE | re.MULTILINE,
)
_CREDENTIALS = struct.Struct("3i")


class Doorkeeper:
    """Answers or hands over, until the server's end of the line is closed.

    Args:
        listener: where clients come in; the server's, too, so nothing of it is changed.
        line: to the server, which gets connections with what was read of them.
        answers: whole ones, by the first line of a request.
    """

    def __init__(
        self, listener: socket.socket, line: socket.socket, answers: dict[bytes, bytes]
    ) -> None:
        self._listener = listener
        self._line = line
        self._answers = answers
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._leaving: deque[tuple[socket.socket, bytes]] = deque()
        self._is_listening = True
        self._poll.register(listener, select.EPOLLIN)
        self._poll.register(line, 0)  # its end is told unasked

    def run(self) -> None:
        """Work until the server is gone."""
        while True:
            for number, events in self._poll.poll(_IDLE_S if self._clients else None):
                if number == self._listener.fileno():
                    self._accept()
                elif number in self._clients:
                    self._read(number)
                elif events & (select.EPOLLHUP | select.EPOLLERR):
                    return
                else:
                    self._say()
            self._dismiss()
            self._listen()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()  # somebody is there: it does not wait
        except OSError:  # the server has shut it, and ends
            self._poll.unregister(self._listener)
            return
        _, uid, _ = _CREDENTIALS.unpack(
            client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid not in (0, os.geteuid()):
            self._hand_over(client, b"")  # the server knows whom it refuses
            return
        self._clients[client.fileno()] = Client(client)
        self._poll.register(client, select.EPOLLIN)
        self._read(client.fileno())  # who connects has something to say

    def _read(self, number: int) -> None:
        client = self._clients[number]
        try:
            data = client.door.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        answer = self._answer(data)
        if data and (answer is None or client.answers >= _ANSWERS):
            self._hand_over(self._forget(number), data)
            return
        with suppress(OSError):
            if answer and client.door.send(answer, socket.MSG_DONTWAIT) == len(answer):
                client.answers += 1
                client.since_s = time.monotonic()
                return
        self._forget(number).close()

    def _answer(self, data: bytes) -> bytes | None:
        """Return the answer to what is one whole request that we know, and nothing else."""
        found = _HEAD.fullmatch(data)
        if found is None or _OTHER.search(found[2]) or b"host:" not in found[2].lower():
            return None
        return self._answers.get(found[1])

    def _forget(self, number: int) -> socket.socket:
        self._poll.unregister(number)
        return self._clients.pop(number).door

    def _dismiss(self) -> None:
        """Hand over those of which nothing comes."""
        due = time.monotonic() - _IDLE_S
        for number in [each for each, client in self._clients.items() if client.since_s < due]:
            self._hand_over(self._forget(number), b"")

    def _hand_over(self, door: socket.socket, data: bytes) -> None:
        self._leaving.append((door, data))
        self._say()

    def _say(self) -> None:
        """Give the server what waits for it, as much as it takes."""
        try:
            while self._leaving:
                door, data = self._leaving[0]
                socket.send_fds(self._line, [b"+" + data], [door.fileno()], socket.MSG_DONTWAIT)
                self._leaving.popleft()
                door.close()
        except BlockingIOError:
            self._poll.modify(self._line, select.EPOLLOUT)
        except OSError:  # it is gone, which we are told
            return
        else:
            self._poll.modify(self._line, 0)

    def _listen(self) -> None:
        """Listen while there is room."""
        has_room = len(self._clients) + len(self._leaving) < _MOST
        if has_room != self._is_listening:
            with suppress(OSError):  # it is shut
                self._poll.modify(self._listener, select.EPOLLIN if has_room else 0)
            self._is_listening = has_room


class Client:
    """A connection that nothing but known requests came of.

    Attributes:
        since_s: when something came last, in time.monotonic() seconds.
        answers: how many it got.
    """

    __slots__ = ("answers", "door", "since_s")

    def __init__(self, door: socket.socket) -> None:
        self.door = door
        self.since_s = time.monotonic()
        self.answers = 0


def main() -> None:
    """Be the doorkeeper: the whole life of a process; its arguments are two descriptors."""
    listener, line = (socket.socket(fileno=int(each)) for each in sys.argv[1:3])
    answers = {}
    for each in sys.stdin.buffer.read().split(b"\0\0"):
        asked, _, answer = each.partition(b"\0")
        answers[asked] = answer
    Doorkeeper(listener, line, answers).run()
