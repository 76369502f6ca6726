"""The runtime's outside: clone the first process, see it through to where it waits, start it.

Spec: runtime-spec runtime.md, "Create" and "Start".
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Self

from ocimagic import errors
from ocimagic.linux.notes import note
from ocimagic.runtime import terminal
from ocimagic.runtime.beginning import begin, destroy, ignore
from ocimagic.runtime.birth import bear
from ocimagic.runtime.cgroup import place
from ocimagic.runtime.cgroup_devices import in_user_namespace
from ocimagic.runtime.creation import Creation
from ocimagic.runtime.init import PHASES, InitContext, become_mapped
from ocimagic.runtime.labels import check_labels
from ocimagic.runtime.mounts import close_sources, open_sources, plan_mounts, plan_protection
from ocimagic.runtime.namespaces import Namespaces, is_own
from ocimagic.runtime.rootfs import open_root
from ocimagic.runtime.state import ContainerState, check_id, claim, listen
from ocimagic.spec.isolation import sysctl_namespace
from ocimagic.spec.record import dataclass
from ocimagic.spec.runtime import GROUPS_ANNOTATION, INIT_ANNOTATION, USER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.runtime.bundle import Bundle
    from ocimagic.runtime.cgroup import Cgroup
    from ocimagic.runtime.channel import Channel
    from ocimagic.spec.runtime import RuntimeConfig


@dataclass(slots=True)
class Init:
    """The first process of a container, or one executed in it; owned by who created it.

    Attributes:
        pid: as seen by the creator.
        pidfd: readable once it has ended; close with ``close``.
        console: master of its terminal when nobody else was to get it, else -1.
        state: of its container.
        told: what it noted of its making, see ``linux.notes``; "" for nothing.
    """

    pid: int
    pidfd: int
    console: int
    state: ContainerState
    _channel: Channel
    _on_warning: Callable[[str], None] = ignore
    _is_first: bool = True
    told: str = ""

    @classmethod
    def create(  # noqa: PLR0913  each is a word of the command line
        cls,
        bundle: Bundle,
        container_id: str,
        stdio: tuple[int, int, int],
        *,
        state_root: str | None = None,
        console_socket: str | None = None,
        console_size: tuple[int, int] | None = None,
        preserve_fds: int = 0,
        on_warning: Callable[[str], None] = ignore,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        door: bool = False,
        meanwhile: Callable[[], None] | None = None,
        on_born: Callable[[int], None] | None = None,
    ) -> Self:
        """Make a container whose first process waits for ``start``.

        The caller must have one thread only.  If it dies before ``start``, the process ends by
        itself.

        Args:
            bundle: what it is made from.
            container_id: unique below ``state_root``.
            stdio: descriptors for its streams, -1 for /dev/null; the caller keeps its copies.
            state_root: directory that gets ``<id>/state.json``; None records nothing.
            console_socket: path of the socket that gets the master of the terminal.
            console_size: rows and columns.
            preserve_fds: how many descriptors after stderr the command keeps.
            on_warning: hears what the machine could not give in full.
            no_pivot: the machine's root is its initramfs, which cannot be pivoted away from.
            no_new_keyring: the process keeps the caller's session keyring.
            door: make one in the state directory where another process may start it, once
                ``let_go`` is called.
            meanwhile: is done while the process furnishes its root.
            on_born: is given the process's pid while its files in /proc may still be looked at.

        Raises:
            OcimagicError: what could not be had; nothing is left of the container then.
        """
        wishes = _Wishes(
            stdio,
            state_root,
            console_socket,
            console_size,
            preserve_fds,
            on_warning,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            door=door,
            meanwhile=meanwhile,
            on_born=on_born,
        )
        return cls.of(_make(bundle, container_id, wishes))

    @classmethod
    def of(cls, creation: Creation) -> Self:
        """Own a process that is ready."""
        return cls(
            creation.pid,
            creation.pidfd,
            creation.console,
            creation.state,
            creation.channel,
            creation.on_warning,
            creation.is_first,
            creation.told,
        )

    @property
    def channel_fd(self) -> int:
        """Return our end of the channel; the process waits as long as anybody has a copy."""
        return self._channel.fileno()

    def let_go(self) -> None:
        """Let the process live on without its creator; whoever comes to its door starts it."""
        self._channel.say("let go")
        self._channel.close()

    def start(self) -> None:
        """Let the process execute its command; return when it does.

        Raises:
            CommandNotFound: it, or the interpreter or loader it names, is not in the image.
            CommandNotExecutable: the kernel refuses to execute it.
            StartFailed: it ended before that, or a hook failed; the container is gone then.
        """
        self.state = begin(self._channel, self.state, self._on_warning, is_first=self._is_first)

    def close(self) -> None:
        """Let go of the process's descriptors; a process not started yet ends."""
        self._channel.close()
        os.close(self.pidfd)
        if self.console >= 0:
            os.close(self.console)


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What a caller wants of a first process besides what config.json says."""

    stdio: tuple[int, int, int]
    state_root: str | None
    console_socket: str | None
    console_size: tuple[int, int] | None
    preserve_fds: int
    on_warning: Callable[[str], None]
    no_pivot: bool
    no_new_keyring: bool
    door: bool
    meanwhile: Callable[[], None] | None
    on_born: Callable[[int], None] | None


def _make(bundle: Bundle, container_id: str, wishes: _Wishes) -> Creation:
    """Make a container up to where its first process waits, or nothing at all."""
    _check(bundle, container_id, wishes)
    with contextlib.ExitStack() as held, contextlib.ExitStack() as undo:
        spaces = _open_namespaces(bundle.config)
        held.callback(spaces.close)
        cgroup = place(bundle.config.cgroups_path, container_id)
        state = _state(bundle, container_id, cgroup)
        if wishes.state_root is not None:
            state = claim(state, os.path.abspath(wishes.state_root))
        undo.callback(state.remove)
        cgroup.create()
        undo.callback(cgroup.remove)
        note("cgroup", dict(cgroup.paths))
        creation = _begin(bundle, state, cgroup, spaces, wishes, held)
        try:
            creation.see_through(wishes.meanwhile)
            creation.state = creation.state.changed(is_created=True)
        except BaseException:
            destroy(creation.state, wishes.on_warning)
            raise
        undo.pop_all()
        return creation


def _check(bundle: Bundle, container_id: str, wishes: _Wishes) -> None:
    """Refuse what could not be, before anything is made."""
    config = bundle.config
    check_id(container_id)
    for warning in config.warnings:
        wishes.on_warning(warning)
    check_labels(config.process)
    mount_space = config.namespaces.get("mount")
    restricts = config.masked_paths or config.readonly_paths
    if (restricts and mount_space is None) or (config.root_readonly and mount_space != ""):
        raise errors.InvalidDocument(
            "this container needs a mount namespace of its own",
            why="root.readonly, maskedPaths and readonlyPaths would restrict others, too",
        )
    if config.mount_label:
        wishes.on_warning("linux.mountLabel is ignored: this kernel has no SELinux")
    _check_mounts(config)
    if not (bundle.rootfs or os.path.isdir(bundle.root_path)):
        raise errors.InvalidDocument(
            "the root of this container is not a directory", where=bundle.root_path
        )


def _check_mounts(config: RuntimeConfig) -> None:
    hidden = config.masked_paths or config.readonly_paths or config.root_readonly
    if hidden and "mount" not in config.namespaces:
        raise errors.InvalidDocument(
            "nothing can be hidden or made read-only without a mount namespace",
            why="it would be so for the whole machine",
            hint='add {"type": "mount"} to linux.namespaces',
        )


def _plan(context: InitContext, cgroup: Cgroup, held: contextlib.ExitStack) -> None:
    """Plan the mounts, and open what the process itself will not be allowed to."""
    if context.tracer:
        return  # nothing can be made in such a root
    config, bundle = context.config, context.bundle
    # A cgroup keeps the rules about devices, and who is root of a user namespace only can make
    # none; elsewhere no file system may have any.
    is_safe = cgroup.paths or "user" in config.namespaces or in_user_namespace()
    context.forbid_devices = not is_safe and "mount" in config.namespaces
    plan = plan_mounts(
        config,
        bundle_path=bundle.path,
        cgroup_paths=cgroup.paths,
        forbid_devices=context.forbid_devices,
    )
    context.plan = open_sources(plan, config)
    held.callback(close_sources, context.plan)
    context.protection = plan_protection(config)
    if "user" in config.namespaces and not bundle.rootfs:
        # An ordinary user may not; then nothing is out of the reach of its namespace's root.
        with contextlib.suppress(errors.HostLacks):
            context.root_tree = open_root(bundle.root_path)
            held.callback(os.close, context.root_tree)


def _open_namespaces(config: RuntimeConfig) -> Namespaces:
    spaces = Namespaces.open(config.namespaces, config.time_offsets)
    for name in config.sysctl:
        kind = sysctl_namespace(name)
        if kind in spaces.joined and is_own(kind, spaces.joined[kind]):
            spaces.close()
            raise errors.InvalidDocument(
                f"sysctl {name} would be the machine's", why=f"the {kind} namespace is not its own"
            )
    return spaces


def _state(bundle: Bundle, container_id: str, cgroup: Cgroup) -> ContainerState:
    return ContainerState(
        container_id=container_id,
        directory="",
        bundle_path=bundle.path,
        root_path=bundle.root_path,
        config=bundle.document,
        cgroup_paths=cgroup.paths,
    )


def _begin(
    bundle: Bundle,
    state: ContainerState,
    cgroup: Cgroup,
    spaces: Namespaces,
    wishes: _Wishes,
    held: contextlib.ExitStack,
) -> Creation:
    """Clone the first process; what ``held`` gets is let go of when it is ready."""
    config = bundle.config
    console_door = None
    if wishes.console_socket:
        console_door = held.enter_context(terminal.connect_console(wishes.console_socket))
    context = InitContext(
        state.container_id,
        config,
        config.process,
        wishes.stdio,
        said_user=config.annotations.get(USER_ANNOTATION),
        said_groups=config.annotations.get(GROUPS_ANNOTATION, ""),
        seccomp=bundle.seccomp,
        preserve_fds=wishes.preserve_fds,
        console_size=wishes.console_size,
        entrance=cgroup.entrance(),
        door=held.enter_context(listen(state.start_path)) if wishes.door else None,
        root_path=bundle.root_path,
        bundle=bundle,
        no_pivot=wishes.no_pivot,
        new_keyring=not wishes.no_new_keyring,
        stays=INIT_ANNOTATION in config.annotations,
    )
    assert context.entrance is not None
    held.callback(context.entrance.close)
    _plan(context, cgroup, held)
    pid, pidfd, channel = bear(spaces, context, PHASES, become_mapped)
    return Creation(
        config,
        config.process,
        state,
        cgroup,
        channel,
        pid,
        pidfd,
        wishes.on_warning,
        seccomp=bundle.seccomp,
        console_door=console_door,
        on_born=wishes.on_born,
    )
