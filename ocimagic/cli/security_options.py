"""``--security-opt``, ``--ulimit`` and ``--sysctl``: from words to what a process may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.cli.texts import read_text
from ocimagic.model import security_words
from ocimagic.model.security_words import sysctls, ulimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.cli.session import Session
    from ocimagic.model.options import SecurityOptions

__all__ = ["security_options", "sysctls", "ulimits"]


def security_options(session: Session, texts: Iterable[str]) -> tuple[SecurityOptions, bool]:
    """Read all ``--security-opt``; the bool is ``no-new-privileges``.

    Raises:
        InvalidOption: an unknown one, a bad value, or a profile that cannot be read.
    """
    return security_words.security_options(texts, lambda name: read_text(session.path(name)))
