"""Mounts tried for real: a job in namespaces of its own, and what it saw there.

The job is a function; it runs in a forked process that may do what it likes to its mounts, and
its result comes back.  As an ordinary user that process is root of a user namespace with the
one id that needs nobody's help.
"""

import contextlib
import dataclasses
import os
import pickle
import re
import shutil
import tempfile
import traceback
from pathlib import Path

import pytest

from ocimagic.linux import syscalls
from ocimagic.runtime import mounts, rootfs
from ocimagic.runtime.idmap import write_mappings
from ocimagic.spec.isolation import IdMapping
from ocimagic.spec.process import Process
from ocimagic.spec.runtime import Mount, RuntimeConfig

IS_ROOT = os.geteuid() == 0
OTHERS = 300_000  # first id of the machine in the user namespaces of these tests
NEW = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWNET
)


@dataclasses.dataclass
class Seen:
    """A line of mountinfo."""

    place: str
    root: str
    flags: set
    propagation: str
    kind: str
    options: set


def run(job, *, new=NEW, user=not IS_ROOT, before=None):
    """Return what ``job()`` returns in new namespaces; what it raises is raised here.

    Args:
        new: CLONE_ flags.
        user: in a user namespace, whose root is another user where the machine's root made it.
        before: called before a user namespace is entered, its result is the job's argument.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _report(writer, lambda: _enter(job, new, user, before, writer))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = file.read()
    os.waitpid(child, 0)
    kind, value = pickle.loads(told)
    if kind == "skip":
        pytest.skip(value)
    if kind == "failed":
        error, trace = value
        error.__notes__ = [trace]
        raise error
    return value


def _enter(job, new, user, before, writer):
    given = (before(),) if before else ()
    if user:
        _enter_user_namespace()
    syscalls.unshare(new)
    child = os.fork()
    if child == 0:
        os.umask(0)  # as init's
        _report(writer, lambda: _private(job, given))
    os.waitpid(child, 0)
    os._exit(0)


def _private(job, given):
    rootfs.make_private()
    return job(*given)


def _report(writer, job):
    try:
        told = ("done", job())
    except pytest.skip.Exception as err:
        told = ("skip", str(err))
    except BaseException as err:  # noqa: BLE001  all is told to the test
        told = ("failed", (err, traceback.format_exc()))
    try:
        packed = pickle.dumps(told)
        pickle.loads(packed)
    except Exception:  # noqa: BLE001  what cannot be told is told as text
        packed = pickle.dumps(("failed", (AssertionError(repr(told)), told[1][1])))
    with os.fdopen(writer, "wb") as file:
        file.write(packed)
    os._exit(0)


def _enter_user_namespace():
    if not IS_ROOT:
        uid, gid = os.geteuid(), os.getegid()
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        return
    ready, go = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    me = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.read(ready[0], 1)
        write_mappings(me, (IdMapping(0, OTHERS, 65536),), (IdMapping(0, OTHERS, 65536),))
        os.write(go[1], b"g")
        os._exit(0)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    os.write(ready[1], b"r")
    os.read(go[0], 1)
    os.waitpid(helper, 0)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def config(*entries, **fields):
    """Return a runtime config with these mounts, each a dict or a Mount."""
    listed = [each if isinstance(each, Mount) else Mount(**each) for each in entries]
    fields.setdefault("namespaces", dict.fromkeys(("mount", "pid", "ipc", "network", "uts"), ""))
    return RuntimeConfig(process=Process(args=("true",)), mounts=tuple(listed), **fields)


def mount(destination, kind, *options, source="", **fields):
    return Mount(destination=destination, type=kind, source=source, options=options, **fields)


def bind(source, destination, *options, **fields):
    return mount(destination, "bind", *(options or ("rbind",)), source=str(source), **fields)


PROC = mount("/proc", "proc", "nosuid", "nodev", "noexec", source="proc")
DEV = mount("/dev", "tmpfs", "nosuid", "mode=755", "size=1m", source="tmpfs")


def furnish(root, asked, *, plan=None, **options):
    """Do what init does before the pivot; return the root's descriptor."""
    fd = rootfs.mount_root(str(root), forbid_devices=options.get("forbid_devices", True))
    for op in plan or mounts.plan_mounts(asked, **options):
        mounts.apply_mount(op, fd)
    for op in mounts.plan_protection(asked):
        mounts.apply_mount(op, fd)
    return fd


def table(root):
    """Return what is mounted below a root, by place; of a stack the topmost."""
    return {each.place: each for each in mountinfo(root)}


def mountinfo(root):
    """Return all mounts at and below a root, oldest first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words[4])
            if point != str(root) and not point.startswith(f"{root}/"):
                continue
            rest = words.index("-")
            found.append(
                Seen(
                    point.removeprefix(str(root)) or "/",
                    words[3],
                    set(words[5].split(",")),
                    " ".join(words[6:rest]),
                    words[rest + 1],
                    set(words[rest + 3].split(",")),
                )
            )
    return found


def seen(root, *entries, look=table, new=NEW, user=not IS_ROOT, **fields):
    """Mount what is asked below a root and return what ``look(root)`` says then."""
    options = {key: fields.pop(key) for key in _PLAN & set(fields)}
    asked = config(*entries, **fields)

    def job():
        furnish(root, asked, **options)
        return look(root)

    return run(job, new=new, user=user)


@contextlib.contextmanager
def open_place():
    """Make a root and a directory that the root of another user namespace may use."""
    top = Path(tempfile.mkdtemp(prefix="ocimagic-mounts-"))
    root, data = top / "root", top / "data"
    for name in ("root/proc", "root/sys", "root/dev", "root/etc", "root/mnt", "data/below"):
        (top / name).mkdir(parents=True)
    (data / "file").write_text("machine")
    if IS_ROOT:
        for base, _, names in os.walk(top):
            for path in (base, *(os.path.join(base, name) for name in names)):
                os.chown(path, OTHERS, OTHERS)
    top.chmod(0o755)
    try:
        yield root, data
    finally:
        shutil.rmtree(top)


_PLAN = {"forbid_devices", "cgroup_paths", "bundle_path"}
