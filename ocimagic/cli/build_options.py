"""The options of ``build``: from words and files to ``BuildOptions``."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, get_args

from ocimagic.cli.security_options import ulimits
from ocimagic.cli.texts import MAX_TEXT_BYTES, as_text, pairs, read_text
from ocimagic.dockerfile.places import (
    IMAGE,
    LAYOUT,
    STDIN,
    LayoutImage,
    context_name,
    is_elsewhere,
    scheme_of,
)
from ocimagic.dockerfile.values import is_url
from ocimagic.errors import BadInput, InvalidOption, NotBuiltYet
from ocimagic.model.cache_words import cache_from, cache_to
from ocimagic.model.network_words import build_network
from ocimagic.model.options import BuildOptions, BuildOutput, OutputKind
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.cli.session import Session

_MAX_SECRET_BYTES = 500 << 10  # docker's limit
_SECRET_WORDS = "write --secret id=ID,src=FILE or --secret id=ID,env=VARIABLE"  # noqa: S105
_DEFAULT = "Dockerfile"
_PLACES = (
    "write --build-context NAME=PLACE; a place is a directory, the URL of a repository or a "
    f"file, {IMAGE}IMAGE or {LAYOUT}DIRECTORY[:TAG][@DIGEST]"
)


def build_options(session: Session, context: str, given: Mapping[str, Any]) -> BuildOptions:
    """Turn parsed words into the request, the Dockerfile read.

    Args:
        session: for relative paths, standard input and variables of the user.
        context: a directory, a repository, a URL, or ``-``.
        given: click's values by parameter name.

    Raises:
        InvalidOption: a value or a file that cannot be understood.
    """
    name, text = _dockerfile(session, context, given["file"])
    return BuildOptions(
        dockerfile=text,
        dockerfile_name=name,
        context=_context(session, context, given["file"]),
        tags=given["tags"],
        build_args=_dated(session) | _build_args(session, given["build_arg"]),
        labels=pairs("--label", given["label"]),
        target=given["target"],
        platforms=_platforms(given["platform"]),
        no_cache=given["no_cache"],
        pull=given["pull"],
        network=build_network(given["network"]),
        secrets=dict(_secret(session, text) for text in given["secret"]),
        ssh=dict(_agent(session, text) for text in given["ssh"]),
        no_cache_of=tuple(stage for text in given["no_cache_filter"] for stage in text.split(",")),
        annotations=_annotations(given["annotation"]),
        extra_hosts=given["add_host"],
        shm_size_bytes=given["shm_size"],
        ulimits=ulimits(given["ulimit"]),
        allow=_allowed(given["allow"]),
        contexts=dict(_named_context(session, text) for text in given["build_context"]),
        files=dict(_context_file(text) for text in given["context_file"]),
        timestamp=given["timestamp"],
        squash=given["squash"],
        outputs=tuple(_output(session, text) for text in given["output"]),
        cache_from=tuple(cache_from(session.path, text) for text in given["cache_from"]),
        cache_to=tuple(cache_to(session.path, text) for text in given["cache_to"]),
    )


def _context(session: Session, context: str, file: str | None) -> str | None:
    """Return the context; None where the one thing on standard input is the Dockerfile."""
    if context == STDIN:
        return None if file == STDIN else STDIN
    return context if _is_elsewhere(session, context) else _directory(session, context)


def _is_elsewhere(session: Session, place: str) -> bool:
    """Tell whether a place is fetched; a directory of that name is nearer, as in docker."""
    return is_elsewhere(place) and not os.path.isdir(session.path(place))


def _directory(session: Session, context: str, what: str = "the build context") -> str:
    path = session.path(context)
    try:
        found, is_file = os.path.isdir(path), os.path.isfile(path)
    except ValueError:
        found = is_file = False
    if found:
        return path
    hint = "give the directory with the files that COPY takes, a URL, or - for none"
    if is_file and what == "the build context":
        hint = f"an archive goes to standard input: build - < {context}; a Dockerfile to -f"
    raise InvalidOption(f"{what} {context!r} is not a directory", hint=hint)


def _dockerfile(session: Session, context: str, file: str | None) -> tuple[str, str | None]:
    """Return the name and text of the Dockerfile; no text where the context is to have it.

    ``-f`` starts from the current directory, not from the context, as in docker; in a context
    that is fetched or comes on standard input it is a path of that.
    """
    if file == STDIN:
        return _DEFAULT, as_text(_stdin(session), "standard input")
    name = _DEFAULT if file is None else file
    if is_url(name) or context == STDIN:
        return name, None
    if _is_elsewhere(session, context):
        return name, read_text(name) if os.path.isabs(name) else None
    if file is not None:
        return file, read_text(session.path(file))
    directory = _directory(session, context)
    path = os.path.join(directory, _DEFAULT)
    lower = os.path.join(directory, _DEFAULT.lower())
    return _DEFAULT, read_text(
        lower if os.path.isfile(lower) and not os.path.lexists(path) else path
    )


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


def _platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """Read ``OS/ARCH,OS/ARCH``, also several times."""
    words = [word.strip() for text in texts for word in text.split(",")]
    return tuple(Platform.parse(word) for word in words)


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


def _secret(session: Session, text: str) -> tuple[str, bytes]:
    """Read ``id=ID,src=FILE`` or ``id=ID,env=VAR``; without either the id names both in turn.

    Source: Docker CLI reference, ``docker buildx build --secret``.

    Raises:
        InvalidOption: a word that is none, no such file or variable, or too long.
    """
    given: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        name = {"src": "source"}.get(key, key)
        if not equals or name not in ("id", "type", "source", "env"):
            raise InvalidOption(
                f"--secret {text!r}: {word!r} is not understood", hint=_SECRET_WORDS
            )
        given[name] = value
    name, kind = given.get("id", ""), given.get("type", "")
    if not name or kind not in ("", "file", "env") or {"source", "env"} <= given.keys():
        raise InvalidOption(f"--secret {text!r} is not understood", hint=_SECRET_WORDS)
    variable = given.get("env") or (given.get("source") if kind == "env" else None)
    if variable is None and "source" not in given and kind != "file" and name in session.env:
        variable = name
    if variable is not None:
        if variable not in session.env:
            raise InvalidOption(f"--secret {name}: there is no variable {variable}")
        content = os.fsencode(session.env[variable])
    else:
        content = _read_secret(name, session.path(given.get("source", name)))
    if len(content) > _MAX_SECRET_BYTES:
        raise InvalidOption(f"--secret {name} is over {_MAX_SECRET_BYTES} bytes")
    return name, content


def _read_secret(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_SECRET_BYTES + 1)
    except (OSError, ValueError) as err:
        why = getattr(err, "strerror", None) or str(err)
        raise InvalidOption(
            f"--secret {name} cannot be read", why=f"{path}: {why}", hint=_SECRET_WORDS
        ) from err


def _agent(session: Session, text: str) -> tuple[str, str]:
    """Read ``default`` or ``ID=SOCKET``; without a socket it is the user's own agent.

    Raises:
        InvalidOption: there is no such socket.
    """
    name, _, path = text.partition("=")
    path = path or session.env.get("SSH_AUTH_SOCK", "")
    if not path:
        raise InvalidOption(
            f"--ssh {text}: no agent runs here",
            why="SSH_AUTH_SOCK is not set",
            hint="start one (eval $(ssh-agent); ssh-add), or write --ssh default=SOCKET",
        )
    path = session.path(path)
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        is_socket = False
    if not is_socket:
        raise InvalidOption(
            f"--ssh {text}: {path} is not the socket of an agent",
            hint="a key is not taken by itself: ssh-add it to an agent",
        )
    return name, path


def _dated(session: Session) -> dict[str, str]:
    """Take SOURCE_DATE_EPOCH from the environment, as buildx does."""
    said = session.env.get("SOURCE_DATE_EPOCH")
    return {"SOURCE_DATE_EPOCH": said} if said else {}


def _annotations(texts: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE``; the manifest's only, which is what BuildKit takes it for too."""
    result = {}
    for text in texts:
        key, equals, value = text.removeprefix("manifest:").partition("=")
        if not key or not equals:
            raise InvalidOption(
                f"--annotation {text!r} is not KEY=VALUE", hint="write --annotation KEY=VALUE"
            )
        if ":" in key.partition(".")[0]:
            raise NotBuiltYet(
                f"--annotation {text!r}: only the manifest's are built", hint="leave the word out"
            )
        result[key] = value
    return result


def _allowed(texts: Iterable[str]) -> tuple[str, ...]:
    known = ("security.insecure", "network.host")
    for text in texts:
        if text not in known:
            raise InvalidOption(f"--allow {text} is not known", hint=f"it is {' or '.join(known)}")
    return tuple(texts)


def _output(session: Session, text: str) -> BuildOutput:
    """Read ``DIR``, or ``type=TYPE,dest=PATH``.

    Raises:
        InvalidOption: it is neither.
    """
    hint = "write -o DIRECTORY or -o type=tar,dest=FILE; types are local, tar, oci, docker"
    if "=" not in text and "," not in text:
        return BuildOutput(kind="local", path=_place(session, text, hint))
    given: dict[str, str] = {}
    for word in text.split(","):
        key, _, value = word.partition("=")
        if key not in ("type", "dest"):
            raise InvalidOption(f"--output {text!r}: {word!r} is not understood", hint=hint)
        given[key] = value
    for kind in get_args(OutputKind):
        if kind == given.get("type"):
            return BuildOutput(kind=kind, path=_place(session, given.get("dest", ""), hint))
    raise InvalidOption(f"--output {text!r}: no such type", hint=hint)


def _place(session: Session, path: str, hint: str) -> str:
    if path in ("", "-"):
        raise InvalidOption("--output needs the path of a file or a directory", hint=hint)
    return session.path(path)


def _named_context(session: Session, text: str) -> tuple[str, str]:
    """Read ``NAME=PLACE``.

    Raises:
        InvalidOption: no name, no place, or a place that is none.
    """
    name, _, place = text.partition("=")
    option = f"--build-context {text!r}"
    if not name or not place:
        raise InvalidOption(f"{option} is not NAME=PLACE", hint=_PLACES)
    try:
        context_name(name)
        if place.startswith(LAYOUT):
            layout = LayoutImage.parse(place)
            directory = _directory(session, layout.directory, "the OCI layout")
            return name, LAYOUT + directory + place.removeprefix(LAYOUT + layout.directory)
    except BadInput as err:
        raise InvalidOption(f"{option}: {err.what}", why=err.why, hint=err.hint) from err
    if place.startswith(IMAGE) or _is_elsewhere(session, place):
        return name, place
    if scheme := scheme_of(place):
        raise InvalidOption(
            f"{option}: {scheme} is no kind of place that build knows", hint=_PLACES
        )
    return name, _directory(session, place, "the context")


def _context_file(text: str) -> tuple[str, bytes]:
    """Read ``NAME=TEXT``: a file that is in no directory.

    Raises:
        InvalidOption: the name is empty or leads out of the context.
    """
    name, _, content = text.partition("=")
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise InvalidOption(
            f"--file {name!r} cannot be in the context",
            hint="write --file NAME={variable}; the name is relative to the context",
        )
    return name, content.encode("utf-8", "surrogateescape")
