"""Where a container's cgroup is: the path in the configuration, and what is mounted."""

import os

import pytest

from ocimagic.errors import InvalidDocument
from ocimagic.runtime.cgroup_hierarchy import (
    CgroupsPath,
    Hierarchies,
    Hierarchy,
    _below,
    _cgroup_mounts,
    can_make,
)

HYBRID = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
PURE = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
INNER = "99 98 0:31 /docker/abc /sys/fs/cgroup/pi\\040ds ro - cgroup cgroup rw,pids\n"


def mounts(text, root="/sys/fs/cgroup"):
    return list(_cgroup_mounts(text.encode(), root))


def test_a_hybrid_machine_has_both_versions():
    assert mounts(HYBRID) == [
        (("rw", "cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/"),
        (("rw", "xattr", "name=systemd"), "/sys/fs/cgroup/systemd", "/"),
        (("",), "/sys/fs/cgroup/unified", "/"),
    ]


def test_version_2_alone_is_at_the_root():
    assert mounts(PURE) == [(("",), "/sys/fs/cgroup", "/")]
    assert mounts(PURE, "/elsewhere") == []


def test_in_a_container_a_part_is_mounted():
    assert mounts(INNER) == [(("rw", "pids"), "/sys/fs/cgroup/pi ds", "/docker/abc")]
    assert _below("/docker/abc/x", "/docker/abc") == "x"
    assert _below("/docker/abc", "/docker/abc") == ""


@pytest.mark.parametrize("own", ["/", "/docker/abcd", "/../../other", "/docker"])
def test_who_is_not_below_what_is_mounted_is_at_its_top(own):
    assert _below(own, "/docker/abc") == ""


def test_this_machine():
    found = Hierarchies.discover()
    named = [name for each in found.all for name in each.controllers]
    assert len(named) == len(set(named))
    assert all(os.path.isdir(f"{each.mount}/{each.own}") for each in found.all)


@pytest.mark.parametrize(
    ("said", "parts", "absolute"),
    [
        ("", ("id",), False),
        ("/docker/abc", ("docker", "abc"), True),
        ("//a///b/", ("a", "b"), True),
        ("machine/x", ("machine", "x"), False),
        ("a:b", ("a:b",), False),
        ("a:b:c", ("a:b:c",), False),  # no slice: a name like any other
        ("/x.slice:a:b", ("x.slice:a:b",), True),
        ("system.slice:docker:abc", ("system.slice", "docker-abc.scope"), True),
        (":libpod:abc", ("system.slice", "libpod-abc.scope"), True),
        ("-.slice:docker:abc", ("docker-abc.scope",), True),
        (
            "user-1000-x.slice:p:n",
            ("user.slice", "user-1000.slice", "user-1000-x.slice", "p-n.scope"),
            True,
        ),
        ("a.slice::n", ("a.slice", "n.scope"), True),
        ("a.slice:p:b.slice", ("a.slice", "b.slice"), True),
    ],
)
def test_a_path_is_understood(said, parts, absolute):
    found = CgroupsPath.parse(said, "id")
    assert (found.parts, found.absolute) == (parts, absolute)
    assert bool(found.notice) == ((".slice:" in said[1:] and said[0] != "/") or said[:1] == ":")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("/", "everybody's"),
        ("///", "everybody's"),
        ("/../x", "'..' would leave"),
        ("a/..", "'..' would leave"),
        ("./a", "'.' would leave"),
        ("/a\0b", "a NUL or a new line"),
        ("/a\nb", "a NUL or a new line"),
        ("/" + "x" * 256, "more than 255 bytes"),
        ("--.slice:a:b", "not the name of a slice"),
        ("a-.slice:p:n", "not the name of a slice"),
        (".slice:p:n", "not the name of a slice"),
        ("a.slice:p:..\0", "a NUL or a new line"),
    ],
)
def test_a_path_that_cannot_be_is_refused(said, why):
    """CVE row "cgroup annotation '..'"; fails when checked_parts checks no names."""
    with pytest.raises(InvalidDocument) as error:
        CgroupsPath.parse(said, "id")
    assert why in error.value.why


def test_where_a_path_begins(tmp_path):
    mount = str(tmp_path)
    (tmp_path / "user.slice" / "app.scope").mkdir(parents=True)
    hierarchy = Hierarchy(("",), mount, "/", "user.slice/app.scope")
    relative, absolute = (CgroupsPath.parse(said, "") for said in ("x/y", "/x/y"))
    assert absolute.directory_in(hierarchy, pure_version2=True) == f"{mount}/x/y"
    in_version1 = relative.directory_in(hierarchy, pure_version2=False)
    assert in_version1 == f"{mount}/user.slice/app.scope/x/y"
    # Version 2 gives no limits to what is below a cgroup with processes: beside this one.
    beside = relative.directory_in(hierarchy, pure_version2=True)
    assert beside == f"{mount}/user.slice/x/y"


def test_where_beside_may_not_be_written_it_is_below(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; run as an ordinary user")
    (tmp_path / "user.slice" / "app.scope").mkdir(parents=True)
    (tmp_path / "user.slice").chmod(0o555)
    hierarchy = Hierarchy(("",), str(tmp_path), "/", "user.slice/app.scope")
    found = CgroupsPath.parse("x", "").directory_in(hierarchy, pure_version2=True)
    (tmp_path / "user.slice").chmod(0o755)
    assert found == f"{tmp_path}/user.slice/app.scope/x"


def test_at_the_top_there_is_no_beside(tmp_path):
    hierarchy = Hierarchy(("",), str(tmp_path), "/", "")
    found = CgroupsPath.parse("x", "").directory_in(hierarchy, pure_version2=True)
    assert found == f"{tmp_path}/x"


def test_what_can_be_made_is_asked_of_what_is_there(tmp_path):
    assert can_make(f"{tmp_path}/a/b/c")
    if os.geteuid() != 0:
        assert not can_make("/sys/fs/a/b/c")


def test_a_parent_that_somebody_makes_meanwhile_may_be_written(tmp_path, monkeypatch):
    """Between "may I write there" and "is it there" another container's start may make it."""
    parent = tmp_path / "parent"
    ask = os.access

    def access(path, *rest, **named):
        answer = ask(path, *rest, **named)
        parent.mkdir(exist_ok=True)
        return answer

    monkeypatch.setattr(os, "access", access)
    assert can_make(f"{parent}/c")
