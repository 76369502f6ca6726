"""What a container sees of its cgroup: version 1, version 2, or nothing."""

import os

import pytest
from mountbox import IS_ROOT, NEW, config, furnish, mount, mountinfo, run, seen, table

from ocimagic.linux import mounting, syscalls
from ocimagic.runtime.cgroup import place
from ocimagic.runtime.cgroup_mount import CgroupMount
from ocimagic.runtime.mount_options import parse_options

QUIET = ("nosuid", "noexec", "nodev")
NAME = f"ocimagic-mounts-{os.getpid()}"
CGROUP = mount("/sys/fs/cgroup", "cgroup", *QUIET, "ro", source="cgroup")
APART = {"mount": "", "pid": "", "cgroup": ""}


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    (directory / "sys/fs/cgroup").mkdir(parents=True)
    (directory / "dev").mkdir()
    return directory


@pytest.fixture
def made():
    """A cgroup in every hierarchy there is."""
    if not IS_ROOT:
        pytest.skip("needs root")
    cgroup = place(f"/{NAME}", NAME)
    cgroup.create()
    yield cgroup
    cgroup.remove()


@pytest.fixture
def version1(made):
    paths = {name: path for name, path in made.paths.items() if name}
    return paths or pytest.skip("no cgroups of version 1 here")


@pytest.fixture
def version2(made):
    paths = {name: path for name, path in made.paths.items() if not name}
    return paths or pytest.skip("no cgroup of version 2 here")


def inside(root, entry, paths, namespaces, new=0):
    """Mount it from within the cgroup, and in a cgroup namespace if the config has one."""
    asked = config(entry, namespaces=namespaces)

    def job():
        for path in set(paths.values()):
            with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
                file.write("0")
        if "cgroup" in namespaces:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        furnish(root, asked, cgroup_paths=paths)
        top = root / "sys/fs/cgroup"
        names = {name: sorted(os.listdir(top / name)) for name in sorted(os.listdir(top))}
        return (
            mountinfo(root),
            names,
            {n: os.readlink(top / n) for n in names if (top / n).is_symlink()},
        )

    return run(job, new=NEW | new)


@pytest.mark.parametrize("apart", [True, False], ids=["own namespace", "the machine's"])
def test_version_1(root, version1, apart):
    """A directory per hierarchy, each showing the container's own cgroup as its top."""
    namespaces = APART if apart else {"mount": "", "pid": ""}
    lines, names, _ = inside(root, CGROUP, version1, namespaces)
    found = {each.place.removeprefix("/sys/fs/cgroup/"): each for each in lines}
    expected = {path.split("/")[4] for path in version1.values()}
    assert set(names) >= expected
    for name in expected:
        assert found[name].kind == "cgroup"
        assert found[name].flags >= {"ro", *QUIET}
        assert found[name].root == ("/" if apart else f"/{NAME}") or NAME in found[name].root
        assert NAME not in names[name], "its own directory is the top"
        assert "tasks" in names[name]
    tmpfs = found["/sys/fs/cgroup"]
    assert (tmpfs.kind, tmpfs.flags >= {"ro", *QUIET}) == ("tmpfs", True)


def test_version_1_writable(root, version1):
    entry = mount("/sys/fs/cgroup", "cgroup", *QUIET)
    lines, _, _ = inside(root, entry, version1, APART)
    assert not any("ro" in each.flags for each in lines if each.place.startswith("/sys"))


def test_controllers_that_are_mounted_together_have_a_link_each(root, tmp_path):
    """cpu and cpuacct are one hierarchy on most machines, and found by either name."""
    shown = tmp_path / "cgroup"
    (shown / "tasks").mkdir(parents=True)
    if not IS_ROOT:
        pytest.skip("needs root")

    def job():
        mounting.mount("tmpfs", "/sys/fs/cgroup", "tmpfs")
        os.makedirs("/sys/fs/cgroup/cpu,cpuacct/box/tasks")
        path = "/sys/fs/cgroup/cpu,cpuacct/box"
        op = CgroupMount(
            "/sys/fs/cgroup", parse_options(["ro"]), {"cpu": path, "cpuacct": path}, False
        )
        op.apply(os.open(root, os.O_PATH))
        top = root / "sys/fs/cgroup"
        return {name: os.listdir(top / name) for name in os.listdir(top)}, os.readlink(top / "cpu")

    names, link = run(job)
    assert names == {name: ["tasks"] for name in ("cpu", "cpuacct", "cpu,cpuacct")}
    assert link == "cpu,cpuacct"


def test_without_a_cgroup_there_is_nothing_to_see(root):
    """CVE-2023-25809: a container with no cgroup of its own sees none, and can make none.

    Guard: ``_hide``; with the machine's tree in its place one that is delegated to the user
    could be written.
    """
    for entry in (CGROUP, mount("/sys/fs/cgroup", "cgroup2", *QUIET)):

        def look(root):
            with pytest.raises(OSError, match="Read-only"):
                (root / "sys/fs/cgroup/mine").mkdir()
            return os.listdir(root / "sys/fs/cgroup"), table(root)["/sys/fs/cgroup"]

        names, found = seen(root, entry, look=look)
        assert names == []
        assert found.kind == "tmpfs"
        assert found.flags >= {"ro", *QUIET}


def test_version_2_in_its_own_namespace(root, version2):
    entry = mount("/sys/fs/cgroup", "cgroup2", *QUIET, "ro")
    lines, names, _ = inside_files(root, entry, version2, APART)
    (found,) = [each for each in lines if each.place == "/sys/fs/cgroup"]
    assert found.kind == "cgroup2"
    assert found.root == "/"
    assert found.flags >= {"ro", *QUIET}
    assert NAME not in names
    assert "cgroup.events" in names, "no top of a machine has this file"


def inside_files(root, entry, paths, namespaces, user=False):
    asked = config(entry, namespaces=namespaces)

    def enter():
        with open(f"{paths['']}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")

    def job(_given):
        if "cgroup" in namespaces:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        furnish(root, asked, cgroup_paths=paths)
        return mountinfo(root), os.listdir(root / "sys/fs/cgroup"), None

    return run(job, before=enter, user=user)


def test_version_2_where_it_may_not_be_mounted_is_shown(root, version2, monkeypatch):
    """EPERM or EBUSY: the container's own directory is bound instead."""
    real = mounting.mount

    def refuse(source, target, kind, flags=0, data=None):
        if kind == "cgroup2":
            raise PermissionError(1, "Operation not permitted")
        real(source, target, kind, flags, data)

    monkeypatch.setattr(mounting, "mount", refuse)
    entry = mount("/sys/fs/cgroup", "cgroup2", *QUIET, "ro")
    lines, names, _ = inside_files(root, entry, version2, APART)
    (found,) = [each for each in lines if each.place == "/sys/fs/cgroup"]
    assert found.root == "/", "as this namespace sees it"
    assert found.flags >= {"ro", *QUIET}
    assert "cgroup.events" in names


def test_version_2_of_the_machine_is_shown_and_never_mounted_anew(root, version2, monkeypatch):
    """From the machine's own namespace a new mount would reset nsdelegate for everybody.

    Guard: ``_mount_version2`` binds where the container has no cgroup namespace.
    """
    real = mounting.mount

    def watch(source, target, kind, flags=0, data=None):
        assert kind != "cgroup2"
        real(source, target, kind, flags, data)

    monkeypatch.setattr(mounting, "mount", watch)
    entry = mount("/sys/fs/cgroup", "cgroup2", *QUIET, "ro")
    lines, names, _ = inside_files(root, entry, version2, {"mount": "", "pid": ""})
    shown = [each for each in lines if each.place.startswith("/sys/fs/cgroup")]
    assert all("ro" in each.flags for each in shown)
    assert names == os.listdir("/sys/fs/cgroup"), "all of the machine's, as other runtimes do it"


def test_version_2_of_somebody_elses_in_an_own_namespace(root):
    """An ordinary user without a delegated cgroup: the namespace shows the one it is in."""
    entry = mount("/sys/fs/cgroup", "cgroup2", *QUIET, "ro")
    asked = config(entry, namespaces=APART)

    def job():
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        furnish(root, asked)
        return table(root)["/sys/fs/cgroup"]

    found = run(job)
    assert found.kind == "cgroup2"
    assert found.root == "/"
    assert found.flags >= {"ro", *QUIET}
