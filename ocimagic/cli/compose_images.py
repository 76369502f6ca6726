"""``docker compose`` and images: how a line says that they are built or pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.compose.imaging import ImagesWanted
    from ocimagic.compose.model import Pulling


def images_wanted(given: Mapping[str, Any]) -> ImagesWanted:
    """Return how images come to be there: ``--build``, ``--no-build`` and ``--pull``."""
    from ocimagic.compose.imaging import ImagesWanted

    build = True if given["build"] else False if given.get("no_build") else None
    return ImagesWanted(build=build, pulling=_pulling(given["pull"]))


def _pulling(word: str) -> Pulling | None:
    from ocimagic.compose.model import Pulling

    known = {
        "policy": None,
        "always": Pulling.ALWAYS,
        "missing": Pulling.MISSING,
        "never": Pulling.NEVER,
        "build": Pulling.BUILD,
    }
    if word not in known:
        raise InvalidOption(f"--pull {word!r} is not known", hint=f"it is {', '.join(known)}")
    return known[word]
