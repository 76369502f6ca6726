"""Links, docker's way from before networks, by docker's own command line, here and with dockerd."""

import json
import os
import re

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LINK = "{{json .HostConfig.Links}}"
ADDRESS = "{{.NetworkSettings.Networks.bridge.IPAddress}}"
PORTS = ("80", "81", "82", "53/udp", "53", "9000", "9001")


def sleeper(docker, name, *options):
    docker.call("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")


def address_of(docker, name):
    return docker.call("inspect", "-f", ADDRESS, name).strip()


def hosts(docker, name):
    """Return what a container knows besides itself, by what it calls it."""
    lines = docker.call("exec", name, "cat", "/etc/hosts").splitlines()
    return {names[0]: (address, names) for address, *names in map(str.split, lines)}


def test_a_linked_container_is_told_of(docker):
    """Its name, its address, its ports and its environment, but for what every container has."""
    exposed = [word for port in PORTS for word in ("--expose", port)]
    sleeper(docker, "some-db", *exposed, "-h", "dbhost", "-e", "MODE=fast", "-e", "X=a=b")
    address = address_of(docker, "some-db")
    said = docker.call("run", "--rm", "--name", "web", "--link", "some-db:my-db",
                       "-e", "MY_DB_PROTO=mine", "busybox", "sh", "-c",
                       "env; echo; cat /etc/hosts; ping -c 1 my-db")  # fmt: skip
    env, _, text = said.partition("\n\n")
    told = dict(line.split("=", 1) for line in env.splitlines() if line.startswith("MY_DB_"))
    assert told.pop("MY_DB_PROTO") == "mine"
    assert told.pop("MY_DB_NAME") == "/web/my-db"
    assert told.pop("MY_DB_ENV_MODE") == "fast"
    assert told.pop("MY_DB_ENV_X") == "a=b"
    assert told.pop("MY_DB_PORT") == f"tcp://{address}:53"
    assert told.pop("MY_DB_PORT_80_TCP_START") == f"tcp://{address}:80"
    assert told.pop("MY_DB_PORT_80_TCP_PORT_START") == "80"
    assert told.pop("MY_DB_PORT_80_TCP_END") == f"tcp://{address}:82"
    assert told.pop("MY_DB_PORT_80_TCP_PORT_END") == "82"
    for port in PORTS:
        number, _, protocol = port.partition("/")
        protocol = protocol or "tcp"
        name = f"MY_DB_PORT_{number}_{protocol.upper()}"
        assert told.pop(name) == f"{protocol}://{address}:{number}"
        assert told.pop(f"{name}_ADDR") == address
        assert told.pop(f"{name}_PORT") == number
        assert told.pop(f"{name}_PROTO") == protocol
    assert told == {}
    assert re.search(rf"^{re.escape(address)}\tmy-db dbhost some-db$", text, re.MULTILINE)
    assert "1 packets received" in text


def test_a_link_in_inspect_and_its_removal(docker):
    sleeper(docker, "one")
    sleeper(docker, "two")
    sleeper(docker, "web", "--link", "one", "--link", "two:second")
    links = json.loads(docker.call("inspect", "-f", LINK, "web"))
    assert sorted(links) == ["/one:/web/one", "/two:/web/second"]
    assert "one" in hosts(docker, "web")
    env = json.loads(docker.call("inspect", "-f", "{{json .Config.Env}}", "web"))
    assert not [each for each in env if each.startswith(("ONE_", "SECOND_"))]
    assert "SECOND_NAME=/web/second" in docker.call("exec", "web", "env")
    docker.call("rename", "two", "zwei")
    docker.call("rm", "--link", "web/one")
    assert docker.call("inspect", "-f", LINK, "web").strip() == '["/zwei:/web/second"]'
    assert "one" not in hosts(docker, "web")
    docker.call("rm", "--link", "web/second")
    assert docker.call("inspect", "-f", LINK, "web").strip() == "null"
    code, said = docker.call("rm", "--link", "web/second", check=False)
    assert code
    assert "No such container: web/second" in said
    code, said = docker.call("rm", "--link", "zwei", check=False)
    assert code
    assert "cannot remove the default link name" in said
    assert sorted(docker.call("ps", "--format", "{{.Names}}").split()) == ["one", "web", "zwei"]


def test_who_is_linked_starts_first_and_is_found_again(docker):
    sleeper(docker, "db")
    sleeper(docker, "web", "--link", "db")
    docker.call("stop", "-t", "0", "web", "db")
    code, said = docker.call("start", "web", check=False)
    assert code
    assert "Cannot link to a non running container: /db AS /web/db" in said
    sleeper(docker, "other")  # perhaps with the address that was db's
    docker.call("start", "db", "web")
    assert hosts(docker, "web")["db"][0] == address_of(docker, "db")
    assert docker.call("exec", "web", "env").count("DB_NAME=") == 1
    docker.call("stop", "-t", "0", "db", "other")
    sleeper(docker, "third")
    docker.call("start", "db")  # web runs on, and is told
    assert hosts(docker, "web")["db"][0] == address_of(docker, "db")


def test_what_cannot_be_linked(docker):
    docker.call("network", "create", "net")
    sleeper(docker, "apart", "--network", "net")
    create = ("create", "--name", "web")
    for words, reason in (
        (("--link", "nobody"), "could not get container for nobody"),
        (("--link", "apart", "--network", "host"), "host type networking can't be used with links"),
        (("--link", "apart", "--network", "container:apart"), "can't be used with links"),
        (("--link", "a:b:c"), "bad format for links: a:b:c"),
    ):
        code, said = docker.call(*create, *words, "busybox", check=False)
        assert code, words
        assert re.search(reason, said)
    docker.call(*create, "--link", "apart", "busybox", "true")
    code, said = docker.call("start", "web", check=False)
    assert code
    assert "Cannot link to /apart, as it does not belong to the default network" in said


def test_a_link_in_a_network_of_ones_own_is_a_name(docker):
    """No variables and no line in /etc/hosts: its name server knows it, for this one only."""
    docker.call("network", "create", "net")
    sleeper(docker, "db", "--network", "net")
    sleeper(docker, "web", "--network", "net", "--link", "db:data")
    assert docker.call("inspect", "-f", LINK, "web").strip() == "null"
    networks = json.loads(docker.call("inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"))
    assert networks["net"]["Links"] == ["db:data"]
    assert "1 packets received" in docker.call("exec", "web", "ping", "-c", "1", "data")
    assert "data" not in hosts(docker, "web")
    assert "DATA_" not in docker.call("exec", "web", "env")
