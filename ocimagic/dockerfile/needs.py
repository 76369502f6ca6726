"""Which paths of its context a build reads, for whoever has to send it over.

Source: BuildKit, frontend/dockerfile/dockerfile2llb/convert.go, ctxPaths.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.values import is_git, is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.dockerfile.plan import Plan

WHOLE = "/"


def context_paths(planned: Plan) -> tuple[str, ...]:
    """Return the paths, with wildcards as they are written; ``/`` is all of it.

    What ONBUILD of a base reads is not among them: nobody knows it before the base is here.
    """
    found = set(_taken(planned))
    return (WHOLE,) if WHOLE in found else tuple(sorted(found))


def _taken(planned: Plan) -> Iterator[str]:
    for instruction in (each for stage in planned.stages for each in stage.instructions):
        match instruction:
            case ins.Copy(from_stage=None, parents=True):
                yield WHOLE
            case ins.Copy(from_stage=None, sources=sources):
                yield from map(_clean, sources)
            case ins.Add(sources=sources):
                yield from (_clean(each) for each in sources if not (is_url(each) or is_git(each)))
            case ins.Run(mounts=mounts):
                yield from (
                    _clean(each.source or WHOLE)
                    for each in mounts
                    if each.from_stage is None and each.type == "bind"
                )
            case ins.OnBuild():  # of a stage that another one stands on
                yield WHOLE


def _clean(path: str) -> str:
    """Return a path below the context; what only its value says may be any."""
    if "$" in path or "\\" in path:
        return WHOLE
    return posixpath.normpath(f"/{path}").lstrip("/") or WHOLE
