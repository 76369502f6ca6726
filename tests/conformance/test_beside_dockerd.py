"""Our containers and dockerd's on one machine: a network namespace that both have."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from dockernet import Daemon, Docker, namespace

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.filterwarnings("ignore"),
]

NETNS = f"ocimagic-two-{os.getpid()}"
OUTSIDE, MACHINE = "192.0.2.2", "192.0.2.1"
WEB = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
PATIENCE_S = 20


class Machine:
    """A machine with somebody outside, dockerd, and our own command line."""

    def __init__(self, room, inside, archive):
        self.room, self._inside = room, inside
        self.daemon = Daemon(room / "docker", inside)
        environment = {"OCIMAGIC_ROOT": str(room / "ours")}
        self.ours = Docker("ocimagic", [*inside, sys.executable, "-m", "ocimagic"], environment)
        self.ours.call("load", "-i", str(archive))

    def run(self, *words, check=True):
        done = subprocess.run(
            [*self._inside, *words], capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.stdout

    def rules(self):
        """Return all packet rules there are; counters, and what was made for us, left out."""
        words = (["iptables-save"], ["ip6tables-save"], ["nft", "-s", "list", "ruleset"])
        lines = [line for each in words for line in self.run(*each).splitlines()]
        return [line.partition(" [")[0] for line in lines if not line.startswith("#")]

    def fetch(self, address):
        """Return what a web server says, once it is there, to this machine."""
        return self._until(["wget", "-qO-", "-T", "1", "-t", "1", f"http://{address}/"])

    def fetch_outside(self, address):
        """Return the same to somebody outside."""
        return self._until(["ip", "netns", "exec", f"{NETNS}-out", "wget", "-qO-", "-T", "1",
                            "-t", "1", f"http://{address}/"])  # fmt: skip

    def _until(self, words):
        deadline = time.monotonic() + PATIENCE_S
        while not (said := self.run(*words, check=False)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return said.strip()


@pytest.fixture
def archive(shared, tmp_path):
    path = tmp_path / "busybox.tar"
    with path.open("wb") as file:
        shared.images.save(["busybox"], file.write)
    return path


@pytest.fixture
def machine(archive, tmp_path_factory):
    room = tmp_path_factory.mktemp("two")  # a short name: dockerd makes sockets below it
    (room / "docker").mkdir()
    with namespace(NETNS) as inside, namespace(f"{NETNS}-out") as outside:
        made = Machine(room, inside, archive)
        made.run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns",
                 f"{NETNS}-out")  # fmt: skip
        for words, address in ((inside, MACHINE), (outside, OUTSIDE)):
            for each in (["addr", "add", f"{address}/24"], ["link", "set", "up"]):
                subprocess.run([*words, "ip", *each, "dev", "lan"], check=True)
        # As on a machine where nobody was before: dockerd looks at it.
        made.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
        subprocess.run([*outside, "ip", "route", "add", "default", "via", MACHINE], check=True)
        yield made
        for each in made.ours.call("ps", "-aq").split():
            made.ours.call("rm", "-f", each)


def both_are_reached(machine):
    """See that everybody is reached from everywhere that they should be."""
    docker, ours = machine.daemon.docker, machine.ours
    found = {}
    for port, name in ((8081, "ours"), (8082, "theirs")):
        found[name, "outside"] = machine.fetch_outside(f"{MACHINE}:{port}")
        found[name, "machine"] = machine.fetch(f"127.0.0.1:{port}")
    ask = "wget -qO- http://{}/"
    found["ours", "neighbour"] = ours.sh("net", ask.format("web"))
    found["theirs", "neighbour"] = docker.sh("net", ask.format("web"))
    found["ours", "their container"] = docker.sh("bridge", ask.format(f"{MACHINE}:8081"))
    found["theirs", "our container"] = ours.sh("bridge", ask.format(f"{MACHINE}:8082"))
    assert {key: name for key, name in found.items() if name != key[0]} == {}
    # And both find the way out.
    server = subprocess.Popen(
        ["ip", "netns", "exec", f"{NETNS}-out", sys.executable, "-m", "http.server", "8090", "-d",
         str(machine.room / "docker")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert machine.fetch(f"{OUTSIDE}:8090")
        for each in (ours, docker):
            assert each.sh("net", f"wget -qO- http://{OUTSIDE}:8090/ | grep -c html") != "0"
    finally:
        server.terminate()
        server.wait()


def make(docker, port, name):
    docker.call("network", "create", "net")
    words = ["-d", "--restart", "always", "--name", "web", "--hostname", name, "--network", "net"]
    docker.call("run", *words, "-p", f"{port}:80", "busybox", "sh", "-c", WEB)


def unmake(docker):
    docker.call("rm", "-f", "web")
    docker.call("network", "rm", "net")


def test_each_leaves_the_other_alone(machine, archive):
    with machine.daemon as daemon:
        daemon.docker.call("load", "-i", str(archive))
        make(daemon.docker, 8082, "theirs")
        machine.fetch("127.0.0.1:8082")
        before = machine.rules()
        assert ":FORWARD DROP" in before, "or nothing of ours would be needed"
        make(machine.ours, 8081, "ours")
        assert machine.rules() != before
        both_are_reached(machine)
        unmake(machine.ours)
        assert machine.rules() == before

        # dockerd goes and comes back; ours never notice.
        make(machine.ours, 8081, "ours")
        daemon.stop()
        assert machine.fetch_outside(f"{MACHINE}:8081") == "ours"
        daemon.start()
        both_are_reached(machine)

        # Rules that went are there again for whoever uses us next.
        daemon.stop()
        for table in ("filter", "nat"):
            machine.run("iptables", "-t", table, "-F")
        daemon.start()
        machine.ours.call("ps")
        both_are_reached(machine)
        unmake(machine.ours)
        assert sorted(machine.rules()) == sorted(before), "dockerd wrote them in another order"


def test_dockerd_comes_later(machine, archive):
    make(machine.ours, 8081, "ours")
    assert machine.fetch_outside(f"{MACHINE}:8081") == "ours"
    with machine.daemon as daemon:
        daemon.docker.call("load", "-i", str(archive))
        make(daemon.docker, 8082, "theirs")
        both_are_reached(machine)
        unmake(machine.ours)
        assert not [each for each in machine.rules() if "ocimagic" in each]
