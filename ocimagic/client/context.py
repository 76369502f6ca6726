"""A build's context as the tar that an API takes.

Spec: Docker Engine API v1.41, ImageBuild; docker's client leaves out what ``.dockerignore`` says.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

from ocimagic.build.context import IGNORE_NAME, ignore_rules
from ocimagic.engine.pipes import written
from ocimagic.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.dockerfile.ignore import IgnoreRules
    from ocimagic.model.options import BuildOptions

_PIECE = 1 << 18


def dockerfile_name(options: BuildOptions) -> str:
    """Return what the Dockerfile is called in the context; one that is a text gets a free name."""
    if options.dockerfile is None:
        return options.dockerfile_name
    return f".dockerfile.{secrets.token_hex(8)}"


def packed(options: BuildOptions, name: str) -> Iterator[bytes]:
    """Yield the context with the Dockerfile and what else is put into it.

    Args:
        options: with a directory, or without a context.
        name: see ``dockerfile_name``.

    Raises:
        BadInput: there is no such directory, or a file cannot be read.
    """
    return written(lambda pipe: _pack(options, name, cast("BinaryIO", pipe)))


def _pack(options: BuildOptions, name: str, out: BinaryIO) -> None:
    extra = dict(options.files)
    if options.dockerfile is not None:
        extra[name] = options.dockerfile.encode()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE) as tar:
        if options.context is not None:
            for path, inside in _files(options, name):
                if inside not in extra:
                    _add(tar, path, inside)
        for inside, data in extra.items():
            entry = tarfile.TarInfo(inside)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))


def _add(tar: tarfile.TarFile, path: str, inside: str) -> None:
    try:
        tar.add(path, inside, recursive=False)
    except OSError as err:
        raise BadInput(f"{path} of the context cannot be read", why=err.strerror) from err


def _files(options: BuildOptions, name: str) -> Iterator[tuple[str, str]]:
    """Yield each file with its name in the context; the Dockerfile's own are always in it."""
    context = options.context
    assert context is not None
    if not os.path.isdir(context):
        raise BadInput(f"the context {context} is no directory")
    rules = ignore_rules(context, options.dockerfile_name)
    kept = {name, IGNORE_NAME}
    for above, directories, names in os.walk(context):
        inside = os.path.relpath(above, context)
        inside = "" if inside == "." else f"{inside}/"
        for each in sorted(directories):
            path = f"{inside}{each}"
            if not rules.excludes(path) or os.path.islink(os.path.join(above, each)):
                yield os.path.join(above, each), path
        directories[:] = [each for each in sorted(directories) if _may(rules, f"{inside}{each}")]
        for each in sorted(names):
            path = f"{inside}{each}"
            if path in kept or not rules.excludes(path):
                yield os.path.join(above, each), path


def _may(rules: IgnoreRules, path: str) -> bool:
    return not rules.excludes(path) or rules.may_reinclude_below(path)
