"""Which files a COPY or ADD means: wildcards, whole directories, exclusions.

Source: facts/build.md sections 1.2 and 1.4; where docker's builders differ, BuildKit's way.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.dockerfile.ignore import IgnoreRules
from ocimagic.dockerfile.match import has_wildcard, match
from ocimagic.errors import BadInput
from ocimagic.layers.tarheader import Kind
from ocimagic.spec.nearest import nearest

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
        passed: paths of directories of ``inside`` that only lead to what is copied; where the
            image has them already, they stay as they are.
    """

    name: str
    file: File
    inside: tuple[tuple[str, File], ...] = ()
    passed: frozenset[str] = frozenset()


def select(
    tree: Tree, pattern: str, exclude: IgnoreRules, source: SourceRange
) -> list[Selected] | str:
    """Find what one source means; a text is the path that is not there.

    A wildcard may find nothing, but no link that leads nowhere.

    Raises:
        DockerfileError: a malformed pattern.
    """
    try:
        names = list(_names(tree, pattern)) if has_wildcard(pattern) else [_plain(pattern)]
    except BadInput as err:
        raise source.error(err.what, at=pattern, hint=err.hint) from None
    found: list[Selected] = []
    for path in names:
        file = tree.find(path)
        name = path.rpartition("/")[2]
        # A pattern of --exclude starts at the directory that is copied, so it is never about
        # the directory itself; a file that is a source is in its own directory.
        is_excluded = (file is None or file.kind is not Kind.DIR) and exclude.excludes(name)
        if file is None and not (is_excluded and has_wildcard(pattern)):
            return path if has_wildcard(pattern) else pattern
        if file is not None and not is_excluded:
            found.append(Selected(name, file, _inside(tree, file, exclude)))
    return found


def select_parents(
    tree: Tree, pattern: str, exclude: IgnoreRules, source: SourceRange
) -> list[Selected] | str:
    """Find what one source of ``COPY --parents`` means; a text is the path that is not there.

    What is before the first ``/./`` is not kept: each directory it means is one Selected, and
    the rest is looked for below it, by the rules of .dockerignore, so that ``**`` is any depth.

    Raises:
        DockerfileError: a malformed pattern.
    """
    pivot, found, wanted = pattern.partition("/./")
    if not found:
        pivot, wanted = "", pattern
    wanted = _plain(wanted)
    is_plain = not has_wildcard(pivot) and not has_wildcard(wanted)
    if is_plain and tree.find(f"{_plain(pivot)}/{wanted}") is None:
        return pattern
    try:
        # A "!" would bring back; here it is a name like any other.
        rules = IgnoreRules.of((f"\\{wanted}" if wanted.startswith("!") else wanted,))
        names = list(_names(tree, pivot)) if has_wildcard(pivot) else [_plain(pivot)]
    except BadInput as err:
        raise source.error(err.what, at=pattern, hint=err.hint) from None
    tops = [(name, tree.find(name)) for name in names]
    below = [
        _matching(tree, file, rules if wanted else None, exclude)
        for _, file in tops
        if file is not None and file.kind is Kind.DIR
    ]
    return [each for each in below if each.inside]


def whole(tree: Tree, top: File, exclude: IgnoreRules) -> Selected:
    """Find all below a directory."""
    return _matching(tree, top, None, exclude)


def similar(tree: Tree, path: str) -> str | None:
    """Return the path of a tree that was perhaps meant by one that is not there."""
    parent, _, name = _plain(path).rpartition("/")
    directory = tree.find(parent)
    while parent and directory is None:
        parent, _, name = parent.rpartition("/")
        directory = tree.find(parent)
    if directory is None or directory.kind is not Kind.DIR:
        return None
    near = nearest(name, [each.name for each in tree.children(directory)])
    return f"{parent}/{near}".lstrip("/") if near else None


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
    and it is not.  Files of one directory that are one file count as that.
    """
    tops = [each.file for each in selected if each.file.kind is not Kind.DIR]
    inside = [file for each in selected for _, file in each.inside]
    files = [file for file in (*tops, *inside) if file.kind is Kind.FILE]
    digests = dict(zip(map(id, files), tree.digests(files) if tree else (), strict=True))

    def line(file: File, name: str) -> list[object]:
        content = digests.get(id(file), file.linkname)
        return [name, file.kind, file.mode, file.uid, file.gid, content]

    def directory(each: Selected) -> list[object]:
        first: dict[tuple[int, ...], str] = {}
        lines: list[object] = []
        for name, file in each.inside:
            told = line(file, name)
            if file.links > 1 and first.setdefault(file.identity, name) != name:
                told.append(["same", first[file.identity]])
            lines.append([*told, "passed"] if name in each.passed else told)
        return lines

    return [
        directory(each) if each.file.kind is Kind.DIR else line(each.file, each.name)
        for each in selected
    ]


def _matching(tree: Tree, top: File, include: IgnoreRules | None, exclude: IgnoreRules) -> Selected:
    """Find all below a directory that a pattern means, and the directories on the way there.

    Args:
        tree: where.
        top: the directory; ``--exclude`` is matched from there, too.
        include: the pattern, which means all below what it matches; None is everything.
        exclude: what is left out.
    """
    found: list[tuple[str, File]] = []
    passed: set[str] = set()
    way: list[tuple[str, File]] = []  # directories above that nothing was found in yet
    pending = [(each.name, each) for each in reversed(tree.children(top))]
    while pending:
        path, file = pending.pop()
        while way and not path.startswith(f"{way[-1][0]}/"):
            way.pop()
        left_out = exclude.excludes(path)
        if (include is None or include.excludes(path)) and not left_out:
            found += way
            passed.update(each for each, _ in way)
            way = []
            found.append((path, file))
        elif file.kind is Kind.DIR:
            way.append((path, file))
        if file.kind is Kind.DIR and _worth_a_look(path, include, exclude, left_out=left_out):
            children = reversed(tree.children(file))
            pending += [(f"{path}/{child.name}", child) for child in children]
    return Selected("", top, tuple(found), frozenset(passed))


def _worth_a_look(
    path: str, include: IgnoreRules | None, exclude: IgnoreRules, *, left_out: bool
) -> bool:
    if left_out and not exclude.may_reinclude_below(path):
        return False
    if include is None or include.excludes(path):
        return True
    return any(rule.may_match_below(path) for rule in include.rules)


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
    """Yield the paths that match, one directory level for each part of the pattern.

    Only before the first wildcard are links to directories followed.
    """
    parts = _plain(pattern).split("/")
    plain = list(takewhile(lambda part: not has_wildcard(part) and "\\" not in part, parts))
    top = "/".join(plain)
    found = [(top, tree.find(top))]
    for part in parts[len(plain) :]:
        found = [
            (f"{path}/{child.name}" if path else child.name, child)
            for path, directory in found
            if directory is not None and directory.kind is Kind.DIR
            for child in tree.children(directory)
            if match(part, child.name)
        ]
    yield from (path for path, _ in found)


def _inside(tree: Tree, file: File, exclude: IgnoreRules) -> tuple[tuple[str, File], ...]:
    return whole(tree, file, exclude).inside if file.kind is Kind.DIR else ()
