"""Requests of clients other than to create; the bodies are those of docker's 20.10 and 28.2."""

import base64
import json
import random
from urllib.parse import parse_qs

import pytest
from test_wire_create import STRANGE, places, refused_or_read, with_other

from ocimagic.errors import InvalidOption, NotBuiltYet, OcimagicError
from ocimagic.model.cache import CacheFrom
from ocimagic.model.network import NetworkChoice, NetworkOptions, Subnet
from ocimagic.model.options import BuildOptions, NetworkMode
from ocimagic.model.policy import RestartName, RestartPolicy
from ocimagic.model.request import CommitOptions, ExecOptions, UpdateOptions
from ocimagic.model.resources import ResourceOptions, Ulimit
from ocimagic.model.volume import VolumeOptions
from ocimagic.spec.platform import Platform
from ocimagic.wire.asked import (
    Login,
    auth,
    commit,
    container_update,
    exec_create,
    filters,
    login,
    registry_config,
    volume_create,
)
from ocimagic.wire.asked_build import build
from ocimagic.wire.create_network import network_connect, network_create
from ocimagic.wire.reading import Query

EXEC = {"User": "3", "Privileged": True, "Tty": False, "AttachStdin": False, "AttachStderr": False,
        "AttachStdout": False, "Detach": True, "DetachKeys": "", "Env": ["A=1"],
        "WorkingDir": "/x", "Cmd": ["ls", "-l"]}  # fmt: skip
UPDATE = {"CpuShares": 0, "Memory": 67108864, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
          "BlkioWeightDevice": None, "BlkioDeviceReadBps": None, "CpuPeriod": 0, "CpuQuota": 0,
          "CpusetCpus": "", "CpusetMems": "", "Devices": None, "DeviceCgroupRules": None,
          "DeviceRequests": None, "KernelMemory": 0, "KernelMemoryTCP": 0, "MemoryReservation": 0,
          "MemorySwap": 0, "MemorySwappiness": None, "OomKillDisable": None, "PidsLimit": None,
          "Ulimits": None, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}  # fmt: skip
NETWORK = {"CheckDuplicate": True, "Driver": "bridge", "Scope": "", "EnableIPv6": True,
           "IPAM": {"Driver": "default", "Options": {}, "Config": [
               {"Subnet": "10.1.0.0/16", "IPRange": "10.1.2.0/24", "Gateway": "10.1.0.1",
                "AuxiliaryAddresses": {"a": "10.1.0.5"}}]},
           "Internal": True, "Attachable": True, "Ingress": False, "ConfigOnly": False,
           "ConfigFrom": None, "Options": {"com.docker.network.driver.mtu": "1400"},
           "Labels": {"x": "y"}, "Name": "net"}  # fmt: skip
CONNECT = {"Container": "web", "EndpointConfig": {
    "IPAMConfig": {"IPv4Address": "10.1.0.9"}, "Links": None, "Aliases": ["a"], "NetworkID": "",
    "MacAddress": "", "DriverOpts": {}, "GwPriority": 0, "IPAddress": ""}}  # fmt: skip
VOLUME = {"Driver": "local", "DriverOpts": {"device": "tmpfs", "type": "tmpfs"},
          "Labels": {"a": "b"}, "Name": "v"}  # fmt: skip
BUILD = (
    "buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&cachefrom=%5B%22x%22%5D"
    "&dockerfile=Dockerfile&extrahosts=a%3A1.2.3.4&extrahosts=b%3A1.2.3.5&forcerm=1"
    "&labels=%7B%22l%22%3A%221%22%7D&networkmode=host&nocache=1&platform=linux%2Farm64&pull=1"
    "&shmsize=1048576&t=a%3A1&t=b&target=t"
    "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A6%2C%22Soft%22%3A5%7D%5D&version=1"
)


def query(text):
    return Query(parse_qs(text))


def header(document, *, padding=True):
    text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    return text if padding else text.rstrip("=")


def test_exec():
    assert exec_create(EXEC) == ExecOptions(
        command=("ls", "-l"), env=("A=1",), working_dir="/x", user="3", privileged=True, detach=True
    )
    asked = {"Cmd": "ls", "AttachStdin": True, "Tty": True, "ConsoleSize": [24, 80], "Env": None}
    assert exec_create(asked) == ExecOptions(
        command=("ls",), interactive=True, tty=True, console_size=(24, 80)
    )
    for body in ({}, {"Cmd": []}, {"Cmd": None}, None):
        with pytest.raises(InvalidOption, match="No exec command specified"):
            exec_create(body)


def test_update():
    assert container_update(UPDATE) == UpdateOptions(
        resources=ResourceOptions(memory_bytes=64 << 20),
        restart=RestartPolicy(name=RestartName.ALWAYS),
    )
    assert container_update({"RestartPolicy": {"Name": ""}}) == UpdateOptions()
    assert container_update({"PidsLimit": 0}).resources.pids_limit == -1


def test_network_create():
    subnet = Subnet(subnet="10.1.0.0/16", gateway="10.1.0.1", ip_range="10.1.2.0/24",
                    reserved={"a": "10.1.0.5"})  # fmt: skip
    assert network_create(NETWORK) == NetworkOptions(
        name="net",
        subnets=(subnet,),
        ipv6=True,
        internal=True,
        attachable=True,
        mtu=1400,
        labels={"x": "y"},
        options={"com.docker.network.driver.mtu": "1400"},
    )
    assert network_create({"Name": "n", "IPAM": {"Config": [{}]}}) == NetworkOptions(name="n")
    for more in ({"ConfigOnly": True}, {"ConfigFrom": {"Network": "x"}}, {"EnableIPv4": False}):
        with pytest.raises(NotBuiltYet):
            network_create({"Name": "n", **more})


def test_network_connect():
    place = NetworkChoice(network="net", aliases=("a",), ipv4="10.1.0.9")
    assert network_connect(CONNECT, "net") == ("web", place)
    assert network_connect({"Container": "web"}, "n") == ("web", NetworkChoice(network="n"))
    with pytest.raises(InvalidOption, match="no container"):
        network_connect({}, "n")
    # A link by its own name is what the names of a network do anyway; it is shown again.
    same = {"Container": "web", "EndpointConfig": {"Links": ["db", "db:db"]}}
    linked = NetworkChoice(network="n", links=(("db", "db"), ("db", "db")))
    assert network_connect(same, "n")[1] == linked
    with pytest.raises(InvalidOption, match="bad format for links"):
        network_connect({"Container": "web", "EndpointConfig": {"Links": [":other"]}}, "n")


def test_volume_create():
    options = {"type": "tmpfs", "device": "tmpfs"}
    assert volume_create(VOLUME) == VolumeOptions(name="v", labels={"a": "b"}, options=options)
    assert volume_create({"Driver": "local", "DriverOpts": {}, "Name": ""}) == VolumeOptions()
    assert volume_create(None) == VolumeOptions()


def test_commit():
    text = "author=me&changes=CMD+x&changes=ENV+A=1&comment=msg&container=web&repo=a/x&tag=1"
    asked = CommitOptions(
        reference="a/x:1", author="me", message="msg", changes=("CMD x", "ENV A=1")
    )
    assert commit(query(text), None) == ("web", asked)
    assert commit(query("container=web&pause=0&repo=&tag="), None) == (
        "web",
        CommitOptions(pause=False),
    )
    for bad in ("", "container=web&tag=1"):
        with pytest.raises(InvalidOption):
            commit(query(bad), None)


def test_a_config_that_is_committed_is_lines_of_a_dockerfile():
    config = {"Cmd": ["a", 'b "c"'], "Env": ['A=1 $x "\\'], "User": "me", "WorkingDir": "/w",
              "Labels": {"l": "v"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}},
              "Entrypoint": None, "Hostname": "ignored"}  # fmt: skip
    _, asked = commit(query("container=web&changes=USER+you"), config)
    assert asked.changes == (
        'CMD ["a", "b \\"c\\""]',
        'ENV A="1 \\$x \\"\\\\"',
        'LABEL "l"="v"',
        "USER me",
        "WORKDIR /w",
        "EXPOSE 80/tcp",
        'VOLUME ["/v"]',
        "USER you",
    )
    with pytest.raises(NotBuiltYet, match="several lines"):
        commit(query("container=web"), {"Env": ["A=1\n2"]})


def test_filters():
    assert filters("") == {}
    assert filters('{"label":{"a=b":true,"c":false},"status":["running","exited"]}') == {
        "label": ("a=b", "c"),
        "status": ("running", "exited"),
    }
    assert filters('{"dangling":{"true":true},"Name":null}') == {"dangling": ("true",), "Name": ()}
    for bad in ("x", "[]", "3", '{"a":"b"}', '{"a":{"b":1}}', '{"a":[1]}', "[" * 100_000):
        with pytest.raises(InvalidOption, match="invalid filter"):
            filters(bad)


def test_build():
    assert build(query(BUILD)) == BuildOptions(
        dockerfile=None,
        context="-",
        is_sent=True,
        tags=("a:1", "b"),
        build_args={"A": "1"},
        labels={"l": "1"},
        target="t",
        platforms=(Platform("linux", "arm64"),),
        no_cache=True,
        pull=True,
        network=NetworkMode.HOST,
        extra_hosts=(("a", "1.2.3.4"), ("b", "1.2.3.5")),
        shm_size_bytes=1 << 20,
        ulimits=(Ulimit(name="nofile", soft=5, hard=6),),
        cache_from=(CacheFrom(kind="registry", place="x"),),
    )
    plain = BuildOptions(dockerfile=None, context="-", is_sent=True)
    assert build(query("q=1&rm=0&version=1&memory=0&memswap=-1&isolation=&squash=0")) == plain
    assert build(query("remote=https://x.org/a.git&squash=true")) == BuildOptions(
        dockerfile=None, context="https://x.org/a.git", squash=True
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("memory=5", NotBuiltYet),
        ("cpusetcpus=0", NotBuiltYet),
        ("isolation=hyperv", NotBuiltYet),
        ('securityopt=["seccomp=unconfined"]', NotBuiltYet),
        ("memory=x", InvalidOption),
        ("shmsize=-1", InvalidOption),
        ("shmsize=" + "9" * 5000, InvalidOption),
        ("buildargs=x", InvalidOption),
        ("buildargs=[]", InvalidOption),
        ('buildargs={"A":1}', InvalidOption),
        ("labels=3", InvalidOption),
        ("networkmode=mine", InvalidOption),
        ("networkmode=container:a", InvalidOption),
        ('ulimits={"a":1}', InvalidOption),
        ("cachefrom=x", InvalidOption),
        ("extrahosts=x", InvalidOption),
        ("t=%00", InvalidOption),
    ],
)
def test_builds_that_are_refused(text, kind):
    with pytest.raises(kind):
        build(query(text))


def test_logins():
    given = {"username": "kim", "password": "pa:ss", "serveraddress": "x.org"}
    kim = Login(username="kim", password="pa:ss", server="x.org")
    assert auth(header(given)) == auth(header(given, padding=False)) == login(given) == kim
    # Letters in which the two alphabets differ.
    mark = header({"username": "kim", "password": "\u00fb\u00ff???"})
    assert auth(mark.replace("-", "+").replace("_", "/")) == auth(mark)
    assert not auth("e30=")
    assert not auth("")
    assert not auth(header(None))
    token = auth(header({"identitytoken": "t", "serveraddress": "x.org"}))
    assert (bool(token), token.identity_token) == (True, "t")
    both = base64.b64encode(b"kim:pa:ss").decode()
    assert auth(header({"auth": both, "serveraddress": "x.org"})) == kim
    assert "pa:ss" not in repr(kim)
    for bad in ("!", "e", header([]), header({"username": 3}), header({"auth": "!"}), "e30" * 9):
        with pytest.raises(InvalidOption):
            auth(bad)


def test_logins_of_a_build():
    given = {"x.org": {"username": "kim", "password": "p"}, "y.org": None}
    assert registry_config(header(given)) == {
        "x.org": Login(username="kim", password="p", server="x.org"),
        "y.org": Login(server="y.org"),
    }
    assert registry_config("e30=") == {}
    with pytest.raises(InvalidOption):
        registry_config(header({"x.org": "kim"}))


READERS = (
    (exec_create, EXEC),
    (container_update, UPDATE),
    (network_create, NETWORK),
    (lambda body: network_connect(body, "n"), CONNECT),
    (volume_create, VOLUME),
    (lambda body: commit(query("container=web"), body), {"Cmd": ["a"], "Env": ["a=b"]}),
    (login, {"username": "a", "password": "b", "auth": "eA=="}),
)


@pytest.mark.parametrize("number", range(len(READERS)))
def test_any_other_value_anywhere_is_read_or_refused(number):
    read, body = READERS[number]
    for place in places(body):
        for value in STRANGE:
            refused_or_read(read, with_other(body, place, value))


def test_any_query_is_read_or_refused():
    dice = random.Random(1)
    names = [*parse_qs(BUILD), "memory", "outputs", "remote", "securityopt", "squash", "isolation"]
    values = [*map(json.dumps, STRANGE[:5]), "", "x", "[]", "{}", '["a"]', '{"a":null}', "\ud800",
              "9" * 40, "type=local", "1.5", "[[]]", '[{"Name":1}]']  # fmt: skip
    for _ in range(3000):
        given = {name: [dice.choice(values)] for name in dice.sample(names, 3)}
        try:
            build(Query(given))
        except OcimagicError as err:
            refusal = err
            assert refusal.http_status in (400, 501)
