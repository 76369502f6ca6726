"""The options of ``build``: from words and files to ``BuildOptions``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ocimagic.cli.run_options import network, platform
from ocimagic.cli.texts import MAX_TEXT_BYTES, as_text, pairs, read_text
from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.options import BuildOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.cli.session import Session

_URL_STARTS = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


def build_options(session: Session, context: str, given: Mapping[str, Any]) -> BuildOptions:
    """Turn parsed words into the request, the Dockerfile read.

    Args:
        session: for relative paths, standard input and variables of the user.
        context: a directory, or ``-`` for a Dockerfile without a context.
        given: click's values by parameter name.

    Raises:
        InvalidOption: a value or a file that cannot be understood.
        NotBuiltYet: a context that is not a directory here.
    """
    if context.startswith(_URL_STARTS):
        raise NotBuiltYet(
            f"building from {context} is not built yet", hint="fetch it and give the directory"
        )
    name, text = _dockerfile(session, context, given["file"])
    return BuildOptions(
        dockerfile=text,
        dockerfile_name=name,
        context=None if context == "-" else _directory(session, context),
        tags=given["tags"],
        build_args=_build_args(session, given["build_arg"]),
        labels=pairs("--label", given["label"]),
        target=given["target"],
        platform=platform(given["platform"]),
        no_cache=given["no_cache"],
        pull=given["pull"],
        network=network(given["network"]),
    )


def _directory(session: Session, context: str) -> str:
    path = session.path(context)
    try:
        found = os.path.isdir(path)
    except ValueError:
        found = False
    if not found:
        raise InvalidOption(
            f"the build context {context!r} is not a directory",
            hint="give the directory with the files that COPY takes, or - for none",
        )
    return path


def _dockerfile(session: Session, context: str, file: str | None) -> tuple[str, str]:
    """Return the name and text of the Dockerfile.

    ``-f`` starts from the current directory, not from the context, as in docker.
    """
    if file == "-" or (context == "-" and file is None):
        return "Dockerfile", as_text(_stdin(session), "standard input")
    if context == "-":
        raise InvalidOption(
            "-f names a file, but - takes the Dockerfile from standard input",
            hint="write -f FILE PATH, or - alone",
        )
    if file is not None:
        return file, read_text(session.path(file))
    return "Dockerfile", read_text(os.path.join(_directory(session, context), "Dockerfile"))


def _stdin(session: Session) -> bytes:
    if session.stdin is None:
        raise InvalidOption("the Dockerfile is to come from standard input, but there is none")
    if isinstance(session.stdin, bytes):
        return session.stdin
    try:
        with open(session.stdin, "rb", closefd=False) as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as err:
        raise InvalidOption("cannot read standard input", why=err.strerror) from err


def _build_args(session: Session, texts: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE``, or ``KEY``, whose value is the user's variable if there is one."""
    result = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key:
            raise InvalidOption(
                f"--build-arg {text!r} has no key", hint="write --build-arg KEY=VALUE"
            )
        if equals or key in session.env:
            result[key] = value if equals else session.env[key]
    return result
