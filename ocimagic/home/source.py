"""Where our own functions are, for whoever wants to read what was done."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic.model.explanation import Source

if TYPE_CHECKING:
    from collections.abc import Callable


def source_of(function: Callable[..., object]) -> Source:
    """Return where a function or method is, and its text as it is there now."""
    plain: Any = inspect.unwrap(function)
    code = plain.__code__
    try:
        text = textwrap.dedent(inspect.getsource(code)).rstrip()
    except OSError:  # the package is gone, or is in an archive
        text = ""
    above = Path(__file__).parents[2]
    path = Path(code.co_filename).relative_to(above).as_posix()
    return Source(path, code.co_firstlineno, plain.__qualname__, text)
