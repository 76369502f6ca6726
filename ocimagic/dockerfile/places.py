"""What people name as a place of files: a directory, a repository, a URL, an image, a layout.

Source: docker buildx build, "PATH | URL | -" and ``--build-context``; BuildKit,
frontend/dockerui (which name means which place).
"""

from __future__ import annotations

import re

from ocimagic.dockerfile.values import is_git, is_url
from ocimagic.errors import BadInput, InvalidReference
from ocimagic.spec.digest import Digest
from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import Reference

STDIN = "-"
IMAGE = "docker-image://"
LAYOUT = "oci-layout://"
SCRATCH = "scratch"
_GITHUB = "github.com/"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?=//)|target:|input:", re.IGNORECASE)
_RESERVED = (SCRATCH, "context")
_LATEST = ":latest"


def is_elsewhere(place: str) -> bool:
    """Tell whether a place is fetched: a repository, or something at a URL."""
    return is_repository(place) or is_url(place)


def is_fetched(place: str) -> bool:
    """Tell whether a build's context is no directory of this machine."""
    return place == STDIN or is_elsewhere(place)


def is_image(place: str) -> bool:
    """Tell whether a place is an image, with a configuration, and not only files."""
    return place.startswith((IMAGE, LAYOUT))


def is_repository(place: str) -> bool:
    """Tell whether a place is cloned by git."""
    return is_git(repository(place))


def repository(place: str) -> str:
    """Return a repository's address; ``github.com/...`` needs no scheme, as in docker."""
    if not place.startswith(_GITHUB):
        return place
    address, mark, rest = place.partition("#")
    dotted = address if address.endswith(".git") or "?" in address else f"{address}.git"
    return f"https://{dotted}{mark}{rest}"


def scheme_of(place: str) -> str:
    """Return what a place begins with if that says its kind, such as ``target:``; else ""."""
    found = _SCHEME.match(place)
    return found[0].lower() if found else ""


def context_name(name: str) -> str:
    """Return what a named context is known by: ``docker.io/library/alpine:latest`` is ``alpine``.

    Raises:
        BadInput: it cannot be the name of one.
    """
    try:
        said = Reference.parse(name.lower()).familiar.removesuffix(_LATEST)
    except InvalidReference as err:
        raise BadInput(
            f"{name!r} is no name for a context",
            why=err.why or err.what,
            hint="name it as a stage or an image is named: src, or alpine:3.20",
        ) from None
    if said in _RESERVED:
        raise BadInput(
            f"{name} cannot be the name of a context", why="it has a meaning of its own in docker"
        )
    return said


def meant_name(text: str) -> str:
    """Return the name of a context that a ``FROM`` or ``from`` may mean; "" if it cannot."""
    try:
        return context_name(text)
    except BadInput:
        return ""


@dataclass(frozen=True, slots=True)
class LayoutImage:
    """One image of an OCI layout in a directory.

    Attributes:
        tag: "" if the digest alone says which.
        digest: None for whatever the tag means.
    """

    directory: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, place: str) -> LayoutImage:
        """Read ``oci-layout://DIRECTORY[:TAG][@DIGEST]``; without either it is the tag latest.

        Raises:
            InvalidDigest: a digest that is none.
            BadInput: there is no directory in it.
        """
        rest, at, digest = place.removeprefix(LAYOUT).partition("@")
        directory, _, tag = rest.partition(":")
        if not directory:
            raise BadInput(
                f"{place} names no directory", hint=f"write {LAYOUT}DIRECTORY[:TAG][@DIGEST]"
            )
        return cls(directory, tag or ("" if at else "latest"), Digest.parse(digest) if at else None)
