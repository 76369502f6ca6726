"""Sizes, times and numbers of CPUs, as a compose file has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.model import quantities

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from ocimagic.compose.tree import Node

    T = TypeVar("T")


def bytes_of(node: Node) -> int:
    """Read ``64m``, ``1gb`` or a number of bytes."""
    return _read(node, quantities.byte_size, "write 512m: a number, and b, k, m or g")


def bytes_or_unlimited(node: Node) -> int:
    """Read a size, or ``-1``."""
    return _read(node, quantities.byte_size_or_unlimited, "write 512m, or -1 for no limit")


def seconds_of(node: Node) -> float:
    """Read ``1m30s``."""
    return _read(node, quantities.duration_s, "write 1m30s: numbers, each with ms, s, m or h")


def nano_cpus_of(node: Node) -> int:
    """Read ``1.5`` CPUs in billionths."""
    return _read(node, quantities.nano_cpus, "write 1.5 for one CPU and a half")


def _read(node: Node, read: Callable[[str, str], T], hint: str) -> T:
    try:
        return read(node.path, node.text())
    except InvalidOption as err:
        raise node.wrong(f"{node.text()!r} is not understood", why=err.why, hint=hint) from err
