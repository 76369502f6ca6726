"""Networks of real containers: names, addresses, ports, and that nothing is left of them."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import closing
from ipaddress import ip_interface

import pytest
from keepers import kill_keepers

from ocimagic import Engine
from ocimagic.engine.addresses import bridge_of
from ocimagic.engine.record import Document
from ocimagic.errors import (
    Conflict,
    HostLacks,
    InvalidOption,
    InvalidState,
    NameInUse,
    NetworkNotFound,
    PortTaken,
)
from ocimagic.linux.links import Links
from ocimagic.linux.nftables import Table
from ocimagic.model.network import NetworkChoice, NetworkOptions, Subnet, published_ports
from ocimagic.model.options import NetworkMode, RunOptions, VolumeMount
from ocimagic.model.policy import RestartName, RestartPolicy
from ocimagic.model.request import ExecOptions
from ocimagic.shim.client import Started

IS_ROOT = os.geteuid() == 0
WEB = "mkdir -p /www; echo $NAME > /www/index.html; exec httpd -f -p 80 -h /www"
PATIENCE_S = 10
MACHINES_PROGRAMS = tuple(
    VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
    for each in ("/usr", "/lib", "/lib64") if os.path.exists(each)
)  # fmt: skip


def until(is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def table(shared):
    return Table(shared.networks._table)


@pytest.fixture(scope="module", autouse=True)
def possible(shared):
    if why := shared.networks.lacks():
        pytest.skip(f"no networks here: {why}")


@pytest.fixture(autouse=True)
def nothing_left(shared, table):
    """See that a test leaves no container, network, link or rule."""
    with Links() as links:
        before = {each.name for each in links.all()}
    yield
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True)
    shared.networks.prune()

    def left():
        with Links() as links:
            return {each.name for each in links.all()} - before

    assert until(lambda: not left()), left()
    assert until(lambda: not IS_ROOT or not table.rules("forward"))
    assert until(lambda: not list(shared.home.run.iterdir()))


def web(engine, name="web", network="net", **options):
    """Start a web server that says its name."""
    made = engine.containers.run(
        "busybox", ["sh", "-c", WEB], name=name, network=network, detach=True,
        env=(f"NAME={name}",), **options,
    )  # fmt: skip
    address = made.places[0].addresses[0].partition("/")[0]
    assert until(
        lambda: f"{name}\n" in shared_exec(engine, made.name, f"wget -qO- http://{address}/")
    )
    assert not IS_ROOT or fetch(f"http://{address}/") == name
    return made


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read().decode().strip()
    except OSError:
        return ""


def run(engine, script, network="net", **options):
    """Run a script in a container of a network; return what it wrote."""
    done = engine.containers.run(
        "busybox", ["sh", "-c", script], network=network, remove=True, **options
    )
    return (done.stdout + done.stderr).decode()


@pytest.fixture
def net(shared):
    return shared.networks.create(NetworkOptions(name="net", ipv6=True))


# -- names and addresses --------------------------------------------------------------


def test_containers_find_each_other_by_name(shared, net):
    web(shared, networks=(NetworkChoice(network="net", aliases=("www", "Blog")),))
    script = (
        "for name in web www WEB.net blog; do wget -qO- http://$name/; done; ping -c 1 -W 2 web"
    )
    told = run(shared, script)
    assert told.startswith("web\n" * 4)
    assert "1 packets received" in told
    assert "web.net" in run(shared, f"nslookup {net.subnets[0].subnet[:-4]}2")


def test_a_name_of_several_leads_to_each_of_them(shared, net):
    both = (NetworkChoice(network="net", aliases=("pool",)),)
    for name in ("one", "two"):
        web(shared, name, networks=both)
    told = run(shared, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do wget -qO- http://pool/; done")
    assert set(told.split()) == {"one", "two"}


def test_what_is_not_here_is_asked_for_elsewhere_and_missing_names_are_said(shared, net):
    told = run(shared, "cat /etc/resolv.conf; nslookup nobody.invalid")
    assert told.startswith("nameserver 127.0.0.11\n")
    assert re.search(r"can't find nobody.invalid: (NXDOMAIN|SERVFAIL)", told)


def test_a_name_goes_with_its_container(shared, net):
    made = web(shared)
    asker = shared.containers.run(
        "busybox", ["sleep", "100"], network="net", name="asker", detach=True
    )
    from ocimagic.model.request import ExecOptions

    def asked():
        command = ExecOptions(command=("nslookup", "web"))
        return shared.containers.exec(asker.name, command).stdout.decode()

    address = made.places[0].addresses[0].partition("/")[0]
    assert address in asked()
    shared.containers.stop(made.name, grace_s=0)
    assert until(lambda: address not in asked())
    shared.containers.start(made.name)
    assert address in asked()


def test_hosts_and_names_inside(shared, net):
    told = run(shared, "cat /etc/hosts; hostname -i; ip -o addr show eth0", hostname="me")
    address = re.search(r"inet (\S+)/16", told)[1]
    assert f"{address}\tme\n" in told
    assert re.search(r"inet6 fd00:", told)


def test_the_default_network_has_no_names(shared):
    web(shared, network="bridge")
    assert "bad address" in run(shared, "wget -qO- http://web/", network="bridge")
    servers = run(shared, "cat /etc/resolv.conf", network="bridge")
    assert "127.0.0.11" not in servers
    assert "nameserver" in servers


def test_an_internal_network_has_no_way_out_and_no_names_of_elsewhere(shared):
    shared.networks.create(NetworkOptions(name="inner", internal=True))
    web(shared, network="inner")
    told = run(shared, "wget -qO- http://web/; ip route; nslookup deb.debian.org", network="inner")
    assert told.startswith("web\n")
    assert "default" not in told
    assert "SERVFAIL" in told


def test_an_address_of_choice(shared):
    subnet = Subnet(
        subnet="10.211.0.0/24", ip_range="10.211.0.128/25", reserved={"x": "10.211.0.129"}
    )
    shared.networks.create(NetworkOptions(name="net", subnets=(subnet,), mtu=1400))
    choice = NetworkChoice(network="net", ipv4="10.211.0.9", mac="02-42-AA-BB-CC-DD")
    web(shared, networks=(choice,))
    inspected = shared.networks.inspect("net").endpoints[0]
    assert (inspected.addresses, inspected.mac) == (("10.211.0.9/24",), "02:42:aa:bb:cc:dd")
    told = run(shared, "wget -qO- http://10.211.0.9/; ip -o a s eth0; cat /sys/class/net/eth0/mtu")
    assert told.startswith("web\n")
    assert "10.211.0.130/24" in told, "the first of the range that nobody has"
    assert told.endswith("1400\n")
    with pytest.raises(Conflict, match=r"10\.211\.0\.9 of network net is already in use"):
        run(shared, "true", networks=(choice,))
    with pytest.raises(InvalidOption, match="is not in network net"):
        run(shared, "true", networks=(NetworkChoice(network="net", ipv4="10.9.9.9"),))


def test_who_is_being_started_keeps_its_address(shared, net):
    """Between the lease and the shim's lock only the engine's own lock says so."""
    options = RunOptions(
        image="busybox", name="slow", network=NetworkMode.NETWORK,
        networks=(NetworkChoice(network="net"),),
    )  # fmt: skip
    made = shared.containers.create(options)
    record = shared.containers.find(made.container_id)
    document = Document.decode(record.document)
    with shared.containers.locked(record):
        (place,) = shared.networks.plan(record, document).endpoints
        assert place.addresses[0] not in run(shared, "ip -o a s eth0")
    assert place.addresses[0] in run(shared, "ip -o a s eth0"), "nobody starts it any more"


def test_a_network_that_is_used_up(shared):
    subnet = Subnet(subnet="10.211.0.0/30")
    shared.networks.create(NetworkOptions(name="net", subnets=(subnet,)))
    web(shared)
    with pytest.raises(Conflict, match="no address of network net is free"):
        run(shared, "true")
    shared.containers.remove("web", force=True)
    assert "10.211.0.2/30" in run(shared, "ip -o a s eth0"), "given back"


def test_a_subnet_that_somebody_else_has_meanwhile(shared, net):
    """A network whose subnet nobody chose moves; one with a chosen one is refused, with why."""
    if not IS_ROOT:
        pytest.skip("needs root: an account's networks are apart from the machine's")
    chosen = (Subnet(subnet="10.212.0.0/24"),)
    shared.networks.create(NetworkOptions(name="chosen", subnets=chosen))
    with Links() as links:
        links.add_bridge("oci-other")
        other = links.find("oci-other")
        try:
            for name in ("bridge", "net", "chosen"):
                (subnet, *_) = shared.networks.inspect(name).subnets
                links.add_address(other.index, ip_interface(f"{subnet.gateway}/24"))
            for name in ("bridge", "net"):
                (was, *_) = shared.networks.inspect(name).subnets
                assert "default via" in run(shared, "ip route", network=name)
                assert shared.networks.inspect(name).subnets[0] != was
            with pytest.raises(Conflict, match="a subnet of network chosen is in use") as refused:
                run(shared, "true", network="chosen")
            assert refused.value.why.endswith("is reached by oci-other")
        finally:
            links.delete(other.index)
    assert "default via" in run(shared, "ip route", network="chosen")


# -- several networks -----------------------------------------------------------------


def test_networks_are_apart(shared, net):
    shared.networks.create(NetworkOptions(name="other"))
    made = web(shared)
    address = made.places[0].addresses[0].partition("/")[0]
    told = run(shared, f"ping -c 1 -W 1 {address}; nc -w 1 {address} 80; nslookup web", "other")
    assert "0 packets received" in told
    assert "can't find web" in told


def test_connected_while_it_runs_and_before_it_does(shared, net):
    shared.networks.create(NetworkOptions(name="other"))
    web(shared)
    shared.networks.connect("web", NetworkChoice(network="other", aliases=("www",)))
    assert run(shared, "wget -qO- http://www/; wget -qO- http://web/", "other") == "web\nweb\n"
    with pytest.raises(InvalidState, match="is in network other already"):
        shared.networks.connect("web", NetworkChoice(network="other"))
    shared.containers.restart("web", grace_s=0)
    places = shared.containers.get("web").places
    assert [(each.network, each.inside) for each in places] == [("net", "eth0"), ("other", "eth1")]
    shared.networks.disconnect("web", "net")
    assert "default via" in shared_exec(shared, "web", "ip route")
    shared.networks.disconnect("web", "other")
    assert shared.containers.get("web").places == ()
    with pytest.raises(InvalidState, match="is not in network other"):
        shared.networks.disconnect("web", "other")
    shared.containers.stop("web", grace_s=0)
    shared.networks.connect("web", NetworkChoice(network="other"))
    assert [each.network for each in shared.containers.start("web").places] == ["other"]


def shared_exec(engine, name, script):
    from ocimagic.model.request import ExecOptions

    done = engine.containers.exec(name, ExecOptions(command=("sh", "-c", script)))
    return (done.stdout + done.stderr).decode()


def test_files_that_a_container_wrote_itself_are_left_to_it(shared, net, tmp_path):
    """Servers of its own choice stay; what is no text of ours, or too large, is not touched."""
    made = shared.containers.run("busybox", ["sleep", "60"], network="bridge", detach=True)
    name = made.container_id

    def sh(script):
        return shared.containers.exec(name, ExecOptions(command=("sh", "-c", script))).stdout

    sh(r"echo 'nameserver 192.0.2.1' > /etc/resolv.conf; printf '\377\376 x\n' >> /etc/hosts")
    shared.networks.connect(name, NetworkChoice(network="net"))
    assert sh("cat /etc/resolv.conf") == b"nameserver 192.0.2.1\n"
    hosts = sh("cat /etc/hosts")
    assert b"\xff\xfe x\n" in hosts
    addresses = [each.addresses[0].partition("/")[0] for each in
                 shared.containers.get(name).places]  # fmt: skip
    assert all(each.encode() in hosts for each in addresses)
    sh("head -c 3000000 /dev/zero > /etc/hosts")
    shared.networks.disconnect(name, "net")
    assert sh("wc -c < /etc/hosts") == b"3000000\n"


def test_who_has_no_network_of_its_own_cannot_be_connected(shared, net):
    shared.containers.run("busybox", ["sleep", "100"], network="host", name="host", detach=True)
    with pytest.raises(InvalidState, match="has no network of its own"):
        shared.networks.connect("host", NetworkChoice(network="net"))


# -- ports ----------------------------------------------------------------------------


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def test_a_published_port(shared, net):
    port = free_port()
    made = web(shared, ports=published_ports(f"{port}:80"))
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    assert run(shared, f"wget -qO- http://{net.subnets[0].gateway}:{port}/") == "web\n"
    (binding,) = shared.containers.ports("web")
    assert (binding.host_port, binding.container_port) == (port, "80/tcp")
    shared.containers.restart(made.name, grace_s=0)
    assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web"), "and it has it back"
    shared.containers.stop(made.name, grace_s=0)
    assert shared.containers.ports("web") == ()
    with closing(socket.create_server(("", port))):
        pass


def test_a_port_leads_to_where_the_container_is(shared, net):
    """Out of the network it led by, it leads by another; into one again, too."""
    shared.networks.create(NetworkOptions(name="other"))
    port = free_port()
    web(shared, ports=published_ports(f"{port}:80"))
    shared.networks.connect("web", NetworkChoice(network="other"))
    shared.networks.disconnect("web", "net")
    assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web")
    shared.networks.disconnect("web", "other")
    assert not fetch(f"http://127.0.0.1:{port}/")
    shared.networks.connect("web", NetworkChoice(network="net"))
    assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web")


def test_ports_that_are_free_are_found(shared, net):
    web(shared, ports=published_ports("80"), exposed_ports=("90/tcp", "53/udp"), publish_all=True)
    found = {each.container_port: each.host_port for each in shared.containers.ports("web")}
    assert set(found) == {"80/tcp", "90/tcp", "53/udp"}
    assert fetch(f"http://127.0.0.1:{found['80/tcp']}/") == "web"
    assert all(49153 <= each <= 65535 for each in found.values())


def test_one_of_a_range(shared, net):
    port = free_port() & ~7
    if port + 7 > 65535:
        port -= 8
    for name in ("one", "two"):
        web(shared, name, ports=published_ports(f"{port}-{port + 7}:80"))
    found = [shared.containers.ports(name)[0].host_port for name in ("one", "two")]
    assert found[0] < found[1] <= port + 7
    assert [fetch(f"http://127.0.0.1:{each}/") for each in found] == ["one", "two"]
    with pytest.raises(PortTaken, match=f":{found[1]}/tcp is already allocated"):
        web(shared, "three", ports=published_ports(f"{found[0]}-{found[1]}:80"))


def test_who_has_a_taken_port_is_said(shared, net):
    port = free_port()
    web(shared, ports=published_ports(f"{port}:80"))
    with pytest.raises(PortTaken, match="is already allocated") as refused:
        web(shared, "second", ports=published_ports(f"{port}:80"))
    assert refused.value.why == "container web has it"
    taken = free_port()
    with closing(socket.create_server(("", taken))):
        with pytest.raises(PortTaken) as refused:
            web(shared, "third", ports=published_ports(f"127.0.0.1:{taken}:80"))
        assert f"(process {os.getpid()})" in refused.value.why
    with pytest.raises(PortTaken, match="cannot be published") as refused:
        web(shared, "fourth", ports=published_ports("192.0.2.77:0:80".replace(":0:", f":{taken}:")))
    assert "is no address of this machine" in refused.value.why


def test_udp(shared, net):
    port = free_port()
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\n"
        "while True: s.sendto(*s.recvfrom(99))"
    )
    shared.containers.run(
        "busybox", ["/usr/bin/python3", "-I", "-c", script], network="net", detach=True,
        ports=published_ports(f"{port}:53/udp"), volumes=MACHINES_PROGRAMS,
    )  # fmt: skip
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(0.2)

        def answered():
            client.sendto(b"hello", ("127.0.0.1", port))
            with contextlib.suppress(OSError):
                return client.recvfrom(20) == (b"hello", ("127.0.0.1", port))

        assert until(answered)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", [("", 0, 80, "tcp")]),
        ("8080:80", [("", 8080, 80, "tcp")]),
        ("8080:80/udp", [("", 8080, 80, "udp")]),
        ("127.0.0.1:8080:80", [("127.0.0.1", 8080, 80, "tcp")]),
        ("127.0.0.1::80", [("127.0.0.1", 0, 80, "tcp")]),
        ("[::1]:8080:80", [("::1", 8080, 80, "tcp")]),
        ("8080-8081:80-81", [("", 8080, 80, "tcp"), ("", 8081, 81, "tcp")]),
        ("80-81", [("", 0, 80, "tcp"), ("", 0, 81, "tcp")]),
    ],
)
def test_ways_to_write_ports(text, wanted):
    found = published_ports(text)
    assert [(p.host_address, p.host_port, p.container_port, p.protocol) for p in found] == wanted


@pytest.mark.parametrize(
    "text",
    ["", "0:80", "80:0", "x:80", "80/", "80/icmp", "1-3:80-81", "a.b:1:2", "99999:1", "[::1:8:8"],
)
def test_ports_that_are_none(text):
    with pytest.raises(InvalidOption, match="-p"):
        published_ports(text)


# -- what there is ---------------------------------------------------------------------


def test_making_and_removing(shared, net):
    with pytest.raises(NameInUse, match="network with name net already exists"):
        shared.networks.create(NetworkOptions(name="net"))
    for name in ("bridge", "host", "none"):
        with pytest.raises(Conflict, match="already exists"):
            shared.networks.create(NetworkOptions(name=name))
        with pytest.raises(Conflict, match="pre-defined"):
            shared.networks.remove(name)
    subnet = Subnet(subnet=net.subnets[0].subnet)
    with pytest.raises(Conflict, match="overlaps"):
        shared.networks.create(NetworkOptions(name="twin", subnets=(subnet,)))
    with pytest.raises(InvalidOption, match="no network driver 'overlay'"):
        shared.networks.create(NetworkOptions(name="far", driver="overlay"))
    with pytest.raises(NetworkNotFound, match="network nett not found") as missing:
        shared.networks.inspect("nett")
    assert missing.value.hint == "did you mean net?"
    web(shared)
    with pytest.raises(Conflict, match="has active endpoints"):
        shared.networks.remove("net")
    assert shared.networks.prune() == ()
    shared.containers.remove("web", force=True)
    assert shared.networks.inspect(net.network_id[:10]).name == "net"
    assert shared.networks.prune() == ("net",)
    with pytest.raises(NetworkNotFound):
        run(shared, "true")


def test_all_that_docker_shows(shared, net):
    names = [each.name for each in shared.networks.all()]
    assert sorted(names) == ["bridge", "host", "net", "none"]
    assert len({each.network_id for each in shared.networks.all()}) == 4


# -- killed at bad moments --------------------------------------------------------------


def started_of(engine, made):
    state = engine.containers.directory(made.container_id) / "state.json"
    return Started.from_message(json.loads(state.read_bytes()))


def test_a_killed_shim_changes_nothing(shared, net):
    port = free_port()
    made = web(shared, ports=published_ports(f"{port}:80"))
    started = started_of(shared, made)
    for who in (started.shim, started.holder):
        who.send(signal.SIGKILL)
        assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web")
        time.sleep(0.2)
        assert run(shared, "wget -qO- http://web/") == "web\n"
    assert "web" in shared_exec(shared, "web", "nslookup web")


def test_what_a_lost_container_left_is_found(shared, net, table):
    port = free_port()
    made = web(shared, ports=published_ports(f"{port}:80"))
    kill_keepers(started_of(shared, made))
    assert shared.containers.get("web").exit.code == 255
    with Engine(shared.home.data, environment={}) as other:
        assert until(lambda: not other.networks.sweep())
        with Links() as links:
            assert not IS_ROOT or not [
                each for each in links.all() if each.name == bridge_of(net.network_id)
            ]
        assert not IS_ROOT or not table.rules("forward")
        assert not (shared.home.run / "neighbours.json").exists()
        other.containers.start("web")
        assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web")


def test_what_a_killed_shim_was_just_writing_is_taken_away(shared, net):
    """In either order: while somebody is in a network, and when nobody is."""
    web(shared)
    half = shared.home.run / ".neighbours.json.4711.0123abcd"
    for _ in range(2):
        half.write_bytes(b"{")
        with Engine(shared.home.data, environment={}):
            assert until(lambda: shared.networks.sweep() or not half.exists())
        assert not half.exists()
        if shared.containers.list():
            assert "web" in run(shared, "wget -qO- http://web/")
            shared.containers.remove("web", force=True)
            assert until(lambda: not list(shared.home.run.iterdir()))


def test_the_living_are_left_alone(shared, net):
    port = free_port()
    web(shared, ports=published_ports(f"{port}:80"))
    lost = web(shared, "lost")
    kill_keepers(started_of(shared, lost))
    shared.containers.get("lost")
    until(lambda: not shared.networks.sweep())
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    assert run(shared, "wget -qO- http://web/") == "web\n"


def test_started_again_by_its_policy(shared, net):
    port = free_port()
    script = "echo x >> /count; [ $(wc -l < /count) -lt 3 ] && exit 1; mkdir /www; echo $NAME > /www/index.html; exec httpd -f -p 80 -h /www"  # noqa: E501
    shared.containers.run(
        "busybox", ["sh", "-c", script], name="web", network="net", detach=True, env=("NAME=web",),
        restart=RestartPolicy(name=RestartName.ALWAYS), ports=published_ports(f"{port}:80"),
    )  # fmt: skip
    assert until(lambda: fetch(f"http://127.0.0.1:{port}/") == "web")
    assert run(shared, "wget -qO- http://web/") == "web\n"
    assert shared.containers.get("web").restart_count == 2


def test_many_at_once(shared, net):
    """Twenty processes start containers of two networks; all find the same one."""
    shared.networks.create(NetworkOptions(name="other"))
    web(shared)
    shared.networks.connect("web", NetworkChoice(network="other"))
    code = (
        "import sys; from ocimagic import Engine\n"
        "engine = Engine(sys.argv[1], environment={})\n"
        "done = engine.containers.run('busybox', ['wget', '-qO-', 'http://web/'],"
        " network=sys.argv[2], remove=True)\n"
        "sys.stdout.write(done.stdout.decode() + done.stderr.decode())\n"
    )
    import sys

    asked = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(shared.home.data), network], stdout=subprocess.PIPE
        )
        for network in ("net", "other") * 6
    ]
    assert [each.communicate(timeout=60)[0] for each in asked] == [b"web\n"] * len(asked)


def test_an_account_that_cannot_make_networks_is_told(shared, net, monkeypatch):
    monkeypatch.setattr(type(shared.containers.unpacker), "copies", True)
    with pytest.raises(HostLacks, match="this account cannot make networks"):
        run(shared, "true")


def test_another_runtime_gets_its_networks_as_well(shared, net):
    if not shutil.which("runc"):
        pytest.skip("runc is not installed")
    port = free_port()
    web(shared, runtime="runc", ports=published_ports(f"{port}:80"))
    assert fetch(f"http://127.0.0.1:{port}/") == "web"
    assert run(shared, "wget -qO- http://web/", runtime="runc") == "web\n"


def test_who_shares_a_network_shares_its_names(shared, net):
    web(shared)
    shared.containers.run(
        "busybox", ["sleep", "100"], name="side", network="container:web", detach=True
    )
    assert shared_exec(shared, "side", "wget -qO- http://127.0.0.1/; nslookup web").startswith(
        "web\n"
    )
    assert run(shared, "wget -qO- http://web/", "container:web") == "web\n"
