"""The commands that print documents: a config.json to begin with, and what this runtime can do.

Spec: runtime-spec config.md; features.md, features-linux.md.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ocimagic.bundle.defaults import MASKED_PATHS, READONLY_PATHS
from ocimagic.bundle.directory import CONFIG_NAME
from ocimagic.errors import InvalidOption, StorageError
from ocimagic.runtime.cli.words import Flag
from ocimagic.runtime.mount_options import KNOWN_WORDS
from ocimagic.runtime.seccomp_filter import FLAGS
from ocimagic.runtime.seccomp_profile import ACTIONS, ARCHES, OPERATORS
from ocimagic.spec.capability import CAPABILITY_NAMES
from ocimagic.spec.hooks import HOOK_KINDS
from ocimagic.spec.isolation import NAMESPACES
from ocimagic.spec.process import DEFAULT_PATH
from ocimagic.spec.version import OCI_VERSION
from ocimagic.version import VERSION

if TYPE_CHECKING:
    from ocimagic.runtime.cli.session import Session
    from ocimagic.runtime.cli.words import Words

SPEC_FLAGS = (
    Flag("bundle", "directory it is written to", "PATH", "b"),
    Flag("rootless", "for an ordinary user, in a user namespace"),
)
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_QUIET = ["nosuid", "noexec", "nodev"]


def spec(_session: Session, words: Words) -> int:
    """Write a config.json that runs a shell."""
    path = os.path.join(words.text("bundle") or ".", CONFIG_NAME)
    document = template(os.geteuid(), os.getegid()) if words.has("rootless") else template()
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=4) + "\n")
    except FileExistsError:
        raise InvalidOption(f"file {CONFIG_NAME} exists", hint="remove it first") from None
    except OSError as err:
        raise StorageError("the document cannot be written", why=err.strerror, where=path) from err
    return 0


def template(uid: int | None = None, gid: int | None = None) -> dict[str, object]:
    """Return a config.json.

    Args:
        uid: of an ordinary user who is to be the container's root; None for no user namespace.
        gid: of the same.
    """
    spaces = ["pid", "ipc", "uts", "mount", "cgroup", "network" if uid is None else "user"]
    linux: dict[str, object] = {
        "namespaces": [{"type": each} for each in spaces],
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READONLY_PATHS),
    }
    if uid is None:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    else:
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={DEFAULT_PATH}", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ocimagic",
        "mounts": _mounts(is_rootless=uid is not None),
        "linux": linux,
    }


def _mounts(*, is_rootless: bool) -> list[dict[str, object]]:
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    # An ordinary user has no group 5, and may show the machine's /sys but not mount one for a
    # network that is not its own.
    sys = _mount("/sys", "sysfs", "sysfs", *_QUIET, "ro")
    if is_rootless:
        sys = _mount("/sys", "none", "/sys", "rbind", *_QUIET, "ro")
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *terminals, *(() if is_rootless else ("gid=5",))),
        _mount("/dev/shm", "tmpfs", "shm", *_QUIET, "mode=1777", "size=65536k"),  # noqa: S108  the container's
        _mount("/dev/mqueue", "mqueue", "mqueue", *_QUIET),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_QUIET, "relatime", "ro"),
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, object]:
    found: dict[str, object] = {"destination": destination, "type": kind, "source": source}
    return found | ({"options": list(options)} if options else {})


def features(_session: Session, words: Words) -> int:
    """Tell what this runtime can do."""
    if words.arguments:
        raise InvalidOption("features takes no argument")
    print(json.dumps(described(), indent=2))  # noqa: T201
    return 0


def described() -> dict[str, object]:
    """Return the features document."""
    yes, no = {"enabled": True}, {"enabled": False}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted(KNOWN_WORDS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITY_NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                **yes,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": sorted(ARCHES),
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": yes,
            "selinux": yes,
            "intelRdt": no,
            "mountExtensions": {"idmap": yes},
        },
        "annotations": {"dev.ocimagic.runtime.version": VERSION},
    }
