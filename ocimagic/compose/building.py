"""``build`` of a service as ``BuildOptions``, read when an image is built."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from ocimagic.compose.files import read_bytes, read_text
from ocimagic.compose.quantity import bytes_of
from ocimagic.compose.runtime_options import hosts_of, taken, ulimits_of
from ocimagic.dockerfile.places import is_elsewhere
from ocimagic.dockerfile.values import is_url
from ocimagic.model.cache_words import cache_from, cache_to
from ocimagic.model.options import BuildOptions, NetworkMode, network_choice
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.compose.tree import Node
    from ocimagic.model.cache import CacheFrom, CacheTo

_MAX_SECRET_BYTES = 500 << 10
_DOCKERFILE = "Dockerfile"
_INLINE = "dockerfile_inline"
_ENTITLEMENTS = ("security.insecure", "network.host")


def build_options(
    node: Node, tag: str, secrets: Mapping[str, Node], env: Mapping[str, str]
) -> BuildOptions:
    """Return what is to be built.

    Args:
        node: ``build`` in its long form.
        tag: what the image is called.
        secrets: definitions of the file's secrets, by name.
        env: the caller's variables and those of ``.env``.

    Raises:
        InvalidDocument: it cannot be understood, or a file cannot be read.
    """
    context = _context(node)
    name, text = _dockerfile(node, context)
    no_cache, pull, size = node.get("no_cache"), node.get("pull"), node.get("shm_size")
    target = node.get("target")
    return BuildOptions(
        dockerfile=text,
        dockerfile_name=name,
        context=context,
        tags=tuple(dict.fromkeys((tag, *_texts(node, "tags")))),
        build_args=_args(node, env),
        labels=_pairs(node, "labels"),
        target=target.text() if target else None,
        platforms=_platforms(node),
        no_cache=bool(no_cache and no_cache.truth()),
        pull=bool(pull and pull.truth()),
        network=_network(node),
        secrets=_secrets(node, secrets, env),
        ssh=_ssh(node, env),
        no_cache_of=_texts(node, "no_cache_filter"),
        extra_hosts=hosts_of(node),
        shm_size_bytes=bytes_of(size) if size else 0,
        ulimits=ulimits_of(node),
        allow=_allowed(node),
        cache_from=_cache_from(node),
        cache_to=_cache_to(node),
        contexts=_contexts(node),
    )


def _context(node: Node) -> str:
    found = node.get("context")
    if found is None:
        raise node.wrong("context is missing", hint="context: .")
    if not is_elsewhere(found.text()) and not os.path.isdir(found.text()):
        raise found.wrong(f"{found.text()} is not a directory")
    return found.text()


def _dockerfile(node: Node, context: str) -> tuple[str, str | None]:
    """Return the name and text of the Dockerfile; no text where the context has it."""
    named, inline = node.get("dockerfile"), node.get(_INLINE)
    if inline:
        if named:
            raise inline.wrong("dockerfile and dockerfile_inline do not go together")
        return f"{inline.path} of {inline.place.file}", inline.text()
    if named is None:
        return _DOCKERFILE, _own_or_lower(context)
    name = named.text()
    if is_url(name) or is_elsewhere(context):
        return name, None
    return name, read_text(os.path.join(context, name), named)


def _own_or_lower(context: str) -> str | None:
    """Read ``dockerfile`` where there is no ``Dockerfile``, as docker does."""
    lower = os.path.join(context, _DOCKERFILE.lower())
    is_lower = not is_elsewhere(context) and os.path.isfile(lower)
    if is_lower and not os.path.lexists(os.path.join(context, _DOCKERFILE)):
        return read_text(lower)
    return None


def _texts(node: Node, key: str) -> tuple[str, ...]:
    found = node.get(key)
    return found.texts() if found else ()


def _pairs(node: Node, key: str) -> dict[str, str]:
    found = node.get(key)
    return {k: "" if v.value is None else v.text() for k, v in found.fields()} if found else {}


def _args(node: Node, env: Mapping[str, str]) -> dict[str, str]:
    """Return the values of ARG; one without a value takes the caller's, if there is one."""
    found = node.get("args")
    made = {}
    for name, each in found.fields() if found else ():
        if each.value is not None:
            made[name] = each.text()
        elif name in env:
            made[name] = env[name]
    return made


def _platforms(node: Node) -> tuple[Platform, ...]:
    found = node.get("platforms")
    return tuple(map(_platform, found.items())) if found else ()


def _platform(node: Node) -> Platform:
    return taken(node, lambda: Platform.parse(node.text()))


def _network(node: Node) -> NetworkMode:
    found = node.get("network")
    if found is None:
        return NetworkMode.DEFAULT
    mode, name = taken(found, lambda: network_choice(found.text()))
    if name:
        raise found.refused("a build cannot use a network by name", hint="default, none or host")
    return mode


def _secrets(node: Node, secrets: Mapping[str, Node], env: Mapping[str, str]) -> dict[str, bytes]:
    found = node.get("secrets")
    made = {}
    for each in found.items() if found else ():
        source, target = each.get("source"), each.get("target")
        if source is None or source.text() not in secrets:
            raise each.wrong("there is no such secret", hint="add it under secrets:")
        name = target.text() if target else source.text()
        made[name] = content(secrets[source.text()], env, limit=_MAX_SECRET_BYTES)
    return made


def content(node: Node, env: Mapping[str, str], *, limit: int = 1 << 20) -> bytes:
    """Return what a secret or config is.

    Args:
        node: its definition.
        env: the caller's variables and those of ``.env``.
        limit: of its bytes.

    Raises:
        InvalidDocument: the file or the variable is not there.
    """
    file, variable, text = node.get("file"), node.get("environment"), node.get("content")
    if file:
        return read_bytes(file.text(), file, limit)
    if variable:
        if variable.text() not in env:
            raise variable.wrong(
                f"the variable {variable.text()} is not set",
                hint=f"{variable.text()}=value in the environment or in the file .env",
            )
        return os.fsencode(env[variable.text()])
    if text:
        return text.text().encode()
    if node.map().get("content") == "":
        return b""
    raise node.wrong("it has neither file, environment nor content")


def _ssh(node: Node, env: Mapping[str, str]) -> dict[str, str]:
    """Return agents by id; ``default`` is the caller's own."""
    found = node.get("ssh")
    made = {}
    for each in found.items() if found else ():
        name, _, path = each.text().partition("=")
        path = os.path.abspath(path or env.get("SSH_AUTH_SOCK", ""))
        try:
            is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError:
            is_socket = False
        if not is_socket:
            raise each.wrong(
                f"no agent answers for {name}", hint="eval $(ssh-agent); ssh-add, then again"
            )
        made[name] = path
    return made


def _allowed(node: Node) -> tuple[str, ...]:
    found = node.get("entitlements")
    return tuple(each.word_of(_ENTITLEMENTS) for each in found.items()) if found else ()


def _cache_from(node: Node) -> tuple[CacheFrom, ...]:
    found = node.get("cache_from")
    return tuple(
        taken(each, partial(cache_from, os.path.abspath, each.text()))
        for each in (found.items() if found else ())
    )


def _cache_to(node: Node) -> tuple[CacheTo, ...]:
    found = node.get("cache_to")
    return tuple(
        taken(each, partial(cache_to, os.path.abspath, each.text()))
        for each in (found.items() if found else ())
    )


def _contexts(node: Node) -> dict[str, str]:
    """Return more places of files and bases; directories start from that of the context."""
    found = node.get("additional_contexts")
    made = {}
    for name, each in found.fields() if found else ():
        place = each.text()
        if place.startswith("service:"):
            raise each.refused(
                "a build cannot use another service's image by its name yet",
                hint="docker-image://NAME, after compose build of that service",
            )
        is_directory = "://" not in place and not is_elsewhere(place)
        base = node.map().get("context", ".")
        made[name] = os.path.normpath(os.path.join(str(base), place)) if is_directory else place
    return made
