"""An engine in a container that lets it make namespaces, but no /proc of its own.

As in a pod of Kubernetes without a seccomp profile: uid 1000, parts of /proc hidden.  Python and
the packages come from this machine, read-only; the data root is on a tmpfs.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import ocimagic
from ocimagic.model.options import SecurityOptions, TmpfsMount, VolumeMount

PACKAGES = str(Path(ocimagic.__file__).parents[1])
PROGRAM = """
import json, os, sys, threading
sys.path[:0] = sys.argv[1:]
from ocimagic import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.model.request import ExecOptions

found = {}
os.makedirs("/data/context/bin")
with open("/busybox", "rb") as file, open("/data/context/bin/busybox", "wb") as out:
    out.write(file.read())
os.chmod("/data/context/bin/busybox", 0o755)
for name in ("sh", "sleep", "cat", "echo", "ps", "mount", "id"):
    os.symlink("busybox", f"/data/context/bin/{name}")
with Engine("/data/root", environment={"HOME": "/data"}) as engine:
    info = engine.system.info()
    found["mode"], found["lacks"] = info.isolation, info.lacks
    text = "FROM scratch\\nCOPY bin /bin\\nRUN echo built > /made\\n"
    engine.images.build(BuildOptions(context="/data/context", dockerfile=text, tags=("box",)))
    run = lambda *words, **more: engine.containers.run("box", words, network="none", **more)
    done = run("sh", "-c", "cat /made; id -u; cat /proc/self/comm; exit 3", remove=True)
    found["output"], found["code"] = done.stdout.decode(), done.exit_code
    # What a first process leaves behind ends with it.
    script = "sleep 77 & sh -c 'sleep 78 & sleep 79' & sleep 0.2; exit 4"
    found["left by"] = run("sh", "-c", script, remove=True).exit_code
    def sleepers():
        said = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                words = open(f"/proc/{name}/cmdline").read().split("\\0")
                state = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if words[0] == "sleep" and state != "Z":
                said.append(words[1])
        return said
    found["sleeping"] = sleepers()
    run("sleep", "100", name="kept", detach=True)
    done = engine.containers.exec("kept", ExecOptions(command=("echo", "inside")))
    found["exec"] = done.stdout.decode()
    found["top"] = len(engine.containers.top("kept").rows)
    found["stopped"] = engine.containers.stop("kept", grace_s=0).code
    engine.containers.remove("kept")
print(json.dumps(found))
"""


def inside(shared, **options):
    """Run the program in a container of ours and return what it found."""
    wanted = dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, PACKAGES))
    volumes = [
        VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
        for each in wanted
        if os.path.isdir(each)
    ]
    volumes.append(VolumeMount(source=shutil.which("busybox"), target="/busybox", read_only=True))
    paths = [each for each in sys.path if each and os.path.isdir(each)]
    words = [os.path.realpath(sys.executable), "-c", PROGRAM, PACKAGES, *paths]
    done = shared.containers.run(
        "busybox",
        words,
        network="none",
        remove=True,
        volumes=tuple(volumes),
        tmpfs=(TmpfsMount(target="/data", options=("mode=1777", "exec")),),
        security=SecurityOptions(seccomp="unconfined"),
        **options,
    )
    assert done.exit_code == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.slow
def test_containers_in_a_container(shared):
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    found = inside(shared, user="1000:1000")
    assert found["mode"] == "nested"
    assert any("see the processes" in each for each in found["lacks"])
    assert (found["output"], found["code"]) == ("built\n0\ncat\n", 3)
    assert found["left by"] == 4
    assert found["sleeping"] == []
    assert found["exec"] == "inside\n"
    assert found["top"] == 1
    assert found["stopped"] == 143, "no pid namespace: SIGTERM is not ignored"
