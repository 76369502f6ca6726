"""Ask a child what this machine allows; the engine's door to ``probe``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import HostLacks
from ocimagic.model.isolation import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

START = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from ocimagic.shim.probe import main; main()"
_TIMEOUT_S = 20.0
_PACKAGES = str(Path(__file__).parents[2])


def probe(directories: Sequence[str]) -> Probe:
    """Try what containers need.

    Args:
        directories: where to try whether overlayfs can write.

    Raises:
        HostLacks: not even the trying works, with its last words.
    """
    command = [sys.executable, "-I", "-S", "-c", START, _PACKAGES, *directories]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_S,
            cwd="/",
            start_new_session=True,
        )
    except subprocess.CalledProcessError as err:
        lines = err.stderr.decode(errors="replace").splitlines() or ["it said nothing"]
        raise HostLacks("this machine cannot be probed", why=lines[-1]) from err
    except (OSError, subprocess.TimeoutExpired) as err:
        raise HostLacks("this machine cannot be probed", why=str(err)) from err
    found = json.loads(done.stdout)
    return Probe(**(found | {"cgroups": tuple(found["cgroups"])}))
