"""Options of the local volume driver by docker's own command line, here and with dockerd."""

import json
import os
import re

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def sh(docker, script, *options, check=True):
    words = ["run", "--rm", "--network", "none", *options, "busybox", "sh", "-c", script]
    return docker.call(*words, check=check)


def create(docker, *options, check=True):
    words = [word for each in options for word in ("-o", each)]
    return docker.call("volume", "create", *words, "vol", check=check)


def test_memory_of_a_size(docker):
    create(docker, "type=tmpfs", "device=tmpfs", "o=size=1m,uid=1000,mode=0750,nosuid")
    [document] = json.loads(docker.call("volume", "inspect", "vol"))
    assert document["Options"] == {
        "type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=0750,nosuid",
    }  # fmt: skip
    told = sh(docker, "stat -c '%u %a' /v; grep ' /v ' /proc/mounts; touch /v/x", "-v", "vol:/v")
    assert told.startswith("1000 750\n")
    for word in ("tmpfs /v tmpfs", "size=1024k", "nosuid", "uid=1000"):
        assert word in told
    assert sh(docker, "ls /v", "-v", "vol:/v") == "", "gone with the last container"
    code, said = sh(docker, "touch /v/x", "-v", "vol:/v:ro", check=False)
    assert code
    assert "Read-only file system" in said


def test_a_directory_of_the_machine(docker, tmp_path):
    (tmp_path / "here").write_text("hello\n")
    create(docker, "type=none", "o=bind", f"device={tmp_path}")
    assert sh(docker, "cat /v/here; echo more > /v/there", "-v", "vol:/v") == "hello"
    assert (tmp_path / "there").read_text() == "more\n"
    code, said = sh(docker, "touch /v/x", "-v", "vol:/v:ro", check=False)
    assert code
    assert "Read-only file system" in said
    docker.call("volume", "rm", "vol")
    assert (tmp_path / "here").exists()


def test_by_mount(docker, tmp_path):
    (tmp_path / "here").write_text("hello\n")
    options = ("type=none", "o=bind", f"device={tmp_path}")
    words = ",".join(["type=volume,src=vol,dst=/v", *(f"volume-opt={each}" for each in options)])
    assert sh(docker, "cat /v/here", "--mount", words) == "hello"
    [document] = json.loads(docker.call("volume", "inspect", "vol"))
    assert document["Options"]["device"] == str(tmp_path)
    # The volume is there, and is what it is.
    assert sh(docker, "cat /v/here", "-v", "vol:/v") == "hello"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("type=tmpfs",), 'missing required option: "device"'),
        (("device=tmpfs",), 'missing required option: "type"'),
        (("o=size=1m",), 'missing required option: "(device|type)"'),
        (("nosuch=1",), 'invalid option: "nosuch"'),
        (("size=1m",), "quota size requested but no quota support"),
    ],
)
def test_refused(docker, options, said):
    code, told = create(docker, *options, check=False)
    assert code
    assert re.search(said, told)
    assert docker.call("volume", "ls", "-q") == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("type=none", "o=bind", "device=/no/such/directory"), "no such file or directory"),
        (("type=nosuch", "device=x"), "no such device"),
        (("type=tmpfs", "device=tmpfs", "o=nosuch=1"), "invalid argument|unknown parameter"),
    ],
)
def test_what_cannot_be_mounted_is_said_when_it_would_be(docker, options, said):
    create(docker, *options)
    code, told = sh(docker, "true", "-v", "vol:/v", check=False)
    assert code in (125, 127), "docker's own client takes a missing directory for a command"
    assert re.search(said, told.lower())
