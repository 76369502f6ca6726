"""Which functions of shim and runtime do what is noted of a start; loaded only to tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.home.source import source_of
from ocimagic.runtime import beginning, birth, cgroup, create, execute, rootfs
from ocimagic.runtime.init import PHASES
from ocimagic.runtime.seccomp_filter import SeccompFilter
from ocimagic.shim import monitor, pair
from ocimagic.shim.connection import Connection
from ocimagic.shim.execs import Execs
from ocimagic.shim.finale import Finale
from ocimagic.shim.foreign import ForeignRuntime
from ocimagic.shim.networks import Networks

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.model.explanation import Source

_OTHERS: dict[str, Callable[..., object]] = {
    "pair": pair.open_pair,
    "make": monitor.Monitor.begin,
    "create": create.Init.create,
    "cgroup": cgroup.place,
    "clone": birth.bear,
    "pivot": rootfs.pivot,
    "seccomp": SeccompFilter.load,
    "networks": Networks.attach,
    "start": beginning.begin,
    "foreign": ForeignRuntime.create,
    "foreign start": ForeignRuntime._start,  # noqa: SLF001  it is shown, not called
    "renew": monitor.Monitor.expect_rest,
    "end": Finale.on_quiet,
    "ask": Connection.execute,
    "exec": execute.execute,
    "foreign exec": ForeignRuntime.execute,
    "begin": Execs.begin,
    "conclude": Execs.conclude,
}


def source_in(name: str) -> Source | None:
    """Return where a phase of a process that becomes a command, or a part around it, is.

    Args:
        name: ``mount_all``, as the process noted it, or a word for a part.
    """
    phases = {phase.__name__: phase for phase in (*execute.PHASES, *PHASES)}
    function = phases.get(name) or _OTHERS.get(name)
    return source_of(function) if function else None
