"""Networks and ports by docker's own command line, here and with dockerd: the same checks."""

import json
import os
import re
import time

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WEB = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
_UNKNOWN = r"can't find|can't resolve|no servers could be reached"


def web(docker, name, *options):
    docker.call("run", "-d", "--name", name, *options, "busybox", "sh", "-c", WEB)


def test_names(docker):
    docker.call("network", "create", "net")
    web(docker, "web", "--network", "net", "--network-alias", "www", "--hostname", "me")
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
    web(docker, "web")
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
    web(docker, "web", "--network", "inner", "--hostname", "me")
    assert docker.until("inner", "wget -qO- http://web/", "me") == "me\n"
    said = docker.sh("inner", "ip route; nslookup example.com. 2>&1; true")
    # Docker 20.10 gives a way to the bridge, which lets nothing out.
    assert "default" not in said or docker.name == "docker"
    assert re.search(_UNKNOWN, said)


def test_networks_are_apart(docker):
    for name in ("one", "two"):
        docker.call("network", "create", name)
    web(docker, "web", "--network", "one")
    field = "{{.NetworkSettings.Networks.one.IPAddress}}"
    address = docker.call("inspect", "-f", field, "web")
    said = docker.sh("two", f"ping -c 1 -W 1 {address}; nslookup web. 2>&1; true")
    assert "0 packets received" in said
    assert re.search(_UNKNOWN, said)


def test_connected_and_disconnected(docker):
    for name in ("one", "two"):
        docker.call("network", "create", name)
    web(docker, "web", "--network", "one", "--hostname", "me")
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


def test_files_of_who_is_connected(docker):
    """First in ``bridge`` only: names begin with the second network."""
    docker.call("network", "create", "net")
    options = ["--hostname", "me", "--dns", "192.0.2.53", "--dns-search", "example.org"]
    web(docker, "web", *options)
    field = "{{(index .NetworkSettings.Networks %r).IPAddress}}"

    def address(network):
        return docker.call("inspect", "-f", (field % network).replace("'", '"'), "web")

    def told(name):
        return docker.call("exec", "web", "cat", f"/etc/{name}").splitlines()

    first = f"{address('bridge')}\tme"
    assert "nameserver 192.0.2.53" in told("resolv.conf")
    docker.call("exec", "web", "sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts")
    docker.call("network", "connect", "net", "web")
    second = f"{address('net')}\tme"
    assert {first, second, "192.0.2.1 mine"} <= set(told("hosts"))
    known = set(told("resolv.conf"))
    assert {"nameserver 127.0.0.11", "search example.org", "options ndots:0"} == known
    web(docker, "other", "--network", "net", "--hostname", "you")
    docker.call("exec", "web", "sh", "-c", "until wget -qO- http://other/; do sleep 0.1; done")
    docker.call("network", "disconnect", "net", "web")
    assert second not in told("hosts")
    assert "192.0.2.1 mine" in told("hosts")
    # Docker 20.10 takes all lines of that name away.
    assert first in told("hosts") or docker.name == "docker"
    assert set(told("resolv.conf")) == known
    docker.call("network", "connect", "net", "web")
    docker.call("network", "disconnect", "bridge", "web")
    assert f"{address('net')}\tme" in told("hosts")
    assert first not in told("hosts")


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
    web(docker, "web", "--network", "net", "--ip", "10.212.0.9")
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
    web(
        docker,
        "web",
        "--network",
        "net",
        "--hostname",
        "me",
        "-p",
        "18080:80",
        "-p",
        "127.0.0.1::80/udp",
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
    web(docker, "web", "--network", "net")
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


def told_since(docker, begun, template):
    return docker.call(
        "events", "--since", begun, "--until", f"{time.time() + 1:.0f}", "--format", template
    ).splitlines()


def test_what_becomes_of_volumes_and_files_is_told(docker, tmp_path):
    """The words, their order and what is said with them; that dockerd mounts for copies is not."""
    begun = f"{time.time():.6f}"
    script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    docker.call("run", "-d", "--name", "ev", "-v", "vol:/data", "-v", "two:/two:ro",
                "busybox", "sh", "-c", script)  # fmt: skip
    (tmp_path / "file").write_text("x")
    docker.call("cp", str(tmp_path / "file"), "ev:/tmp/file")
    docker.call("cp", "ev:/etc/passwd", str(tmp_path / "copied"))
    docker.call("export", "-o", str(tmp_path / "all.tar"), "ev")
    docker.call("commit", "--pause=false", "-m", "why", "ev", "evc:1")
    docker.call("top", "ev")
    docker.call("stop", "ev")
    ended = f"{time.time():.6f}"
    docker.call("run", "--name", "evf", "-v", "vol:/data", "busybox", "true")
    docker.call("start", "-a", "evf")
    docker.call("rm", "ev")
    docker.call("rm", "evf")  # docker's client removes several at once, in no order
    docker.call("rmi", "evc:1")

    def containers_since(when):
        lines = told_since(docker, when, "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}")
        return [each for each in lines if each.split()[-1] in ("ev", "evf") and "cont" in each]

    own = containers_since(begun)
    assert own == [
        "container create ev",
        "container start ev",
        "container extract-to-dir ev",
        "container archive-path ev",
        "container export ev",
        "container commit ev",
        "container top ev",
        "container kill ev",
        "container die ev",
        "container stop ev",
        "container create evf",
        "container attach evf",
        "container start evf",
        "container die evf",
        "container attach evf",
        "container start evf",
        "container die evf",
        "container destroy ev",
        "container destroy evf",
    ]
    lines = told_since(docker, begun, "{{.Action}} {{json .Actor.Attributes}}")
    [committed] = [json.loads(each.partition(" ")[2]) for each in lines if "imageRef" in each]
    assert (committed["comment"], committed["imageRef"]) == ("why", "evc:1")
    assert committed["imageID"].startswith("sha256:")
    lines = told_since(
        docker, ended, "{{.Type}} {{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}"
    )
    # dockerd says of the volume that is there that it was made, too.
    lines = [each for each in lines if not each.startswith("volume create")]
    volumes = [each for each in lines if each.startswith("volume ")]
    assert [each.split(" ")[1:3] for each in volumes] == [
        ["mount", "vol"],
        ["unmount", "vol"],
    ] * 2
    mounted, unmounted = (json.loads(each.split(" ", 3)[3]) for each in volumes[:2])
    container = mounted.pop("container")
    assert mounted == {
        "destination": "/data", "driver": "local", "propagation": "", "read/write": "true",
    }  # fmt: skip
    assert unmounted == {"container": container, "driver": "local"}
    # It is there when the container is said to run, and gone when it is said to have ended.
    order = [each.split(" ")[1] for each in lines if each.split(" ")[0] in ("container", "volume")]
    assert order[:6] == ["create", "attach", "mount", "start", "die", "unmount"]
    first = told_since(docker, begun, "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}")
    assert any(each.startswith("mount two ") and '"read/write":"false"' in each for each in first)


def test_what_happens_is_told(docker):
    """The same words in the same order, of containers and of networks."""
    begun = f"{time.time():.6f}"
    docker.call("network", "create", "net")
    script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    docker.call("run", "-d", "--name", "ev", "--network", "net", "busybox", "sh", "-c", script)
    docker.call("exec", "ev", "true")
    docker.call("rename", "ev", "evt")
    docker.call("pause", "evt")
    docker.call("unpause", "evt")
    docker.call("stop", "evt")
    docker.call("start", "evt")
    docker.call("rm", "-f", "evt")
    docker.call("network", "rm", "net")
    said = told_since(docker, begun, "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}")
    mine = [line for line in said if line.split()[-1] in ("ev", "evt", "net")]
    containers = [line for line in mine if line.startswith("container")]
    networks = [line.rpartition(" ")[0] for line in mine if line.startswith("network")]
    assert containers == [
        "container create ev",
        "container start ev",
        "container exec_create: true  ev",
        "container exec_start: true  ev",
        "container exec_die ev",
        "container rename evt",
        "container pause evt",
        "container unpause evt",
        "container kill evt",
        "container die evt",
        "container stop evt",
        "container start evt",
        "container kill evt",
        "container die evt",
        "container destroy evt",
    ]
    assert networks == [
        "network create",
        "network connect",
        "network disconnect",
        "network connect",
        "network disconnect",
        "network destroy",
    ]
