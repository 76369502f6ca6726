"""The creator's half of the conversation with a process in the making.

The process asks for what only its creator may do, in its own order; ``see_through`` answers
until it is ready, or tells why it is not.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.linux.identity import identify
from ocimagic.linux.notes import note
from ocimagic.linux.process import descriptor_of
from ocimagic.runtime import limits, terminal
from ocimagic.runtime.hooks import run_hooks
from ocimagic.runtime.idmap import write_mappings
from ocimagic.runtime.seccomp_filter import send_listener
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ocimagic.runtime.cgroup import Cgroup
    from ocimagic.runtime.channel import Channel, Message
    from ocimagic.runtime.seccomp_filter import SeccompFilter
    from ocimagic.runtime.state import ContainerState
    from ocimagic.spec.process import Process
    from ocimagic.spec.runtime import RuntimeConfig


@dataclass(slots=True)
class Creation:
    """A process in the making, as its creator sees it.

    Attributes:
        state: of the container it belongs to.
        cgroup: where it is; limits are set only for a first process.
        is_first: hooks and limits of the container are its creator's business.
        pid: of the process, or of the stage as long as there is only that.
        console: master of its terminal, -1 if it has none or somebody else got it.
        on_born: is given the pid while its files in /proc may still be looked at.
        told: what the process noted of its making, see ``linux.notes``; "" for nothing.
    """

    config: RuntimeConfig
    process: Process
    state: ContainerState
    cgroup: Cgroup
    channel: Channel
    pid: int
    pidfd: int
    on_warning: Callable[[str], None]
    seccomp: SeccompFilter | None = None
    console_door: socket.socket | None = None
    is_first: bool = True
    console: int = -1
    on_born: Callable[[int], None] | None = None
    told: str = ""
    _is_over: bool = field(default=False, init=False)

    def see_through(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Answer until the process is ready and waits for its start.

        Args:
            meanwhile: is done while the process has enough to do by itself.

        Raises:
            OcimagicError: why it will never be; the process is gone then.
        """
        answers = {
            "warning": self._warn,
            "map": self._map,
            "born": self._take_child,
            "furnished": self._prepare,
            "limits": self._limit,
            "console": self._take_console,
            "listener": self._hand_over,
            "error": self._fail,
            "ready": self._finish,
        }
        try:
            if meanwhile is not None:
                meanwhile()
            while not self._is_over:
                heard = self._hear()
                note(f"heard {heard.type}")
                answers.get(heard.type, self._refuse)(heard)
        except BaseException:
            self.abandon()
            raise

    def _hear(self) -> Message:
        heard = self.channel.hear()
        if heard is None:
            kills = self.cgroup.oom_kills() if self.is_first else 0
            raise errors.StartFailed(
                "the process ended before its command began",
                why="the memory limit is too small even to start it" if kills else None,
            )
        return heard

    def _answer(self, word: str, **fields: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # why comes next
            self.channel.say(word, **fields)

    def abandon(self) -> None:
        """End the process and let go of it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self.channel.close()
        os.close(self.pidfd)
        if self.console >= 0:
            os.close(self.console)

    def _refuse(self, heard: Message) -> None:
        raise errors.StartFailed("the process wants what nobody can give", why=heard.type)

    def _warn(self, heard: Message) -> None:
        self.on_warning(str(heard.fields["text"]))

    def _fail(self, heard: Message) -> None:
        raise errors.unpack(heard.fields)

    def _map(self, _heard: Message) -> None:
        write_mappings(self.pid, self.config.uid_mappings, self.config.gid_mappings)
        note("id mappings")
        self._answer("mapped")

    def _take_child(self, heard: Message) -> None:
        """Take the process from the stage, which was only there to make it."""
        stage = self.pidfd
        self.pid, self.pidfd = int(str(heard.fields["pid"])), heard.fds[0]
        self._answer("known")
        os.waitid(os.P_PIDFD, stage, os.WEXITED)
        os.close(stage)

    def _prepare(self, _heard: Message) -> None:
        """Set the container's limits and run the hooks that belong outside of it."""
        self.state = self.state.changed(process=identify(self.pid))
        if self.on_born is not None:
            self.on_born(self.pid)
        for warning in self.cgroup.apply(self.config.resources):
            self.on_warning(warning)
        note("cgroup limits")
        told = self.state.to_oci_json("creating")
        hooks, cwd = self.config.hooks, self.state.bundle_path
        # The environment is made, step 2, which is what these oldest of all hooks were promised.
        run_hooks("prestart", hooks.prestart, told | {"status": "created"}, cwd)
        run_hooks("createRuntime", hooks.create_runtime, told, cwd)
        self._answer("prepared", **told)

    def _limit(self, _heard: Message) -> None:
        if self.process.oom_score_adj is not None:
            for warning in limits.set_oom_score(self.pid, self.process.oom_score_adj):
                self.on_warning(warning)
        for warning in limits.set_rlimits(self.pid, self.process.rlimits):
            self.on_warning(warning)
        self._answer("limited")

    def _take_console(self, heard: Message) -> None:
        (master,) = heard.fds
        if self.console_door is None:
            self.console = master
            return
        try:
            terminal.send_master(self.console_door, master)
        except OSError as err:
            raise errors.StartFailed(
                "the terminal cannot be handed over", why=f"console socket: {err.strerror}"
            ) from err
        finally:
            os.close(master)

    def _hand_over(self, heard: Message) -> None:
        """Take the listener out of the process and give it to who answers for its rules."""
        assert self.seccomp is not None
        listener = descriptor_of(self.pidfd, int(str(heard.fields["number"])))
        told = self.state.to_oci_json("creating" if self.is_first else "running")
        send_listener(self.seccomp, listener, self.pid, told)
        self._answer("handed over")

    def _finish(self, heard: Message) -> None:
        self.told = str(heard.fields.get("notes", ""))
        self._is_over = True
