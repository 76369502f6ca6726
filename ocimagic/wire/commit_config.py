"""A config that goes for a container's own when it is committed, as lines of a Dockerfile.

Spec: Docker Engine API v1.41, ImageCommit: its body is a ``ContainerConfig``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.errors import NotBuiltYet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.wire.reading import Asked


def changes_of(config: Asked) -> Iterator[str]:
    """Yield the lines; what a config leaves empty stays the container's.

    Raises:
        InvalidOption: a value of a wrong type.
        NotBuiltYet: a value over several lines, which no such line can hold.
    """
    for key in ("Entrypoint", "Cmd"):
        if words := config.words(key):
            yield f"{key.upper()} {_list(words)}"
    for text in config.texts("Env"):
        name, _, value = text.partition("=")
        yield f"ENV {name}={_quoted(value)}"
    for name, value in config.text_map("Labels").items():
        yield f"LABEL {_quoted(name)}={_quoted(value)}"
    for key, word in (("User", "USER"), ("WorkingDir", "WORKDIR"), ("StopSignal", "STOPSIGNAL")):
        if text := config.text(key, ""):
            yield f"{word} {_one_line(text)}"
    for port in config.objects("ExposedPorts"):
        yield f"EXPOSE {_one_line(port)}"
    if volumes := config.objects("Volumes"):
        yield f"VOLUME {_list([*volumes])}"
    for text in config.texts("OnBuild"):
        yield f"ONBUILD {_one_line(text)}"


def _list(words: Sequence[str]) -> str:
    return json.dumps([*words], ensure_ascii=False)


def _quoted(text: str) -> str:
    """Write a value so that nothing in it is replaced."""
    for mark in '\\"$':
        text = text.replace(mark, f"\\{mark}")
    return f'"{_one_line(text)}"'


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise NotBuiltYet(f"a committed config cannot hold {text[:60]!r}: it has several lines")
    return text
