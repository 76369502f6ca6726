"""What an API says went wrong, as our errors: by its status, and by its own words.

docker's daemon has one status for many things; its sentences tell them apart, and docker's own
client looks into them as well.
"""

from __future__ import annotations

import re

from ocimagic.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ContainerNotFound,
    ExecNotFound,
    HostLacks,
    ImageInUse,
    ImageNotFound,
    InvalidOption,
    InvalidState,
    NameInUse,
    NeighbourError,
    NetworkNotFound,
    NotFound,
    OcimagicError,
    PortTaken,
    StartFailed,
    Unauthorized,
    VolumeNotFound,
)

_MISSING: dict[str, type[OcimagicError]] = {
    "container": ContainerNotFound,
    "image": ImageNotFound,
    "pull": ImageNotFound,
    "network": NetworkNotFound,
    "volume": VolumeNotFound,
    "exec": ExecNotFound,
}
_MISSING_WORDS: tuple[tuple[str, type[OcimagicError]], ...] = (
    ("could not find the file", NotFound),
    ("no such container", ContainerNotFound),
    ("no such image", ImageNotFound),
    ("no such exec", ExecNotFound),
    ("no such network", NetworkNotFound),
    (r"network \S+ not found|unable to find network", NetworkNotFound),
    ("no such volume", VolumeNotFound),
    ("manifest unknown", ImageNotFound),
    ("pull access denied", ImageNotFound),
)
_CONFLICT_WORDS: tuple[tuple[str, type[OcimagicError]], ...] = (
    ("is already in use", NameInUse),
    ("has this name", NameInUse),
    ("unable to remove repository", ImageInUse),
    ("unable to delete", ImageInUse),
    ("image is being used", ImageInUse),
    ("image is referenced", ImageInUse),
    ("is not running", InvalidState),
    ("is paused", InvalidState),
    ("is already paused", InvalidState),
    ("is not paused", InvalidState),
    ("is restarting", InvalidState),
    ("is running", InvalidState),
    ("running container", InvalidState),
    ("does not support reading", InvalidState),
)
_START_WORDS: tuple[tuple[str, type[OcimagicError]], ...] = (
    ("port is already allocated", PortTaken),
    ("address already in use", PortTaken),
    ("executable file not found", CommandNotFound),
    ("no such file or directory", CommandNotFound),
    ("permission denied", CommandNotExecutable),
    ("is a directory", CommandNotExecutable),
    ("exec format error", CommandNotExecutable),
)
_NO_SUCH_CALL = ("not found", "page not found", "404 page not found")  # Go's words for a path
STREAMED = 500  # of what went wrong after an answer's status was sent


def failure(status: int, message: str, kind: str, url: str) -> OcimagicError:
    """Return what an answer comes to.

    Args:
        status: of HTTP.
        message: the API's sentence, "" for none.
        kind: what was asked about: ``container``, ``image``, ``network``, ``volume``, ``exec``;
            ``start`` for what the runtime may refuse, ``pull`` for a registry's.
        url: of the API.
    """
    said = " ".join(message.split()) or f"{url} answers with HTTP {status}"
    if 300 <= status < 400:  # Go's servers clean paths up: an empty name, or one of dots
        status, said = 404, f"{url} has nothing of that name"
    low = said.lower()
    if status == 404 and low in _NO_SUCH_CALL:
        status, said = 501, "this API does not do that"
        low = said
    if kind == "start" and status in (400, 409, 500) and (found := _of(low, _START_WORDS)):
        return found(said)
    match status:
        case 400:
            return InvalidOption(said)
        case 401:
            return Unauthorized(said)
        case 403:  # docker's word for a network that is in use, or nobody's to remove
            return (Unauthorized if kind == "pull" else Conflict)(said)
        case 404:
            return (_of(low, _MISSING_WORDS) or _MISSING.get(kind, NotFound))(said)
        case 409:
            return (_of(low, _CONFLICT_WORDS) or Conflict)(said)
        case 501 | 503:
            found = _of(low, _CONFLICT_WORDS)
            return found(said) if found else HostLacks(said, where=url)
    return _internal(low, said, kind, url)


def _internal(low: str, said: str, kind: str, url: str) -> OcimagicError:
    """Return what a status of 500 comes to: docker's has many meanings."""
    if kind in ("pull", "image"):
        if "unauthorized" in low or "authentication required" in low:
            return Unauthorized(said)
        if found := _of(low, _MISSING_WORDS):
            return found(said)
        if kind == "pull" and "not found" in low:
            return ImageNotFound(said)
    if kind == "start":
        return StartFailed(said)
    if re.search("no such container|layer not known", low):  # podman: it has just gone
        return ContainerNotFound(said)
    if found := _of(low, _CONFLICT_WORDS):  # dockerd 20.10 and podman answer 500 to some of these
        return found(said)
    return NeighbourError(said, where=url)


def _of(low: str, words: tuple[tuple[str, type[OcimagicError]], ...]) -> type[OcimagicError] | None:
    return next((kind for text, kind in words if re.search(text, low)), None)
