"""Set a container's limits, each in the version of cgroups that its controller is in.

Spec: runtime-spec config-linux.md, "Control groups".
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ocimagic import errors
from ocimagic.runtime import cgroup_v1, cgroup_v2
from ocimagic.runtime.cgroup_controllers import enable
from ocimagic.runtime.cgroup_files import Plan, Write, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.runtime.cgroup_files import Directory
    from ocimagic.spec.resources import Resources


def set_limits(
    resources: Resources, version1: Mapping[str, Directory], version2: Directory | None
) -> list[str]:
    """Set what is asked; return what the user should know.

    Args:
        resources: None in it, and 0 where 0 is no limit, leaves a value as it is.
        version1: by controller.
        version2: has all controllers that ``version1`` has not, if it has them.

    Raises:
        HostLacks: a limit that cannot be kept here.
        InvalidState, InvalidOption: a value that the kernel does not take, now or ever.
    """
    places = _Places(version1, version2)
    plan = Plan(places.read)
    for name, section in cgroup_v1.SECTIONS.items():
        if name in version1 or version2 is None:
            section(resources, plan)
        else:
            if version1:
                _enable_asked(name, resources, version2)
            cgroup_v2.SECTIONS[name](resources, plan)
    if resources.unified:
        if version1 or version2 is None:
            raise errors.HostLacks(
                "linux.resources.unified cannot be kept here",
                why="it names files of version 2 of cgroups, and the controllers of this machine"
                " are in version 1",
            )
        cgroup_v2.unified(resources, plan)
    for write in plan.writes:
        if warning := places.write(write):
            plan.warnings.append(warning)
    return list(dict.fromkeys(plan.warnings))


def _enable_asked(name: str, resources: Resources, version2: Directory) -> None:
    """Switch on, on a hybrid machine, only what somebody asks for."""
    asked = Plan(lambda *_: None)
    cgroup_v2.SECTIONS[name](resources, asked)
    if asked.writes:
        enable(version2, {write.controller for write in asked.writes})


class _Places:
    """Which directory a controller's files are in."""

    def __init__(self, version1: Mapping[str, Directory], version2: Directory | None) -> None:
        self._version1 = version1
        self._version2 = version2

    def _find(self, controller: str) -> Directory | None:
        return self._version1.get(controller, self._version2)

    def read(self, controller: str, file: str) -> str | None:
        """Return the value of now, None without the file."""
        directory = self._find(controller)
        return directory.find(file) if directory else None

    def write(self, write: Write) -> str:
        """Write one value; return a warning or ""."""
        directory = self._find(write.controller)
        if directory:
            try:
                directory.write(write.file, write.value)
            except OSError as err:
                if err.errno != errno.ENOENT:
                    raise refusal(directory, write, err) from err
            else:
                return ""
        if write.relaxes or write.without:
            return "" if write.relaxes else write.without
        raise errors.HostLacks(
            f"the limit {write.asked} cannot be kept here",
            why=self._why_lacking(directory, write),
            hint="leave it out, or run where this machine's cgroups may be written",
        )

    def _why_lacking(self, directory: Directory | None, write: Write) -> str:
        controller = write.controller
        if directory is None:
            return f"there is no {controller} controller, or this user may not use it"
        if directory is self._version2 and controller:
            refused = enable(directory, {controller})
            if controller in refused:
                return f"the {controller} controller is not given by {refused[controller]}"
            if controller not in (directory.find("cgroup.controllers") or "").split():
                return f"this machine has no {controller} controller in version 2 of cgroups"
        return f"this kernel has no {write.file}"
