"""config-linux.md: "Devices", "Default Devices", the links of /dev, and the allowed device list."""

import os
import stat

import pytest

DEFAULTS = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9",
            "tty": "5:0"}  # fmt: skip
FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
DENY_ALL = {"allow": False, "access": "rwm"}


def described(box, path):
    return box.run(f"stat -c '%F|%t:%T|%a|%u:%g' {path}").strip().split("|")


# -- what is always there ------------------------------------------------------------


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_devices(box, name):
    """config-linux.md, "Default Devices": null, zero, full, random, urandom, tty."""
    kind, numbers, mode, owner = described(box, f"/dev/{name}")
    assert (kind, numbers) == ("character special file", DEFAULTS[name])
    assert (mode, owner) == ("666", "0:0")


def test_default_devices_work(box):
    """config-linux.md, "Default Devices": they can be used, by any user."""
    box.process["user"] = {"uid": 1000, "gid": 1000}
    script = """
        echo x >/dev/null && head -c 3 /dev/zero | od -An -tx1
        head -c 5 /dev/urandom | wc -c
        { echo x >/dev/full; } 2>/dev/null || echo full
    """
    assert box.run(script).split() == ["00", "00", "00", "5", "full"]


def test_links(box):
    """runtime-linux.md, "Dev symbolic links": fd, stdin, stdout and stderr."""
    told = box.run("for n in fd stdin stdout stderr; do readlink /dev/$n; done")
    assert told.split() == [
        "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2",
    ]  # fmt: skip


def test_without_a_mount_on_dev(box):
    """config-linux.md, "Default Devices": supplied also where the config mounts nothing there."""
    box.config["mounts"] = [
        each for each in box.config["mounts"] if not each["destination"].startswith("/dev")
    ]
    assert described(box, "/dev/null")[1] == "1:3"


def test_files_of_the_root_in_the_way_of_defaults(box):
    """config-linux.md, "Devices": what is no such device is not taken for one."""
    box.config["mounts"] = [
        each for each in box.config["mounts"] if not each["destination"].startswith("/dev")
    ]
    (box.rootfs / "dev/null").write_text("a file")
    done = box.run_whole("echo lost >/dev/null; stat -c %t:%T /dev/null", check=False)
    assert done.returncode != 0 or done.stdout == "1:3\n"


# -- devices of the config -------------------------------------------------------------


def test_a_device_with_everything(box):
    """config-linux.md, "Devices": type, major, minor, fileMode, uid and gid."""
    box.linux["devices"] = [FUSE | {"fileMode": 0o640, "uid": 7, "gid": 8}]
    assert described(box, "/dev/fuse") == ["character special file", "a:e5", "640", "7:8"]


@pytest.mark.parametrize(
    ("device", "kind", "numbers"),
    [
        ({"path": "/dev/loop", "type": "b", "major": 7, "minor": 3}, "block special file", "7:3"),
        ({"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3},
         "character special file", "1:3"),
        ({"path": "/dev/pipe", "type": "p"}, "fifo", "0:0"),
        ({"path": "/some/where/null", "type": "c", "major": 1, "minor": 3},
         "character special file", "1:3"),
    ],
)  # fmt: skip
def test_types_and_places(box, device, kind, numbers):
    """config-linux.md, "Devices": c, b, u or p; anywhere in the file system."""
    box.linux["devices"] = [device | {"fileMode": 0o666}]
    assert described(box, device["path"])[:2] == [kind, numbers]


def test_the_umask_is_of_no_account(box):
    """config-linux.md, "Devices": fileMode is the mode, whatever the caller's umask."""
    box.linux["devices"] = [FUSE | {"fileMode": 0o666}]
    old = os.umask(0o077)
    try:
        assert described(box, "/dev/fuse")[2] == "666"
    finally:
        os.umask(old)


def test_a_device_that_is_there_already(box):
    """config-linux.md, "Devices": a file that matches the requested device is fine."""
    os.mknod(box.rootfs / "home/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    box.linux["devices"] = [{"path": "/home/null", "type": "c", "major": 1, "minor": 3}]
    assert described(box, "/home/null")[1] == "1:3"


@pytest.mark.parametrize("what", ["file", "other", "directory", "link"])
def test_something_else_is_there(box, what):
    """config-linux.md, "Devices": a file that does not match MUST generate an error."""
    place = box.rootfs / "home/node"
    if what == "file":
        place.write_text("x")
    elif what == "other":
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif what == "directory":
        place.mkdir()
    else:
        place.symlink_to("/etc/passwd")
    box.linux["devices"] = [{"path": "/home/node", "type": "c", "major": 1, "minor": 3}]
    box.create_refused()


@pytest.mark.parametrize(
    "device",
    [
        {"path": "/dev/x", "type": "z", "major": 1, "minor": 3},
        {"path": "/dev/x", "major": 1, "minor": 3},
        {"type": "c", "major": 1, "minor": 3},
    ],
)
def test_devices_that_are_none(box, device):
    """config-linux.md, "Devices": type and path are required, and type is of a list."""
    box.linux["devices"] = [device]
    box.create_refused()


def test_a_device_through_a_link_stays_inside(box, tmp_path):
    """A link of the root file system must not lead the making of a node outside."""
    (tmp_path / "outside").mkdir()
    (box.rootfs / "link").symlink_to(tmp_path / "outside")
    (box.rootfs / "up").symlink_to("../" * 20 + str(tmp_path / "outside")[1:])
    box.linux["devices"] = [
        {"path": f"/{name}/node", "type": "c", "major": 1, "minor": 3} for name in ("link", "up")
    ]
    box.run_whole("true", check=False)
    assert list((tmp_path / "outside").iterdir()) == []


# -- who may use them --------------------------------------------------------------------


def test_devices_are_denied(box):
    """config-linux.md, "Allowed Device list": deny all: what is not a default cannot be opened."""
    box.linux["resources"] = {"devices": [DENY_ALL]}
    box.linux["devices"] = [FUSE | {"fileMode": 0o666}]
    script = "{ exec 5<>/dev/fuse; } 2>/dev/null && echo opened || echo denied"
    told = box.run(f"({script}); echo x >/dev/null && echo null")
    assert told == "denied\nnull\n" or told == "null\n"


@pytest.mark.parametrize(
    ("access", "wanted"),
    [
        ("rwm", "read write made"),
        ("r", "read"),
        ("w", "write"),
        ("rw", "read write"),
        ("m", "made"),
    ],
)
def test_each_access(box, access, wanted):
    """config-linux.md, "Allowed Device list": access is made of r, w and m.

    What is not said about mknod is the runtime's choice: both peers always allow it.
    """
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": access}
    box.linux["resources"] = {"devices": [DENY_ALL, rule]}
    os.mknod(box.rootfs / "fuse", 0o666 | stat.S_IFCHR, os.makedev(10, 229))
    script = """
        (: </fuse) 2>/dev/null && echo read
        (: >>/fuse) 2>/dev/null && echo write
        mknod /made c 10 229 2>/dev/null && echo made
    """
    box.shell(script + "true")
    told = box.run().split()
    assert [word for word in told if word in wanted or word != "made"] == wanted.split()


@pytest.mark.parametrize(
    ("rules", "opened"),
    [
        ([DENY_ALL, {"allow": True, "type": "c", "major": 10, "access": "rw"}], True),
        ([DENY_ALL, {"allow": True, "type": "c", "access": "rw"}], True),
        ([DENY_ALL, {"allow": True, "type": "b", "major": 10, "access": "rw"}], False),
        ([DENY_ALL, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
          {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rw"}], False),
        ([{"allow": True, "access": "rwm"}], True),
    ],
)  # fmt: skip
def test_rules_in_their_order(box, rules, opened):
    """config-linux.md, "Allowed Device list": MUST apply entries in the listed order."""
    os.mknod(box.rootfs / "fuse", 0o666 | stat.S_IFCHR, os.makedev(10, 229))
    box.linux["resources"] = {"devices": rules}
    told = box.run("(: <>/fuse) 2>/dev/null && echo opened || echo denied")
    assert told == ("opened\n" if opened else "denied\n")


def test_a_rule_of_no_type(box):
    """config-linux.md, "Allowed Device list": type is a, c or b."""
    box.linux["resources"] = {"devices": [{"allow": True, "type": "z", "access": "rwm"}]}
    box.create_refused()


def test_a_rule_of_no_access(box):
    """config-linux.md, "Allowed Device list": access is made of r, w and m."""
    rule = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "xyz"}
    box.linux["resources"] = {"devices": [rule]}
    box.create_refused()
