"""SOURCE_DATE_EPOCH: the time that an image is of, as other builders are told it too.

It is a build argument: seconds since 1970, or ``context`` for the time of what is built: of
the commit, or of what is at the URL.  The Dockerfile may have a default for it above FROM.

Source: BuildKit, docs/build-repro.md, "SOURCE_DATE_EPOCH"; Dockerfile 1.23 and 1.24.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.dockerfile.plan import global_values
from ocimagic.errors import InvalidOption, NotBuiltYet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.build.bench import Bench
    from ocimagic.build.remote import Fetched
    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.model.options import BuildOptions

EPOCH = "SOURCE_DATE_EPOCH"
OF_CONTEXT = "context"
_MOST_DIGITS = 11  # what a tar can say
_HINT = f"write seconds since 1970, or {OF_CONTEXT} for the time of a commit or of what is at a URL"


def given_epoch(options: BuildOptions) -> BuildOptions:
    """Take the time from the build argument if it is a number, and no other time is said."""
    said = options.build_args.get(EPOCH, "")
    return replace(options, timestamp=int(said)) if _may_be(options, said) else options


def said_epoch(options: BuildOptions, dockerfile: Dockerfile) -> str:
    """Return what is said of the time: by the build argument, else above the first FROM."""
    if EPOCH in options.build_args:
        return options.build_args[EPOCH]
    return global_values(dockerfile, {}, options.build_args).get(EPOCH, "")


def with_epoch(
    options: BuildOptions, dockerfile: Dockerfile, said: str
) -> tuple[BuildOptions, Dockerfile]:
    """Return the options with the time that was said, and a Dockerfile whose ARG agrees.

    Args:
        options: of the build.
        dockerfile: parsed.
        said: seconds; "" for none.

    Raises:
        InvalidOption: it is no number of seconds.
        DockerfileError: the Dockerfile says something that is none.
    """
    if said and not _is_time(said):
        raise _no_time(options, dockerfile, said)
    if options.timestamp is None and said:
        options = replace(options, timestamp=int(said))
    args = {name: value for name, value in options.build_args.items() if name != EPOCH}
    if said:
        return replace(options, build_args=args | {EPOCH: said}), dockerfile
    return replace(options, build_args=args), _without_default(dockerfile)


def context_epoch(bench: Bench) -> str:
    """Return the time of the build's context; "" for a directory of this machine.

    Raises:
        BuildFailed: it cannot be fetched.
    """
    bench.places.main(bench)
    found = bench.places.fetched
    seconds = None if found is None else _time_of(bench, found)
    return "" if seconds is None else str(seconds)


def _time_of(bench: Bench, found: Fetched) -> int | None:
    """Return when a server says that it was changed, else the newest time of what is in it."""
    if found.modified_ns or found.file:
        return found.modified_ns // 1_000_000_000 or None
    times = [each.entry.mtime_ns for each in bench.files(found.layers).merged.walk()]
    return max(0, max(times) // 1_000_000_000) if times else None


def _may_be(options: BuildOptions, said: str) -> bool:
    return options.timestamp is None and _is_time(said)


def _is_time(said: str) -> bool:
    return said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS


def _no_time(options: BuildOptions, dockerfile: Dockerfile, said: str) -> Exception:
    names: Mapping[str, object] = {each.name or "": each for each in dockerfile.stages}
    if said.lower() in names or said.lower() in options.contexts:
        return NotBuiltYet(f"{EPOCH}={said}: the time of a stage is not built yet", hint=_HINT)
    what = f"{EPOCH}={said!r} is not a time"
    if EPOCH in options.build_args:
        return InvalidOption(what, hint=_HINT)
    source = next(
        arg.source for arg in dockerfile.global_args if any(each.name == EPOCH for each in arg.args)
    )
    return source.error(what, at=EPOCH, hint=_HINT)


def _without_default(dockerfile: Dockerfile) -> Dockerfile:
    args = tuple(
        replace(
            arg,
            args=tuple(
                replace(each, default=None) if each.name == EPOCH else each for each in arg.args
            ),
        )
        for arg in dockerfile.global_args
    )
    return replace(dockerfile, global_args=args)
