"""A container under our own runtime, in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, OcimagicError
from ocimagic.linux.processes import descendants, namespace_pids
from ocimagic.runtime.beginning import begin, destroy
from ocimagic.runtime.bundle import load_bundle
from ocimagic.runtime.cgroup import place
from ocimagic.runtime.channel import Channel
from ocimagic.runtime.create import Init
from ocimagic.runtime.execute import execute
from ocimagic.runtime.state import ContainerState
from ocimagic.shim.family import kill_containers_own
from ocimagic.shim.firstprocess import with_init
from ocimagic.spec.codec import Fields
from ocimagic.spec.process import Process
from ocimagic.spec.record import dataclass
from ocimagic.spec.resources import Resources
from ocimagic.spec.runtime import USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from ocimagic.linux.identity import ProcessIdentity
    from ocimagic.runtime.bundle import Bundle
    from ocimagic.shim.task import Task


@dataclass(slots=True)
class Made:
    """A container whose command waits.

    Attributes:
        console: master of its terminal, -1 for none.
        channel_fd: the process ends when the last copy is closed before ``start``.
        start: lets its command begin; raises what kept it from that.
        told: what it noted of its making, "" for nothing.
    """

    pid: int
    pidfd: int
    console: int
    channel_fd: int
    start: Callable[[], None]
    told: str = ""


class OwnRuntime:
    """What the shim asks of a runtime, done by ``ocimagic.runtime``.

    Args:
        task: which container.
        filters: compiled seccomp filters by their JSON.
        on_loaded: is told once which of them had to be compiled.
    """

    def __init__(
        self,
        task: Task,
        filters: MutableMapping[bytes, bytes],
        on_loaded: Callable[[dict[bytes, bytes]], None],
    ) -> None:
        self._task = task
        self._filters = filters
        self._on_loaded = on_loaded
        self._loaded: Bundle | None = None
        self._state: ContainerState | None = None
        self._adopted: tuple[ProcessIdentity, dict[str, str], bool] | None = None

    def create(
        self,
        stdio: tuple[int, int, int],
        meanwhile: Callable[[], None],
        on_born: Callable[[int], None],
    ) -> Made:
        """Make the container; its command waits.

        Args:
            stdio: of its first process.
            meanwhile: is done while that process furnishes its root.
            on_born: is given its pid while its files in /proc may be looked at.

        Raises:
            OcimagicError: why it cannot be made.
            OSError: the bundle cannot be read.
        """
        init = Init.create(
            self._bundle,
            self._task.container_id,
            stdio,
            console_size=self._task.console_size,
            meanwhile=meanwhile,
            on_born=on_born,
        )
        self._state, self._adopted = init.state, None

        def start() -> None:
            init.start()
            self._state, self._adopted = init.state, None

        return Made(init.pid, init.pidfd, init.console, init.channel_fd, start, init.told)

    def adopt(
        self, identity: ProcessIdentity, cgroup_paths: dict[str, str], channel_fd: int = -1
    ) -> Callable[[], None]:
        """Take over a container that an earlier shim made; return what starts it.

        Args:
            identity: of its first process.
            cgroup_paths: what ``cgroup_paths`` was there.
            channel_fd: what came with it, if it was not started yet.
        """
        # The bundle is read when somebody asks for something: a shim that only waits is small.
        self._adopted = (identity, cgroup_paths, channel_fd < 0)

        def start() -> None:
            self._state = begin(Channel(socket.socket(fileno=channel_fd)), self.state)

        return start

    # -- what runs ---------------------------------------------------------------

    def execute(
        self,
        document: Mapping[str, object],
        stdio: tuple[int, int, int],
        console_size: tuple[int, int] | None,
    ) -> Made:
        """Make another process in the container; its command waits.

        Raises:
            OcimagicError: why it cannot be made.
        """
        process = Process.parse(Fields(document, "process"))
        user = Fields(document, "process").child("user").text("username", "")
        init = execute(
            self.state,
            process,
            stdio,
            user=user or None,
            console_size=console_size,
            filters=self._filters,
        )
        return Made(init.pid, init.pidfd, init.console, init.channel_fd, init.start, init.told)

    def probe_process(self, argv: tuple[str, ...]) -> dict[str, object]:
        """Return the ``process`` of a health check: as the container's own, without a terminal."""
        own = Fields(self.state.config, "runtime config").child("process").value
        who = self.state.annotations.get(USER_ANNOTATION, "")
        user = own.get("user")
        assert isinstance(user, dict)
        return dict(own) | {
            "args": list(argv),
            "terminal": False,
            "user": user | ({"username": who} if who else {}),
        }

    def adopt_executed(self, channel_fd: int) -> Callable[[], None]:
        """Return what starts a process that an earlier shim made with ``execute``."""
        channel = Channel(socket.socket(fileno=channel_fd))

        def start() -> None:
            begin(channel, self.state, is_first=False)

        return start

    def pause(self) -> None:
        """Freeze all processes.

        Raises:
            HostLacks: there is no freezer.
        """
        self.state.cgroup.freeze()

    def resume(self) -> None:
        """Let all processes go on."""
        self.state.cgroup.thaw()

    def update(self, resources: Mapping[str, object]) -> list[str]:
        """Change limits; return what the user should know.

        Raises:
            OcimagicError: a limit that cannot be kept.
        """
        wanted = Resources.parse(Fields(resources, "resources"))
        return self.state.cgroup.apply(wanted, update=True)

    def stats(self) -> dict[str, object]:
        """Return what is used now.

        Raises:
            HostLacks: nobody counts.
        """
        if not self.state.cgroup.paths:
            raise HostLacks("nobody counts what this container uses", why="it has no cgroup")
        return self.state.cgroup.stats().to_runc_json()

    def processes(self) -> list[int]:
        """Return the pids of all processes, as the machine sees them."""
        if self.state.cgroup.paths:
            return self.state.cgroup.processes()
        pid = self.state.process.pid
        return namespace_pids(pid) if self.state.has_own_pids else [pid, *descendants(pid)]

    def oom_kills(self) -> int:
        """Return how many of its processes were killed for want of memory."""
        return self.state.cgroup.oom_kills()

    def kill_others(self) -> None:
        """Kill what does not end with the first process, since it shares its pid namespace."""
        if self.state.has_own_pids:
            return
        if self.state.cgroup.paths:
            with contextlib.suppress(OcimagicError):
                self.state.cgroup.kill(signal.SIGKILL)
        else:
            kill_containers_own(os.getppid())

    # -- the end -----------------------------------------------------------------

    def undo_attempt(self) -> None:
        """Take away what a shim had made of the container when it was killed."""
        # Nothing of it runs: the first process ends with its creator, but perhaps just now.
        with contextlib.suppress(OcimagicError, OSError):
            cgroup = place(self._bundle.config.cgroups_path, self._task.container_id)
            cgroup.kill(signal.SIGKILL)
            cgroup.remove()

    @property
    def state(self) -> ContainerState:
        """Return what the runtime knows of the container that was made."""
        if self._state is None:
            assert self._adopted is not None
            identity, cgroup_paths, is_started = self._adopted
            bundle = self._bundle
            self._state = ContainerState(
                container_id=self._task.container_id,
                directory="",
                bundle_path=bundle.path,
                root_path=bundle.root_path,
                config=bundle.document,
                process=identity,
                cgroup_paths=cgroup_paths,
                is_created=True,
                is_started=is_started,
            )
        return self._state

    def clean_up(self) -> None:
        """Take away what is left of a container that has ended; again does nothing."""
        if self._state is not None or self._adopted is not None:
            # A process that is stuck keeps its cgroup; a bundle may be gone.
            with contextlib.suppress(OcimagicError, OSError):
                destroy(self.state)
            self._state = self._adopted = None

    @property
    def _bundle(self) -> Bundle:
        if self._loaded is None:
            known = set(self._filters)
            loaded = load_bundle(self._task.bundle_path, self._filters)
            has_own_pids = loaded.config.namespaces.get("pid") == ""
            self._loaded = with_init(loaded) if self._task.init and has_own_pids else loaded
            self._on_loaded({key: self._filters[key] for key in self._filters.keys() - known})
        return self._loaded
