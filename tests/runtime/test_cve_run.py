"""Known holes of runtimes, tried on ours through its command line: what create and run get.

Each docstring ends with the guard that, removed, makes the test fail; each was really removed,
the failure seen, and the guard put back.  What an image can do is in test_hostile_images.py.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance/runtime"))

from ocibox import CGROUPS, PARENT, Box, ConsoleSocket, find, remove_cgroup, subreaper, until

from ocimagic.errors import OcimagicError
from ocimagic.runtime.cgroup import place
from ocimagic.runtime.channel import Channel

LEAKS = range(3, 20)


@pytest.fixture
def box(tmp_path):
    """A bundle for our runtime, with a directory of the machine's that must stay as it is."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    runtime = find("ours")
    assert runtime, "our runtime does not start"
    made = Box(runtime, tmp_path / "box", f"t{os.getpid()}-{tmp_path.name[-40:]}")
    made.canary = tmp_path / "canary"
    made.canary.mkdir()
    for name in ("passwd", "ptmx", "core_pattern", "ip_forward", "oom_score_adj"):
        (made.canary / name).write_text("machine")
    before = listing(made.canary)
    with subreaper():
        yield made
        made.close()
    assert listing(made.canary) == before, "the machine's directory was touched"
    for hierarchy in CGROUPS.iterdir():
        with contextlib.suppress(OSError):
            (hierarchy / PARENT).rmdir()


def listing(directory):
    return sorted((path.name, path.read_text()) for path in directory.iterdir())


def add_python(rootfs):
    """Give the root what the runtime's own program needs to start: it could run there."""
    program = os.path.realpath(sys.executable)
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for path in re.findall(r"(/\S+) \(", told.stdout):
        place = rootfs / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    assert list(rootfs.rglob("ld-linux*")) or "not a dynamic" in told.stderr


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def leaked(directory):
    """Hold many descriptors of a directory that every child inherits."""
    fds = [os.open(directory, os.O_RDONLY | os.O_DIRECTORY) for _ in range(40)]
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


# -- the runtime's own program --------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [["/proc/self/exe"], ["/proc/1/exe"], ["/link"], ["/script"], ["/bin/sh", "-c", "/script"]],
    ids=["self", "first", "link", "script", "inside"],
)
def test_the_runtimes_program_is_not_run_inside(box, args):
    """CVE-2019-5736: an entry point that is the runtime's own program, seen through /proc.

    Guard: ``command.find_command`` refuses what leads into /proc.
    """
    (box.rootfs / "link").symlink_to("/proc/self/exe")
    script = box.rootfs / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    add_python(box.rootfs)
    before = digest(sys.executable)
    box.process["args"] = args
    done = box.run_whole(check=False)
    assert done.returncode != 0
    assert "Python" not in done.stdout + done.stderr
    assert digest(sys.executable) == before


PEEK = """
for f in exe cwd root ns/mnt; do readlink /proc/1/$f; done
readlink /proc/1/fd/*; cat /proc/1/environ /proc/1/maps | tr '\\0' '\\n' | head -n 3
true 2>/dev/null >>/proc/1/exe && echo wrote
true
"""


def test_a_container_sees_nothing_of_what_waits_for_start(box):
    """CVE-2016-9962: between create and start the first process still is the runtime's.

    Guard: ``init`` clears the dumpable flag before anything of the container's can run.
    """
    box.create()
    told = box.exec_whole(PEEK + " 2>/dev/null", check=False)
    assert told.stdout == "", "something of the runtime's was seen"


def test_with_the_right_to_trace_it_still_cannot_be_written(box):
    """CVE-2019-5736: who may trace sees the program, but it is one that nobody can write.

    Guard: ``sealed``: create, run and exec happen in a copy in memory, sealed.
    """
    for kind in ("bounding", "effective", "permitted"):
        box.process["capabilities"][kind].append("CAP_SYS_PTRACE")
    box.create()
    before = digest(sys.executable)
    script = "exec 9</proc/1/exe; (echo evil >/proc/self/fd/9) 2>&1; (echo evil >>/proc/1/exe) 2>&1"
    told = box.exec_whole(script + "; readlink /proc/1/exe", check=False).stdout
    # Not only "busy", which it is no longer than somebody runs it.
    first, second = told.splitlines()[:2]
    assert first.endswith(("Read-only file system", "Operation not permitted")), told
    assert second.endswith(("Read-only file system", "Operation not permitted", "busy")), told
    assert digest(sys.executable) == before
    assert os.path.realpath(sys.executable) not in told


# -- working directories and descriptors --------------------------------------------------


def test_working_directories_through_leaked_descriptors(box):
    """CVE-2024-21626: cwd is /proc/self/fd/N, and N is a directory of the machine's.

    Guard: ``cli.session`` closes what nobody handed over, and ``program.check_working_dir``.
    """
    others = [Box(box.runtime, box.directory / f"n{n}", f"{box.name}-{n}") for n in LEAKS]

    def attempt(other, number):
        other.process["cwd"] = f"/proc/self/fd/{number}"
        done = other.run_whole("pwd; ls", check=False, close_fds=False)
        return done.returncode, done.stdout

    with leaked(box.canary), ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, others, LEAKS))
    # Not before all have ended: it waits for any child, and another thread's exit code were lost.
    for other in others:
        other.close()
    assert not [told for _, told in outcomes if "core_pattern" in told or "canary" in told]
    assert all(code for code, _ in outcomes), outcomes


def test_a_working_directory_does_not_climb_out(box):
    """CVE-2024-21626: from cwd, ``../../..`` ends at the container's root.

    Guard: ``rootfs.pivot`` (a chroot would not hold a descriptor from before).
    """
    (box.rootfs / "a/b").mkdir(parents=True)
    box.process["cwd"] = "/a/b"
    assert box.run("cd ../../../../../..; ls").split() == sorted(os.listdir(box.rootfs))


# -- who the process is -----------------------------------------------------------------------


@pytest.mark.parametrize("field", ["uid", "gid", "additionalGids"])
@pytest.mark.parametrize("value", [2**32 - 1, 2**32, 2**63, -1, "0", 1.5, True, [0]])
def test_numbers_that_are_no_user(box, field, value):
    """CVE-2024-40635: a number too large becomes 0 somewhere.

    Guard: ``spec.process.User.parse`` checks the range.
    """
    box.process["user"][field] = [value] if field == "additionalGids" else value
    box.create_refused()
    assert box.left_behind() == []


@pytest.mark.parametrize("size", [0, -1, 2**32, 2**33])
def test_mappings_out_of_range(box, size):
    """CVE-2024-40635: the same for the numbers of a user namespace.

    Guard: the kernel's, which takes no such map; ours (``spec.isolation``) says it in words
    and before anything is made.
    """
    box.namespace("user")
    maps = [{"containerID": 0, "hostID": 100000, "size": size}]
    box.linux |= {"uidMappings": maps, "gidMappings": maps}
    box.create_refused()


def test_nothing_is_inheritable(box):
    """CVE-2022-29162: capabilities of run and of exec are neither inheritable nor ambient.

    Guard: ``capabilities.apply_sets`` writes the inheritable set as it was asked for, empty.
    """
    box.started()
    for words in ((), ("--cap", "CAP_NET_ADMIN")):
        told = box.execute("grep -E 'Cap(Inh|Amb)' /proc/self/status /proc/1/status", *words)
        values = {line.split()[-1] for line in told.splitlines()}
        assert values == {"0" * 16}


# -- what is written to the kernel ---------------------------------------------------------------


def test_settings_go_to_no_other_files(box):
    """CVE-2025-52881, CVE-2019-16884: another directory stands where /proc/sys should be.

    Guard: ``mount_target`` lets nothing be mounted over /proc, and ``init.write_setting`` looks
    at the file system of what it opened; it takes both away.
    """
    box.mount("/proc/sys/net/ipv4", "bind", box.canary, "bind")
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.create_refused()
    assert box.left_behind() == []


@pytest.mark.parametrize("what", ["tmpfs", "bind", "link", "nothing"])
def test_without_a_true_proc_nothing_is_written_inside(box, what):
    """CVE-2025-52881: /proc of the container is not procfs.

    Guard: ``create`` sets oom_score_adj from outside; ``program.hold_own_proc`` takes the
    machine's procfs for the rest.
    """
    box.config["mounts"] = box.config["mounts"][1:]
    if what == "tmpfs":
        box.mount("/proc", "tmpfs", "t")
    elif what == "bind":
        box.mount("/proc", "bind", box.canary, "bind")
    elif what == "link":
        (box.rootfs / "proc").rmdir()
        (box.rootfs / "proc").symlink_to(box.canary)
    box.process["oomScoreAdj"] = 500
    box.shell("exec sleep 100")
    done = box.create(check=False)
    if done.returncode == 0:
        with open(f"/proc/{box.pid}/oom_score_adj", encoding="utf-8") as file:
            assert file.read() == "500\n"
    else:
        assert box.left_behind() == []


def test_no_terminal_is_opened_by_its_name(box, tmp_path):
    """CVE-2025-52565: /dev/pts/N may be replaced by a link before it is opened.

    Guard: ``terminal.offer`` asks the master for its other end (TIOCGPTPEER).
    """
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    box.process["terminal"] = True
    box.shell("tty")
    box.write()
    (tmp_path / "c").mkdir()
    console = ConsoleSocket(tmp_path / "c")
    log = tmp_path / "strace"
    words = box.words(
        "create", "--console-socket", console.path, "--bundle", box.bundle,
        "--pid-file", box.directory / "pid", box.name,
    )  # fmt: skip
    box.names.add(box.name)
    calls = "trace=open,openat,openat2,mount,open_tree,move_mount"
    # It follows the container's process to its end, so nobody waits for it yet.
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", log, "-e", calls, *words], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    console.receive()
    until((box.directory / "pid").exists)
    until(lambda: box.call("state", box.name, check=False).stdout.find("created") > 0)
    box.pidfds.append(os.pidfd_open(int((box.directory / "pid").read_text())))
    box.start()
    told = console.read_all()
    console.close()
    tracer.wait(30)
    assert told == "/dev/pts/0\n"
    text = log.read_text()
    assert "ptmx" in text, "nothing was seen of the terminal"
    assert '"/dev/pts/0"' not in text
    assert '"pts/0"' not in text


# -- cgroups -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/../x", "../x", "/a/../../x", "a/..", "/a/\0/b", "/..", "..", "/a/./../../../..", "/", "//"],
)
def test_cgroup_paths_that_leave_their_place(path):
    """crun's annotations with ``..``: a path that climbs, or names the machine's own group.

    Guard: ``CgroupsPath.parse``.
    """
    try:
        found = place(path, "container")
    except OcimagicError:
        return
    for directory in found.paths.values():
        assert ".." not in directory.split("/")
        assert "\0" not in directory
        assert not os.path.exists(directory), "that is somebody's already"


def test_processes_of_somebody_else_in_the_cgroup(box):
    """config-linux.md, "Control groups": one container's end must not be another process's.

    Guard: ``Cgroup.create`` refuses a cgroup with processes in it.
    """
    places = [path / PARENT / box.name for path in CGROUPS.iterdir() if path.is_dir()]
    with subprocess.Popen(["sleep", "100"]) as stranger:
        for place in places:
            place.mkdir(parents=True)
            for each in (place.parent, place):  # a cpuset without processors takes nobody
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if (each / name).exists():
                        (each / name).write_text((each.parent / name).read_text())
            (place / "cgroup.procs").write_text(str(stranger.pid))
        done = box.create(check=False)
        if done.returncode == 0:
            box.call("delete", "--force", box.name, check=False)
        alive = stranger.poll() is None
        stranger.kill()
    for place in places:
        remove_cgroup(place)
    assert done.returncode != 0 or alive
    assert alive


# -- doors -------------------------------------------------------------------------------------


def test_no_abstract_socket(box):
    """CVE-2020-15257: who shares the machine's network could talk to a runtime's socket.

    Guard: ``state.listen`` binds to a path in a directory of mode 0700.
    """
    with open("/proc/net/unix", encoding="utf-8") as file:
        before = {line.split()[-1] for line in file if "@" in line}
    box.without_namespace("network")
    box.config["mounts"] = [each for each in box.config["mounts"] if each["type"] != "sysfs"]
    box.create()
    told = box.execute("cat /proc/net/unix")
    after = {line.split()[-1] for line in told.splitlines() if "@" in line}
    assert after <= before
    assert box.root.stat().st_mode & 0o077 == 0
    assert (box.root / box.name).stat().st_mode & 0o077 == 0


JUNK = [
    b"", b"x", b"{", b"null", b"[]", b"{}", b'{"type": null}', b'{"type": "start"', b"\0" * 60000,
    b'{"type": "nonsense"}', b"[" * 30000, b'{"type": "let go"}', b'{"type":"start","type":"x"}',
    b"\xff\xfe{", b'{"type": {"a": 1}}', b'{"type": "prepared"}',
]  # fmt: skip


def test_junk_at_the_door_of_a_waiting_process(box):
    """CVE-2021-43784: what one half of the runtime tells the other is read with care.

    Guard: ``Channel.hear`` refuses what is no message, and ``_wait_at_door`` goes on waiting.
    """
    box.shell("echo started as it should")
    box.create()
    directory = os.open(box.root / box.name, os.O_PATH)
    door = f"/proc/self/fd/{directory}/start.sock"  # a socket's path may have 107 bytes only
    for junk in JUNK:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(10)
            until(lambda: client.connect_ex(door) == 0)
            with contextlib.suppress(BrokenPipeError):
                client.send(junk)
            assert client.recv(100) == b"", "it was answered"
    os.close(directory)
    assert box.status() == "created"
    box.start()
    assert box.wait() == 0
    assert box.output() == "started as it should\n"


@pytest.mark.parametrize("junk", JUNK[1:])
def test_junk_from_a_process_in_the_making(junk):
    """CVE-2021-43784: a message that is none is an error of ours, not an exception.

    Guard: ``Channel.hear`` checks what it read.
    """
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, theirs:
        theirs.send(junk)
        try:
            heard = Channel(mine).hear()
        except OcimagicError:
            return
        assert heard is None or isinstance(heard.type, str)


def test_descriptors_that_nobody_asked_for_are_closed():
    """CVE-2021-43784: a message may bring more descriptors than it should.

    Guard: ``Channel.hear`` takes four at most, close-on-exec.
    """
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, theirs, open(os.devnull, "rb") as null:
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(theirs, [b'{"type": "warning", "text": "x"}'], [null.fileno()] * 50)
        try:
            heard = Channel(mine).hear()
        except OcimagicError:
            heard = None
        for fd in heard.fds if heard else ():
            assert not os.get_inheritable(fd)
            os.close(fd)
        assert len(os.listdir("/proc/self/fd")) == before
