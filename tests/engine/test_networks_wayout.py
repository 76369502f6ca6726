"""slirp4netns as the way out of an account's networks.

Root without capabilities is an ordinary account that may open /dev/net/tun.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# What is done there: in a container of the image, by the way that is asked for.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from ocimagic import Engine
from ocimagic.model.options import VolumeMount
from ocimagic.model.request import ExecOptions

PROGRAMS = tuple(
    VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
    for each in ("/usr", "/lib", "/lib64") if os.path.exists(each)
)
root, archive, way = sys.argv[1:]

def running(room):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if (entry / "comm").read_text() == "slirp4netns\\n":
                if str(room).encode() in Path("/proc", parent, "cmdline").read_bytes():
                    found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found

def until(is_so):
    deadline = time.monotonic() + 10
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()

CONNECT = (
    "import socket, sys; s = socket.socket(); s.settimeout(5)\\n"
    "print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))"
)

import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.connect(("192.0.2.1", 9))
    me = asking.getsockname()[0]
server = socket.create_server(("", 0))
closed = socket.create_server(("", 0)); shut = closed.getsockname()[1]; closed.close()

with Engine(root, environment={"OCIMAGIC_WAY_OUT": way}) as engine:
    with open(archive, "rb") as file:
        engine.images.load(file)
    image = str(engine.images.list()[0].image_id)
    def keep(name):
        engine.containers.run(image, ["sleep", "100"], name=name, detach=True, volumes=PROGRAMS)
    def connect(name, port):
        command = ("/usr/bin/python3", "-I", "-c", CONNECT, me, str(port))
        return int(engine.containers.exec(name, ExecOptions(command=command)).stdout)
    keep("one")
    said = {"ids": engine.containers.launcher.ids, "network": engine.containers.get("one").network}
    said["open"] = connect("one", server.getsockname()[1])
    said["refused"] = connect("one", shut)
    keep("two")
    said["programs"] = len(running(engine.home.run))
    engine.containers.remove("one", force=True)
    said["stays for the other"] = connect("two", server.getsockname()[1])
    for pid in running(engine.home.run):
        os.kill(pid, signal.SIGKILL)
    keep("three")
    said["after it was killed"] = connect("two", server.getsockname()[1])
    for name in ("two", "three"):
        engine.containers.remove(name, force=True)
    said["gone with the last"] = until(lambda: not running(engine.home.run))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def archive(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    with path.open("wb") as file:
        shared.images.save(["busybox"], file.write)
    return path


def said_by(way, archive, root):
    for program in ("slirp4netns", "setpriv"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    bare = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]
    done = subprocess.run(
        [*bare, sys.executable, "-c", SCRIPT, str(root), str(archive), way],
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_slirp4netns_leads_out_and_goes_with_the_last_container(archive, tmp_path):
    said = said_by("slirp4netns", archive, tmp_path / "root")
    assert said == {
        "ids": 1,
        "network": "bridge",
        "open": 0,
        "refused": 111,  # at once: a relay is there first, and breaks off
        "programs": 1,
        "stays for the other": 0,
        "after it was killed": 0,
        "gone with the last": True,
    }


def test_a_way_that_cannot_be_used_is_refused_in_words(archive, tmp_path):
    bare = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all", "env", "PATH=/nowhere"]
    script = (
        "import sys; from ocimagic import Engine; from ocimagic.errors import HostLacks\n"
        "with Engine(sys.argv[1], environment={'OCIMAGIC_WAY_OUT': 'slirp4netns'}) as engine:\n"
        "    try: engine.networks.way_out\n"
        "    except HostLacks as err: print(err.why)\n"
    )
    done = subprocess.run(
        [*bare, sys.executable, "-c", script, str(tmp_path / "root")],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == b"slirp4netns is not installed\n", done.stderr.decode()
