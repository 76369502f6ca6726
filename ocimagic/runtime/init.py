"""The first process of a container: what it does between clone and execve, in order.

Read ``PHASES`` from top to bottom: it is the table of contents.  What any process of a container
does is in ``program``; here is what makes the container around the first one.

Spec: runtime-spec runtime.md, "Lifecycle" steps 2-8; config-linux.md.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import TYPE_CHECKING

from ocimagic.errors import StartFailed
from ocimagic.linux import syscalls
from ocimagic.linux.notes import note
from ocimagic.linux.paths import make_directories, open_in_root
from ocimagic.runtime import (
    departure,
    mounts,
    privileges,
    program,
    rootfs,
    terminal,
    volume_owner,
)
from ocimagic.runtime.hooks import run_hooks
from ocimagic.spec.isolation import sysctl_path
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.runtime.bundle import Bundle

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


@dataclass(slots=True)
class InitContext(program.Context):
    """What the phases of a first process share besides.

    Attributes:
        plan: what to mount, with the sources that this process may not open.
        protection: what to hide and to make read-only after that.
        root_tree: of the root directory, where this process may not go there; else -1.
        forbid_devices: nothing but the mounts keeps devices from being opened.
        no_pivot: the machine's root cannot be pivoted away from.
        is_mapped: the ids of its new user namespace are known to the kernel.
        is_prepared: the creator has set the container's limits and run its hooks.
    """

    bundle: Bundle = field(kw_only=True)
    plan: list[mounts.Operation] = field(default_factory=list)
    protection: list[mounts.Operation] = field(default_factory=list)
    root_tree: int = -1
    forbid_devices: bool = True
    no_pivot: bool = False
    is_mapped: bool = False
    is_prepared: bool = False


def own_ids(context: InitContext) -> None:
    """Have the ids of a new user namespace mapped, and be its root."""
    if context.config.namespaces.get("user") == "" and not context.is_mapped:
        become_mapped(context)


def become_mapped(context: InitContext) -> None:
    """Ask the creator for the mapping; only from outside it can be written."""
    # Not dumpable, its files in /proc would belong to the machine's root.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    context.channel.say("map")
    program.wait_for(context, "mapped")
    context.is_mapped = True
    become_root(context)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)


def become_root(context: InitContext) -> None:
    """Take the id 0 of the user namespace, or any that it has: unmapped, nothing can be made."""
    uid, gid = (
        0 if any(each.covers(0) for each in ranges) else ranges[0].container_id
        for ranges in (context.config.uid_mappings, context.config.gid_mappings)
    )
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def leave_cgroup_view(context: InitContext) -> None:
    """Make a new cgroup namespace, whose root is the cgroup this process is in by now."""
    if context.config.namespaces.get("cgroup") == "":
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)


def has_own_mounts(context: InitContext) -> bool:
    """Say whether the mount namespace is new: in another's nothing but the root's is changed.

    To pivot there would move the root of all who live in it.
    """
    return context.config.namespaces.get("mount") == ""


def mount_root(context: InitContext) -> None:
    """Stack the layers, or show the directory, in this mount namespace only."""
    bundle, config = context.bundle, context.config
    is_own = has_own_mounts(context)
    if is_own:
        rootfs.prepare_namespace(config.rootfs_propagation, bundle.root_path)
    forbid = context.forbid_devices
    if bundle.rootfs:
        rootfs.mount_overlay(bundle.rootfs, bundle.root_path, forbid_devices=forbid)
    for view in bundle.views:
        rootfs.show_view(view, bundle.path, forbid_devices=forbid)
    if bundle.rootfs or not is_own:
        # Opened after the mount: one from before would mean the empty directory below.
        context.root_fd = os.open(bundle.root_path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        context.root_fd = rootfs.mount_root(
            bundle.root_path, tree=context.root_tree, forbid_devices=forbid
        )


def mount_all(context: InitContext) -> None:
    """Apply the mount plan, devices among it."""
    for op in context.plan:
        mounts.apply_mount(op, context.root_fd)
        note("mount_all", op)
    mounts.close_sources(context.plan)
    context.plan = []


def show_console(context: InitContext) -> None:
    """Make the process's terminal the container's console."""
    if context.slave >= 0 and not context.borrows_terminal:
        terminal.show_console(context.root_fd, context.slave)


def raise_loopback(context: InitContext) -> None:
    """Bring ``lo`` up in a network namespace of its own."""
    if context.config.namespaces.get("network") == "":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            fcntl.ioctl(door, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            note("ioctl", "SIOCSIFFLAGS lo up")


def let_creator_prepare(context: InitContext) -> None:
    """Have the creator set limits and run its hooks: the container is made, no command runs."""
    context.channel.say("furnished")
    hooks = context.config.hooks
    if hooks.prestart or hooks.create_runtime or hooks.create_container:
        await_creator(context)


def await_creator(context: InitContext) -> None:
    """Wait until the creator has done so.

    Without hooks there is time until the first device is opened: while the rules about devices
    are written, for a moment none may be.
    """
    if not context.is_prepared:
        context.state = program.wait_for(context, "prepared").fields
        context.is_prepared = True


def run_create_hooks(context: InitContext) -> None:
    """Run the createContainer hooks: in the container's namespaces, but not yet in its root."""
    hooks = context.config.hooks.create_container
    run_hooks("createContainer", hooks, context.state, context.bundle.path)


def write_sysctls(context: InitContext) -> None:
    """Write kernel settings through the container's own procfs (CVE-2025-52881).

    After the hooks: one of them may bring the network device a setting is about.
    """
    if not context.config.sysctl:
        return
    proc = open_in_root(context.root_fd, "proc/sys", os.O_PATH)
    try:
        for name, value in context.config.sysctl.items():
            try:
                fd = open_in_root(proc, sysctl_path(name), os.O_WRONLY)
                try:
                    write_setting(fd, value)
                finally:
                    os.close(fd)
            except OSError as err:
                raise StartFailed(f"cannot set sysctl {name}={value}", why=err.strerror) from err
    finally:
        os.close(proc)


def write_setting(fd: int, text: str) -> None:
    """Write to the kernel, and to nothing that a container put in its place."""
    if syscalls.file_system_magic(fd) != syscalls.PROC_SUPER_MAGIC:
        raise StartFailed("cannot write a setting of the kernel", why="it is not on procfs")
    os.write(fd, text.encode())


def protect_paths(context: InitContext) -> None:
    """Make paths read-only and hide others; after the sysctls, which are among them."""
    for op in context.protection:
        mounts.apply_mount(op, context.root_fd)
        note("protect_paths", op)


def prepare_working_dir(context: InitContext) -> None:
    """Make the working directory inside the root, as docker does."""
    cwd = context.process.cwd
    try:
        os.close(make_directories(context.root_fd, cwd))
    except OSError as err:
        raise StartFailed(f"cannot use working directory {cwd}", why=err.strerror) from err


def name_host(context: InitContext) -> None:
    """Set the hostname; the config has one only with a UTS namespace."""
    if context.config.hostname:
        socket.sethostname(context.config.hostname)
        note("sethostname", context.config.hostname)
    if context.config.domainname:
        syscalls.setdomainname(context.config.domainname)


def enter_root(context: InitContext) -> None:
    """Change the root, and hold it as seen from inside."""
    if context.tracer:
        return
    if not has_own_mounts(context):
        rootfs.change_root(context.root_fd)
    elif context.no_pivot:
        rootfs.move_root(context.root_fd)
    else:
        rootfs.pivot(context.root_fd)
    os.close(context.root_fd)
    context.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if has_own_mounts(context):
        rootfs.propagate_root(context.config.rootfs_propagation)


def protect_root(context: InitContext) -> None:
    """Make the root read-only if the config says so."""
    if context.config.root_readonly:
        rootfs.make_root_readonly()


PHASES: tuple[Callable[[InitContext], None], ...] = (
    program.forbid_imports,
    program.enter_cgroup,
    own_ids,
    leave_cgroup_view,
    program.new_session,
    mount_root,
    program.hold_own_proc,
    program.note_namespaces,
    mount_all,
    program.open_terminal,
    show_console,
    raise_loopback,
    name_host,
    let_creator_prepare,
    run_create_hooks,
    write_sysctls,
    protect_paths,
    prepare_working_dir,
    enter_root,
    protect_root,
    program.identify,
    volume_owner.own_volumes,
    program.find_program,
    await_creator,
    program.connect_stdio,
    privileges.limit_privileges,
    privileges.limit_resources,
    privileges.become_user,
    privileges.check_working_dir,
    privileges.confine_files,
    program.leave_descriptors,
    privileges.load_asking_filter,
    privileges.pretend_user,
    departure.wait_for_start,
    departure.run_start_hooks,
    departure.execute,
)
