"""The end of making a process: it is let go, its command runs, or all is undone.

Spec: runtime-spec runtime.md, "Start", "Lifecycle" steps 6 to 13.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.runtime.hooks import run_all_hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.runtime.channel import Channel
    from ocimagic.runtime.state import ContainerState


def ignore(_warning: str) -> None:
    """Take a warning that nobody asked for."""


def begin(
    channel: Channel,
    state: ContainerState,
    on_warning: Callable[[str], None] = ignore,
    *,
    is_first: bool = True,
) -> ContainerState:
    """Start the process at the other end of a channel, and close that; as ``Init.start``."""
    with contextlib.suppress(OSError):  # it is dead: what it said last comes next
        channel.say("start", **state.to_oci_json("created" if is_first else "running"))
    heard = channel.hear()
    channel.close()
    if heard is not None:
        failure = errors.unpack(heard.fields)
        if is_first:
            destroy(state, on_warning)
        raise failure
    if is_first:
        state = state.changed(is_started=True)
        hooks = state.hooks
        if hooks.poststart:
            told = state.to_oci_json("running")
            run_all_hooks("poststart", hooks.poststart, told, state.bundle_path, on_warning)
    return state


def destroy(state: ContainerState, on_warning: Callable[[str], None] = ignore) -> None:
    """Undo what creating a container did, its process being over; then run its poststop hooks.

    Raises:
        InvalidState: a process is still in its cgroup.
    """
    state.cgroup.remove()
    if not state.has_own_mounts:
        from ocimagic.runtime.rootfs import unmount_below  # heavy, and hardly ever

        unmount_below(state.root_path)
    told = state.to_oci_json("stopped")
    state.remove()
    hooks = state.hooks.poststop
    if hooks:
        run_all_hooks("poststop", hooks, told, state.bundle_path, on_warning)
