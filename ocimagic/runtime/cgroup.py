"""The cgroup of one container, over whatever hierarchies this machine has.

A machine has version 2 alone, or version 1 with a hierarchy per controller, or both (hybrid):
then a controller is wherever it is, and version 2 besides serves to start processes inside,
to freeze and to kill.

Spec: runtime-spec config-linux.md, "Control groups"; runtime.md, "Delete".
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Self

from ocimagic import errors
from ocimagic.runtime import (
    cgroup_controllers,
    cgroup_devices,
    cgroup_limits,
    cgroup_oom,
    cgroup_processes,
    cgroup_stats,
)
from ocimagic.runtime.cgroup_controllers import CONTROLLERS
from ocimagic.runtime.cgroup_files import Directory
from ocimagic.runtime.cgroup_hierarchy import (
    ROOT,
    VERSION2,
    CgroupsPath,
    Hierarchies,
    can_make,
    checked_parts,
)
from ocimagic.runtime.cgroup_processes import Entrance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.cgroup_stats import Stats
    from ocimagic.spec.resources import Resources

_GONE = (errno.ENOENT, errno.ENODEV)  # before it was opened, and after
_REMOVE_TIMEOUT_S = 5.0


def place(
    cgroups_path: str,
    container_id: str,
    *,
    root: str = ROOT,
    hierarchies: Hierarchies | None = None,
) -> Cgroup:
    """Decide where a container's cgroup will be; nothing is made yet.

    Args:
        cgroups_path: ``linux.cgroupsPath``.  An absolute one begins at the topmost directory
            there is, a relative one where this process is (in version 2 beside it, where that
            may be written); "" is a relative one, the container's ID.
        container_id: valid.
        root: where cgroups are mounted.
        hierarchies: what is known of this machine already.

    Returns:
        A cgroup without paths where none can be made: a container then starts without one,
        and only what needs one fails.

    Raises:
        InvalidDocument: the path leaves its place or names none.
    """
    wish = CgroupsPath.parse(cgroups_path, container_id)
    known = hierarchies or Hierarchies.discover(root)
    chosen = _writable(wish, known)
    if not chosen and wish.notice:
        # What systemd delegates to a user is somewhere below, and only systemd could say where.
        chosen = _writable(CgroupsPath(wish.parts, absolute=False), known)
    return Cgroup(chosen, notice=wish.notice)


def _writable(wish: CgroupsPath, hierarchies: Hierarchies) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in hierarchies.all:
        path = wish.directory_in(each, pure_version2=hierarchies.is_pure_version2)
        if can_make(path):
            found |= dict.fromkeys(each.controllers, path)
    return found


class Cgroup:
    """A container's cgroup in every hierarchy.

    Attributes:
        paths: controller ("" for version 2) to absolute directory; empty where none can be had.
        notice: what to tell the user about its place, or "".
    """

    def __init__(self, paths: Mapping[str, str], *, notice: str = "") -> None:
        self.paths = dict(paths)
        self.notice = notice
        directories = {path: Directory(path) for path in self.paths.values()}
        self._version1 = {
            name: directories[path] for name, path in self.paths.items() if name != VERSION2
        }
        self._version2 = directories.get(self.paths.get(VERSION2, "-"))
        self._directories = list(directories.values())

    @classmethod
    def from_paths(cls, paths: Mapping[str, str]) -> Self:
        """Return the cgroup that was once made at these paths."""
        return cls(paths)

    @classmethod
    def of_process(cls, pid: int, *, root: str = ROOT) -> Self:
        """Return the cgroup that a process is in now, which may be below its container's.

        Raises:
            OSError: there is no such process.
        """
        return cls(Hierarchies.discover(root).paths_of(pid))

    def below(self, name: str) -> Self:
        """Return a cgroup below this one, for ``exec --cgroup``.

        Raises:
            InvalidDocument: the name would leave this one.
        """
        inner = "/".join(checked_parts(name))
        return type(self)({key: f"{path}/{inner}" for key, path in self.paths.items()})

    # Making

    def create(self) -> None:
        """Make the directories.

        Raises:
            InvalidState: there is one already with processes in it, or frozen.
            HostLacks: the kernel makes none, or one that no process can be in.
        """
        made: list[Directory] = []
        try:
            for each in self._directories:
                if each.make():
                    made.append(each)  # noqa: PERF401  a list built at its end would forget them
            if len(made) < len(self._directories):
                self._refuse_inhabited()
            cpuset = self._version1.get("cpuset")
            if cpuset and cpuset in made:
                cgroup_controllers.inherit_cpuset(cpuset)
            if self._version2 and not self._version1:
                self._refuse_threaded(self._version2)
                cgroup_controllers.enable(self._version2, CONTROLLERS)
        except OSError as err:
            _remove_made(made)
            raise errors.HostLacks(
                "no cgroup can be made here",
                why=f"{err.filename or self._directories[len(made)].path}: {err.strerror}",
            ) from err
        except errors.OcimagicError:
            _remove_made(made)
            raise

    def _refuse_inhabited(self) -> None:
        pids = self.processes()
        if pids or self.is_frozen():
            state = f"process {pids[0]} is in it" if pids else "it is frozen"
            raise errors.InvalidState(
                "the cgroup of this container is in use already",
                why=f"{self._directories[0].path}: {state}",
                hint="give the container another linux.cgroupsPath",
            )

    def _refuse_threaded(self, directory: Directory) -> None:
        kind = (directory.find("cgroup.type") or "domain").strip()
        if kind not in ("domain", "domain threaded"):
            raise errors.HostLacks(
                "no container can be put here",
                why=f"{directory.path} is {kind!r}: a cgroup above it is for threads only",
                hint="give the container another linux.cgroupsPath",
            )

    def entrance(self) -> Entrance:
        """Return open doors for one new process; the cheap way in.

        Raises:
            OSError: they cannot be opened.
        """
        version1 = dict.fromkeys(self._version1.values())
        return Entrance(version1, self._version2)

    def add(self, pid: int) -> None:
        """Put a process in, with all its threads; children that it has already stay outside.

        Raises:
            InvalidState: it has ended, or this is a version 2 cgroup with others below it that
                have controllers: then only those can take processes.
            HostLacks: the kernel does not allow it.
        """
        for each in self._directories:
            try:
                each.write("cgroup.procs", str(pid))
            except OSError as err:
                what = f"process {pid} cannot be put into its cgroup"
                why = f"{each.path}: {err.strerror}"
                if err.errno in (errno.ESRCH, errno.EBUSY, errno.EOPNOTSUPP):
                    raise errors.InvalidState(what, why=why) from err
                raise errors.HostLacks(what, why=why) from err

    # Limits

    def apply(self, resources: Resources, *, update: bool = False) -> list[str]:
        """Set the limits that are asked; return what the user should know.

        Args:
            resources: what is not said in it stays as it is.
            update: of a container that runs: who may use which devices stays as it is.
                Otherwise the device rules hold from now on, and without any all but the
                default devices are refused.

        Raises:
            HostLacks: a limit that cannot be kept here.
            InvalidState, InvalidOption: a value that the kernel does not take, now or ever.
        """
        warnings = [self.notice] if self.notice and not update else []
        if not update:
            devices = self._version1.get("devices")
            warnings += cgroup_devices.restrict(resources.devices, devices, self._version2)
        warnings += cgroup_limits.set_limits(resources, self._version1, self._version2)
        return list(dict.fromkeys(warnings))

    # Processes

    def processes(self) -> list[int]:
        """Return the pids in it and in all below it, sorted, as this pid namespace sees them."""
        tracker = self._tracker()
        return sorted(tracker.processes()) if tracker else []

    def _tracker(self) -> Directory | None:
        """Return the directory whose processes are the container's."""
        if self._version2:
            return self._version2
        for name in ("devices", "pids", "freezer", "memory"):
            if name in self._version1:
                return self._version1[name]
        return self._directories[0] if self._directories else None

    def freeze(self) -> None:
        """Stop all processes; returns when they have.

        Raises:
            InvalidState: one did not stop in time, then all go on; or the cgroup is gone.
            HostLacks: there is no freezer.
        """
        freezer = self._version1.get("freezer")
        try:
            if self._version2 and self._version2.find("cgroup.freeze") is not None:
                cgroup_processes.freeze(self._version2)
            elif freezer:
                cgroup_processes.freeze_version1(freezer)
            else:
                for each in self._directories:
                    os.stat(each.path)
                raise errors.HostLacks(
                    "this container cannot be paused", why="it is in no cgroup with a freezer"
                )
        except OSError as err:
            if err.errno not in _GONE:
                raise
            raise errors.InvalidState("this container is over", why="its cgroup is gone") from err

    def thaw(self) -> None:
        """Let all processes go on; nothing if they do, or if the cgroup is gone."""
        for directory, file, value in (
            (self._version2, "cgroup.freeze", "0"),
            (self._version1.get("freezer"), "freezer.state", "THAWED"),
        ):
            try:
                if directory:
                    directory.write(file, value)
            except OSError as err:
                if err.errno not in _GONE:
                    raise

    def is_frozen(self) -> bool:
        """Say whether it was told to stop; False when it is gone."""
        freezer = self._version1.get("freezer")
        # Both: on a hybrid machine another program may have used the other one.
        told = self._version2.find("cgroup.freeze") if self._version2 else None
        state = freezer.find("freezer.state") if freezer else None
        return (told or "0").strip() == "1" or (state or "THAWED").strip() != "THAWED"

    def kill(self, number: int) -> None:
        """Send a signal to all processes, those that fork meanwhile too.

        Raises:
            HostLacks: it has no directory to know them by.
        """
        tracker = self._tracker()
        if tracker is None:
            raise errors.HostLacks(
                "not all processes of this container can be signalled", why="it has no cgroup"
            )
        if number == signal.SIGKILL and self._version2 and _kill_file(self._version2):
            if "freezer" in self._version1:
                self.thaw()  # frozen under version 1, a process cannot even be killed
        elif tracker.processes():
            self._signal(tracker, number)

    def _signal(self, tracker: Directory, number: int) -> None:
        was_frozen = self.is_frozen()
        if not was_frozen:
            with contextlib.suppress(errors.HostLacks):  # without a freezer one may slip through
                self.freeze()  # so that none forks while the list is gone through
        try:
            cgroup_processes.signal_processes(tracker, number)
        finally:
            if not was_frozen or number == signal.SIGKILL:
                self.thaw()

    # Watching

    def stats(self) -> Stats:
        """Return what is used now; a part whose controller is missing is None."""
        return cgroup_stats.read_stats(self._version1, self._version2)

    def oom_kills(self) -> int:
        """Return how many processes were killed for want of memory; 0 if nobody counts."""
        return cgroup_oom.count_kills(self._version1.get("memory"), self._version2)

    def watch_oom(self) -> int:
        """Return a new descriptor that gets readable when ``oom_kills`` may have risen.

        It may do so without a kill, and does when the cgroup is removed.  The caller reads it
        empty and closes it; -1 where the kernel tells nobody.
        """
        return cgroup_oom.watch(self._version1.get("memory"), self._version2)

    # Removing

    def remove(self, *, timeout_s: float = _REMOVE_TIMEOUT_S) -> None:
        """Remove the directories with all below them; nothing if they are gone.

        Processes that were killed may need a moment to be over; those above a container's
        directories stay.

        Raises:
            InvalidState: a process is still in it after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        left = [each for each in self._directories if not cgroup_processes.remove_tree(each)]
        if not left:
            return
        version2 = self._version2 if self._version2 in left else None
        cgroup_processes.wait_until_empty(version2, left, deadline)
        for each in left:
            if not cgroup_processes.retry_busy(each, deadline):
                raise errors.InvalidState(
                    "the cgroup of this container cannot be removed",
                    why=f"{each.path}: processes {self.processes()} are in it",
                    hint="kill them first",
                )


def _remove_made(made: list[Directory]) -> None:
    for each in made:
        cgroup_processes.remove_tree(each)


def _kill_file(directory: Directory) -> bool:
    """Kill all by one write; return False before Linux 5.14, and for one of threads only."""
    try:
        directory.write("cgroup.kill", "1")
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise
        return False
    return True
