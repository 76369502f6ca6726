"""Where the text of a Dockerfile comes from: its giver, the context, a URL, standard input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.build.remote import given
from ocimagic.dockerfile.places import STDIN
from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.build.bench import Bench
    from ocimagic.build.remote import Fetched
    from ocimagic.model.options import BuildOptions

_DEFAULT_NAME = "Dockerfile"


def is_read(options: BuildOptions) -> bool:
    """Say whether all is known that ``read_definition`` finds out."""
    return options.dockerfile is not None and options.context != STDIN


def read_definition(
    bench: Bench, stdin: Iterable[bytes] | None
) -> tuple[BuildOptions, Fetched | None]:
    """Return the options with the text of the Dockerfile, and the context if it was fetched for it.

    Args:
        bench: of a build that has done nothing yet.
        stdin: what a context of ``-`` is.

    Raises:
        BuildFailed: there is no Dockerfile, or the context cannot be had.
        InvalidOption: standard input is needed, and there is none; or two Dockerfiles are given.
    """
    options, found = bench.options, None
    if options.context == STDIN:
        options, found = _of_input(bench, stdin)
    if options.dockerfile is None:
        places = bench.places.of(options, found)
        options = replace(options, dockerfile=places.dockerfile(bench))
        found = places.fetched
    return options, found


def _of_input(bench: Bench, stdin: Iterable[bytes] | None) -> tuple[BuildOptions, Fetched | None]:
    options = bench.options
    if stdin is None:
        raise InvalidOption("the context is to come from standard input, but there is none")
    came = given(bench, stdin)
    if not isinstance(came, str):
        return options, came
    if options.dockerfile is not None or options.dockerfile_name != _DEFAULT_NAME:
        raise InvalidOption(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            hint="leave -f out, or pipe a tar that has the file",
        )
    return replace(options, dockerfile=came, context=None), None
