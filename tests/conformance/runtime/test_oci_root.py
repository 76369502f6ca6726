"""config.md "Root", config-linux.md: read-only root, propagation, masked and read-only paths."""

import os
import subprocess
from pathlib import Path

import pytest
from test_oci_mounts import mounts_of

HIDDEN = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"]
READ_ONLY = ["/proc/sys", "/proc/irq", "/proc/sysrq-trigger"]


def test_root_is_writable_by_default(box):
    """config.md, "Root": readonly defaults to false."""
    assert box.run("echo x >/made; cat /made") == "x\n"
    assert (box.rootfs / "made").exists()


def test_root_read_only(box):
    """config.md, "Root": readonly: the root MUST be read-only inside of the container."""
    box.config["root"]["readonly"] = True
    box.mount("/tmp", "tmpfs", "t")
    told = box.run("touch /made || echo no; touch /etc/passwd || echo no; touch /tmp/x && echo yes")
    assert told == "no\nno\nyes\n"
    assert not (box.rootfs / "made").exists()
    (box.rootfs / "made").touch()


def test_root_read_only_with_destinations_to_make(box):
    """The mounts come first: their destinations can be made, whatever root will be."""
    box.config["root"]["readonly"] = True
    box.mount("/new/place", "tmpfs", "t")
    assert box.run("touch /new/place/x && echo yes") == "yes\n"


def test_nothing_of_the_machine_is_seen(box, tmp_path):
    """config.md, "Root": the root is the only file system; the old one is gone."""
    told = mounts_of(box.run("cat /proc/self/mountinfo"))
    assert not [point for point in told if str(tmp_path) in point]
    assert "/" in told
    assert box.run("ls /..").split() == sorted(set(os.listdir(box.rootfs)))


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [("shared", {"shared"}), ("private", set()), ("unbindable", {"unbindable"}),
     ("rprivate", set()), (None, set())],
)  # fmt: skip
def test_rootfs_propagation(box, wanted, kinds):
    """config-linux.md, "Rootfs Mount Propagation"."""
    if wanted:
        box.linux["rootfsPropagation"] = wanted
    optional = mounts_of(box.run("cat /proc/self/mountinfo"))["/"][1]
    found = {word.partition(":")[0] for word in optional}
    assert found == kinds or (wanted == "shared" and "shared" in found)


def test_rootfs_propagation_slave(box):
    """config-linux.md, "Rootfs Mount Propagation": slave: the machine's mounts come in."""
    (box.rootfs / "home/sub").mkdir()
    subprocess.run(["mount", "--bind", box.rootfs, box.rootfs], check=True)
    subprocess.run(["mount", "--make-shared", box.rootfs], check=True)
    try:
        box.linux["rootfsPropagation"] = "rslave"
        box.ready()
        subprocess.run(["mount", "-t", "tmpfs", "late", box.rootfs / "home/sub"], check=True)
        assert "late" in box.execute("cat /proc/self/mountinfo")
        box.kill()
    finally:
        subprocess.run(["umount", "-l", box.rootfs], check=True)


def test_rootfs_propagation_that_is_none(box):
    """config-linux.md, "Rootfs Mount Propagation": one of four words."""
    box.linux["rootfsPropagation"] = "sideways"
    box.create_refused()


def test_masked_paths(box):
    """config-linux.md, "Masked Paths": cannot be read; what is not there is passed over."""
    (box.rootfs / "secret").mkdir()
    (box.rootfs / "secret/file").write_text("x")
    (box.rootfs / "etc/key").write_text("x")
    box.linux["maskedPaths"] = [*HIDDEN, "/secret", "/etc/key", "/nonexistent"]
    script = (
        "cat /etc/key /proc/timer_list; ls /secret /sys/firmware | grep -v : ; echo x >/secret/y"
    )
    told = box.run(f"{{ {script}; }} 2>/dev/null; test -e /nonexistent || echo absent")
    assert told.split() == ["absent"]
    assert (box.rootfs / "etc/key").read_text() == "x"


def test_masked_paths_cannot_be_written(box):
    """config-linux.md, "Masked Paths": a directory that is hidden holds nothing, for ever."""
    (box.rootfs / "secret").mkdir()
    box.linux["maskedPaths"] = ["/secret"]
    assert box.run("touch /secret/x 2>/dev/null || echo no") == "no\n"


def test_readonly_paths(box):
    """config-linux.md, "Readonly Paths": set as read-only; what is not there is passed over."""
    box.linux["readonlyPaths"] = [*READ_ONLY, "/etc", "/bin/busybox", "/nonexistent"]
    script = """
        for f in /etc/x /bin/busybox /proc/sys/kernel/domainname; do
            { echo >>$f; } 2>/dev/null && echo wrote $f || echo no
        done
        touch /ok && echo yes; test -e /nonexistent || echo absent
    """
    assert box.run(script) == "no\nno\nno\nyes\nabsent\n"


def test_readonly_paths_keep_their_other_flags(box):
    """A path below a nosuid, noexec mount does not lose these flags."""
    box.linux["readonlyPaths"] = ["/proc/sys"]
    options = mounts_of(box.run("cat /proc/self/mountinfo"))["/proc/sys"][0]
    assert {"ro", "nosuid", "noexec", "nodev"} <= options


def test_readonly_paths_go_for_mounts_below(box):
    """config-linux.md, "Readonly Paths": the path is read-only, whatever is mounted there."""
    box.mount("/home/sub", "tmpfs", "t")
    box.linux["readonlyPaths"] = ["/home"]
    assert box.run("touch /home/x 2>/dev/null || echo no") == "no\n"


def test_a_later_mount_hides_nothing_of_the_masks(box):
    """maskedPaths and readonlyPaths come after all mounts."""
    box.mount("/home", "tmpfs", "t")
    box.linux["maskedPaths"] = ["/home"]
    assert box.run("touch /home/x 2>/dev/null || echo no") == "no\n"


# -- sysctl --------------------------------------------------------------------------


def test_sysctl(box):
    """config-linux.md, "Sysctl": kernel parameters of the container's own namespaces."""
    box.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net.core.somaxconn": "256",
        "kernel.msgmax": "12345",
        "fs.mqueue.msg_max": "7",
    }
    script = (
        "cd /proc/sys; cat net/ipv4/ip_forward net/core/somaxconn kernel/msgmax fs/mqueue/msg_max"
    )
    before = subprocess.run(
        ["sysctl", "-n", "net.ipv4.ip_forward"], capture_output=True, check=True
    )
    assert box.run(script) == "1\n256\n12345\n7\n"
    after = subprocess.run(["sysctl", "-n", "net.ipv4.ip_forward"], capture_output=True, check=True)
    assert before.stdout == after.stdout


def test_sysctl_with_slashes_and_read_only_proc_sys(box):
    """sysctl(8) takes slashes too; and settings come before /proc/sys is read-only."""
    box.linux["sysctl"] = {"net/ipv4/ip_forward": "1"}
    box.linux["readonlyPaths"] = ["/proc/sys"]
    assert box.run("cat /proc/sys/net/ipv4/ip_forward") == "1\n"


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("network", "net.ipv4.ip_forward", "1"), ("ipc", "kernel.msgmax", "12345"),
     ("", "kernel.pid_max", "100000"), ("", "vm.swappiness", "1"), ("", "net.nonsense", "1"),
     ("", "kernel.msgmax", "nonsense"), ("", "../../kernel/x", "1")],
)  # fmt: skip
def test_sysctl_of_the_machine_is_refused(box, kind, name, value):
    """A setting of no namespace of the container's own is the machine's: an error."""
    if kind:
        box.without_namespace(kind)
    setting = Path("/proc/sys", *name.split("."))
    before = setting.read_text() if setting.is_file() else None
    box.linux["sysctl"] = {name: value}
    box.create_refused()
    assert before is None or setting.read_text() == before
