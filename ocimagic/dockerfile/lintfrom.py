"""Lint rules about FROM: its platform, and what its image is called by default.

Source: docker's build checks reference.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.dockerfile.plan import PlatformArgs
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.words import expand, expansion
from ocimagic.errors import InvalidPlatform, InvalidReference
from ocimagic.spec.platform import Platform
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.dockerfile.source import SourceRange

_TARGET = re.compile(r"\$TARGETPLATFORM|\$\{TARGETPLATFORM\}")


def redundant_target_platform(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    """Find a platform that is said and would be meant anyway."""
    for stage in dockerfile.stages:
        written = stage.start.platform or ""
        if _TARGET.fullmatch(written):
            message = (
                f"Setting platform to predefined {written} in FROM is redundant "
                "as this is the default behavior"
            )
            yield stage.start.source, message


def constant_platform(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    """Find a platform that no option changes, in a stage whose name does not say so."""
    for stage in dockerfile.stages:
        written = stage.start.platform
        if written is None or "$" in written:
            continue
        try:
            text = expand(written, {}, escape=dockerfile.escape)
            platform = Platform.parse(text)
        except (BadWord, InvalidPlatform):
            continue  # the plan refuses it, with a better message
        if not any(part in (stage.name or "") for part in (platform.os, platform.architecture)):
            message = f"FROM --platform flag should not use constant value {quoted(text)}"
            yield stage.start.source, message


def invalid_default_base(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    """Find a FROM that has a good name only when somebody gives ``--build-arg``."""
    values = dict(PlatformArgs().args())
    for each in dockerfile.global_args:
        for declared in each.args:
            if declared.default is not None:
                try:
                    values[declared.name] = expand(
                        declared.default, values, escape=dockerfile.escape
                    )
                except BadWord:
                    return  # the plan refuses it, with a better message
    for stage in dockerfile.stages:
        try:
            base = expansion(stage.start.base, values, escape=dockerfile.escape).text
            Reference.parse(base)
        except BadWord:
            continue
        except InvalidReference:
            message = (
                f"Default value for ARG {stage.start.base} "
                "results in empty or invalid base image name"
            )
            yield stage.start.source, message
