"""Verbs of results: ``c.logs()``, ``c.stop(time=1)``, ``image.run("sh")``.

Each is docker's own: what is given by keyword are its options, the rest its words.  They are
there while the extension is loaded; the values themselves stay plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.built import BuildResult
from ocimagic.model.result import (
    ContainerDetails,
    ContainerSummary,
    ImageDetails,
    ImageSummary,
    PullResult,
    RunResult,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocimagic.magics.session import KernelSession

    Verb = Callable[..., object]

_OF_CONTAINERS = (
    "attach", "bundle", "commit", "diff", "exec", "export", "inspect", "kill", "layers", "logs",
    "ns", "pause", "port", "rename", "restart", "rm", "start", "stats", "stop", "top", "unpause",
    "update", "wait",
)  # fmt: skip
_OF_IMAGES = ("diff", "history", "inspect", "layers", "push", "rm", "run", "save", "tag", "tree",
              "waste")  # fmt: skip
_GIVEN: tuple[tuple[tuple[type, ...], str, tuple[str, ...]], ...] = (
    ((ContainerSummary, ContainerDetails, RunResult), "container", _OF_CONTAINERS),
    ((ImageSummary, ImageDetails, PullResult, BuildResult), "image", _OF_IMAGES),
)
_USUAL = {"stats": ("--no-stream",)}  # who calls it wants a value


def give_verbs(session: KernelSession) -> Callable[[], None]:
    """Give containers and images their verbs; return what takes those back."""
    given: list[tuple[type, str]] = []
    for kinds, group, names in _GIVEN:
        for kind in kinds:
            given += _give(kind, _verbs(session, group, names))

    def take_back() -> None:
        for kind, name in given:
            delattr(kind, name)

    return take_back


def _give(kind: type, verbs: Iterator[tuple[str, Verb]]) -> list[tuple[type, str]]:
    """Give a class what it has not by itself: a field of that name stays."""
    given = []
    for name, verb in verbs:
        if not hasattr(kind, name):
            setattr(kind, name, verb)
            given.append((kind, name))
    return given


def _verbs(
    session: KernelSession, group: str, names: tuple[str, ...]
) -> Iterator[tuple[str, Verb]]:
    for name in names:
        # An image is run by a container's verb.
        words = ("container", "run") if (group, name) == ("image", "run") else (group, name)
        yield name, _verb(session, words)


def _verb(session: KernelSession, words: tuple[str, str]) -> Verb:
    name = words[1]

    def verb(value: object, *more: object, **options: object) -> object:
        said = [*words, *_USUAL.get(name, ()), *_options(options), _name_of(value)]
        line = [*said, *(str(each) for each in more)]
        return session.run(line, quiet=True)

    verb.__name__ = verb.__qualname__ = name
    verb.__doc__ = (
        f"As %{words[0]}_{name} of this one: options by keyword, such as those that "
        f"%{words[0]}_{name} --help lists, then its words."
    )
    return verb


def _options(given: dict[str, object]) -> Iterator[str]:
    """Write keywords as options: ``env=["A=1", "B=2"]``, ``detach=True``, ``t=1``."""
    for name, value in given.items():
        word = f"-{name}" if len(name) == 1 else f"--{name.strip('_').replace('_', '-')}"
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is True:
                yield word
            elif each is not None and each is not False:
                yield from (word, str(each)) if len(name) == 1 else (f"{word}={each}",)


def _name_of(value: object) -> str:
    match value:
        case ContainerDetails():
            return value.summary.container_id
        case ContainerSummary() | RunResult():
            return value.container_id
        case ImageSummary() | ImageDetails() | PullResult() | BuildResult():
            return str(value.image_id)
        case _:
            raise TypeError(f"{type(value).__name__} is no container and no image")
