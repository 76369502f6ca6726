"""Modules of this room that are loaded when something of theirs is drawn for the first time."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Later:
    """Stands for a module of functions; type checkers are shown the module.

    Args:
        name: of the module, within this room.
    """

    def __init__(self, name: str) -> None:
        self._name = f"{__package__}.{name}"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(_call, self._name, name)


def _call(module: str, name: str, *values: object) -> object:
    return getattr(import_module(module), name)(*values)
