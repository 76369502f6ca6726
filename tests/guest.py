"""A small guest machine for what this machine's kernel does not have, such as pure cgroup v2.

A packaged Linux, an initramfs with busybox and a copy of this Python, and qemu.  The guest runs
test files with pytest; their outcomes come back over its second serial port.

``python tests/guest.py`` fetches a packaged kernel with apt into ``CACHE``; without one in
there or in /boot, ``why_not`` says so and the tests skip.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import lzma
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("/var/cache/ocimagic-guest")
QEMU = "qemu-system-x86_64"
BUSYBOX = Path("/bin/busybox")
REPOSITORY = Path(__file__).parent.parent
PYTEST = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
MODULES = ("brd",)  # disks in memory
LEFT_OUT = {"test", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo",
            "site-packages", "dist-packages", "pydoc_data", "distutils"}  # fmt: skip

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for each in /modules/*; do insmod $each rd_nr=2 rd_size=65536; done
[ -e /dev/ram1 ] && mkswap /dev/ram1 && swapon /dev/ram1
{mounts}
cd /work
export PYTEST_ADDOPTS='-o faulthandler_timeout=40'
export PYTHONPATH=/site:/work PYTHONDONTWRITEBYTECODE=1 HOME=/root PATH=/bin:/usr/bin
{python} -m pytest -q --noconftest -p outcomes -p no:cacheprovider {tests}
poweroff -f
"""
VERSION2 = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
VERSION1 = """mount -t tmpfs cgroup /sys/fs/cgroup
for each in cpu,cpuacct cpuset memory devices freezer blkio pids net_cls,net_prio hugetlb rdma; do
  mkdir /sys/fs/cgroup/$each
  mount -t cgroup -o $each cgroup /sys/fs/cgroup/$each
done"""

PLUGIN = """
import json

port = open("/dev/ttyS1", "w", buffering=1)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        said = {"test": report.nodeid, "outcome": report.outcome, "text": str(report.longrepr)}
        port.write(json.dumps(said) + "\\n")


def pytest_sessionfinish(session, exitstatus):
    port.write(json.dumps({"collected": session.testscollected, "exit": int(exitstatus)}) + "\\n")
    port.flush()
"""


@dataclass(frozen=True)
class Kernel:
    image: Path
    modules: Path


def accelerator() -> list[str]:
    """Return qemu's options for the processor.

    Without vmx or svm a /dev/kvm is PVM's (a nested machine's software KVM), in which a kernel
    that does not know of it makes no progress.  qemu's own emulation boots in 3 s.
    """
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if os.access("/dev/kvm", os.R_OK | os.W_OK) and flags & {"vmx", "svm"}:
        return ["-machine", "q35,accel=kvm", "-cpu", "host"]
    return ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]


def find_kernel() -> Kernel | None:
    """Return the newest packaged kernel."""
    images = [
        image
        for root in (Path("/"), CACHE)
        for image in root.glob("boot/vmlinuz-*")
        if os.access(image, os.R_OK)
    ]
    if not images:
        return None
    image = max(images, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    version = image.name.removeprefix("vmlinuz-")
    return Kernel(image, image.parent.parent / "lib/modules" / version)


def why_not() -> str:
    """Return why no guest can be run here; "" if one can."""
    if platform.machine() != "x86_64":
        return f"the guest is for x86_64, this is {platform.machine()}"
    if not shutil.which(QEMU):
        return f"{QEMU} is not installed (apt install qemu-system-x86)"
    if not BUSYBOX.exists():
        return "busybox-static is not installed"
    if not find_kernel():
        return f"no kernel in /boot or {CACHE} (python tests/guest.py fetches one)"
    return ""


class Archive:
    """An initramfs in the making: cpio, format "newc"."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def add(self, name: str, mode: int, data: bytes = b"", changed: int = 0) -> None:
        """Add an entry with the directories above it; a second one of a name is left out."""
        name = name.lstrip("/")
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.add(parent, stat.S_IFDIR | 0o755)
        if name in self._names:
            return
        self._names.add(name)
        self._parts.append(self._entry(name, mode, data, changed))

    def _entry(self, name: str, mode: int, data: bytes = b"", changed: int = 0) -> bytes:
        raw = name.encode() + b"\0"
        fields = [len(self._names), mode, 0, 0, 1, changed, len(data), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % each for each in fields) + raw
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    def add_file(self, path: Path, name: str | None = None) -> None:
        """Add a file of this machine, by default where it is here."""
        real = os.path.join(os.path.realpath(path.parent), path.name)
        facts = path.stat()
        # The time too: Python uses compiled files only with it.
        self.add(name or real, facts.st_mode, path.read_bytes(), int(facts.st_mtime))

    def add_tree(self, path: Path, name: str | None = None) -> None:
        """Add the files below a directory, without what the guest does not need."""
        for directory, below, files in os.walk(path):
            below[:] = [each for each in below if each not in LEFT_OUT]
            for file in files:
                found = Path(directory, file)
                inner = found.relative_to(path)
                if found.is_file() and found.suffix != ".a":
                    self.add_file(found, f"{name}/{inner}" if name else None)

    def write(self, path: Path) -> None:
        """Write the archive, hardly compressed: the guest reads it in no time."""
        trailer = self._entry("TRAILER!!!", 0)
        with gzip.open(path, "wb", compresslevel=1) as out:
            out.writelines([*self._parts, trailer])


def libraries(files: list[Path]) -> set[Path]:
    """Return the shared libraries that programs and modules need."""
    said = subprocess.run(
        ["ldd", *map(str, files)], capture_output=True, text=True, check=False
    ).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", said)}


def initramfs(path: Path, kernel: Kernel, tests: list[str], mounts: str) -> None:
    """Write an initramfs that runs tests of this repository and then ends the guest."""
    archive = Archive()
    for name in ("bin", "sbin", "lib", "lib64"):
        here = Path("/", name)
        if here.is_symlink():
            archive.add(name, stat.S_IFLNK | 0o777, os.readlink(here).encode())
    python = Path(os.path.realpath(sys.executable))
    standard = Path(sysconfig.get_path("stdlib"))
    extensions = list((standard / "lib-dynload").glob("*.so"))
    for each in (BUSYBOX, python, *libraries([python, *extensions])):
        archive.add_file(each)
    archive.add_tree(standard)
    for name in PYTEST:
        if found := importlib.util.find_spec(name):
            origin = Path(str(found.origin))
            if origin.name == "__init__.py":
                archive.add_tree(origin.parent, f"site/{name}")
            else:
                archive.add_file(origin, f"site/{origin.name}")
    for name in MODULES:
        add_module(archive, kernel, name)
    for name in ("ocimagic", "tests/runtime"):
        archive.add_tree(REPOSITORY / name, f"work/{name}")
    archive.add_file(REPOSITORY / "setup.cfg", "work/setup.cfg")
    archive.add("site/outcomes.py", stat.S_IFREG | 0o644, PLUGIN.encode())
    init = INIT.format(mounts=mounts, python=python, tests=" ".join(tests))
    archive.add("init", stat.S_IFREG | 0o755, init.encode())
    archive.write(path)


def add_module(archive: Archive, kernel: Kernel, name: str) -> None:
    """Add a module of the guest's kernel, if it is one and not built in."""
    for found in kernel.modules.glob(f"kernel/**/{name}.ko*"):
        data = found.read_bytes()
        if found.suffix == ".xz":
            data = lzma.decompress(data)
        archive.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, data)


def run(tests: list[str], mounts: str, *, timeout_s: float = 240) -> tuple[dict[str, dict], str]:
    """Boot a guest that runs tests; return what became of each, by name, and its console."""
    kernel = find_kernel()
    assert kernel
    with tempfile.TemporaryDirectory() as room:
        image, outcomes, console = (Path(room, name) for name in ("image", "outcomes", "console"))
        initramfs(image, kernel, tests, mounts)
        command = [
            QEMU, *accelerator(), "-smp", "2", "-m", "1024", "-display", "none", "-no-reboot",
            "-nic", "none", "-nodefaults", "-serial", f"file:{console}",
            "-serial", f"file:{outcomes}", "-kernel", str(kernel.image), "-initrd", str(image),
            "-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off",
        ]  # fmt: skip
        ended = "the guest did not end in time"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s,
                check=False,
            )  # fmt: skip
            ended = done.stderr.decode()
        lines = outcomes.read_text().splitlines() if outcomes.exists() else []
        shown = console.read_text(errors="replace") if console.exists() else ""
    said = [json.loads(line) for line in lines if line.endswith("}")]
    return {each.get("test", "the end"): each for each in said}, shown + ended


def fetch() -> None:
    """Get a packaged kernel into the cache; nothing is installed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    depends = subprocess.check_output(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], text=True
    )
    name = re.findall(r"Depends: (linux-image-\S+)", depends)[0]
    with tempfile.TemporaryDirectory() as room:
        subprocess.run(["apt-get", "download", "-q", name], cwd=room, check=True)
        [package] = Path(room).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(CACHE)], check=True)


if __name__ == "__main__":
    if why_not():
        fetch()
    print(why_not() or f"a guest can be run: {find_kernel()}")
