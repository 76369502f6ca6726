"""What a shim is told about its container besides where it is, and by which runtime it runs."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.shim import client as shim
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from ocimagic.engine.record import Document
    from ocimagic.model.options import RunOptions
    from ocimagic.model.policy import RestartPolicy

OURS = "ocimagic"
_KNOWN = ("runc", "crun", "youki", "runsc", "kata-runtime")


def find_runtime(name: str | None) -> str:
    """Return the path of another runtime than ours, "" for ours.

    Raises:
        InvalidOption: neither a known name nor a path.
        HostLacks: it is not installed.
    """
    if not name or name == OURS:
        return ""
    if name.startswith("/"):
        if os.path.isfile(name) and os.access(name, os.X_OK):
            return name
        raise HostLacks(f"there is no runtime {name} on this machine", why="no program is there")
    if name not in _KNOWN:
        near = nearest(name, (OURS, *_KNOWN))
        hint = f"did you mean {near}?" if near else f"write {OURS}, runc, crun or a path"
        raise InvalidOption(f"unknown runtime: {name!r}", hint=hint)
    found = shutil.which(name)
    if not found:
        raise HostLacks(
            f"there is no runtime {name} on this machine",
            why="it is not on the PATH",
            hint=f"install it, or leave --runtime {name} out: {OURS} has its own",
        )
    return os.path.abspath(found)


def stop_signal(options: RunOptions, of_image: str) -> int:
    """Return the number of the stop signal: what was asked for, the image's, or TERM.

    Raises:
        InvalidOption: what was asked for is no signal.
    """
    if options.stop_signal:
        return shim.signal_number(options.stop_signal)
    # An image's nonsense must not make its containers unstoppable; docker says TERM too.
    try:
        return shim.signal_number(of_image or "TERM")
    except InvalidOption:
        return shim.signal_number("TERM")


def supervision(document: Document) -> dict[str, object]:
    """Return the fields of a launch request that say how to look after a container."""
    options = document.options
    return {
        "terminal": options.tty,
        "console_size": options.console_size,
        "restart": restart_request(options.restart),
        "health": _health(document),
        "log": asdict(options.log),
        "init": options.init,
        "runtime": document.runtime or None,
        "stop_signal": document.stop_signal or stop_signal(options, ""),
        "stop_timeout_s": options.stop_timeout_s,
        "detach_keys": options.detach_keys,
    }


def restart_request(policy: RestartPolicy) -> dict[str, object]:
    """Return a policy as a shim is told it."""
    return {"name": policy.name.value, "maximum_retry_count": policy.maximum_retry_count}


def _health(document: Document) -> dict[str, object] | None:
    """Return the check; a command line goes to the shell that the image says."""
    if document.health is None:
        return None
    kind, *words = document.health.test
    test = ["CMD", *document.shell, *words] if kind == "CMD-SHELL" and document.shell else None
    return asdict(document.health) | {"test": test or [kind, *words]}
