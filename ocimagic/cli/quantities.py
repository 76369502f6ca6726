"""Numbers as docker's command line writes them, as types of click's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ocimagic.model.quantities import (
    FALSE,
    TRUE,
    byte_size,
    byte_size_or_unlimited,
    duration_s,
    human_size,
    nano_cpus,
    truth,
    whole,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BYTES",
    "BYTES_OR_UNLIMITED",
    "CPUS",
    "DURATION",
    "FALSE",
    "TRUE",
    "WHOLE",
    "Reader",
    "byte_size",
    "byte_size_or_unlimited",
    "duration_s",
    "human_size",
    "nano_cpus",
    "truth",
    "whole",
    "within",
]


class Reader(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # newer clicks only
    """One of the readers below as a type of click's.

    Args:
        name: what click calls it.
        read: takes the option's longest name and the text.
    """

    def __init__(self, name: str, read: Callable[[str, str], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: object) -> object:  # noqa: ARG002
        """Read a text; a default is a value already."""
        if not isinstance(value, str) or param is None:
            return value
        return self._read(max(param.opts, key=len), value)


BYTES = Reader("bytes", byte_size)
BYTES_OR_UNLIMITED = Reader("bytes", byte_size_or_unlimited)
WHOLE = Reader("int", whole)
CPUS = Reader("decimal", nano_cpus)
DURATION = Reader("duration", duration_s)
