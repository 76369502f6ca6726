"""Hosts that are containers themselves, emulated in containers of our own engine.

A notebook service gives a container with docker's default filter and capabilities, as root (like
Colab) or as uid 1000 (like Binder); those services were not reached, so these are emulations.
Python comes from this machine, read-only.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from ocimagic.model.isolation import Mode, Probe, choose
from ocimagic.model.options import VolumeMount
from ocimagic.shim import probing

PACKAGES = str(Path(probing.__file__).parents[2])


def probe_inside(shared, **options: object) -> Probe:
    """Run the probe in a container of our own."""
    wanted = dict.fromkeys(("/usr", "/lib", "/lib64", sys.base_prefix, PACKAGES))
    volumes = tuple(
        VolumeMount(source=os.path.realpath(each), target=each, read_only=True)
        for each in wanted
        if os.path.isdir(each)
    )
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", "-c", probing.START, PACKAGES, "/tmp"]
    done = shared.containers.run(
        "busybox", command, network="none", remove=True, volumes=volumes, **options
    )
    assert done.exit_code == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    return Probe(**(found | {"cgroups": tuple(found["cgroups"])}))


def test_root_with_dockers_defaults_may_only_chroot(shared) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: an ordinary user's container has a user namespace already")
    found = probe_inside(shared)
    assert not found.mount_namespace
    assert not found.user_namespace
    assert found.chroot
    assert found.overlay["/tmp"]
    assert choose(found) is Mode.CHROOT


def test_an_ordinary_user_with_dockers_defaults_may_only_look(shared) -> None:
    found = probe_inside(shared, user="1000:1000")
    assert not found.user_namespace
    assert not found.chroot
    assert found.trace
    assert choose(found) is (Mode.TRACED if found.proot else Mode.LOOK)


def test_without_any_capability_root_may_not_even_chroot(shared) -> None:
    found = probe_inside(shared, cap_drop=("ALL",), no_new_privileges=True)
    assert not found.chroot
    assert found.seccomp
    assert choose(found) in {Mode.LOOK, Mode.TRACED}
