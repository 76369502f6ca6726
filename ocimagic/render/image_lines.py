"""One image, line by line: what each line of its Dockerfile came to, down to the files."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from ocimagic.render import svg
from ocimagic.render.escape import shorten, visible
from ocimagic.render.html import details, figure, preformatted, table_html
from ocimagic.render.layer_wall import letters
from ocimagic.render.svg import BOLD, INK, MARGIN, ORANGE, THIN
from ocimagic.render.table import Table, instruction
from ocimagic.render.text import saving_sentence, table_text
from ocimagic.render.units import count, human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.accounts import ImageLine, LayerAccount
    from ocimagic.model.result import LayerReport

WIDTH = 1000
_LINE, _GAP = 410, 36
_TALL, _LOW, _BETWEEN = 58, 26, 6
_HEAD = 46
_INSTRUCTION = 60
_MOST_LINES = 80
_MOST_NAMED = 3
_MOST_LISTED = 100


def lines_html(report: LayerReport) -> str:
    """Draw the lines of the one image of a report; "" if its lines are not known."""
    if not report.lines:
        return ""
    name = report.images[0][0]
    shown = report.lines[-_MOST_LINES:]
    given = layer_letters(report)
    words = lines_words(name, shown, given)
    made = sum(each.layer is not None for each in report.lines)
    caption = (
        f"{count(len(report.lines), 'line')} in the Dockerfile's order made "
        f"{count(made, 'layer')}: each lies on the one before. {saving_sentence(report)}"
    )
    twin = table_html(lines_table(report)) + "".join(_files(each, given) for each in report.lines)
    picture = _Picture(name, shown, given).drawn(words)
    return figure(picture, words, caption, width=WIDTH, twin=twin)


def lines_text(report: LayerReport) -> str:
    """Lay the lines out for a terminal."""
    return table_text(lines_table(report))


def layer_letters(report: LayerReport) -> tuple[str, ...]:
    """Return the letter of each layer of a report's one image; equal layers have one letter."""
    given: dict[str, str] = {}
    return tuple(
        given.setdefault(each.diff_id, letters(len(given))) for each in report.images[0][1]
    )


def lines_words(name: str, lines: Sequence[ImageLine], given: Sequence[str]) -> str:
    """Say in words what the picture shows: its alternative text."""
    said = "; ".join(f"{_made_by(each)}: {_what(each, given)}" for each in lines)
    return f"The lines that made {name}, the first first, and the layer of each. {said}."


def lines_table(report: LayerReport) -> Table:
    """Lay out each line with its layer, its size and its files."""
    given = layer_letters(report)
    rows = tuple(
        (
            str(each.number),
            _made_by(each),
            "" if each.layer is None else given[each.layer],
            "" if each.layer is None else human_size(each.size_bytes),
            files_words(each.account) if each.account else "",
        )
        for each in report.lines
    )
    heads = ("LINE", "INSTRUCTION", "LAYER", "SIZE", "FILES")
    return Table(
        f"{report.images[0][0]}: what each line made", heads, rows, frozenset({"LINE", "SIZE"})
    )


def files_words(account: LayerAccount) -> str:
    """Say how many files a layer adds, changes and deletes, and name the first few."""
    parts = []
    for paths, word in (
        (account.added, "added"),
        (account.changed, "changed"),
        (account.deleted, "deleted"),
    ):
        if paths:
            leaves = _leaves(paths)
            named = ", ".join(f"/{each}" for each in leaves[:_MOST_NAMED])
            more = ", …" if len(leaves) > _MOST_NAMED else ""
            parts.append(f"{len(paths)} {word}: {named}{more}")
    return "; ".join(parts) or "no files"


def _leaves(paths: Sequence[str]) -> list[str]:
    """Leave out directories that something else in a sorted list of paths lies in."""
    return [
        path
        for path, after in zip_longest(paths, paths[1:], fillvalue="")
        if not after.startswith(f"{path}/")
    ]


def _made_by(line: ImageLine) -> str:
    return shorten(visible(instruction(line.created_by)), _INSTRUCTION)


def _what(line: ImageLine, given: Sequence[str]) -> str:
    if line.layer is None:
        return "no layer"
    said = f"layer {given[line.layer]}, {human_size(line.size_bytes)}"
    return f"{said}, {files_words(line.account)}" if line.account else said


def _files(line: ImageLine, given: Sequence[str]) -> str:
    """List the files of a layer, folded."""
    account = line.account
    if account is None or line.layer is None:
        return ""
    marked = [
        *(f"A /{each}" for each in _leaves(account.added)),
        *(f"C /{each}" for each in account.changed),
        *(f"D /{each}" for each in account.deleted),
    ]
    head = f"{given[line.layer]}  {_made_by(line)}: {count(len(marked), 'file')}"
    shown = [visible(each) for each in marked[:_MOST_LISTED]]
    if len(marked) > len(shown):
        shown.append(f"and {len(marked) - len(shown)} more")
    return details(head, preformatted("\n".join(shown))) if marked else ""


class _Picture:
    """Lines on the left, what they made on the right."""

    def __init__(self, name: str, lines: Sequence[ImageLine], given: Sequence[str]) -> None:
        self.given = given
        self.name = name
        self.lines = lines
        self.largest = max((each.size_bytes for each in lines), default=0) or 1
        self.right = MARGIN + _LINE + _GAP
        self.brick = WIDTH - MARGIN - self.right

    def drawn(self, words: str) -> str:
        """Return the SVG document."""
        parts: list[str] = [*self._heads()]
        top = MARGIN + _HEAD
        for each in self.lines:
            height = _LOW if each.layer is None else _TALL
            parts += self._line(each, top, height)
            top += height + _BETWEEN
        foot = top
        if any(each.from_base for each in self.lines):  # else there is one colour only
            parts += svg.legend(_LEGEND, MARGIN, top + 10)
            foot += 26
        return svg.document(parts, width=WIDTH, height=foot + MARGIN, title=words)

    def _heads(self) -> Iterable[str]:
        said = svg.fit(self.name, _LINE - 60, 13 * BOLD, from_end=True)
        width = 24 + round(len(said) * 13 * BOLD)
        yield (
            f'<rect fill="{ORANGE}" x="{MARGIN}" y="{MARGIN}" width="{width}" height="28" rx="7"/>'
        )
        bold = f'fill="{INK}" font-weight="700"'
        yield svg.text(said, MARGIN + 12, MARGIN + 19, 13, bold)
        yield svg.text("its layers", self.right, MARGIN + 19, 13, 'class="text" font-weight="600"')

    def _line(self, line: ImageLine, top: float, height: float) -> Iterable[str]:
        middle = top + height / 2
        yield svg.text(
            str(line.number), MARGIN + 18, middle + 4, 12, 'class="quiet" text-anchor="end"'
        )
        words = svg.fit(instruction(line.created_by), _LINE - 34, 12.5 * BOLD)
        weight = 400 if line.layer is None else 600
        yield svg.text(words, MARGIN + 30, middle + 4, 12.5, f'class="text" font-weight="{weight}"')
        if line.layer is None:
            none = "no layer: only the configuration changed"
            yield svg.text(none, self.right, middle + 4, 11.5, 'class="quiet"')
            return
        yield svg.line([(self.right - _GAP + 4, middle), (self.right - 3, middle)])
        yield from self._layer(line, line.layer, top)

    def _layer(self, line: ImageLine, number: int, top: float) -> Iterable[str]:
        kind = "base" if line.from_base else "own"
        yield from svg.box(self.right, top, self.brick, _TALL, kind=kind)
        left = self.right + 22
        yield f'<circle cx="{left}" cy="{top + 22:g}" r="12" class="line {kind}"/>'
        bold = 'class="text" text-anchor="middle" font-weight="700"'
        yield svg.text(self.given[number], left, top + 26.5, 12, bold)
        room, at = self.brick - 58, self.right + 44
        size = human_size(line.size_bytes) + (", from the base" if line.from_base else "")
        yield svg.text(size, at, top + 20, 12.5, 'class="text" font-weight="600"')
        if line.account:
            said = svg.fit(files_words(line.account), room, 11.5 * THIN)
            yield svg.text(said, at, top + 37, 11.5, 'class="quiet"')
        if line.size_bytes:
            yield svg.bar(at, top + 45, room * line.size_bytes / self.largest, 5, kind=kind)


_LEGEND = (("base", False, "from the base image"), ("own", False, "added on top"))
