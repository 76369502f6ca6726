"""``--cache-from`` and ``--cache-to`` of ``build``, and of a compose file, as words.

Source: Docker CLI reference, ``docker buildx build``; Docker's "Cache storage backends".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ocimagic.errors import InvalidOption
from ocimagic.model.cache import CacheCompression, CacheFrom, CacheMode, CacheTo

if TYPE_CHECKING:
    from collections.abc import Callable

_FROM = (
    "write --cache-from IMAGE, --cache-from type=registry,ref=IMAGE or "
    "--cache-from type=local,src=DIRECTORY[,tag=TAG]"
)
_TO = (
    "write --cache-to type=registry,ref=IMAGE[,mode=max], "
    "--cache-to type=local,dest=DIRECTORY[,mode=max] or --cache-to type=inline"
)
_COMPRESSIONS = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "none"}
_SHARED = ("mode", "compression", "ignore-error", "oci-mediatypes", "image-manifest")
# What each type may be told, its place first.
_READS = {"registry": ("ref",), "local": ("src", "tag", "digest")}
_WRITES = {"registry": ("ref", *_SHARED), "local": ("dest", "tag", *_SHARED), "inline": ("mode",)}


def cache_from(path: Callable[[str], str], text: str) -> CacheFrom:
    """Read one ``--cache-from``; ``path`` makes a path absolute.

    Raises:
        InvalidOption: it is none that buildx would take, or of a type that is not built.
    """
    given = _given("--cache-from", text, _READS, _FROM)
    kind, place = given["type"], given[_READS[given["type"]][0]]
    if kind == "registry":
        return CacheFrom(kind="registry", place=place)
    tag, digest = given.get("tag", "latest"), given.get("digest", "")
    return CacheFrom(kind="local", place=path(place), tag=tag, digest=digest)


def cache_to(path: Callable[[str], str], text: str) -> CacheTo:
    """Read one ``--cache-to``; ``path`` makes a path absolute.

    Raises:
        InvalidOption: as for ``cache_from``.
    """
    given = _given("--cache-to", text, _WRITES, _TO)
    mode = _one_of(text, given, "mode", {"min": "min", "max": "max"}, "min")
    if given["type"] == "inline":
        if mode != "min":
            raise InvalidOption(
                f"--cache-to {text!r}: an image has only the layers that are its own",
                hint="leave mode out, or write --cache-to type=registry,ref=IMAGE,mode=max",
            )
        return CacheTo(kind="inline")
    flags = {"true": "true", "false": ""}
    for word in ("oci-mediatypes", "image-manifest"):
        if not _one_of(text, given, word, flags, "true"):
            raise InvalidOption(
                f"--cache-to {text!r}: {word}=false is not built",
                why="a cache is an OCI manifest, which every registry takes",
                hint="leave it out",
            )
    compression = _one_of(text, given, "compression", _COMPRESSIONS, "gzip")
    is_local = given["type"] == "local"
    return CacheTo(
        kind="local" if is_local else "registry",
        place=path(given["dest"]) if is_local else given["ref"],
        tag=given.get("tag", "latest"),
        mode=cast("CacheMode", mode),
        compression=cast("CacheCompression", compression),
        ignores_errors=bool(_one_of(text, given, "ignore-error", flags, "")),
    )


def _given(option: str, text: str, known: dict[str, tuple[str, ...]], hint: str) -> dict[str, str]:
    """Return the words of one option by their names; a reference alone is of a registry."""
    if "=" not in text and text:
        return {"type": "registry", "ref": text}
    given: dict[str, str] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not equals or not value or name in given:
            raise InvalidOption(f"{option} {text!r}: {word!r} is not understood", hint=hint)
        given[name] = value
    kind = given.get("type", "")
    if kind not in known:
        what = f"type={kind} is not built" if kind else "it has no type"
        raise InvalidOption(f"{option} {text!r}: {what}", hint=hint)
    for name in given:
        if name not in ("type", *known[kind]):
            raise InvalidOption(f"{option} {text!r}: {name} is not understood", hint=hint)
    place = known[kind][0]
    if kind != "inline" and place not in given:
        raise InvalidOption(f"{option} {text!r}: {place} is missing", hint=hint)
    return given


def _one_of(text: str, given: dict[str, str], name: str, known: dict[str, str], usual: str) -> str:
    if name not in given:
        return usual
    if given[name] not in known:
        raise InvalidOption(
            f"--cache-to {text!r}: {name}={given[name]} is not known",
            hint=f"it is {' or '.join(known)}",
        )
    return known[given[name]]
