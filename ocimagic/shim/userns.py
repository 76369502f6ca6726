"""Rootless: the launcher's own user namespace, with as many ids as this account may use."""

from __future__ import annotations

import os

from ocimagic.errors import HostLacks
from ocimagic.linux import mounting, syscalls
from ocimagic.spec.record import dataclass


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids of the machine that this account may hand to its containers."""

    start: int
    count: int


def subordinate_ranges(path: str, names: tuple[str, ...]) -> list[IdRange]:
    """Read /etc/subuid or /etc/subgid for an account, by name or number."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    return [
        IdRange(int(words[1]), int(words[2]))
        for words in lines
        if len(words) == 3
        and words[0] in names
        and words[1].isdigit()
        and words[2].isdigit()
        and int(words[2]) > 0
    ]


def enter(names: tuple[str, ...]) -> int:
    """Move this process into a new user namespace where it is root.

    Args:
        names: the account's name and uid, as subuid files write them.

    Returns:
        How many ids there are: 1 when only the account's own is mapped.

    Raises:
        HostLacks: user namespaces are not allowed here.
    """
    uid, gid = os.getuid(), os.getgid()
    uids, gids = (subordinate_ranges(f"/etc/sub{kind}", names) for kind in ("uid", "gid"))
    helpers = _find_program("newuidmap"), _find_program("newgidmap")
    go_reader, go_writer = os.pipe2(os.O_CLOEXEC)
    done_reader, done_writer = os.pipe2(os.O_CLOEXEC)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        # Outside the namespace: only from here may the set-uid helpers write its maps.
        os.close(go_writer)
        ok = bool(os.read(go_reader, 1)) and bool(uids and gids and all(helpers))
        ok = ok and _run_helper(str(helpers[0]), me, uid, uids)
        ok = ok and _run_helper(str(helpers[1]), me, gid, gids)
        os.write(done_writer, b"y" if ok else b"n")
        os._exit(0)
    os.close(done_writer)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
    except OSError as err:
        os.close(go_writer)
        os.waitpid(child, 0)
        os.close(go_reader)
        os.close(done_reader)
        raise HostLacks(
            "this machine does not allow containers to this account",
            why=f"unshare(CLONE_NEWUSER): {err.strerror}",
            hint="ask the administrator to allow user namespaces "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), run as root, "
            "or install proot: containers then run without isolation",
        ) from err
    os.write(go_writer, b"g")
    many = os.read(done_reader, 1) == b"y"
    os.waitpid(child, 0)
    for fd in (go_reader, go_writer, done_reader):
        os.close(fd)
    if not many:
        _map_one(uid, gid)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return 1 + sum(each.count for each in uids) if many else 1


def has_one_id() -> bool:
    """Say whether this process is root of a user namespace that has no other id."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return os.geteuid() == 0 and sum(int(line.split()[2]) for line in file) == 1


def can_hide_processes() -> bool:
    """Say whether a container may have a /proc of its own processes: tried in a child.

    In a container whose runtime has hidden parts of /proc the kernel lets nobody mount another
    procfs, in which they would show (``mount_too_revealing``).
    """
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
            grandchild = os.fork()
            if grandchild == 0:
                mounting.mount("proc", "/proc", "proc", mounting.MS_NOSUID)
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def join(pid: int) -> int:
    """Move this process into the user namespace of another one and be root there.

    For a container that shares namespaces with one that another launcher made: they can be
    entered only from the user namespace that owns them, and that one only from outside.

    Args:
        pid: of a process in it.

    Returns:
        How many ids there are.

    Raises:
        HostLacks: it belongs to somebody else.
    """
    try:
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(fd, syscalls.CLONE_NEWUSER)
        finally:
            os.close(fd)
    except OSError as err:
        raise HostLacks(
            "cannot enter the user namespace of the other container",
            why=f"/proc/{pid}/ns/user: {err.strerror}",
        ) from err
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return sum(int(line.split()[2]) for line in file)


def _run_helper(program: str, pid: int, own: int, ranges: list[IdRange]) -> bool:
    words, inside = ["0", str(own), "1"], 1
    for each in ranges:
        words += [str(inside), str(each.start), str(each.count)]
        inside += each.count
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    streams = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    child = os.posix_spawn(program, [program, str(pid), *words], os.environ, file_actions=streams)
    os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _find_program(name: str) -> str | None:
    """Return where a program is, None if it is nowhere on the PATH."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def _map_one(uid: int, gid: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def mapping_of(names: tuple[str, ...]) -> list[int]:
    """Return what /proc/PID/uid_map says of a namespace that ``enter`` makes now.

    Where the set-uid programs refuse, it says less.
    """
    uids, gids = (subordinate_ranges(f"/etc/sub{kind}", names) for kind in ("uid", "gid"))
    made = [0, os.getuid(), 1]
    if uids and gids and all(map(_find_program, ("newuidmap", "newgidmap"))):
        inside = 1
        for each in uids:
            made += [inside, each.start, each.count]
            inside += each.count
    return made
