"""Make the kernel keep a container's device rules, by either version of cgroups.

Spec: runtime-spec config-linux.md, "Allowed Device list".
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.linux import bpf
from ocimagic.runtime import device_filter
from ocimagic.runtime.cgroup_files import Write, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ocimagic.runtime.cgroup_files import Directory
    from ocimagic.spec.resources import DeviceRule

_DEFAULT_LINES = {
    line for _, line in device_filter.version1_writes(device_filter.DEFAULT_RULES)[1:]
}


def restrict(
    rules: Sequence[DeviceRule], version1: Directory | None, version2: Directory | None
) -> list[str]:
    """Let a cgroup use the default devices and what the rules allow; return warnings.

    Args:
        rules: in order, the last one that matches decides.
        version1: the cgroup in the devices hierarchy, if there is one.
        version2: else a program is attached here.

    Raises:
        HostLacks: this kernel or the rights of this process do not allow it.
        InvalidDocument: rules that version 1 cannot keep.
    """
    if version1:
        _write_lists(rules, version1)
        return []
    if version2:
        return _attach(rules, version2)
    if rules and not in_user_namespace():
        return ["device rules are not kept: there is no cgroup to keep them"]
    return []


def _write_lists(rules: Sequence[DeviceRule], directory: Directory) -> None:
    writes = device_filter.version1_writes(device_filter.effective_rules(rules))
    for file, group in itertools.groupby(writes, key=lambda write: write[0]):
        lines = [line for _, line in group]
        for line, err in zip(lines, directory.write_all(file, lines), strict=True):
            # EPERM: the cgroup above, an outer container's, has less.  Of the default devices
            # that may be, of those that were asked for not.  Nor may a user namespace's root
            # write here; see ``_attach`` for why nothing is lost.
            is_no_harm = line in _DEFAULT_LINES or in_user_namespace()
            if err and (err.errno != errno.EPERM or not is_no_harm):
                raise refusal(directory, Write("devices", file, line, "devices"), err)


def _attach(rules: Sequence[DeviceRule], directory: Directory) -> list[str]:
    effective = device_filter.effective_rules(rules)
    cgroup_fd = directory.open()
    try:
        if device_filter.allows_everything(effective):
            with contextlib.suppress(PermissionError):  # then there is none of ours either
                bpf.detach_device_filters(cgroup_fd)
            return []
        program = bpf.load_device_filter(device_filter.compile_filter(effective))
        try:
            bpf.attach_device_filter(cgroup_fd, program)
        finally:
            os.close(program)
    except OSError as err:
        # A user namespace's root may not load programs; it cannot make device nodes either, and
        # opens those of the machine with the rights of its user outside.
        if err.errno == errno.EPERM and in_user_namespace():
            return []
        raise errors.HostLacks(
            "device rules cannot be kept here",
            why=f"bpf(2), BPF_CGROUP_DEVICE on {directory.path}: {err.strerror}",
            hint="it needs CAP_SYS_ADMIN and a kernel with CONFIG_CGROUP_BPF",
        ) from err
    finally:
        os.close(cgroup_fd)
    return []


def in_user_namespace() -> bool:
    """Say whether this process is root of a part of the users only, or none."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]
