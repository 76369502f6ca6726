"""Image config and request become a runtime config as docker combines them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.bundle.convert import (
    Place,
    command_line,
    environment,
    resolve_capabilities,
    runtime_config,
    working_dir,
)
from ocimagic.bundle.defaults import CAPABILITIES
from ocimagic.errors import InvalidOption
from ocimagic.model.options import NetworkMode, RunOptions, VolumeMount
from ocimagic.spec.config import ContainerConfig
from ocimagic.spec.runtime import RuntimeConfig

PLACE = Place(machine="x86_64", rootless=False, hostname="box")


def options(**fields):
    return RunOptions(image="x", **fields)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "new_entrypoint", "command", "expected"),
    [
        (None, ("sh",), None, (), ("sh",)),
        (None, ("sh",), None, ("ls", "-l"), ("ls", "-l")),
        (("e",), ("c",), None, (), ("e", "c")),
        (("e",), ("c",), None, ("x",), ("e", "x")),
        (("e",), None, None, (), ("e",)),
        (("e",), ("c",), ("n",), (), ("n",)),
        (("e",), ("c",), ("n",), ("x",), ("n", "x")),
        (("e",), ("c",), (), ("x",), ("x",)),
    ],
)
def test_entrypoint_and_command(entrypoint, cmd, new_entrypoint, command, expected):
    config = ContainerConfig(entrypoint=entrypoint, cmd=cmd)
    assert command_line(config, options(entrypoint=new_entrypoint, command=command)) == expected


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (ContainerConfig(), options()),
        (ContainerConfig(entrypoint=("e",), cmd=("c",)), options(entrypoint=())),
        (ContainerConfig(cmd=("a\0b",)), options()),
    ],
)
def test_nothing_to_run_is_said(config, asked):
    with pytest.raises(InvalidOption):
        command_line(config, asked)


def test_environment_order_and_overrides():
    env = environment(("PATH=/p", "A=1"), ("A=2", "B=", "HOSTNAME=h"), hostname="box")
    assert env == ("PATH=/p", "HOSTNAME=h", "A=2", "B=")
    assert environment((), (), hostname="b")[0].startswith("PATH=/usr/local/sbin:")
    with pytest.raises(InvalidOption):
        environment((), ("=x",), hostname="b")


def test_capabilities():
    assert set(resolve_capabilities((), ())) == set(CAPABILITIES)
    assert resolve_capabilities((), ("ALL",)) == ()
    assert resolve_capabilities(("net_admin",), ("ALL",)) == ("CAP_NET_ADMIN",)
    assert len(resolve_capabilities(("ALL",), ())) == 41
    assert "CAP_CHOWN" not in resolve_capabilities(("ALL",), ("CHOWN",))


@given(st.text(alphabet="/.ab", min_size=1, max_size=12))
def test_a_working_directory_of_the_image_is_always_absolute_and_clean(path):
    found = working_dir(ContainerConfig(working_dir=path), options())
    assert found.startswith("/")
    assert ".." not in found.split("/")


def test_the_config_is_the_same_every_time_and_valid():
    config = ContainerConfig(cmd=("sh",), user="1000:50")
    asked = options(
        network=NetworkMode.NONE,
        volumes=(
            VolumeMount(source="/h/inner", target="/a/b", read_only=True),
            VolumeMount(source="/h/outer", target="/a"),
        ),
    )
    first = runtime_config(config, asked, PLACE)
    assert first.encode() == runtime_config(config, asked, PLACE).encode()
    again = RuntimeConfig.parse(first.encode())
    assert (again.process.user.uid, again.process.user.gid) == (1000, 50)
    assert [m.destination for m in again.mounts[-2:]] == ["/a", "/a/b"], "outer before inner"
    assert "ro" in again.mounts[-1].options
    assert again.namespaces == dict.fromkeys(("mount", "pid", "ipc", "uts", "network"), "")


def test_host_network_has_no_network_namespace_and_no_sysctls():
    found = runtime_config(ContainerConfig(cmd=("sh",)), options(), PLACE)
    assert "network" not in found.namespaces
    assert found.sysctl == {}
