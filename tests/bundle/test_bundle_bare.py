"""A bundle for a machine that lets nobody mount or make namespaces: less, and said."""

import pytest

from ocimagic.bundle.checks import NOT_ISOLATED, check_options, warnings
from ocimagic.bundle.convert import runtime_config
from ocimagic.bundle.place import Place
from ocimagic.errors import HostLacks
from ocimagic.model.options import NetworkMode, RunOptions, TmpfsMount, VolumeMount
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.runtime import CONFINE_ANNOTATION

BARE = Place(machine="x86_64", rootless=False, hostname="box", shares_processes=True, bare=True)


def run(**fields):
    return RunOptions(image="x", command=("true",), **fields)


def test_it_has_nothing_to_mount_and_no_way_out():
    found = runtime_config(ContainerConfig(), run(), BARE)
    assert (found.namespaces, found.mounts) == ({}, ())
    assert (found.masked_paths, found.readonly_paths, found.hostname) == ((), (), "")
    assert found.process.no_new_privileges
    assert CONFINE_ANNOTATION in found.annotations
    assert found.seccomp is not None


@pytest.mark.parametrize("more", [{}, {"privileged": True}, {"cap_add": ("ALL",)}])
def test_no_privilege_gives_a_way_out(more):
    held = runtime_config(ContainerConfig(), run(**more), BARE).process.capabilities
    names = {name for each in held.values() for name in each}
    assert "CAP_CHOWN" in names
    assert names.isdisjoint({"CAP_SYS_CHROOT", "CAP_MKNOD"})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"network": NetworkMode.NONE}, "--network"),
        ({"network": NetworkMode.CONTAINER, "network_container": "web"}, "--network"),
        ({"volumes": (VolumeMount(source="/a", target="/b"),)}, "--volume"),
        ({"tmpfs": (TmpfsMount(target="/b"),)}, "--tmpfs"),
        ({"read_only": True}, "--read-only"),
        ({"hostname": "moon"}, "--hostname"),
        ({"pid": "container:web"}, "--pid"),
        ({"ipc": "private"}, "--ipc"),
    ],
)
def test_what_cannot_be_had_is_refused(more, said):
    with pytest.raises(HostLacks, match=said) as caught:
        check_options(run(**more), BARE)
    assert "chroot" in caught.value.why


def test_what_the_machine_has_is_what_it_gets():
    for more in ({"network": NetworkMode.HOST}, {"pid": "host", "ipc": "host", "uts": "host"}):
        check_options(run(**more), BARE)


def test_it_is_said():
    assert list(warnings(run(), BARE)) == [NOT_ISOLATED]
    assert any("--init does nothing" in each for each in warnings(run(init=True), BARE))
