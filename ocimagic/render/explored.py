"""An image file by file, as text and as HTML: what the layer explorer shows without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.explored import MEANINGS
from ocimagic.render.escape import markup, shorten, visible
from ocimagic.render.html import LINE, MONOSPACE, details, paragraph, table_html
from ocimagic.render.table import Table, instruction
from ocimagic.render.text import table_text
from ocimagic.render.units import count, human_size
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ocimagic.model.explored import Explored, ExploredFile, FileTree

_TREE_DEPTH = 2
_MOST_ROWS = 12
_MOST_IN_TREE = 120
_MOST_IN_DIRECTORY = 10
MOST_IN_NOTEBOOK = 1000
_OPEN_LEVELS = 1
_INSTRUCTION = 60


def explored_text(found: Explored) -> str:
    """Draw an image's lines, its waste, its largest directories and the top of its tree."""
    parts = [visible(explored_sentence(found))]
    parts += [f"{table.caption}\n{table_text(table)}" for table in explored_tables(found)]
    parts.append(tree_text(_top(found)))
    return "\n\n".join(parts)


def explored_html(found: Explored) -> str:
    """Draw the same, the longer parts folded."""
    tables = explored_tables(found)
    body = "".join(table_html(table) for table in tables)
    tree = details(f"Tree of {found.image}, the first {_TREE_DEPTH} levels", tree_html(_top(found)))
    return paragraph(explored_sentence(found)) + body + tree


def explored_sentence(found: Explored) -> str:
    """Say how much an image ships, shows and wastes."""
    accounts = found.accounts
    files = sum(each.is_there and each.kind != "d" for each in found.files)
    wasted = accounts.wasted_bytes
    said = f"{human_size(wasted)} wasted" if wasted else "nothing wasted"
    return (
        f"{found.image}: {count(len(accounts.layers), 'layer')}, {_many(files, 'file')}, "
        f"{human_size(accounts.shipped_bytes)} shipped, {human_size(found.shown_bytes)} of it "
        f"shown ({accounts.efficiency:.1%}), {said}"
    )


def explored_tables(found: Explored) -> tuple[Table, ...]:
    """Lay out the lines of an image's history, its waste, and its largest directories."""
    tables = (_steps(found), _waste(found), _directories(found))
    return tuple(table for table in tables if table.rows)


def _steps(found: Explored) -> Table:
    heads = ("LAYER", "INSTRUCTION", "ADDS", "CHANGES", "DELETES", "BYTES", "WASTED")
    rows = []
    for step in found.steps:
        said = shorten(instruction(step.created_by), _INSTRUCTION)
        if step.layer is None:
            rows.append(("", said, "", "", "", "", ""))
            continue
        account = found.accounts.layers[step.layer]
        rows.append(
            (
                str(step.layer),
                said,
                str(len(account.added)),
                str(len(account.changed)),
                str(len(account.deleted)),
                human_size(account.shipped_bytes),
                human_size(account.wasted_bytes),
            )
        )
    caption = "Lines of its history and what their layers do"
    return Table(caption, heads, tuple(rows), frozenset(heads) - {"INSTRUCTION"})


def _waste(found: Explored) -> Table:
    """Lay out which two lines waste how much, with the largest file of each pair."""
    lines = {
        step.layer: instruction(step.created_by) for step in found.steps if step.layer is not None
    }
    pairs = found.waste()
    rows = []
    for pair in pairs[:_MOST_ROWS]:
        account = found.accounts.layers[pair.shipped_by]
        largest = next(each for each in account.wasted if each.by == pair.hidden_by)
        rows.append(
            (
                human_size(pair.size_bytes),
                str(pair.files),
                f"{pair.shipped_by}: {shorten(lines[pair.shipped_by], _INSTRUCTION)}",
                f"{pair.hidden_by}: {shorten(lines[pair.hidden_by], _INSTRUCTION)}",
                f"/{largest.path}",
            )
        )
    more = len(pairs) - len(rows)
    caption = f"{human_size(found.accounts.wasted_bytes)} wasted, by the two lines that caused it"
    caption += f", {more} more left out" if more else ""
    heads = ("WASTED", "FILES", "SHIPPED BY", "HIDDEN BY", "MOSTLY")
    return Table(caption, heads, tuple(rows), frozenset({"WASTED", "FILES"}))


def _directories(found: Explored) -> Table:
    sums = found.directory_bytes
    near = [path for path in sums if path and path.count("/") < _TREE_DEPTH and sums[path]]
    most = sorted(near, key=lambda path: (-sums[path], path))[:_MOST_ROWS]
    rows = tuple((human_size(sums[path]), f"/{path}") for path in most)
    return Table("Largest directories", ("SHOWS", "DIRECTORY"), rows, frozenset({"SHOWS"}))


def _top(found: Explored) -> FileTree:
    return found.tree(depth=_TREE_DEPTH).thinned(_MOST_IN_DIRECTORY).first(_MOST_IN_TREE)


def tree_text(tree: FileTree) -> str:
    """Draw a tree: what layers did, the size, then the lines and names."""
    rows = [
        (_letters(each, tree.layer), _size(each, tree), f"{lines}{_name(each)}")
        for each, lines in _with_lines(tree.files)
    ]
    width = max((len(letters) for letters, _, _ in rows), default=0)
    drawn = [
        f"{letters:<{width}}  {size:>6}  {visible(name)}".rstrip() for letters, size, name in rows
    ]
    return "\n".join([visible(_tree_sentence(tree)), *drawn, *_left_out(tree)])


def tree_html(tree: FileTree) -> str:
    """Draw a tree as nested lists, each directory foldable."""
    root = _Branch()
    open_at = [("", root)]
    for each in tree.files:
        parent = each.path.rpartition("/")[0]
        while open_at[-1][0] != parent:
            open_at.pop()
        branch = _Branch(each)
        open_at[-1][1].inside.append(branch)
        if each.kind == "d":
            open_at.append((each.path, branch))
    left = "".join(paragraph(line) for line in _left_out(tree))
    return paragraph(_tree_sentence(tree)) + _list(root.inside, tree, _OPEN_LEVELS) + left


@dataclass(slots=True)
class _Branch:
    """A file and what it holds; the root has no file."""

    file: ExploredFile | None = None
    inside: list[_Branch] = field(default_factory=list)


def _list(branches: Sequence[_Branch], tree: FileTree, open_levels: int) -> str:
    items = []
    for branch in branches:
        assert branch.file is not None
        line = _line_html(branch.file, tree)
        if branch.inside:
            mark = " open" if open_levels > 0 else ""
            line = (
                f'<details{mark} style="margin:0"><summary style="cursor:pointer">{line}</summary>'
                f"{_list(branch.inside, tree, open_levels - 1)}</details>"
            )
        items.append(f"<li>{line}</li>")
    return (
        f'<ul style="list-style:none;margin:0;padding-left:1.1em;border-left:1px solid {LINE}">'
        f"{''.join(items)}</ul>"
    )


def _line_html(each: ExploredFile, tree: FileTree) -> str:
    gone = "" if each.is_there else ";text-decoration:line-through"
    word = "" if each.is_there else " deleted"
    return (
        f'<span style="{MONOSPACE}{gone}">{markup(_name(each))}</span> '
        f"<small>{markup(_letters(each, tree.layer))} {_size(each, tree)}{word}</small>"
    )


def _letters(each: ExploredFile, layer: int | None) -> str:
    """Return ``A0 M2``: what was done to a path and by which layer, or by one layer only."""
    return " ".join(
        f"{touch.letter}{touch.layer}"
        for touch in each.touches
        if layer is None or touch.layer == layer
    )


def _size(each: ExploredFile, tree: FileTree) -> str:
    if each.kind == "d":
        return human_size(tree.directory_bytes.get(each.path, 0))
    return human_size(each.size_bytes) if each.kind == "f" else ""


def _name(each: ExploredFile) -> str:
    name = each.path.rpartition("/")[2]
    if each.kind == "d":
        return f"{name}/"
    return f"{name} -> {each.link}" if each.kind == "l" else name


def _with_lines(files: Sequence[ExploredFile]) -> Iterator[tuple[ExploredFile, str]]:
    """Yield each file with the lines that lead to it."""
    is_last = _lasts(files)
    bars: list[bool] = []  # of each directory above: more of its like follow
    for each, last in zip(files, is_last, strict=True):
        del bars[each.depth :]
        yield each, "".join("│  " if bar else "   " for bar in bars) + ("└─ " if last else "├─ ")
        bars.append(not last)


def _lasts(files: Sequence[ExploredFile]) -> list[bool]:
    """Say of each file whether it is the last one of its directory."""
    followed: list[bool] = []  # by depth
    found = []
    for each in reversed(files):
        depth = each.depth
        followed += [False] * (depth + 1 - len(followed))
        found.append(not followed[depth])
        followed[depth] = True
        del followed[depth + 1 :]
    return found[::-1]


def _tree_sentence(tree: FileTree) -> str:
    what = "" if tree.layer is None else f", what layer {tree.layer} did"
    meant = ", ".join(f"{letter} {word}" for letter, word in MEANINGS.items())
    return f"{tree.image}: {_many(tree.hits, 'path')}{what}; by layer: {meant}"


def _left_out(tree: FileTree) -> list[str]:
    if not tree.hidden:
        return []
    return [f"{_many(tree.hidden, 'path')} more: --depth, --grep and --layer choose"]


def _many(number: int, word: str) -> str:
    """Write a number that may be large: ``101,021 paths``."""
    return f"{number:,} {count(number, word).partition(' ')[2]}"
