"""A bundle with a static busybox, and containers made of it inside this process."""

import contextlib
import json
import os
import select
import shutil
import signal
from pathlib import Path

import pytest

from ocimagic.runtime.beginning import destroy
from ocimagic.runtime.bundle import load_bundle
from ocimagic.runtime.create import Init

# Of this process: other tests may run beside these.
PARENT = f"/ocimagic-tests-{os.getpid()}"
APPLETS = (
    "cat echo false grep head hostname id kill ls mkdir readlink rm sh sleep stat stty test touch "
    "tr true tty"
)


def mount(destination, kind, source, *options):
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


class RuntimeBox:
    """Makes containers and sees to it that nothing of them is left."""

    def __init__(self, directory):
        program = shutil.which("busybox")
        self.directory = Path(directory)
        self.rootfs = self.directory / "rootfs"
        for name in ("bin", "etc", "root", "tmp"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy(program, self.rootfs / "bin/busybox")
        for name in APPLETS.split():
            (self.rootfs / "bin" / name).symlink_to("busybox")
        (self.rootfs / "etc/passwd").write_text("root:x:0:0::/root:\nalice:x:1000:1001::/home/a:\n")
        (self.rootfs / "etc/group").write_text("root:x:0:\nwheel:x:10:alice\nstaff:x:50:\n")
        self.name = f"t{os.getpid()}-{self.directory.name}"[-60:]
        self.made = []
        self.warnings = []
        self.output = self.directory / "output"
        quiet = ("nosuid", "noexec", "nodev")
        self.config = {
            "ociVersion": "1.2.0",
            "process": {
                "args": ["true"],
                "cwd": "/",
                "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
                "capabilities": {
                    name: ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]
                    for name in ("bounding", "effective", "permitted")
                },
            },
            "root": {"path": "rootfs"},
            "mounts": [
                mount("/proc", "proc", "proc", *quiet),
                mount("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755"),
                mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
                      "ptmxmode=0666", "mode=0620"),
                mount("/sys", "sysfs", "sysfs", *quiet, "ro"),
            ],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")
                ],
                "cgroupsPath": f"{PARENT}/{self.name}",
            },
        }  # fmt: skip

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

    def shell(self, script):
        self.process["args"] = ["sh", "-c", script]

    def bundle(self):
        (self.directory / "config.json").write_text(json.dumps(self.config))
        return load_bundle(str(self.directory), {})

    def create(self, script=None, **options):
        """Make a container whose output goes to a file; its command waits."""
        if script:
            self.shell(script)
        bundle = self.bundle()
        with self.output.open("ab") as out:
            stdio = (-1, out.fileno(), out.fileno())
            init = Init.create(bundle, self.name, stdio, on_warning=self.warnings.append, **options)
        self.made.append(init)
        return init

    def run(self, script=None, **options):
        """Make a container, start it, wait for it and destroy it; return what it wrote."""
        init = self.create(script, **options)
        init.start()
        self.wait(init)
        return self.output.read_text()

    def wait(self, init):
        """Wait for the end of a container and destroy it; return its exit code."""
        code = wait(init)
        self.made.remove(init)
        destroy(init.state, self.warnings.append)
        return code

    def close(self):
        for init in list(self.made):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
            self.wait(init)
        left = [str(each) for each in Path("/sys/fs/cgroup").glob(f"*{PARENT}/*/")]
        for each in Path("/sys/fs/cgroup").glob(f"*{PARENT}"):
            with contextlib.suppress(OSError):
                each.rmdir()
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            left += [line for line in mounts if str(self.directory) in line]
        assert left == []


def wait(init):
    """Reap a process and let go of it; return its exit code."""
    assert select.select([init.pidfd], [], [], 20)[0], "it does not end"
    status = os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)
    init.close()
    return status.si_status + (0 if status.si_code == os.CLD_EXITED else 128)


@pytest.fixture
def box(tmp_path):
    """A fresh box; skips where containers of this kind cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: cgroups and ids of the machine")
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    # The way down to the root must be open to mapped users.
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    made = RuntimeBox(tmp_path / "bundle")
    before = set(os.listdir("/proc/self/fd"))
    yield made
    made.close()
    assert len(os.listdir("/proc/self/fd")) <= len(before), "a descriptor is left open"
