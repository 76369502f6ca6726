"""What the sources of a COPY or ADD come to, each told before it is read.

Every source names what it has for the cache first; only when a layer has to be made are its
files listed, fetched and read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ocimagic.build.context import Context
from ocimagic.build.selection import (
    Selected,
    described,
    exclusions,
    select,
    select_parents,
    similar,
)
from ocimagic.build.tree import kind_word
from ocimagic.dockerfile.instructions import Add, Copy
from ocimagic.dockerfile.values import is_git, is_url
from ocimagic.layers.tarheader import Kind
from ocimagic.model.event import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from ocimagic.build.bench import Bench
    from ocimagic.build.tree import Tree

_COPIED = (Kind.FILE, Kind.DIR, Kind.SYMLINK, Kind.FIFO)


class Source(Protocol):
    """One source, or several of one place."""

    @property
    def may_unpack(self) -> bool:
        """Whether archives among its files are unpacked."""

    def key(self) -> list[object]:
        """Return JSON values: equal values, equal files."""

    def tree(self) -> Tree:
        """Return where its files are read from."""

    def selected(self) -> Sequence[Selected]:
        """Return its files."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files of the build context, of a stage or of an image."""

    place: Tree
    found: Sequence[Selected]
    may_unpack: bool

    def key(self) -> list[object]:
        """Return names, modes, owners and content; see ``described``."""
        return described(self.place, self.found)

    def tree(self) -> Tree:
        """Return the context, or the stage's files."""
        return self.place

    def selected(self) -> Sequence[Selected]:
        """Return what was found."""
        return self.found


def sources_of(
    bench: Bench, instruction: Copy | Add, tree: Tree | None, held: ExitStack
) -> list[Source]:
    """Find all sources; those that are elsewhere are not asked for yet.

    Args:
        bench: of this build.
        instruction: expanded.
        tree: where paths are looked up; None if there is no such place.
        held: takes away what the sources leave.

    Raises:
        DockerfileError: one is not there, or cannot be in a layer.
    """
    return [_source(bench, instruction, text, tree, held) for text in instruction.sources]


def names_directory(destination: str) -> bool:
    """Say whether a destination is a directory by the way it is written."""
    return destination.endswith("/") or destination.rpartition("/")[2] in ("", ".", "..")


def _source(
    bench: Bench, instruction: Copy | Add, text: str, tree: Tree | None, held: ExitStack
) -> Source:
    if isinstance(instruction, Add) and is_git(text):
        from ocimagic.build.git_source import GitFiles

        files = GitFiles(bench, instruction, text)
        held.callback(files.close)
        return files
    if isinstance(instruction, Add) and is_url(text):
        from ocimagic.build.fetched import FetchedFile

        needs_name = names_directory(instruction.destination)
        fetched = FetchedFile(bench, instruction, text, needs_name)
        held.callback(fetched.close)
        return fetched
    return _local(bench, instruction, text, tree)


def _local(bench: Bench, instruction: Copy | Add, pattern: str, tree: Tree | None) -> LocalFiles:
    source = instruction.source
    if tree is None:
        raise source.error(
            "this build has no context to copy from",
            at=pattern,
            hint="give the build a directory, or write the file here: COPY <<EOF /path",
        )
    exclude = exclusions(instruction.exclude, source)
    keeps_parents = isinstance(instruction, Copy) and instruction.parents
    find = select_parents if keeps_parents else select
    found = find(tree, pattern, exclude, source)
    if isinstance(found, str):
        raise _missing(bench, instruction, pattern, found, tree)
    if not found:
        text = f"{instruction.keyword} {pattern} matches no file: nothing is copied"
        bench.on_event(Notice(text, source.start_line))
    for each in found:
        for file in (each.file, *(inside for _, inside in each.inside)):
            if file.kind not in _COPIED:
                raise source.error(
                    f"cannot copy {kind_word(file.kind)}: {file.path}",
                    at=pattern,
                    why="only files, directories, links and named pipes can be copied",
                    hint="remove it, or exclude it in .dockerignore",
                )
    may_unpack = isinstance(instruction, Add) and instruction.unpack is not False
    return LocalFiles(tree, found, may_unpack)


def _missing(
    bench: Bench, instruction: Copy | Add, pattern: str, path: str, tree: Tree
) -> Exception:
    if isinstance(tree, Context):
        why, hint = tree.missing(path)
    else:
        stage = instruction.from_stage if isinstance(instruction, Copy) else None
        where = stage or bench.places.shown
        why = f"there is no such file in {where}"
        if path != pattern:
            why = f"it is a link that leads to nothing in {where}"
        near = similar(tree, path)
        hint = f"did you mean {near}?" if near else "a path is looked up from the root of it"
    return instruction.source.error(f'"{path}": not found', at=pattern, why=why, hint=hint)
