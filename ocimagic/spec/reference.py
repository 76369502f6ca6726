"""Image references: ``registry/repository:tag@digest``.

Spec: distribution-spec "Pulling manifests" (grammar of name and tag); the defaults
``docker.io``, ``library/`` and ``latest`` are docker's.
"""

from __future__ import annotations

import re
from typing import Self

from ocimagic.errors import InvalidDigest, InvalidReference
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass, replace

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_MAX_NAME = 255
_MAX_PORT = 65535

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HINT = "write [registry/]repository[:tag][@digest], for example ubuntu:22.04"


@dataclass(frozen=True, slots=True)
class Reference:
    """A full image name; text becomes one at the edge, inside there is nothing else.

    Attributes:
        registry: host and port; ``docker.io`` stands for Docker Hub.
        repository: the path, ``library/`` included.
        tag: None only when a digest is given.
        digest: pins the content and wins over the tag.
    """

    registry: str
    repository: str
    tag: str | None = DEFAULT_TAG
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user typed, with docker's defaults.

        Raises:
            InvalidReference: says which part breaks the grammar and how to write it.
        """
        rest, at, digest_text = text.partition("@")
        digest = _parse_digest(digest_text, text) if at else None
        registry, path = _split_registry(rest)
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(text, f"tag {tag!r} must be 1 to 128 letters, digits, _ . -")
        _check_repository(path, text)
        if registry == DEFAULT_REGISTRY and "/" not in path:
            path = f"library/{path}"
        if len(registry) + 1 + len(path) > _MAX_NAME:
            raise _invalid(text, f"the name is longer than {_MAX_NAME} characters")
        return cls(registry, path, tag or (None if digest else DEFAULT_TAG), digest)

    def __str__(self) -> str:
        return f"{self.name}{self._suffix}"

    @property
    def name(self) -> str:
        """Return ``registry/repository``."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """Return the repository as docker shows it: without ``docker.io/library/``."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.repository.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """Return the whole reference as docker shows it."""
        return f"{self.familiar_name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")

    def pinned(self, digest: Digest) -> Reference:
        """Return the same repository at exactly this digest."""
        return replace(self, tag=None, digest=digest)

    def tagged(self) -> Reference:
        """Return the name under which a pull is remembered: without its digest if tagged."""
        return replace(self, digest=None) if self.tag else self


def is_host(text: str) -> bool:
    """Say whether a text can only be a registry's own name: ``quay.io``, ``localhost:5000``."""
    name, _, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    sure = text == "localhost" or text.startswith("[") or "." in text or (name and port.isdigit())
    return bool(sure) and _HOST.fullmatch(text) is not None


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    is_host = first == "localhost" or first.startswith("[") or any(c in first for c in ".:")
    # A first part with capitals cannot be a repository, so docker takes it for a host.
    if not slash or not (is_host or first != first.lower()):
        return DEFAULT_REGISTRY, text
    if not _HOST.fullmatch(first):
        raise _invalid(text, f"{first!r} is not a host name or host:port")
    port = first.rpartition(":")[2]
    if port.isdigit() and int(port) > _MAX_PORT:
        raise _invalid(text, f"{port} is no port: the largest is {_MAX_PORT}")
    return (DEFAULT_REGISTRY if first == "index.docker.io" else first), rest


def _check_repository(path: str, text: str) -> None:
    if not path:
        raise _invalid(text, "the repository is empty")
    if path != path.lower():
        raise _invalid(text, f"repository name ({path}) must be lowercase")
    if re.fullmatch(r"[0-9a-f]{64}", path):
        raise _invalid(text, "64 hex digits are an image ID, not a repository")
    for part in path.split("/"):
        if not _COMPONENT.fullmatch(part):
            raise _invalid(text, f"{part!r} must be a-z 0-9, with single . _ - between them")


def _parse_digest(digest: str, text: str) -> Digest:
    try:
        return Digest.parse(digest)
    except InvalidDigest as err:
        raise _invalid(text, err.what) from err


def _invalid(text: str, why: str) -> InvalidReference:
    shown = text if len(text) <= 120 else text[:117] + "..."
    return InvalidReference(f"invalid reference format: {shown!r}", why=why, hint=_HINT)
