"""Lists that a command line shows: tuples of the model that know their table and its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from ocimagic.model.distribution import ImageTree, SearchHit
    from ocimagic.model.network import NetworkSummary
    from ocimagic.model.report import ContainerStats, FileChange, PortBinding
    from ocimagic.model.result import ContainerSummary, HistoryLine, ImageSummary, LayerReport
    from ocimagic.model.volume import VolumeSummary
    from ocimagic.render.table import Table

Row = TypeVar("Row")
_TABLE = "table "


def row_template(template: str) -> str:
    """Return the template for each row, "" for the table with docker's own columns."""
    return "" if template == "table" else template


class Rows(tuple[Row, ...]):
    """A tuple of results that knows, even when empty, which table it is and its columns.

    Attributes:
        template: ``json``, a template for each row, ``table`` and a template with tabs between
            its columns, or "" for docker's own columns.
        options: what the layout takes besides the rows and the time.
    """

    template: str
    options: Mapping[str, bool]

    def __new__(cls, rows: Iterable[Row] = (), *, template: str = "", **options: bool) -> Self:
        """Make the tuple and tell it how it is shown."""
        made = super().__new__(cls, rows)
        made.template = template
        made.options = options
        return made

    def layout(self, now: datetime) -> Table:
        """Lay these rows out."""
        raise NotImplementedError

    def fields(self, row: Row, now: datetime) -> dict[str, str]:
        """Return docker's ``--format`` fields of one row."""
        raise NotImplementedError

    def heads(self) -> Mapping[str, str]:
        """Return the head of each field, for a table of one's own columns."""
        raise NotImplementedError

    def methods(self, row: Row) -> Mapping[str, Callable[..., object]]:  # noqa: ARG002
        """Return what a template can ask of a row with an argument."""
        return {}

    def to_text(self, now: datetime) -> str:
        """Draw the table, or one line per row from the template."""
        from ocimagic.cli.template import fill, fill_table
        from ocimagic.render.escape import visible
        from ocimagic.render.text import table_text

        if not self.template:
            return table_text(self.layout(now))
        rows = [(self.fields(row, now), self.methods(row)) for row in self]
        if self.template.startswith(_TABLE):
            return visible(fill_table(self.template[len(_TABLE) :], self.heads(), rows), lines=True)
        template = "{{json .}}" if self.template == "json" else self.template
        lines = (fill(template, fields, methods) for fields, methods in rows)
        return "\n".join(visible(line, lines=True) for line in lines)

    def to_html(self, now: datetime) -> str | None:
        """Draw the table; None when there is a template."""
        from ocimagic.render.html import table_html

        return None if self.template else table_html(self.layout(now))

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), tuple(self), self.template, dict(self.options)))


class ImageRows(Rows["ImageSummary"]):
    """What ``image ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for images."""
        from ocimagic.render.table import image_table

        return image_table(self, now, **self.options)

    def fields(self, row: ImageSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of an image."""
        from ocimagic.render.table import image_fields

        return image_fields(row, now, no_trunc=self.options.get("no_trunc", False))

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for images."""
        from ocimagic.render.table import IMAGE_HEADS

        return IMAGE_HEADS


class ContainerRows(Rows["ContainerSummary"]):
    """What ``container ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for containers."""
        from ocimagic.render.table import container_table

        return container_table(self, now, **self.options)

    def fields(self, row: ContainerSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of a container."""
        from ocimagic.render.table import container_fields

        return container_fields(row, now, no_trunc=self.options.get("no_trunc", False))

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for containers."""
        from ocimagic.render.table import CONTAINER_HEADS

        return CONTAINER_HEADS

    def methods(self, row: ContainerSummary) -> Mapping[str, Callable[..., object]]:
        """Return ``.Label "name"``."""
        return {"Label": lambda name: row.labels.get(str(name), "")}


class HistoryRows(Rows["HistoryLine"]):
    """What ``image history`` returns.

    Attributes:
        report: finds the image's layers with their files when a picture is drawn: a terminal
            is not to wait for that.
    """

    report: Callable[[], LayerReport] | None = None

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for a history."""
        from ocimagic.render.table import history_table

        return history_table(self, now, **self.options)

    def fields(self, row: HistoryLine, now: datetime) -> dict[str, str]:
        """Return docker's fields of a step."""
        from ocimagic.render.table import history_fields

        return history_fields(row, now, **self.options)

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for a history."""
        from ocimagic.render.table import HISTORY_HEADS

        return HISTORY_HEADS

    def to_html(self, now: datetime) -> str | None:
        """Draw docker's table, and what each line came to below it."""
        from ocimagic.errors import OcimagicError
        from ocimagic.render.image_lines import lines_html

        table = super().to_html(now)
        if table is None or self.report is None:
            return table
        try:
            report = self.report()
        except OcimagicError:
            return table  # the image has gone since
        # What the name means now may be another image, or these are some of the lines.
        here = [(each.created_by, each.size_bytes) for each in reversed(self)]
        there = [(each.created_by, each.size_bytes) for each in report.lines]
        return table + lines_html(report) if here == there else table


class SearchRows(Rows["SearchHit"]):
    """What ``search`` returns."""

    def layout(self, _now: datetime) -> Table:
        """Lay out docker's columns for what was found."""
        from ocimagic.render.distribution import search_table

        return search_table(self, **self.options)

    def fields(self, row: SearchHit, _now: datetime) -> dict[str, str]:
        """Return docker's fields of what was found."""
        from ocimagic.render.distribution import search_fields

        # docker marks what is official for people, and says it in JSON.
        return search_fields(row, **self.options, plain=self.template == "json")

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for what was found."""
        from ocimagic.render.distribution import SEARCH_HEADS

        return SEARCH_HEADS


class TreeRows(tuple["ImageTree", ...]):
    """What ``image ls --tree`` returns.

    Attributes:
        no_trunc: show whole digests.
    """

    no_trunc: bool

    def __new__(cls, trees: Iterable[ImageTree] = (), *, no_trunc: bool = False) -> Self:
        """Make the tuple and tell it how it is shown."""
        made = super().__new__(cls, trees)
        made.no_trunc = no_trunc
        return made

    def to_text(self, _now: datetime) -> str:
        """Draw the trees with lines."""
        from ocimagic.render.distribution import trees_text

        return trees_text(self, no_trunc=self.no_trunc)

    def to_html(self, _now: datetime) -> str:
        """Draw the trees as nested lists."""
        from ocimagic.render.distribution import trees_html

        return trees_html(self, no_trunc=self.no_trunc)

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore_trees, (tuple(self), self.no_trunc))


class StatsRows(Rows["ContainerStats"]):
    """What ``container stats`` returns."""

    def layout(self, _now: datetime) -> Table:
        """Lay out docker's columns for what containers use."""
        from ocimagic.render.report import stats_table

        return stats_table(self, **self.options)

    def fields(self, row: ContainerStats, _now: datetime) -> dict[str, str]:
        """Return docker's fields of what a container uses."""
        from ocimagic.render.report import stats_fields

        return stats_fields(row, **self.options)

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for what containers use."""
        from ocimagic.render.report import STATS_HEADS

        return STATS_HEADS


class ChangeRows(tuple["FileChange", ...]):
    """What ``container diff`` returns: a line for each change, docker's letter first."""

    __slots__ = ()

    def to_text(self, _now: datetime) -> str:
        """Return ``A /path`` and the like."""
        from ocimagic.render.report import change_lines

        return "\n".join(change_lines(self))

    def to_html(self, _now: datetime) -> str:
        """Draw them as a table."""
        from ocimagic.render.html import table_html
        from ocimagic.render.report import change_table

        return table_html(change_table(self))


class NetworkRows(Rows["NetworkSummary"]):
    """What ``network ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for networks."""
        from ocimagic.render.network import network_table

        return network_table(self, now, **self.options)

    def fields(self, row: NetworkSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of a network."""
        from ocimagic.render.network import network_fields

        return network_fields(row, now, no_trunc=self.options.get("no_trunc", False))

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for networks."""
        from ocimagic.render.network import NETWORK_HEADS

        return NETWORK_HEADS


class VolumeRows(Rows["VolumeSummary"]):
    """What ``volume ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for volumes."""
        from ocimagic.render.volume import volume_table

        return volume_table(self, now)

    def fields(self, row: VolumeSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of a volume."""
        from ocimagic.render.volume import volume_fields

        return volume_fields(row, now)

    def heads(self) -> Mapping[str, str]:
        """Return docker's heads for volumes."""
        from ocimagic.render.volume import VOLUME_HEADS

        return VOLUME_HEADS

    def methods(self, row: VolumeSummary) -> Mapping[str, Callable[..., object]]:
        """Return ``.Label "name"``."""
        return {"Label": lambda name: row.labels.get(str(name), "")}


class PortRows(tuple["PortBinding", ...]):
    """What ``container port`` returns."""

    __slots__ = ()

    def to_text(self, _now: datetime) -> str:
        """Return ``80/tcp -> 0.0.0.0:8080`` and the like."""
        return "\n".join(
            f"{each.container_port} -> {each.host_ip}:{each.host_port}" for each in self
        )

    def to_html(self, _now: datetime) -> str | None:
        """Draw the same with links; None when nothing is published."""
        from ocimagic.render.ports import bindings_html

        return bindings_html(self) or None


def _restore(
    kind: type[Rows[Any]], rows: tuple[Any, ...], template: str, options: dict[str, bool]
) -> object:
    return kind(rows, template=template, **options)


def _restore_trees(trees: tuple[ImageTree, ...], no_trunc: bool) -> TreeRows:
    return TreeRows(trees, no_trunc=no_trunc)
