"""A host that is itself a container of ours: docker's default filter and capabilities, no cgroups.

Python and the packages come from this machine, read-only.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

import ocimagic
from ocimagic.model.options import TmpfsMount, VolumeMount

# What the programs that run there begin with: a build context, and what they find out and hear.
PRELUDE = r"""
import glob, io, json, os, sys, tarfile
from ocimagic import Engine
from ocimagic.errors import OcimagicError
from ocimagic.model.event import Notice
from ocimagic.model.options import BuildOptions, VolumeMount
from ocimagic.model.request import CommitOptions, ExecOptions

PROGRAMS = "sh sleep cat echo ls mount id rm mkdir chown chmod chroot kill ps tty stat pwd env test"
found, notices = {}, []
context = "/data/context"
os.makedirs(f"{context}/bin")
with open("/busybox", "rb") as file, open(f"{context}/bin/busybox", "wb") as out:
    out.write(file.read())
os.chmod(f"{context}/bin/busybox", 0o755)
for name in PROGRAMS.split():
    os.symlink("busybox", f"{context}/bin/{name}")
os.mkdir(f"{context}/etc")
open(f"{context}/etc/passwd", "w").write("root:x:0:0::/:/bin/sh\nann:x:33:33::/home:/bin/sh\n")
open("/data/canary", "w").write("secret")

def explained(engine, name):
    # What explain tells of a container: its steps, its facts and what it lacks.
    from ocimagic.render.explain import explain_html, explain_text
    told = engine.explainer.explain(name)
    assert explain_text(told) and explain_html(told)
    return ([each.title for each in told.steps],
            [list(fact) for each in told.steps for fact in each.facts], told.lacks)

def hear(event):
    if isinstance(event, Notice):
        notices.append(event.text)

def sleepers():
    said = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = open(f"/proc/{name}/cmdline").read().split("\0")
            state = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if "sleep" in words and state != "Z":
            said.append(words)
    return said

def outcome(done):
    found["isolated"] = done.isolated
    return (done.stdout + done.stderr).decode(), done.exit_code
"""
PACKAGES = str(Path(ocimagic.__file__).parents[1])
CLONE = Path(__file__).parents[2]


def inside(shared, words, *more, tmpfs=(), **options):
    """Run this Python with these words in such a container; return what it wrote."""
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    if os.geteuid():
        pytest.skip("needs root")
    wanted = dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, PACKAGES))
    volumes = [
        VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
        for each in wanted
        if os.path.isdir(each)
    ]
    volumes.append(VolumeMount(source=shutil.which("busybox"), target="/busybox", read_only=True))
    paths = [each for each in sys.path if each and os.path.isdir(each)]
    done = shared.containers.run(
        "busybox",
        [sys.executable, *words],
        network="none",
        remove=True,
        init=True,  # its first process takes in what was orphaned, as that of a host does
        volumes=(*volumes, *more),
        tmpfs=(TmpfsMount(target="/data", options=("mode=1777", "exec", "dev")), *tmpfs),
        env=(
            "OCIMAGIC_ROOT=/data/root",
            "HOME=/data",
            "TMPDIR=/data",
            f"PYTHONPATH={os.pathsep.join([PACKAGES, *paths])}",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        ),
        **options,
    )
    assert done.exit_code == 0, (done.stdout + done.stderr).decode()[-6000:]
    return done.stdout.decode()
