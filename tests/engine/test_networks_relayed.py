"""What goes through a relay: ports and ways out of an ordinary user's networks."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from ocimagic import Engine
from ocimagic.model.network import NetworkOptions, published_ports
from ocimagic.model.options import VolumeMount
from ocimagic.model.request import ExecOptions
from ocimagic.shim.client import Started

IS_ROOT = os.geteuid() == 0
PATIENCE_S = 10
PROGRAMS = tuple(
    VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
    for each in ("/usr", "/lib", "/lib64")
    if os.path.exists(each)
)
of_users = pytest.mark.skipif(IS_ROOT, reason="not root: its packets go through the kernel")
# A server that counts in what it is told, and sends the sum back when that has ended.
DIGEST = """
import hashlib, socket, threading
server = socket.create_server(("", 80))
def serve(client):
    found = hashlib.sha256()
    while data := client.recv(1 << 16):
        found.update(data)
    client.sendall(found.hexdigest().encode())
    client.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
"""
# One that says after each line what it was.
ECHO = """
import socket, threading
server = socket.create_server(("", 80))
def serve(client):
    while data := client.recv(1 << 16):
        client.sendall(data)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
"""
SENDER = """
import hashlib, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as far:
    for number in range(512):
        far.sendall(hashlib.sha256(str(number).encode()).digest() * 2048)
    far.shutdown(socket.SHUT_WR)
    print(far.recv(100).decode())
"""


def until(is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module", autouse=True)
def possible(shared):
    if why := shared.networks.lacks():
        pytest.skip(f"no networks here: {why}")


@pytest.fixture(autouse=True)
def nothing_left(shared):
    yield
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True)
    shared.networks.prune()
    assert until(lambda: not list(shared.home.run.iterdir()))
    assert until(lambda: not relays(shared))


def relays(engine):
    """Return the pids of all relays of an engine's containers."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text() == "ocimagic-relay\n":
                line = (entry / "cmdline").read_bytes()
                if str(engine.home.run).encode() in line:
                    found.append(int(entry.name))
    return found


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def server(engine, script, port, **options):
    made = engine.containers.run(
        "busybox", ["/usr/bin/python3", "-I", "-c", script], network="bridge", detach=True,
        ports=published_ports(f"{port}:80"), volumes=PROGRAMS, **options,
    )  # fmt: skip
    assert until(lambda: listens(engine, made.name))
    return made


def listens(engine, name):
    return ":0050 " in inside(engine, name, "cat /proc/net/tcp /proc/net/tcp6")


def inside(engine, name, script):
    done = engine.containers.exec(name, ExecOptions(command=("sh", "-c", script)))
    return (done.stdout + done.stderr).decode()


def python(engine, script, *words, network="bridge"):
    """Run a script in a container; return what it wrote."""
    done = engine.containers.run(
        "busybox", ["/usr/bin/python3", "-I", "-c", script, *map(str, words)], network=network,
        volumes=PROGRAMS, remove=True,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode()


def content():
    return b"".join(hashlib.sha256(str(number).encode()).digest() * 2048 for number in range(512))


def test_much_goes_through_unchanged_and_an_end_is_passed_on(shared):
    port = free_port()
    server(shared, DIGEST, port)
    data = content()
    wanted = hashlib.sha256(data).hexdigest().encode()
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == wanted


def test_many_connections_at_once(shared):
    port = free_port()
    server(shared, ECHO, port)
    with contextlib.ExitStack() as opened:
        clients = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            for _ in range(300)
        ]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        assert [client.recv(100) for client in clients] == [b"%d" % n for n in range(300)]


def test_connections_outlive_their_shims(shared):
    """A shim makes another one of itself after a second; killed, its holder does."""
    port = free_port()
    made = server(shared, ECHO, port)
    with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as client:
        for kill in (False, True):
            if kill:
                path = shared.containers.directory(made.container_id) / "state.json"
                started = Started.from_message(json.loads(path.read_bytes()))
                started.shim.send(signal.SIGKILL)
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            time.sleep(1.3)
            client.sendall(b"two")
            assert client.recv(10) == b"two"


@of_users
def test_a_killed_relay_is_followed_by_another(shared):
    port = free_port()
    server(shared, ECHO, port)
    for _ in range(2):
        with closing(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            (relay,) = relays(shared)
            os.kill(relay, signal.SIGKILL)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(10) == b"", "cut, not silent"
        assert until(lambda: not relays(shared))


def test_nobody_listening_is_seen_outside(shared):
    port = free_port()
    made = shared.containers.run(
        "busybox", ["sleep", "100"], network="bridge", detach=True,
        ports=published_ports(f"{port}:80"),
    )  # fmt: skip
    with contextlib.suppress(ConnectionError), contextlib.ExitStack() as opened:
        client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        opened.callback(client.close)
        client.sendall(b"hello")
        assert client.recv(10) == b"", "an end, no silence"
    shared.containers.remove(made.name, force=True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def test_ipv6_reaches_who_has_only_ipv4(shared):
    port = free_port()
    server(shared, ECHO, port)
    for address in ("::1", "127.0.0.1"):
        with closing(socket.create_connection((address, port), PATIENCE_S)) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"


# -- ways out --------------------------------------------------------------------------


@contextlib.contextmanager
def machine_serves(kind, work):
    """Serve on all addresses of the machine; yield the port."""
    with closing(socket.socket(socket.AF_INET, kind)) as door:
        door.bind(("", 0))
        if kind == socket.SOCK_STREAM:
            door.listen()
        done = threading.Thread(target=work, args=(door,))
        done.start()
        yield door.getsockname()[1]
        done.join(PATIENCE_S)


def gateway(engine):
    return engine.networks.inspect("bridge").subnets[0].gateway


def test_a_container_reaches_the_machine_by_its_gateway(shared):
    found = []

    def serve(door):
        client, _ = door.accept()
        with closing(client):
            digest = hashlib.sha256()
            while data := client.recv(1 << 16):
                digest.update(data)
            found.append(digest.hexdigest())
            client.sendall(b"got it")

    with machine_serves(socket.SOCK_STREAM, serve) as port:
        assert python(shared, SENDER, gateway(shared), port) == "got it\n"
    assert found == [hashlib.sha256(content()).hexdigest()]


def test_datagrams_of_one_socket_to_several(shared):
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n"
        "for word in sys.argv[2:]:\n"
        "    s.sendto(word.encode(), (sys.argv[1], int(word)))\n"
        "got = sorted((s.recvfrom(99) for _ in sys.argv[2:]), key=lambda each: each[1])\n"
        "print(all(data.decode() == f'{who[1]} again' for data, who in got))\n"
        "for word in sys.argv[2:]:\n"
        "    s.sendto(b'more', (sys.argv[1], int(word))); print(s.recvfrom(99)[0].decode())\n"
    )

    def serve(door):
        for _ in range(2):
            data, who = door.recvfrom(100)
            door.sendto(data + b" again", who)

    with contextlib.ExitStack() as serving:
        ports = [serving.enter_context(machine_serves(socket.SOCK_DGRAM, serve)) for _ in range(3)]
        told = python(shared, script, gateway(shared), *ports)
    assert told == "True\n" + "more again\n" * 3


def test_who_refuses_is_seen_inside(shared):
    script = (
        "import socket, sys\n"
        "try:\n"
        "    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as far:\n"
        "        far.sendall(b'x'); print(far.recv(1))\n"
        "except OSError as err: print('refused' if err.errno in (104, 111, 32) else err)\n"
    )
    assert python(shared, script, gateway(shared), free_port()) == "refused\n"


def test_services_of_the_machine_alone_stay_its_own(shared):
    """What listens on 127.0.0.1 only is not reached through a gateway."""
    with closing(socket.create_server(("127.0.0.1", 0))) as own:
        own.settimeout(0.5)
        script = (
            "import socket, sys\n"
            "try:\n"
            "    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as far:\n"
            "        far.sendall(b'x'); print(far.recv(1))\n"
            "except OSError: print('not reached')\n"
        )
        told = python(shared, script, gateway(shared), own.getsockname()[1])
        assert told == "not reached\n"
        with pytest.raises(TimeoutError):
            own.accept()


def test_an_internal_network_has_no_way_to_the_machine(shared):
    shared.networks.create(NetworkOptions(name="inner", internal=True))
    (subnet,) = shared.networks.inspect("inner").subnets
    script = (
        "import socket, sys\n"
        "for host in sys.argv[1:]:\n"
        "    try: socket.create_connection((host, 80), 0.3); print('there')\n"
        "    except OSError: print('no way')\n"
    )
    assert python(shared, script, "192.0.2.1", network="inner") == "no way\n"
    assert subnet.gateway


# -- several sessions ------------------------------------------------------------------


def test_containers_of_two_sessions_meet(shared):
    """Each has a launcher of its own; without root both are in one user namespace."""
    shared.networks.create(NetworkOptions(name="net"))
    shared.containers.run(
        "busybox", ["sh", "-c", "echo hello > /index.html; exec httpd -f -h /"], name="web",
        network="net", detach=True,
    )  # fmt: skip
    code = (
        "import sys; from ocimagic import Engine\n"
        "with Engine(sys.argv[1], environment={}) as engine:\n"
        "    done = engine.containers.run('busybox', ['wget', '-qO-', 'http://web/'],"
        " network='net', remove=True)\n"
        "    sys.stdout.write(done.stdout.decode() + done.stderr.decode())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(shared.home.data)], capture_output=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert told.stdout == b"hello\n", told.stderr


def test_what_runs_is_found_after_its_session(tmp_path, registry):
    """A new session is in the user namespace of the containers that one before has left."""
    root = tmp_path / "root"
    with Engine(root, environment={"HOME": str(tmp_path)}) as first:
        first.images.pull(f"{registry.host}/busybox")
        made = first.containers.run(
            f"{registry.host}/busybox", ["sleep", "100"], name="one", network="bridge", detach=True
        )
        spaces = [os.stat(f"/proc/{made.pid}/ns/user").st_ino]
    with Engine(root, environment={"HOME": str(tmp_path)}) as second:
        try:
            made = second.containers.run(
                f"{registry.host}/busybox", ["sleep", "100"], name="two", network="bridge",
                detach=True,
            )  # fmt: skip
            spaces.append(os.stat(f"/proc/{made.pid}/ns/user").st_ino)
            address = second.containers.get("one").places[0].addresses[0].partition("/")[0]
            assert "1 packets received" in inside(second, "two", f"ping -c 1 -W 2 {address}")
        finally:
            for each in second.containers.list(all=True):
                second.containers.remove(each.container_id, force=True)
    assert len(set(spaces)) == 1


@of_users
def test_connected_and_disconnected_two_hundred_times(shared):
    """Nothing is left of it: no link, no descriptor of the shim, no address."""
    from ocimagic.model.network import NetworkChoice

    for name in ("one", "two"):
        shared.networks.create(NetworkOptions(name=name))
    made = shared.containers.run(
        "busybox", ["sleep", "100"], name="rover", network="one", detach=True
    )
    path = shared.containers.directory(made.container_id) / "state.json"

    def descriptors():
        started = Started.from_message(json.loads(path.read_bytes()))
        return [len(os.listdir(f"/proc/{each.pid}/fd")) for each in (started.shim, started.holder)]

    def there_and_back():
        shared.networks.connect("rover", NetworkChoice(network="two"))
        shared.networks.disconnect("rover", "two")

    time.sleep(1.3)  # the shim has made another one of itself
    there_and_back()  # from now on it has a way to the packet rules, which it keeps
    before = descriptors()
    for _ in range(200):
        there_and_back()

    def are_no_more():  # a connection of before may have been about to end
        return all(now <= then for now, then in zip(descriptors(), before, strict=True))

    assert until(are_no_more), (before, descriptors())
    assert shared.networks.inspect("two").endpoints == ()
    assert "eth1" not in inside(shared, "rover", "ip -o link")


def test_a_broken_off_connection_is_broken_off(shared):
    """Who resets on one side is seen to have reset on the other."""
    port = free_port()
    script = (
        "import socket\n"
        "server = socket.create_server(('', 80))\n"
        "while True:\n"
        "    client, _ = server.accept()\n"
        "    try: print(len(client.recv(9)), client.recv(9), flush=True)\n"
        "    except ConnectionResetError: print('reset', flush=True)\n"
    )
    made = server(shared, script, port)
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    client.sendall(b"hello")
    time.sleep(0.2)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert until(lambda: "reset" in log(shared, made.name)), log(shared, made.name)


def log(engine, name):
    return b"".join(data for _, _, data in engine.containers.logs(name)).decode()
