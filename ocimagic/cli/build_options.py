"""The options of ``build``: from words and files to ``BuildOptions``."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, get_args

from ocimagic.cli.cache_options import cache_from, cache_to
from ocimagic.cli.run_options import network
from ocimagic.cli.security_options import ulimits
from ocimagic.cli.texts import MAX_TEXT_BYTES, as_text, pairs, read_text
from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.options import BuildOptions, BuildOutput, OutputKind
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.cli.session import Session

_MAX_SECRET_BYTES = 500 << 10  # docker's limit
_SECRET_WORDS = "write --secret id=ID,src=FILE or --secret id=ID,env=VARIABLE"  # noqa: S105
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
        build_args=_dated(session) | _build_args(session, given["build_arg"]),
        labels=pairs("--label", given["label"]),
        target=given["target"],
        platforms=_platforms(given["platform"]),
        no_cache=given["no_cache"],
        pull=given["pull"],
        network=network(given["network"]),
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
        outputs=tuple(_output(session, text) for text in given["output"]),
        cache_from=tuple(cache_from(session, text) for text in given["cache_from"]),
        cache_to=tuple(cache_to(session, text) for text in given["cache_to"]),
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
    """Read ``NAME=DIRECTORY`` or ``NAME=docker-image://IMAGE``.

    Raises:
        InvalidOption: no name, or no such directory.
        NotBuiltYet: another kind of place.
    """
    name, _, place = text.partition("=")
    if not name or not place:
        raise InvalidOption(
            f"--build-context {text!r} is not NAME=PLACE",
            hint="write --build-context NAME=DIRECTORY or NAME=docker-image://IMAGE",
        )
    if place.startswith("docker-image://"):
        return name, place
    if "://" in place or place.startswith("git@"):
        raise NotBuiltYet(
            f"--build-context from {place} is not built yet",
            hint="fetch it and give the directory",
        )
    return name, _directory(session, place)


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
