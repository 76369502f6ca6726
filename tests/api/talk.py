"""A client that says what it is told to, byte by byte, and reads the answers strictly."""

import os
import re
import socket
import threading
import time
from contextlib import closing, contextmanager

from ocimagic.api.server import Address, Server

PATIENCE_S = 20


@contextmanager
def serving(engine, room, *, is_busy=False, **address):
    """Serve an engine at a socket; afterwards no thread and no descriptor of it is left."""
    engine.system.info()  # what the engine itself keeps open is open from here on
    threads, files = threads_now(), files_now()
    where = Address(path=str(room / "api.sock"), **address)
    with Server(engine, where, is_busy=is_busy) as server:
        yield server
    settled(lambda: threads_now() <= threads, "threads")
    settled(lambda: files_now() <= files, "descriptors")


def threads_now():
    """Return how many threads of the server there are."""
    return sum(each.name.startswith("ocimagic-api") for each in threading.enumerate())


def files_now():
    return len(os.listdir("/proc/self/fd"))


def settled(is_so, what):
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what} are left"
        time.sleep(0.01)


def connected(server):
    client = socket.socket(socket.AF_UNIX)
    client.connect(server.url.removeprefix("unix://"))
    client.settimeout(PATIENCE_S)
    return client


def rest(client):
    """Return all that comes until the server closes the connection."""
    found = b""
    while data := client.recv(1 << 16):
        found += data
    return found


def said(server, *pieces):
    """Send pieces, and nothing more; return all that comes."""
    with closing(connected(server)) as client:
        for each in pieces:
            client.sendall(each)
        client.shutdown(socket.SHUT_WR)
        return rest(client)


def whole(answers):
    """Split what came into (status, headers, body), one for each answer."""
    found = []
    while answers:
        head, mark, answers = answers.partition(b"\r\n\r\n")
        assert mark, f"half a head: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 ([1-5][0-9]{2}) .*", first)[1])
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            body, answers = unchunked(answers)
        elif status >= 200:
            length = int(headers.get("content-length", 0 if status in (204, 304) else len(answers)))
            body, answers = answers[:length], answers[length:]
            assert len(body) == length
        found.append((status, headers, body))
    return found


def unchunked(data):
    """Return a body and what follows it."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length:]
        assert data.startswith(b"\r\n")
        data = data[2:]
        if not length:
            return body, data


def statuses(answers):
    return [each[0] for each in whole(answers)]
