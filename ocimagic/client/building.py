"""Builds behind an API, by docker's classic builder.

Spec: Docker Engine API v1.41, ImageBuild.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ocimagic.client.context import dockerfile_name, packed
from ocimagic.client.refusing import undone
from ocimagic.engine.pipes import pieces_of
from ocimagic.errors import BuildFailed, DockerfileError, InvalidOption, NeighbourError, StepFailed
from ocimagic.model.built import BuildResult
from ocimagic.spec.reference import Reference
from ocimagic.wire.read_image import image_details
from ocimagic.wire.read_progress import BuildReader
from ocimagic.wire.sent import build_query

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

    from ocimagic.client.calling import Caller
    from ocimagic.model.event import OnEvent
    from ocimagic.model.options import BuildOptions
    from ocimagic.spec.codec import Fields

_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")
_STDIN = "-"
_PODMANS = re.compile(r"while running runtime: exit status (\d{1,3})\s*$")
_NEEDS_BUILDKIT = ("secrets", "ssh", "no_cache_of", "annotations", "allow", "outputs", "cache_to",
                   "cache_from", "contexts", "timestamp")  # fmt: skip


def build(
    caller: Caller,
    options: BuildOptions,
    *,
    stdin: int | bytes | None,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> BuildResult:
    """Build an image.

    Raises:
        HostLacks: it takes what the classic builder does not know.
        DockerfileError: the Dockerfile cannot be understood.
        StepFailed: a RUN ended non-zero.
        BuildFailed: it went wrong otherwise.
    """
    _refuse(options)
    began = time.monotonic()
    query = build_query(options)
    name = dockerfile_name(options)
    query["dockerfile"] = name
    body: Iterable[bytes] | None
    if options.context is not None and options.context.startswith(_REMOTE):
        query["remote"], body = options.context, None
    elif options.context == _STDIN:
        body = pieces_of(stdin or b"")
    else:
        body = packed(options, name)
    reader = BuildReader()
    lines: list[str] = []
    try:
        with caller.asked("POST", "/build", query=query, body=body, cancelled=cancelled) as found:
            for line in _checked(caller.values(*found), reader, lines):
                for event in reader.events(line):
                    on_event(event)
            for event in reader.ended():
                on_event(event)
    except InvalidOption as err:
        raise _misread(err) from err
    image_id = reader.image_id
    if image_id is None:
        raise NeighbourError(f"{caller.address.url} does not say what was built")
    made = image_details(caller.document("GET", f"/images/{image_id}/json", kind="image"))
    return BuildResult(
        image_id=image_id,
        digest=None,
        tags=tuple(Reference.parse(each).familiar for each in options.tags),
        steps=tuple(reader.steps),
        seconds=time.monotonic() - began,
        size_bytes=made.size_bytes,
    )


def _refuse(options: BuildOptions) -> None:
    for field in _NEEDS_BUILDKIT:
        if getattr(options, field):
            word = field.replace("_", "-")
            raise undone(f"build with {word}: its classic builder does not know it")
    if len(options.platforms) > 1:
        raise undone("build for several platforms at once")


def _misread(err: InvalidOption) -> InvalidOption | DockerfileError:
    """Return docker's error about a Dockerfile as ours, with its line."""
    head, sign, rest = err.what.partition("parse error line ")
    number, _, said = rest.partition(":")
    if not sign or not number.strip().isdigit():
        return err
    return DockerfileError(said.strip() or head, line=int(number))


def _checked(values: Iterator[Fields], reader: BuildReader, lines: list[str]) -> Iterator[Fields]:
    """Pass lines on; one that says what went wrong is raised."""
    for line in values:
        if text := line.text("stream", ""):
            lines[:] = [*lines, *text.splitlines()][-20:]
        if error := line.text("error", ""):
            code = line.child("errorDetail").integer("code", 0, least=-1) or _code_in(error)
            if code:
                command = reader.running
                raise StepFailed(error, command_exit_code=code, command=command, tail=tuple(lines))
            raise BuildFailed(error)
        yield line


def _code_in(error: str) -> int:
    """Return the exit code that podman's sentence has, 0 for none."""
    found = _PODMANS.search(error)
    return int(found[1]) if found else 0
