"""Which files a COPY or ADD means: wildcards, whole directories, exclusions.

Source: facts/build.md sections 1.2 and 1.4; where docker's builders differ, BuildKit's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.match import has_wildcard, match
from ocimagic.errors import BadInput
from ocimagic.layers.tarheader import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.build.tree import File, Tree
    from ocimagic.dockerfile.source import SourceRange


class Selected(NamedTuple):
    """One source, as far as it was found.

    Attributes:
        name: the last component as written; a link keeps its own name.
        file: what it is, top-level links followed.
        inside: for a directory all below it that is copied, parents first, each with its
            path from the directory.
    """

    name: str
    file: File
    inside: tuple[tuple[str, File], ...] = ()


def select(
    tree: Tree, pattern: str, exclude: IgnoreRules, source: SourceRange
) -> list[Selected] | None:
    """Find what one source means; None if it is a plain path and not there.

    A wildcard may find nothing.

    Raises:
        DockerfileError: a malformed pattern.
    """
    try:
        names = list(_names(tree, pattern)) if has_wildcard(pattern) else [_plain(pattern)]
    except BadInput as err:
        raise source.error(err.what, at=pattern, hint=err.hint) from None
    found = [(name, tree.find(name)) for name in names]
    if not has_wildcard(pattern) and found[0][1] is None:
        return None
    return [
        Selected(name.rpartition("/")[2], file, _inside(tree, name, file, exclude))
        for name, file in found
        if file is not None and not exclude.excludes(name or ".")
    ]


def exclusions(patterns: Sequence[str], source: SourceRange) -> IgnoreRules:
    """Read the values of ``--exclude``.

    Raises:
        DockerfileError: a malformed pattern.
    """
    try:
        return IgnoreRules.of(tuple(patterns))
    except BadInput as err:
        raise source.error(err.what, at="--exclude", hint=err.hint) from None


def described(tree: Tree | None, selected: Sequence[Selected]) -> list[object]:
    """Return names, kinds, modes, owners and content of all files; not their times.

    Of a directory that is copied itself only the content counts: its contents are copied,
    and it is not.
    """
    tops = [each.file for each in selected if each.file.kind is not Kind.DIR]
    inside = [file for each in selected for _, file in each.inside]
    files = [file for file in (*tops, *inside) if file.kind is Kind.FILE]
    digests = dict(zip(map(id, files), tree.digests(files) if tree else (), strict=True))

    def line(file: File, name: str) -> list[object]:
        content = digests.get(id(file), file.linkname)
        return [name, file.kind, file.mode, file.uid, file.gid, content]

    return [
        [line(file, name) for name, file in each.inside]
        if each.file.kind is Kind.DIR
        else line(each.file, each.name)
        for each in selected
    ]


def _plain(path: str) -> str:
    """Clean a path; what would lead above the top stays at the top."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _names(tree: Tree, pattern: str) -> Iterator[str]:
    """Yield the paths that match, one directory level for each part of the pattern."""
    found = [""]
    for part in _plain(pattern).split("/"):
        below: list[str] = []
        for path in found:
            prefix = f"{path}/" if path else ""
            directory = tree.find(path)
            if directory is None or directory.kind is not Kind.DIR:
                continue
            children = tree.children(directory)
            below += [prefix + each.name for each in children if match(part, each.name)]
        found = below
    yield from found


def _inside(
    tree: Tree, name: str, file: File, exclude: IgnoreRules
) -> tuple[tuple[str, File], ...]:
    if file.kind is not Kind.DIR:
        return ()
    found: list[tuple[str, File]] = []
    # Patterns of --exclude are matched from the tree's top, as the sources are written.
    pending = [(each.name, each) for each in reversed(tree.children(file))]
    while pending:
        relative, each = pending.pop()
        full = f"{name}/{relative}" if name else relative
        excluded = bool(exclude.rules) and exclude.excludes(full)
        if not excluded:
            found.append((relative, each))
        if each.kind is Kind.DIR and (not excluded or exclude.may_reinclude_below(full)):
            children = reversed(tree.children(each))
            pending += [(f"{relative}/{child.name}", child) for child in children]
    return tuple(found)
