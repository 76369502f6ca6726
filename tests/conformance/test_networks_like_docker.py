"""Networks and ports by docker's own command line, here and with dockerd: the same checks."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NETNS = f"ocimagic-net-{os.getpid()}"
WEB = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
PATIENCE_S = 20
_UNKNOWN = r"can't find|can't resolve|no servers could be reached"


class Docker:
    """A command line that speaks docker's words."""

    def __init__(self, name, words, environment=None):
        self.name = name
        self._words = words
        self._environment = os.environ | (environment or {})

    def call(self, *words, check=True):
        done = subprocess.run(
            [*self._words, *words], capture_output=True, text=True, check=False,
            env=self._environment, timeout=120,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (self.name, words, done.stdout, done.stderr)
            return done.stdout.strip()
        return done.returncode, done.stdout + done.stderr

    def web(self, name, *options):
        self.call("run", "-d", "--name", name, *options, "busybox", "sh", "-c", WEB)

    def sh(self, network, script, *options):
        return self.call(
            "run", "--rm", "--network", network, *options, "busybox", "sh", "-c", script
        )

    def until(self, network, script, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.call(
                "run", "--rm", "--network", network, "busybox", "sh", "-c", script, check=False
            )[1]
            if wanted in said or time.monotonic() > deadline:
                return said


@pytest.fixture(scope="module")
def archive(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    with path.open("wb") as file:
        shared.images.save(["busybox"], file.write)
    return path


@pytest.fixture(scope="module")
def ours(archive, tmp_path_factory):
    root = tmp_path_factory.mktemp("ours")
    docker = Docker("ocimagic", [sys.executable, "-m", "ocimagic"], {"OCIMAGIC_ROOT": str(root)})
    docker.call("load", "-i", str(archive))
    return docker


@pytest.fixture(scope="module")
def theirs(archive, tmp_path_factory):
    """A dockerd with a bridge, in a network namespace of its own."""
    programs = {name: shutil.which(name) for name in ("dockerd", "docker", "ip", "nsenter")}
    if missing := [name for name, path in programs.items() if not path]:
        pytest.skip(f"{', '.join(missing)}: not installed")
    room = tmp_path_factory.mktemp("dockerd")
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    inside = ["nsenter", f"--net=/run/netns/{NETNS}"]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    command = [
        *inside, "dockerd", "-H", f"unix://{room}/socket", "--data-root", room / "data",
        "--exec-root", room / "exec", "-p", room / "pid", "--userland-proxy=false",
    ]  # fmt: skip
    with (room / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    docker = Docker("docker", ["docker", "-H", f"unix://{room}/socket"])
    try:
        deadline = time.monotonic() + 30
        while docker.call("version", check=False)[0]:
            assert daemon.poll() is None, (room / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        docker.call("load", "-i", str(archive))
        yield docker
        for each in docker.call("ps", "-aq").split():
            docker.call("rm", "-f", each)
    finally:
        daemon.terminate()
        daemon.wait(30)
        subprocess.run(["ip", "netns", "del", NETNS], check=True)
        mount = room / "exec/netns/default"
        if mount.exists():
            subprocess.run(["umount", "-l", mount], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture(params=["ours", "theirs"])
def docker(request):
    found = request.getfixturevalue(request.param)
    yield found
    for each in found.call("ps", "-aq").split():
        found.call("rm", "-f", each)
    found.call("network", "prune", "-f")


def test_names(docker):
    docker.call("network", "create", "net")
    docker.web("web", "--network", "net", "--network-alias", "www", "--hostname", "me")
    assert docker.until("net", "wget -qO- http://web/", "me") == "me\n"
    said = docker.sh(
        "net", "wget -qO- http://www/; wget -qO- http://WEB.net/; cat /etc/resolv.conf"
    )
    assert said.startswith("me\nme\n")
    assert "nameserver 127.0.0.11" in said
    assert "ndots:0" in said
    code, missing = docker.call("run", "--rm", "--network", "net", "busybox", "nslookup", "nobody.",
                                check=False)  # fmt: skip
    assert code
    assert re.search(_UNKNOWN, missing)


def test_the_default_network(docker):
    docker.web("web")
    address = docker.call("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web")
    assert docker.until("bridge", f"wget -qO- http://{address}/", "\n").strip()
    said = docker.sh("bridge", "cat /etc/resolv.conf; nslookup web.; ip route")
    assert "127.0.0.11" not in said
    gateway = docker.call("inspect", "-f", "{{.NetworkSettings.Gateway}}", "web")
    assert f"default via {gateway} dev eth0" in said
    assert docker.call("inspect", "-f", "{{.HostConfig.NetworkMode}}", "web") in (
        "bridge",
        "default",
    )


def test_an_internal_network(docker):
    docker.call("network", "create", "--internal", "inner")
    docker.web("web", "--network", "inner", "--hostname", "me")
    assert docker.until("inner", "wget -qO- http://web/", "me") == "me\n"
    said = docker.sh("inner", "ip route; nslookup example.com. 2>&1; true")
    # Docker 20.10 gives a way to the bridge, which lets nothing out.
    assert "default" not in said or docker.name == "docker"
    assert re.search(_UNKNOWN, said)


def test_networks_are_apart(docker):
    for name in ("one", "two"):
        docker.call("network", "create", name)
    docker.web("web", "--network", "one")
    field = "{{.NetworkSettings.Networks.one.IPAddress}}"
    address = docker.call("inspect", "-f", field, "web")
    said = docker.sh("two", f"ping -c 1 -W 1 {address}; nslookup web. 2>&1; true")
    assert "0 packets received" in said
    assert re.search(_UNKNOWN, said)


def test_connected_and_disconnected(docker):
    for name in ("one", "two"):
        docker.call("network", "create", name)
    docker.web("web", "--network", "one", "--hostname", "me")
    docker.call("network", "connect", "--alias", "www", "two", "web")
    assert docker.until("two", "wget -qO- http://www/", "me") == "me\n"
    inside = docker.call("exec", "web", "ls", "/sys/class/net").split()
    assert sorted(inside) == ["eth0", "eth1", "lo"]
    code, said = docker.call("network", "connect", "two", "web", check=False)
    assert code
    assert "already" in said
    docker.call("network", "disconnect", "two", "web")
    assert sorted(docker.call("exec", "web", "ls", "/sys/class/net").split()) == ["eth0", "lo"]
    assert docker.call("network", "disconnect", "two", "web", check=False)[0] != 0


def test_addresses_of_choice(docker):
    words = [
        "--subnet",
        "10.212.0.0/24",
        "--gateway",
        "10.212.0.254",
        "--ip-range",
        "10.212.0.64/26",
    ]
    docker.call("network", "create", *words, "-o", "com.docker.network.driver.mtu=1400", "net")
    docker.web("web", "--network", "net", "--ip", "10.212.0.9")
    script = "ip -o -4 a s eth0; cat /sys/class/net/eth0/mtu; ip route; ip link show eth0"
    said = docker.call("exec", "web", "sh", "-c", script)
    for wanted in ("10.212.0.9/24", "1400", "default via 10.212.0.254", "02:42:0a:d4:00:09"):
        assert wanted in said
    other = docker.sh("net", "ip -o -4 a s eth0")
    last = int(re.search(r"10\.212\.0\.(\d+)/24", other)[1])
    assert 64 <= last < 128, "of the range that is given out"
    code, said = docker.call(
        "run", "--rm", "--network", "net", "--ip", "10.212.0.9", "busybox", "true", check=False
    )
    assert code == 125
    assert re.search(r"already in use", said, re.IGNORECASE)


def test_ports(docker):
    docker.call("network", "create", "net")
    docker.web(
        "web", "--network", "net", "--hostname", "me", "-p", "18080:80", "-p", "127.0.0.1::80/udp"
    )
    gateway = docker.call("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "net")
    assert docker.until("net", f"wget -qO- http://{gateway}:18080/", "me") == "me\n"
    lines = docker.call("port", "web").splitlines()
    assert any(each.startswith("80/tcp -> 0.0.0.0:18080") for each in lines)
    assert any(re.match(r"80/udp -> 127\.0\.0\.1:\d+", each) for each in lines)
    assert docker.call("port", "web", "80/tcp").splitlines()[0] == "0.0.0.0:18080"
    assert "0.0.0.0:18080->80/tcp" in docker.call("ps", "--format", "{{.Ports}}")
    code, said = docker.call("run", "--rm", "-p", "18080:80", "busybox", "true", check=False)
    assert code == 125
    assert "already allocated" in said


def test_in_use_and_missing(docker):
    docker.call("network", "create", "net")
    code, said = docker.call("network", "create", "net", check=False)
    assert code
    assert "network with name net already exists" in said
    docker.web("web", "--network", "net")
    code, said = docker.call("network", "rm", "net", check=False)
    assert code
    assert "active endpoints" in said
    code, said = docker.call("run", "--rm", "--network", "nosuch", "busybox", "true", check=False)
    assert code == 125
    assert "network nosuch not found" in said
    listed = docker.call(
        "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"
    ).splitlines()
    assert {"bridge bridge local", "host host local", "net bridge local", "none null local"} == set(
        listed
    )
