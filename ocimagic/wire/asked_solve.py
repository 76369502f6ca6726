"""What a client of BuildKit's asks for: the attributes of ``dockerfile.v0`` and of an exporter.

Source: moby/buildkit frontend/dockerui/config.go and frontend/dockerfile/builder; docker/buildx
build/opt.go for what it sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile.places import is_elsewhere
from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.name_words import extra_host
from ocimagic.model.network_words import build_network
from ocimagic.model.options import BuildOptions
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

FRONTEND = "dockerfile.v0"
OF_SESSION = "client-session"
SENT = ("local", "tar")  # to the client, in place of an image
_TO_THE_STORE = ("", "moby", "image")
_SESSION_URL = "http://buildkit-session/"
_YES = ("1", "true")


def solve(attributes: Mapping[str, str], exporter: str, said: Mapping[str, str]) -> BuildOptions:
    """Read what is to be built.

    What only changes how it is told or attested is passed over.

    Args:
        attributes: of the frontend.
        exporter: its type.
        said: the exporter's attributes.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: what BuildKit has and this version has not.
    """
    _refuse_others(attributes, exporter, said)
    anew = attributes.get("no-cache")
    return BuildOptions(
        dockerfile=None,
        dockerfile_name=attributes.get("filename") or "Dockerfile",
        context=attributes.get("context") or OF_SESSION,
        tags=tuple(_words(said.get("name", ""))),
        build_args=_named(attributes, "build-arg:"),
        labels=_named(attributes, "label:"),
        target=attributes.get("target") or None,
        platforms=tuple(Platform.parse(word) for word in _words(attributes.get("platform", ""))),
        no_cache=anew == "",
        no_cache_of=tuple(_words(anew or "")),
        pull=attributes.get("image-resolve-mode") == "pull",
        network=build_network(attributes.get("force-network-mode") or None),
        extra_hosts=tuple(
            extra_host("add-hosts", word) for word in _words(attributes.get("add-hosts", ""))
        ),
        shm_size_bytes=_number(attributes, "shm-size"),
    )


def _refuse_others(attributes: Mapping[str, str], exporter: str, said: Mapping[str, str]) -> None:
    if "requestid" in attributes:
        raise NotBuiltYet(f"the frontend's request {attributes['requestid']} is not built yet")
    if exporter not in (*_TO_THE_STORE, *SENT) or said.get("push") in _YES:
        raise NotBuiltYet(
            f"an output of type {exporter or 'image'} to elsewhere is not built yet",
            hint="build with a tag, then docker push or docker save",
        )
    context = attributes.get("context", "")
    if context and not is_elsewhere(context):
        raise InvalidOption(
            f"the context {context} is neither a repository nor a URL",
            hint="files of a client come over its session",
        )
    if context.startswith(_SESSION_URL):
        raise NotBuiltYet(
            "a context on standard input of buildx is not built yet",
            hint="unpack it, or set DOCKER_BUILDKIT=0",
        )
    if any(each.startswith("context:") for each in attributes):
        raise NotBuiltYet("named contexts over a session are not built yet")


def _named(attributes: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value
        for name, value in attributes.items()
        if name.startswith(prefix)
    }


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _number(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidOption(f"invalid {name}: {text!r} is no number")
    return int(text)
