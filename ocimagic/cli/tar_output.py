"""Where a command's tar goes: standard output, a value, or a file that is there whole or not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from ocimagic.cli.values import TarBytes
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.cli.session import Session

T = TypeVar("T")


def streamed(
    session: Session, give: Callable[[Callable[[bytes], object]], object]
) -> TarBytes | None:
    """Pass a tar on to standard output, or return it where there is none for bytes."""
    if session.out is not None:
        give(session.out)
        return None
    kept = bytearray()
    give(kept.extend)
    return TarBytes(bytes(kept))


def into_file(session: Session, output: str, give: Callable[[Callable[[bytes], object]], T]) -> T:
    """Write a tar to a file, which is replaced only by all of it.

    Raises:
        InvalidOption: it cannot be written.
    """
    path = session.path(output)
    part = f"{path}.part-{os.getpid()}"
    try:
        with open(part, "xb") as file:
            result = give(file.write)
        os.replace(part, path)
    except OSError as err:
        raise InvalidOption(f"cannot write {output}", why=err.strerror) from err
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    return result
