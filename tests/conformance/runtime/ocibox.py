"""A container in a bundle, driven only through a runtime's command line.

Nothing here knows how a runtime works inside: arguments go in, and what comes back is looked at
from the container (a busybox shell) and from the machine (/proc and /sys/fs/cgroup).
"""

import atexit
import contextlib
import ctypes
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CGROUPS = Path("/sys/fs/cgroup")
PARENT = "ocimagic-conformance"  # every cgroup of these tests is below it
TIMEOUT_S = 30
_PR_SET_CHILD_SUBREAPER = 36

# Those that are executed by name; its shell finds all others in itself.
APPLETS = ("sh", "cat", "echo", "ls", "rm", "sleep", "stat", "tee", "true", "tty")
_CAPABILITIES = """
CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID
CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE
"""
CAPABILITIES = tuple(_CAPABILITIES.split())


def base_config(cgroups_path):
    """Return a config like the ones podman and docker write, small enough to read."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": [PATH_ENV],
            "cwd": "/",
            "capabilities": {
                kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount(
                "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                "mode=0620",
            ),
            mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777"),
            mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": each} for each in ("pid", "mount", "ipc", "uts", "network")],
            "cgroupsPath": cgroups_path,
        },
    }  # fmt: skip


def mount(destination, kind, source, *options):
    return {
        "destination": destination,
        "type": kind,
        "source": str(source),
        "options": list(options),
    }


@functools.cache
def busybox():
    """Return a copy of busybox of our own: roots get hard links, and hostile tests write to it."""
    directory = tempfile.mkdtemp(prefix="ocibox-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return shutil.copy(shutil.which("busybox"), directory)


def make_rootfs(directory):
    """Fill a directory with a static busybox; the program is a hard link, so this is quick."""
    for name in ("bin", "etc", "root", "tmp", "proc", "sys", "dev", "home"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home:\n")
    (directory / "etc/group").write_text("root:x:0:\nwheel:x:10:alice\nalice:x:1000:\n")
    program = busybox()
    try:
        os.link(program, directory / "bin/busybox")
    except OSError:
        shutil.copy(program, directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")


@dataclass(frozen=True)
class Runtime:
    """A runtime to test.

    Attributes:
        command: its program and the words before any other.
        version: first line of ``--version``.
    """

    name: str
    command: tuple[str, ...]
    version: str = ""


def ours():
    """Find our runtime: as installed beside this Python, else as a module."""
    installed = Path(sys.executable).with_name("ocimagic-runtime")
    if installed.exists():
        return (str(installed),)
    return (sys.executable, "-m", "ocimagic.runtime.commandline")


def find(name):
    """Return the runtime called so, or None where it is not installed."""
    if name == "ours":
        command = ours()
    else:
        program = shutil.which(name)
        if not program:
            return None
        command = (program,)
        if name == "crun" and _is_hybrid():
            # It refuses a machine with cgroup v1 and v2; this hides v2, from crun alone.
            hide = (
                "mount --make-private /sys/fs/cgroup && umount /sys/fs/cgroup/unified "
                '&& exec "$0" "$@"'
            )
            command = ("unshare", "-m", "--propagation", "unchanged", "sh", "-c", hide, program)
    told = subprocess.run(
        [*(command if name == "ours" else (program,)), "--version"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if told.returncode:
        return None
    return Runtime(name, command, told.stdout.partition("\n")[0])


def _is_hybrid():
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.startswith("cgroup2 /sys/fs/cgroup/unified ") for line in mounts)


def controllers():
    """Map each v1 controller of this machine to its directory."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields, _, rest = line.partition(" - ")
            if rest.startswith("cgroup "):
                for option in rest.split()[-1].split(","):
                    found[option] = Path(fields.split()[4])
    return {name: path for name, path in found.items() if name not in ("rw", "ro", "xattr")}


@dataclass
class Box:
    """A bundle and the containers a test makes of it; torn down by ``close``."""

    runtime: Runtime
    directory: Path
    name: str
    config: dict = field(default_factory=dict)
    names: set = field(default_factory=set)
    pidfds: list = field(default_factory=list)

    def __post_init__(self):
        self.bundle = self.directory / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.root = self.directory / "state"
        make_rootfs(self.rootfs)
        self.config = base_config(f"/{PARENT}/{self.name}")

    # -- the config ------------------------------------------------------------

    @property
    def process(self):
        return self.config["process"]

    @process.setter
    def process(self, value):
        self.config["process"] = value

    @property
    def linux(self):
        return self.config["linux"]

    @linux.setter
    def linux(self, value):
        self.config["linux"] = value

    def mount(self, destination, kind, source, *options):
        self.config["mounts"].append(mount(destination, kind, source, *options))

    def shell(self, script):
        self.process["args"] = ["/bin/sh", "-c", script]

    def namespace(self, kind, path=None):
        """Ask for a namespace of a kind, in the place of the one the config may have."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} | ({"path": str(path)} if path else {}))

    def without_namespace(self, kind):
        wanted = [each for each in self.linux["namespaces"] if each["type"] != kind]
        self.linux["namespaces"] = wanted

    def write(self):
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    # -- the command line ------------------------------------------------------

    def words(self, *words):
        return [*self.runtime.command, "--root", str(self.root), *map(str, words)]

    def call(self, *words, check=True, stdin=None, to=None, timeout_s=TIMEOUT_S, **options):
        """Run one command of the runtime to its end; its output is read to the end or goes to."""
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        out = subprocess.PIPE if to is None else to
        done = subprocess.run(
            self.words(*words), stdout=out, stderr=out, text=True, timeout=timeout_s, check=False,
            **given, **options,
        )  # fmt: skip
        assert "Traceback" not in (done.stderr or ""), done.stderr
        if check:
            assert done.returncode == 0, f"{words[0]}: {done.stderr or done.stdout}"
        return done

    def refused(self, *words, **options):
        """Assert that a command generates an error, in words; returns them."""
        done = self.call(*words, check=False, **options)
        assert done.returncode != 0, f"{words} succeeded"
        assert done.stderr.strip() or done.stdout.strip(), f"{words} failed without a word"
        return done.stderr + done.stdout

    def run(self, script=None, *words, name=None, **options):
        """Create, start, wait and delete in one command; returns what the container wrote."""
        return self.run_whole(script, *words, name=name, **options).stdout

    def run_whole(self, script=None, *words, name=None, **options):
        if script is not None:
            self.shell(script)
        self.write()
        name = name or self.name
        self.names.add(name)
        return self.call("run", *words, "--bundle", self.bundle, name, **options)

    def call_globally(self, *words, script, check=True):
        """Run a script with options that come before the verb."""
        self.shell(script)
        self.write()
        self.names.add(self.name)
        return self.call(*words, "run", "--bundle", self.bundle, self.name, check=check)

    def run_refused(self, script=None, *words):
        done = self.run_whole(script, *words, check=False)
        assert done.returncode != 0, f"it ran: {done.stdout}"
        assert done.stderr.strip(), "failed without a word"
        return done.stderr

    def create(self, *words, name=None, check=True, write=True, **options):
        """Create a container whose output goes to files; returns the finished command."""
        if write:
            self.write()
        name = self.name if name is None else name
        self.names.add(name)
        pid_file = self.directory / "pid"
        command = self.words(
            "create", *words, "--bundle", self.bundle, "--pid-file", pid_file, name
        )
        with (self.directory / "out").open("ab") as out, (self.directory / "err").open("ab") as err:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=TIMEOUT_S,
                check=False, **options,
            )  # fmt: skip
        assert "Traceback" not in self.errors(), self.errors()
        assert done.returncode == 0 or not check, self.errors()
        if done.returncode == 0:
            self.pid = int(pid_file.read_text())
            self.pidfd = os.pidfd_open(self.pid)
            self.pidfds.append(self.pidfd)
        return done

    def create_refused(self, *words, **options):
        done = self.create(*words, check=False, **options)
        assert done.returncode != 0, "it was created"
        assert self.errors().strip(), "failed without a word"
        return self.errors()

    def start(self):
        return self.call("start", self.name)

    def state(self, name=None):
        return json.loads(self.call("state", name or self.name).stdout)

    def status(self):
        return self.state()["status"]

    def started(self, script="exec sleep 100", **options):
        """Create and start a container; returns self."""
        self.shell(script)
        self.create(**options)
        self.start()
        return self

    def ready(self, script="exec sleep 100", **options):
        """Create and start a container and wait until its program runs; returns self."""
        self.started(f"echo ready; {script}", **options)
        until(lambda: "ready\n" in self.output())
        return self

    def wait(self, timeout_s=TIMEOUT_S):
        """Wait for the end of the container's process; returns its exit code, 128+n by signal."""
        until(lambda: collect() or self.pid in ENDED, timeout_s)
        return ENDED.pop(self.pid)

    def kill(self):
        """Kill the container's process, whatever it is doing, and wait for its end."""
        self.call("kill", self.name, "KILL")
        return self.wait()

    def execute(self, script, *words, **options):
        """Run a script by exec; returns what it wrote."""
        return self.exec_whole(script, *words, **options).stdout

    def exec_whole(self, script, *words, **options):
        return self.call("exec", *words, self.name, "/bin/sh", "-c", script, **options)

    def exec_process(self, document, *words, **options):
        """Run the process of a document by exec, by default with the config's other values."""
        path = self.directory / "process.json"
        whole = self.process | document
        if "script" in whole:
            whole["args"] = ["/bin/sh", "-c", whole.pop("script")]
        path.write_text(json.dumps(whole))
        return self.call("exec", *words, "--process", path, self.name, **options)

    def exec_detached(self, document, *words, **options):
        """Run the process of a document by a detached exec; returns its pid."""
        pid_file = self.directory / "exec.pid"
        pid_file.unlink(missing_ok=True)
        whole = ("--detach", "--pid-file", pid_file, *words)
        with (self.directory / "out").open("ab") as out:
            self.exec_process(document, *whole, to=out, **options)
        pid = int(pid_file.read_text())
        self.pidfds.append(os.pidfd_open(pid))
        return pid

    def output(self):
        return (self.directory / "out").read_text()

    def errors(self):
        path = self.directory / "err"
        return path.read_text() if path.exists() else ""

    # -- what the machine sees -------------------------------------------------

    def cgroup(self, controller, name=None):
        return controllers()[controller] / PARENT / (name or self.name)

    def cgroup_value(self, controller, file):
        return (self.cgroup(controller) / file).read_text().strip()

    def left_behind(self):
        """List what is still there of the containers: mounts, cgroups, state, processes."""
        left = []
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            left += [line for line in mounts if f"{self.directory}/" in line]
        for name in self.names:
            places = [self.root / name]
            places += [directory / PARENT / name for directory in CGROUPS.iterdir()]
            left += [str(path) for path in places if path.exists()]
        return left

    def close(self):
        """Remove all containers; assert that ours left nothing."""
        for pidfd in self.pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in self.pidfds:
            until(lambda: collect() or select.select([pidfd], [], [], 0)[0])  # noqa: B023
            os.close(pidfd)
        for name in self.names:
            if name and (self.root / name).exists():
                self.call("delete", "--force", name, check=False)
        collect()
        left = self.left_behind()
        self._remove_cgroups()
        assert self.runtime.name != "ours" or not left, f"left behind: {left}"

    def _remove_cgroups(self):
        for name in self.names:
            for hierarchy in CGROUPS.iterdir():
                remove_cgroup(hierarchy / PARENT / name)


def remove_cgroup(top):
    """Remove a group and those below it, with the processes that a peer may have left there."""
    for each, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError, AssertionError):
            _empty(Path(each))
        with contextlib.suppress(OSError):
            os.rmdir(each)


def _empty(group):
    state = group / "freezer.state"
    if state.exists():
        state.write_text("THAWED")
    pids = (group / "cgroup.procs").read_text().split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    if pids:
        until(lambda: collect() or not (group / "cgroup.procs").read_text(), 2)


def until(condition, timeout_s=TIMEOUT_S):
    """Wait for what the machine tells of no other way."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.002)


@contextlib.contextmanager
def subreaper():
    """Become the parent of the containers whose creator has ended, to learn exit codes."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    collect()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


ENDED = {}  # pid -> exit code of what was left to this process, a subreaper meanwhile


def collect():
    """Collect all the dead, not only the one waited for.

    The first process of a pid namespace ends only after the others of it have been collected,
    and those started by exec were left to us too.
    """
    with contextlib.suppress(ChildProcessError):
        while told := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            is_exit = told.si_code == os.CLD_EXITED
            ENDED[told.si_pid] = told.si_status if is_exit else 128 + told.si_status


class ConsoleSocket:
    """The socket a runtime sends the master of a new terminal to."""

    def __init__(self, directory):
        self.path = directory / "console.sock"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(self.path))
        self.socket.listen(1)
        self.socket.settimeout(TIMEOUT_S)
        self.master = -1

    def receive(self):
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        (self.master,) = fds
        return self.master

    def read_all(self):
        """Read until the other side is closed, which a terminal tells by EIO."""
        parts = []
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], TIMEOUT_S)[0]:
                parts.append(os.read(self.master, 65536))
        return b"".join(parts).decode().replace("\r\n", "\n")

    def close(self):
        self.socket.close()
        if self.master >= 0:
            os.close(self.master)
