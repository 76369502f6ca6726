"""What the grammar takes and this shim cannot do: refused before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import NotBuiltYet
from ocimagic.model.policy import LogOptions, RestartName

if TYPE_CHECKING:
    from ocimagic.model.options import RunOptions


def refuse_unbuilt(options: RunOptions) -> None:
    """Refuse options that need the next shim.

    Raises:
        NotBuiltYet: names the first of them.
    """
    asked = {
        "-t (a terminal)": options.tty,
        "--init": options.init,
        "--restart": options.restart.name is not RestartName.NO,
        "--health-cmd": options.health is not None,
        "--log-driver and --log-opt": options.log != LogOptions(),
        "--runtime": options.runtime not in {None, "ocimagic"},
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise NotBuiltYet(
                f"{name} is not built yet",
                why="it needs the next version of the shim",
                hint="run the container without it",
            )
