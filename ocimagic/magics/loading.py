"""Python's garbage collector, held back while modules are loaded and pictures are made."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loading() -> Iterator[None]:
    """Hold the collector back for the moment.

    What a module makes stays, so looking through all of it again and again finds nothing: a
    quarter of what the first picture of a kernel would take.  What counts references goes on.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
