"""Hostile images and containers: the tricks of known CVEs, each tried for real.

A canary directory of the machine and the machine's mounts are looked at before and after.
The guards behind the tricks with mounts and devices are named, one by one, in
``test_mounts_hostile``, ``test_mounts_root`` and ``test_mounts_cgroup``.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tarfile
import threading
import time

import pytest
from rootfs import MadeImage, tar_of

from ocimagic.engine.record import Document
from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    InvalidOption,
    OcimagicError,
    StartFailed,
    pack,
)
from ocimagic.linux import syscalls
from ocimagic.linux.paths import make_directories, make_file
from ocimagic.model.options import VolumeMount
from ocimagic.model.rootfs import Rootfs
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.runtime.command import find_command
from ocimagic.runtime.init import write_setting
from ocimagic.runtime.rootfs import mount_overlay
from ocimagic.shim import protocol
from ocimagic.shim.client import connect, signal_number
from ocimagic.spec.annotation import BASE_LAYERS
from ocimagic.spec.codec import decode, rfc3339
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.runtime import USER_ANNOTATION, RuntimeConfig

PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_numbers = itertools.count()


def link(name, target):
    return (name, None, {"type": tarfile.SYMTYPE, "linkname": str(target), "mode": 0o777})


def fifo(name):
    return (name, None, {"type": tarfile.FIFOTYPE, "mode": 0o666})


def program(name, content):
    return (name, content, {"mode": 0o755})


def host_mounts(ours):
    """List the machine's mounts of or on our files; others come and go."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line for line in file if ours in line]


def digest_of(directory):
    found = hashlib.sha256()
    for base, directories, files in os.walk(directory):
        for name in sorted(directories + files):
            path = os.path.join(base, name)
            told = os.lstat(path)
            found.update(repr((path, told.st_mode, told.st_uid, told.st_size)).encode())
            if not os.path.islink(path) and os.path.isfile(path):
                with open(path, "rb") as file:
                    found.update(file.read())
    return found.hexdigest()


@pytest.fixture
def canary(tmp_path):
    """A directory that no container may touch."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "canary"
    (directory / "pts").mkdir(parents=True)
    for name in ("ptmx", "null", "passwd", "core", "stdin"):
        (directory / name).write_text("machine")
    ours = "/".join(tmp_path.parts[-3:-1])  # of this session
    before, mounts = digest_of(directory), host_mounts(ours)
    yield directory
    assert digest_of(directory) == before, "the canary was touched"
    assert host_mounts(ours) == mounts, "a mount reached the machine"


@pytest.fixture
def make_image(shared, registry, busybox_layer):
    """Make an image of busybox and hostile layers, pull it, and return its name."""

    def make(*layers, annotations=None, **config):
        document = {"Env": [PATH_ENV]} | config
        made = MadeImage([busybox_layer, *layers], document)
        if annotations:
            manifest = json.loads(made.manifest_raw) | {"annotations": annotations}
            made.manifest_raw = json.dumps(manifest).encode()
        name = f"evil{next(_numbers)}"
        made.serve(registry.source, name, "latest")
        shared.images.pull(f"{registry.host}/{name}")
        return f"{registry.host}/{name}"

    return make


@pytest.fixture
def run(shared):
    def run(image, *command, **options):
        return shared.containers.run(
            image, list(command), **{"network": "none", "remove": True} | options
        )

    return run


def outcome(run, *words, **options):
    """Return the result, or the error if it is one of ours; anything else is a defect."""
    began = time.monotonic()
    try:
        return run(*words, **options)
    except OcimagicError as err:
        refusal = err
    finally:
        assert time.monotonic() - began < 20, "it hung; a slow disk takes a few seconds"
    assert "Error(" not in (refusal.why or ""), "an exception nobody thought of"
    return refusal


# -- what the image puts in the runtime's way -----------------------------------


@pytest.mark.parametrize("name", ["dev", "proc", "sys", "etc", "tmp"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "inside", "file", "fifo"])
def test_system_directories_that_are_something_else(run, make_image, canary, name, kind):
    """CVE-2019-19921, CVE-2026-41579: symlinks where the runtime mounts and makes devices."""
    entry = {
        "absolute": link(name, canary),
        "relative": link(name, f"../../../..{canary}"),
        "inside": link(name, "home"),
        "file": (name, b"a file"),
        "fifo": fifo(name),
    }[kind]
    done = outcome(run, make_image(tar_of(entry)), "/bin/true")
    if name in ("dev", "proc", "sys"):
        assert isinstance(done, StartFailed)


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/dev/zero", "missing"])
def test_devices_of_the_image_are_not_the_containers(run, make_image, canary, target):
    """CVE-2025-31133: /dev/null leads to a file of procfs."""
    image = make_image(tar_of(("dev", None), link("dev/null", target), link("dev/tty", canary)))
    assert (
        run(image, "stat", "-c", "%F %t:%T", "/dev/null").stdout == b"character special file 1:3\n"
    )


@pytest.mark.parametrize("name", ["passwd", "group", "hosts", "hostname", "resolv.conf"])
@pytest.mark.parametrize(
    "target",
    ["/etc/shadow", "../../../../../../etc/shadow", "/dev/zero", "/proc/kmsg", "/proc/1/environ",
     "/proc/self/fd/3", "/proc/sys/kernel/core_pattern", "loop", "fifo", "dir"],
)  # fmt: skip
def test_files_the_runtime_reads_or_covers(run, make_image, canary, name, target):
    """CVE-2026-47262: none may hang, grow, or reach a file of the machine."""
    path = f"etc/{name}"
    entry = link(path, name if target == "loop" else target)
    if target in ("fifo", "dir"):
        entry = fifo(path) if target == "fifo" else (path, None)
    done = outcome(run, make_image(tar_of(("etc", None), entry)), "/bin/true", user="0")
    if name in ("passwd", "group"):
        assert done.exit_code == 0


def test_a_huge_passwd_is_read_in_part(run, make_image, tmp_path):
    huge = tmp_path / "passwd"
    with huge.open("wb") as file:
        file.write(b"root:x:0:0::/somewhere:/bin/sh\n")
        file.truncate(1 << 30)
    volume = VolumeMount(source=str(huge), target="/etc/passwd")
    done = run(make_image(), "/bin/sh", "-c", "echo $HOME", volumes=(volume,))
    assert done.stdout == b"/somewhere\n"


def test_a_resolv_conf_that_leads_to_nothing_yet(run, make_image):
    """Images of machines with systemd have this; docker makes the file where it points."""
    entry = link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    image = make_image(tar_of(("etc", None), entry))
    assert run(image, "sh", "-c", "test -f /run/systemd/resolve/stub-resolv.conf").exit_code == 0


def test_null_covered_by_an_images_link_is_noticed(run, make_image):
    image = make_image(tar_of(("etc", None), link("etc/hosts", "/dev/null")))
    with pytest.raises(StartFailed, match="not the null device"):
        run(image, "true")


# -- what the image says ---------------------------------------------------------


def test_working_directories_through_leaked_descriptors(shared, run, make_image, canary):
    """CVE-2024-21626, with fifty directories of the machine open and inheritable."""
    image = make_image(WorkingDir="/proc/self/fd/7")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            fd = os.open(canary, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            os.set_inheritable(fd, True)
        shared.containers.launcher.close()  # the next one is born among them
        with pytest.raises(StartFailed):
            run(image, "pwd")
        for number in range(3, 41):
            with pytest.raises(StartFailed):
                run(image, "pwd", working_dir=f"/proc/self/fd/{number}")
        seen = run(image, "sh", "-c", "ls /proc/self/fd; cd ../../..; ls", working_dir="/a/b")
    assert seen.stdout.split()[:4] == [b"0", b"1", b"2", b"3"], "3 is what ls itself reads"
    assert b"busybox" not in seen.stdout
    assert b"bin" in seen.stdout


def test_working_directory_through_symlinks(run, make_image, canary):
    """CVE-2026-55686: the directory is made inside, wherever a link says."""
    image = make_image(
        tar_of(link("out", canary), link("up", "../../../../tmp"), link("in", "/home")),
        WorkingDir="/in/a/b",
    )
    assert run(image, "pwd").stdout == b"/home/a/b\n"
    assert run(image, "pwd", working_dir="/up/x").stdout == b"/tmp/x\n"
    made = run(image, "pwd", working_dir="/out/made").stdout.decode()
    assert made == f"{canary}/made\n"  # the container's own directory of that name
    assert run(image, "pwd", working_dir="/../../../home/../tmp").stdout == b"/tmp\n"


@pytest.mark.parametrize(
    "config",
    [
        {"WorkingDir": "/tmp\0/../../etc"},
        {"WorkingDir": "/a" * 2000},
        {"WorkingDir": "/a\nb/" + "c" * 300},
        {"WorkingDir": "../../../etc"},
        {"User": "9" * 5000},
        {"User": "4294967296"},
        {"User": "-1"},
        {"User": "0\n0"},
        {"User": "root\0:0"},
        {"User": "../../etc"},
        {"User": ":"},
        {"User": "0:" + "9" * 5000},
        {"Volumes": {"/../../etc": {}, "/proc": {}, "\0": {}, "": {}}},
        {"Entrypoint": ["/bin/true\0x"]},
        {"Entrypoint": [""]},
        {"Entrypoint": ["/"]},
        {"Entrypoint": ["x" * 300_000]},
        {"Cmd": ["/bin/true", "x" * 300_000]},
        {"Env": [PATH_ENV, "A=" + "x" * 300_000]},
        {"Env": ["PATH=" + ":/x" * 50_000]},
        {"Env": [f"V{n}=1" for n in range(20_000)]},
        {"StopSignal": "SIGKILL; rm", "Labels": {"dev.ocimagic.user": "0"}},
        {"ExposedPorts": {"99999/tcp": {}}, "Healthcheck": {"Test": ["CMD", "/../../x"]}},
    ],
    ids=lambda config: ",".join(f"{key}-{str(value)[:16]!r}" for key, value in config.items()),
)
def test_strange_configs_run_or_are_refused_in_words(run, make_image, canary, config):
    done = outcome(run, make_image(**{"Cmd": ["/bin/true"]} | config))
    assert len(str(done)) < 20_000


def test_a_uid_as_a_name_in_passwd_is_not_looked_up(run, make_image):
    """CVE-2024-40635."""
    passwd = b"4294967296:x:0:0::/:/bin/sh\n" + b"a:x:" + b"9" * 6000 + b":0::/:/bin/sh\n"
    image = make_image(tar_of(("etc", None), ("etc/passwd", passwd)), User="4294967296")
    with pytest.raises(StartFailed, match="out of range"):
        run(image, "true")
    with pytest.raises(StartFailed, match="unable to find user a"):
        run(image, "true", user="a")


def test_labels_and_annotations_do_not_drive_the_engine(shared, make_image):
    """CVE-2026-53488: an image says what only the engine may say."""
    claims = {USER_ANNOTATION: "0", "io.ocimagic.rootfs": "/", BASE_LAYERS: "9" * 5000}
    image = make_image(annotations=claims, Labels=claims)
    made = shared.containers.run(image, ["true"], network="none", user="0:0")
    details = shared.containers.inspect(made.name)
    assert details.runtime_config["annotations"] == {USER_ANNOTATION: "0:0"}
    assert not set(claims) & set(details.options.labels)
    shared.containers.remove(made.name)
    for count in ("9" * 5000, "400", "-1", "²"):
        other = make_image(tar_of((f"n{count[:3]}", b"")), annotations={BASE_LAYERS: count})
        assert len(shared.images.inspect(other).layers) == 2
        shared.images.layers(other)


def test_the_images_stop_signal_cannot_make_a_container_unstoppable(shared, make_image):
    image = make_image(StopSignal="9999")
    made = shared.containers.run(image, ["sleep", "100"], detach=True, network="none")
    assert shared.containers.stop(made.name, grace_s=0).code == 137
    shared.containers.remove(made.name)
    assert signal_number("SIGRTMIN+3") == 37, "what images with systemd say"
    assert signal_number("rtmax-1") == 63
    for bad in ("SIGRTMIN+99", "SIGRTMAX-99", "SIGRTMIN-1", "9999"):
        with pytest.raises(InvalidOption):
            signal_number(bad)


# -- what the command is ---------------------------------------------------------

SCRIPTS = tar_of(
    ("bin", None),
    program("bin/once", b"#!/proc/self/exe\n"),
    program("bin/twice", b"#! \t/bin/once -x\n"),
    program("bin/relative", b"#!exe\n"),
    program("bin/linked", b"#!/exe\n"),
    program("bin/cut", b"#!/exe\0more\n"),
    program("bin/dotted", b"#!/bin/../proc/./self/exe"),
    program("bin/slashes", b"#!//proc//self//exe"),
    program("bin/round", b"#!/bin/round\n"),
    program(
        "bin/other", b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0xF3, 1) + bytes(40)
    ),
    link("exe", "/proc/self/exe"),
    fifo("bin/fifo"),
)


@pytest.mark.parametrize(
    "name", ["once", "twice", "relative", "linked", "cut", "dotted", "slashes"]
)
def test_no_script_leads_to_the_runtimes_own_program(run, make_image, name):
    """CVE-2019-5736: refused before execve, also through a second script and a relative path."""
    with pytest.raises(CommandNotExecutable, match="leads into /proc"):
        run(make_image(SCRIPTS), f"/bin/{name}", working_dir="/proc/self")


@pytest.mark.parametrize(
    "name",
    ["/proc/self/exe", "/proc/1/exe", "/proc/self/cwd", "/proc/self/root/bin/true", "/exe",
     "/bin/fifo", "/bin", "/dev/null", "/proc/version", "/bin/round"],
)  # fmt: skip
def test_commands_that_are_no_programs(run, make_image, name):
    with pytest.raises(CommandNotExecutable):
        run(make_image(SCRIPTS), name)


def test_a_program_for_another_processor_is_said(run, make_image):
    with pytest.raises(CommandNotExecutable, match="another processor"):
        run(make_image(SCRIPTS), "/bin/other")


def test_a_long_path_variable_is_refused_at_once():
    with pytest.raises(CommandNotExecutable, match="too long"):
        find_command("x", {"PATH": "/x:" * 2_000_000}, "/", -1)


def test_errors_are_cut_to_what_a_frame_carries():
    err = CommandNotFound("x" * 3_000_000, why="y" * 3_000_000)
    assert len(json.dumps(pack(err))) < protocol.MAX_FRAME


# -- what runs in the runtime's own Python ---------------------------------------


def test_no_code_of_the_image_runs_in_the_runtime(shared, run, make_image, tmp_path):
    """CVE-2019-14271: after the pivot nothing is loaded from the container's files."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    evil = b"import os; os.system('touch /pwned')\n"
    folders = {os.path.dirname(os.__file__).lstrip("/"), "usr/lib/python3/dist-packages"}
    names = {f"{folder}/{name}" for folder in folders
             for name in ("encodings/__init__.py", "encodings/idna.py", "sitecustomize.py",
                          "pwd.py", "traceback.py")}  # fmt: skip
    names |= {"lib/x86_64-linux-gnu/libnss_files.so.2", "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
              "usr/share/locale/C.UTF-8/LC_MESSAGES/libc.mo", "etc/nsswitch.conf",
              "etc/ld.so.preload"}  # fmt: skip
    image = make_image(
        tar_of(*((name, evil) for name in sorted(names))),
        Env=[PATH_ENV, "LD_PRELOAD=/evil.so", "PYTHONPATH=/evil", "PYTHONHOME=/evil",
             "LD_LIBRARY_PATH=/evil", "LOCPATH=/evil", "GCONV_PATH=/evil", "PYTHONSTARTUP=/evil"],
        User="alice",
    )  # fmt: skip
    log = tmp_path / "trace"
    pid = str(shared.containers.launcher._process.pid)
    if not shared.containers.launcher.ids:
        assert run(image, "/bin/true").exit_code == 0  # what is loaded once is loaded now
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", pid, "-e", "trace=open,openat,openat2,pivot_root,execve",
         "-o", str(log)], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if "attached" not in tracer.stderr.readline():
            pytest.skip("strace may not attach here")
        with contextlib.suppress(OcimagicError):
            run(image, "/bin/true")
        with contextlib.suppress(OcimagicError):
            run(image, "/bin/nothing", user="0")
    finally:
        tracer.terminate()
        tracer.wait()
        tracer.stderr.close()
    inside, opened = set(), []
    for line in log.read_text().splitlines():
        number, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("pivot_root"):
            inside.add(number)
        elif call.startswith("execve"):
            inside.discard(number)
        elif number in inside and (path := re.match(r'open\w*\([^"]*"([^"]*)"', call)):
            opened.append(path[1])
    allowed = re.compile(
        r"/|/dev/null|setgroups|fd/\d+|etc/passwd|etc/group|\.|"  # two are below its own /proc
        r"/proc/self/fd/\d+|/?(usr/)?(local/)?s?bin(/true|/nothing)?|/bin/\w+|/usr/\S*/nothing|/s?bin/nothing"
    )
    assert "etc/passwd" in opened, "the trace has what it should"
    assert [path for path in opened if not allowed.fullmatch(path)] == []


# -- what the container can reach ------------------------------------------------


def test_made_devices_are_dead(run, make_image):
    """Without rules about devices CAP_MKNOD would be every disk of the machine."""
    script = """
    for d in /tmp /dev /dev/shm /data /home /run; do
        mkdir -p $d; mknod $d/log c 1 11 2>/dev/null && head -c 1 $d/log 2>/dev/null | wc -c
    done
    head -c 4 /dev/zero | wc -c; echo gone > /dev/null && echo null; test -c /dev/tty && echo tty
    """
    done = run(make_image(), "sh", "-c", script)
    lines = done.stdout.decode().split()
    assert lines[-3:] == ["4", "null", "tty"]
    assert set(lines[:-3]) <= {"0"}


def test_made_devices_on_a_volume_are_dead(run, make_image, tmp_path):
    volume = VolumeMount(source=str(tmp_path), target="/data")
    done = run(
        make_image(), "sh", "-c", "mknod /data/d c 1 11; head -c 9 /data/d", volumes=(volume,)
    )
    assert done.exit_code != 0
    assert done.stdout == b""


def test_a_masked_file_cannot_be_changed(run, make_image):
    """Behind it is the machine's own /dev/null."""
    before = os.stat("/dev/null")
    script = "chmod 644 /proc/keys; chown 7 /proc/keys; echo x > /proc/keys"
    done = run(make_image(), "sh", "-c", script)
    try:
        assert os.stat("/dev/null").st_mode == before.st_mode
        assert done.stderr.count(b"Read-only") == 2
    finally:
        if os.geteuid() == 0:
            os.chmod("/dev/null", before.st_mode & 0o7777)
            os.chown("/dev/null", before.st_uid, before.st_gid)


def test_a_directory_of_the_machine_as_dev_is_left_alone(run, make_image, canary):
    """``-v /dev:/dev`` once had the machine's own ptmx and stdin replaced by symlinks."""
    volume = VolumeMount(source=str(canary), target="/dev")
    assert isinstance(outcome(run, make_image(), "true", volumes=(volume,)), StartFailed)
    if os.geteuid() == 0:
        machine = VolumeMount(source="/dev", target="/dev")
        before = os.lstat("/dev/ptmx"), os.lstat("/dev/null")
        seen = run(make_image(), "sh", "-c", "head -c 3 /dev/zero | wc -c", volumes=(machine,))
        assert seen.stdout == b"3\n"
        assert (os.lstat("/dev/ptmx").st_ino, os.lstat("/dev/null").st_mode) == (
            before[0].st_ino,
            before[1].st_mode,
        )


@pytest.mark.parametrize(
    "target", ["/proc", "/proc/sys", "/proc/self", "/data", "/deep/sys/kernel"]
)
def test_nothing_is_mounted_over_proc(run, make_image, canary, target):
    """CVE-2023-27561: also when the image has a symlink there."""
    image = make_image(tar_of(link("data", "/proc/sys"), link("deep", "../proc")))
    volume = VolumeMount(source=str(canary), target=target)
    with pytest.raises(StartFailed, match="cannot mount on"):
        run(image, "true", volumes=(volume,))


def test_a_nul_in_a_destination_is_refused(run, make_image, canary):
    """C would cut the path there and mount somewhere else."""
    volume = VolumeMount(source=str(canary), target="/tmp\0/x")
    with pytest.raises(StartFailed, match="NUL"):
        run(make_image(), "true", volumes=(volume,))


def test_read_only_goes_for_mounts_below_too(run, make_image, tmp_path):
    """CVE-2023-25809 is a writable cgroup tree below a read-only /sys."""
    seen = run(make_image(), "sh", "-c", "cat /proc/self/mountinfo", network="host")
    for line in seen.stdout.decode().splitlines():
        where, flags = line.split()[4:6]
        if where == "/sys" or where.startswith("/sys/"):
            assert "ro" in flags.split(","), where


def test_the_machine_cannot_be_seen(shared, run, make_image):
    script = """
    cat /proc/self/mountinfo; echo ==; ls -d /proc/[0-9]*; echo ==; cat /proc/net/unix; echo ==
    ls -l /proc/1/fd; echo ==; kill -0 2 2>&1; ls /proc/1/root/; ls /../../../
    """
    mounts, pids, sockets, fds, rest = (
        run(make_image(), "sh", "-c", script).stdout.decode().split("==")
    )
    for line in mounts.splitlines():
        source, where, kind = line.split()[3], line.split()[4], line.partition(" - ")[2].split()[0]
        expected = where in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
        expected |= where.startswith("/dev")
        masked = kind == "devtmpfs" and source == "/null" and "ro" in line.split()[5].split(",")
        # Its own cgroup, by its name in the machine's tree, and only to read.
        expected |= kind == "cgroup" and "ocimagic" in source and "ro" in line.split()[5].split(",")
        assert source == "/" or kind in ("proc", "sysfs") or masked or expected, line
    assert len(pids.split()) <= 3
    assert "@" not in sockets
    assert "shim.sock" not in sockets
    assert str(shared.home.data) not in fds
    assert "ocimagic" not in rest


def test_no_abstract_socket_and_all_doors_are_shut(shared, make_image):
    """CVE-2020-15257, CVE-2024-25621."""
    made = shared.containers.run(make_image(), ["sleep", "100"], detach=True, network="none")
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        assert "@ocimagic" not in file.read()
    where = shared.home.run / made.container_id[:12]
    assert (where / "shim.sock").stat().st_mode & 0o777 == 0o600
    assert where.stat().st_mode & 0o777 == 0o700
    assert shared.home.data.stat().st_mode & 0o777 == 0o700
    shared.containers.remove(made.name, force=True)


SEEN_FROM_C = r"""
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(name, call) printf(name "=%d\n", (call) < 0 ? errno : 0)
int main(void) {
    char args[88] = {0};
    TRY("alg", socket(38, SOCK_SEQPACKET, 0));
    TRY("vsock", socket(40, SOCK_STREAM, 0));
    TRY("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    TRY("userns", syscall(SYS_unshare, 0x10000000));
    TRY("mountns", syscall(SYS_unshare, 0x20000));
    TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    TRY("add_key", syscall(SYS_add_key, "user", "a", "b", 1, -2));
    TRY("io_uring", syscall(425, 1, args));
    TRY("open_tree", syscall(428, -100, "/", 1));
    TRY("fsopen", syscall(430, "tmpfs", 0));
    TRY("bpf", syscall(SYS_bpf, 0, args, 48));
    TRY("setns", syscall(SYS_setns, 0, 0));
    TRY("clone3", syscall(435, args, 64));
    TRY("new", syscall(999, 0));
    return 0;
}
"""


def test_system_calls_seen_from_inside(run, make_image, tmp_path):
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("gcc is not installed")
    (tmp_path / "try.c").write_text(SEEN_FROM_C)
    made = subprocess.run(
        [compiler, "-static", "-o", str(tmp_path / "try"), str(tmp_path / "try.c")], check=False
    )
    if made.returncode:
        pytest.skip("gcc has no static C library")
    image = make_image(tar_of(("bin", None), program("bin/try", (tmp_path / "try").read_bytes())))
    seen = dict(line.split("=") for line in run(image, "/bin/try").stdout.decode().splitlines())
    refused = {name for name, number in seen.items() if number == "1"}
    assert refused >= {"alg", "vsock", "mount", "userns", "mountns", "keyctl", "add_key",
                       "io_uring", "open_tree", "fsopen", "bpf", "setns"}, seen  # fmt: skip
    assert (seen["clone3"], seen["new"]) == ("38", "38"), "unknown is ENOSYS, or programs give up"


# -- races -----------------------------------------------------------------------


def test_destinations_swapped_while_mounting(run, make_image, canary, tmp_path):
    """CVE-2021-30465: never on the machine, and never without its read-only flag."""
    shared_volume, guarded = tmp_path / "shared", tmp_path / "guarded"
    (shared_volume / "d").mkdir(parents=True)
    guarded.mkdir()
    (shared_volume / "l").symlink_to("/v")
    directory = os.open(shared_volume, os.O_PATH)
    over = threading.Event()

    def swap():
        while not over.is_set():
            syscalls.renameat2(directory, "d", directory, "l", syscalls.RENAME_EXCHANGE)

    swapper = threading.Thread(target=swap)
    swapper.start()
    volumes = (
        VolumeMount(source=str(shared_volume), target="/v"),
        VolumeMount(source=str(guarded), target="/v/d", read_only=True),
    )
    image = make_image()
    began, starts = time.monotonic(), 0
    try:
        while starts < 100 and time.monotonic() - began < 1.2:
            starts += 1
            script = "for n in /v /v/d /v/l; do touch $n/owned; done 2>/dev/null"
            outcome(run, image, "sh", "-c", script, volumes=volumes)
            assert os.listdir(guarded) == [], "the read-only volume was written"
    finally:
        over.set()
        swapper.join()
        os.close(directory)
    assert starts > 5


# -- the shim and a hostile neighbour --------------------------------------------


@pytest.fixture
def sleeper(shared, make_image):
    made = shared.containers.run(
        make_image(),
        ["sh", "-c", "while sleep 0.05; do echo tick; done"],
        detach=True,
        network="none",
        interactive=True,
    )
    yield made
    assert shared.containers.stop(made.name, grace_s=0).code == 137
    shared.containers.remove(made.name)


def dial(shared, made):
    return connect(shared.home.run / made.container_id[:12])


def shim_pid(shared, made):
    path = shared.containers.directory(made.container_id) / "state.json"
    return json.loads(path.read_bytes())["shim_pid"]


def test_hostile_clients_do_not_hurt_a_shim(shared, sleeper):
    before = shim_pid(shared, sleeper)
    poison = [
        b"\xff" * 4096,
        protocol.HEADER.pack(b"M", 1 << 31),
        protocol.frame(protocol.MESSAGE, b"[" * 500_000),
        protocol.frame(protocol.MESSAGE, b'{"op":' + b'{"a":' * 100_000),
        protocol.message({"op": ["attach"]}),
        protocol.message({"op": "attach", "sender": "me"}),
        protocol.message({"op": "attach", "sender": [], "offsets": {"stdout": {}}}),
        protocol.message({"op": "attach", "offsets": {"stdout": 10**40, "stderr": -1}}),
        protocol.message({"op": "execute", "exec_id": "x", "process": {}, "sender": None}),
        protocol.message({"op": "execute", "exec_id": [], "process": []}),
        protocol.message({"op": "resize", "size": [10**30, "1"]}),
        protocol.message({"op": "stop", "signal": 15, "grace_s": float("nan")}),
        protocol.message({"op": "stop", "signal": 15, "grace_s": -1}),
        protocol.message({"op": "update", "resources": {"memory": {"limit": []}}, "id": 1}),
        protocol.message({"op": "update", "restart": {"name": "now"}, "id": []}),
        protocol.message({"op": "kill", "signal": "KILL"}),
        protocol.message({"op": "kill", "signal": 10**30}),
        protocol.message({"op": "kill", "signal": -9}),
        protocol.frame(protocol.STDOUT, b"forged"),
        protocol.frame(protocol.MESSAGE, b""),
        b"M\0\0",
    ]
    for packet in poison:
        with dial(shared, sleeper) as connection, contextlib.suppress(OSError):
            connection._door.sendall(packet)
    crowd = []
    try:
        for _ in range(300):
            with contextlib.suppress(OcimagicError):
                crowd.append(dial(shared, sleeper))
                crowd[-1].attach()
    finally:
        for connection in crowd:
            connection.close()
    assert shim_pid(shared, sleeper) == before, "the shim died, and is another one now"
    assert shared.containers.get(sleeper.name).status.value == "running"
    lines = shared.containers.logs(sleeper.name, follow=True)
    assert next(lines)[2] == b"tick\n"


def test_a_flood_of_stdin_does_not_fill_the_shim(shared, sleeper):
    """The container does not read: its shim once kept all that came."""
    with dial(shared, sleeper) as connection:
        connection._door.settimeout(0.3)
        packet = protocol.frame(protocol.STDIN, bytes(1 << 18))
        with contextlib.suppress(TimeoutError):
            for _ in range(400):
                connection._door.sendall(packet)
        pid = shim_pid(shared, sleeper)
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            resident = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
        assert resident < 60_000, "KiB"


def test_what_was_typed_arrives_though_nobody_waits_for_an_answer(shared):
    """The shim found its client gone, and let go of what it had not read of it."""
    made = shared.containers.run(
        "busybox", ["sh", "-c", "head -c 150000 | wc -c"], network="none", detach=True,
        interactive=True,
    )  # fmt: skip
    pid = shim_pid(shared, made)
    os.kill(pid, signal.SIGSTOP)
    with dial(shared, made) as connection:
        connection.attach()
        connection.send_stdin(bytes(150_000))
    os.kill(pid, signal.SIGCONT)
    assert shared.containers.wait(made.name).code == 0
    assert [line[2] for line in shared.containers.logs(made.name)] == [b"150000\n"]
    shared.containers.remove(made.name)


def test_much_stdin_and_as_much_output_do_not_lock(run, make_image):
    data = os.urandom(1 << 20) * 12
    assert run(make_image(), "cat", stdin=data, interactive=True).stdout == data


# -- documents -------------------------------------------------------------------


def documents():
    """Yield corpora of section 3: a name and a change of manifest or config."""
    digest = "sha256:" + "0" * 64
    manifest = {
        "mixed": {"manifests": []},
        "schema1": {"schemaVersion": 1},
        "no schema": {"schemaVersion": None},
        "schema text": {"schemaVersion": "2"},
        "wrong type": {"mediaType": "application/vnd.oci.image.index.v1+json"},
        "layers null": {"layers": None},
        "layers text": {"layers": "x"},
        "many layers": {"layers": [{"mediaType": "x", "digest": digest, "size": 1}] * 1000},
        "layer of null": {"layers": [None]},
        "size negative": {"layers": [{"mediaType": "x", "digest": digest, "size": -1}]},
        "size huge": {"layers": [{"mediaType": "x", "digest": digest, "size": 10**30}]},
        "size float": {"layers": [{"mediaType": "x", "digest": digest, "size": 1.5}]},
        "digest upper": {"config": {"mediaType": "x", "digest": digest.upper(), "size": 1}},
        "digest short": {"config": {"mediaType": "x", "digest": digest[:-1], "size": 1}},
        "digest path": {"config": {"mediaType": "x", "digest": "sha256:../../x", "size": 1}},
        "digest newline": {"config": {"mediaType": "x", "digest": digest + "\n", "size": 1}},
        "config size": {"config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                   "digest": digest, "size": 1 << 62}},
        "annotations": {"annotations": {"a": 1}},
        "surrogate": {"annotations": {"a": "\ud800"}},
    }  # fmt: skip
    config = {
        "diff_ids fewer": {"rootfs": {"type": "layers", "diff_ids": []}},
        "diff_ids wrong": {"rootfs": {"type": "layers", "diff_ids": [digest]}},
        "diff_ids path": {"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}},
        "rootfs type": {"rootfs": {"type": "../x"}},
        "rootfs null": {"rootfs": None},
        "year 0": {"created": "0000-01-01T00:00:00Z"},
        "created number": {"created": 5},
        "history text": {"history": "x"},
        "history of text": {"history": ["x"]},
        "history year": {"history": [{"created": "99999-01-01T00:00:00Z"}]},
        "env": {"config": {"Env": ["NOEQUALS"]}},
        "env nul": {"config": {"Env": ["A=\0"]}},
        "env surrogate": {"config": {"Env": ["A=\udfff"]}},
        "entrypoint text": {"config": {"Entrypoint": "sh -c x"}},
        "cmd numbers": {"config": {"Cmd": [1]}},
        "user number": {"config": {"User": 0}},
        "labels list": {"config": {"Labels": []}},
        "volumes list": {"config": {"Volumes": ["/x"]}},
        "config list": {"config": [1]},
        "deep": {"config": json.loads("[" * 90 + "]" * 90)},
    }
    yield from (("manifest", name, change) for name, change in manifest.items())
    yield from (("config", name, change) for name, change in config.items())


RAW = {
    "empty": b"",
    "bom": b"\xef\xbb\xbf{}",
    "utf16": '{"schemaVersion":2}'.encode("utf-16"),
    "twice": b'{"schemaVersion":2,"schemaVersion":2,"layers":[]}',
    "nan": b'{"schemaVersion":NaN}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "digits": b'{"schemaVersion":' + b"9" * 10_000 + b"}",
    "list": b"[]",
    "large": b'{"a":"' + b"x" * (5 << 20) + b'"}',
}


@pytest.fixture(scope="module")
def bad_registry():
    source = MemorySource()
    with RegistryServer(source) as server:
        yield server, source


def test_bad_documents_are_refused_and_nothing_is_kept(engine, bad_registry):
    server, source = bad_registry
    layer = tar_of(("etc", None))
    names = []
    for number, (kind, name, change) in enumerate(documents()):
        made = MadeImage([layer], **(change if kind == "config" else {}))
        if kind == "manifest":
            made.manifest_raw = json.dumps(json.loads(made.manifest_raw) | change).encode()
        made.serve(source, f"bad{number}", "latest")
        names.append((f"bad{number}", f"{kind}: {name}"))
    for number, (name, raw) in enumerate(RAW.items()):
        source.add_manifest(f"raw{number}", raw, MadeImage([layer]).media_type, tags=("latest",))
        names.append((f"raw{number}", f"raw: {name}"))
    for repository, name in names:
        try:
            engine.images.pull(f"{server.host}/{repository}")
        except OcimagicError as err:
            refusal = err
        else:
            pytest.fail(f"taken: {name}")
        assert len(str(refusal)) < 2000, name
    assert engine.images.list() == ()
    assert [path.name for path in engine.home.snapshots.iterdir()] == []


@pytest.mark.parametrize(
    "history", [[], [{"empty_layer": True}] * 3, [{"created": "0001-01-01T00:00:00Z"}] * 5]
)
def test_history_that_does_not_match_is_only_history(engine, bad_registry, history):
    server, source = bad_registry
    name = f"odd{next(_numbers)}"
    MadeImage([tar_of(("etc", None))], history=history).serve(source, name, "latest")
    engine.images.pull(f"{server.host}/{name}")
    engine.images.history(f"{server.host}/{name}")
    engine.images.layers(f"{server.host}/{name}")


def test_the_year_one_survives_writing():
    """Go's zero time is in many images; strftime wrote it so that nobody could read it."""
    raw = b'{"created":"0001-01-01T00:00:00Z","rootfs":{"type":"layers","diff_ids":[]}}'
    config = ImageConfig.parse(raw)
    assert rfc3339(config.created) == "0001-01-01T00:00:00.000000Z"
    assert ImageConfig.parse(config.encoded().raw).created == config.created


GOOD = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["x"], "cwd": "/"},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.mark.parametrize("path", ["root", "process", "process.args", "process.cwd",
                                  "linux.namespaces",
                                  "mounts", "process.user", "process.capabilities", "linux.sysctl",
                                  "annotations", "linux.seccomp", "hostname",
                                  "process.oomScoreAdj"])  # fmt: skip
def test_bad_runtime_configs_are_refused(path):
    RuntimeConfig.parse(json.dumps(GOOD).encode())
    for value in (5, "x", [1], [None], {"a": {}}, True, 1.5, {"uid": -1}, "\ud800"):
        document = json.loads(json.dumps(GOOD))
        here = document
        *parents, last = path.split(".")
        for each in parents:
            here = here[each]
        here[last] = value
        with contextlib.suppress(OcimagicError):
            RuntimeConfig.parse(json.dumps(document).encode())
        with contextlib.suppress(OcimagicError):
            Rootfs.from_fields(decode(json.dumps({"base": value}).encode(), what="x"))


# -- layers ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [128])
def test_many_layers(run, make_image, count):
    layers = [tar_of((f"layer{number}", b"")) for number in range(count - 1)]
    done = run(make_image(*layers), "sh", "-c", "ls -d /layer* | wc -l")
    assert int(done.stdout) == count - 1


def test_too_many_layers_are_said(tmp_path):
    lowers = tuple(f"{number}/fs" for number in range(501))
    rootfs = Rootfs(base="/", lowers=lowers, upper="/u", work="/w")
    with pytest.raises(StartFailed, match="too many layers to stack: 501"):
        mount_overlay(rootfs, str(tmp_path))


def test_no_layer_and_equal_layers(shared, run, make_image, registry):
    MadeImage([], {"Cmd": ["/x"]}).serve(registry.source, "none", "latest")
    shared.images.pull(f"{registry.host}/none")
    with pytest.raises(CommandNotFound):
        run(f"{registry.host}/none")
    same = tar_of(("same", b"1"))
    assert run(make_image(same, same, same), "cat", "/same").stdout == b"1"


def test_hundreds_of_trees_are_removed(engine):
    """The request was one datagram: too long, it was cut and ended the launcher."""
    if not engine.containers.unpacker.launcher:
        pytest.skip("containers cannot run here")
    directory = engine.home.snapshots
    paths = [directory / f"new-{'x' * 200}-{number}" for number in range(400)]
    for path in paths:
        path.mkdir(parents=True)
    engine.containers.unpacker.remove_trees(paths)
    assert list(directory.iterdir()) == []


# -- the doors themselves --------------------------------------------------------


def test_writes_to_the_kernel_go_to_procfs_only(tmp_path):
    """CVE-2025-52881: whatever was put in the way of procfs is refused."""
    fd = os.open(tmp_path / "sysrq-trigger", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(StartFailed, match="not on procfs"):
            write_setting(fd, "b")
    finally:
        os.close(fd)
    assert (tmp_path / "sysrq-trigger").read_bytes() == b""


def test_making_directories_and_files_stays_inside(tmp_path, canary):
    (tmp_path / "root").mkdir()
    root = os.open(tmp_path / "root", os.O_PATH)
    try:
        for target in (str(canary), f"../../../../../../..{canary}", "/a/../../x", "self"):
            name = f"link{next(_numbers)}"
            os.symlink(target.replace("self", name), name, dir_fd=root)
            with contextlib.suppress(OSError):
                os.close(make_file(root, f"/{name}"))
            with contextlib.suppress(OSError):
                os.close(make_file(root, f"/{name}/below/it"))
            with contextlib.suppress(OSError):
                os.close(make_directories(root, f"/{name}/made"))
        os.close(make_directories(root, "deep/" * 500))
        with pytest.raises(OSError, match="NUL"):
            make_directories(root, "a\0b")
    finally:
        os.close(root)


def test_a_document_cannot_name_what_an_image_may_not(shared, make_image):
    made = shared.containers.run(make_image(), ["true"], network="none")
    record = shared.containers.store.containers.find(made.name)
    assert Document.decode(record.document).options.volumes == ()
    shared.containers.remove(made.name)


def test_the_shim_answers_only_its_own_account(shared, sleeper):
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    where = shared.home.run / sleeper.container_id[:12]
    directory = os.open(where, os.O_PATH)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.connect(f"/proc/self/fd/{directory}/shim.sock")
        except OSError:
            os._exit(0)
        os._exit(1)
    os.close(directory)
    assert os.waitpid(child, 0)[1] == 0
