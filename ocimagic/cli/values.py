"""Results that only a command line has; the others are in ``ocimagic.model.result``.

Each draws itself, so that ``render.display`` shows them like any other result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from ocimagic.model.result import ContainerSummary, ExitStatus, HistoryLine, ImageSummary
    from ocimagic.render.table import Table

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class HelpText:
    """The help of a command."""

    text: str

    def to_text(self, _now: datetime) -> str:
        """Return the help as it is."""
        return self.text

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


@dataclass(frozen=True, slots=True)
class Names:
    """Lines that scripts read: names, IDs, or what a template made."""

    lines: tuple[str, ...]

    def to_text(self, _now: datetime) -> str:
        """Return one per line."""
        from ocimagic.render.escape import visible

        return "\n".join(visible(line, lines=True) for line in self.lines)

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


@dataclass(frozen=True, slots=True)
class InspectDocument:
    """What ``inspect`` shows.

    Attributes:
        kind: ``image``, ``container``, ``mixed`` or ``system``.
        documents: one JSON object per name, in docker's shape.
    """

    kind: str
    documents: list[dict[str, object]]

    def to_text(self, _now: datetime) -> str:
        """Return the list as indented JSON, as docker prints it."""
        from ocimagic.render.inspect_tree import tree_text

        return tree_text(self.documents)

    def to_html(self, _now: datetime) -> str:
        """Draw a tree per document."""
        from ocimagic.render.inspect_tree import tree_html

        return "".join(
            tree_html(document, title=f"{self.kind} {document.get('Id', '')}")
            for document in self.documents
        )


@dataclass(frozen=True, slots=True)
class LogText:
    """What ``logs`` shows.

    Attributes:
        name: the container.
        entries: time, ``stdout`` or ``stderr``, and bytes, oldest first.
        timestamps: show the times.
        streamed: all of it went to ``on_event`` already, and ``entries`` is empty.
    """

    name: str
    entries: tuple[tuple[str, str, bytes], ...] = ()
    timestamps: bool = False
    streamed: bool = False

    @property
    def stdout(self) -> bytes:
        """Return all that went to standard output."""
        return b"".join(data for _, stream, data in self.entries if stream == "stdout")

    @property
    def stderr(self) -> bytes:
        """Return all that went to standard error."""
        return b"".join(data for _, stream, data in self.entries if stream == "stderr")

    def chunks(self) -> Iterable[tuple[str, bytes]]:
        """Yield stream and bytes as they are to be written."""
        for time, stream, data in self.entries:
            yield stream, stamped(time, data) if self.timestamps else data

    def to_text(self, _now: datetime) -> str:
        """Return both streams in the order they were written."""
        from ocimagic.render.escape import visible

        data = b"".join(data for _, data in self.chunks())
        return visible(data.decode(errors="replace"), lines=True).removesuffix("\n")

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


def stamped(time: str, data: bytes) -> bytes:
    """Put a time before a log entry."""
    return time.encode() + b" " + data


@dataclass(frozen=True, slots=True)
class Acted:
    """What ``start``, ``kill`` and ``rm`` did, for each name as typed."""

    verb: str
    names: tuple[str, ...]
    containers: tuple[ContainerSummary, ...] = ()

    def to_text(self, _now: datetime) -> str:
        """Return the names, as docker prints them."""
        from ocimagic.render.escape import visible

        return "\n".join(visible(name) for name in self.names)

    def to_html(self, now: datetime) -> str:
        """Draw the containers as they are now, or say what was done."""
        from ocimagic.render.display import as_html
        from ocimagic.render.html import paragraph

        drawn = as_html(self.containers, now) if self.containers else None
        return drawn or paragraph(f"{self.verb}: {', '.join(self.names)}")


@dataclass(frozen=True, slots=True)
class Exits:
    """How containers ended: what ``wait`` and ``stop`` return.

    Attributes:
        verb: ``wait`` or ``stop``; docker prints codes for one and names for the other.
        ends: names as typed with how each ended, None when it never ran.
    """

    verb: str
    ends: tuple[tuple[str, ExitStatus | None], ...]

    @property
    def code(self) -> int | None:
        """Return the exit code of the first container."""
        status = self.ends[0][1]
        return status.code if status else None

    def to_text(self, _now: datetime) -> str:
        """Return one line per container: its exit code for ``wait``, else its name."""
        from ocimagic.render.escape import visible

        if self.verb == "wait":
            return "\n".join(str(status.code if status else 0) for _, status in self.ends)
        return "\n".join(visible(name) for name, _ in self.ends)

    def to_html(self, now: datetime) -> str:
        """Say how each container ended."""
        from ocimagic.render.html import exit_html, paragraph

        return "".join(
            exit_html(status, now, name=name) if status else paragraph(f"{name} never ran")
            for name, status in self.ends
        )


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What ``version`` shows."""

    version: str
    python: str
    platform: str

    def document(self) -> dict[str, object]:
        """Return it as docker's JSON document: client and engine are one here."""
        part = {"Version": self.version, "Platform": self.platform}
        return {"Client": dict(part), "Server": part, "Python": self.python}

    def to_text(self, _now: datetime) -> str:
        """Return one sentence."""
        return f"ocimagic {self.version}, Python {self.python}, {self.platform}"

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


class _Rows(tuple[Row, ...]):
    """A tuple of results that knows, even when empty, which table it is and its columns.

    Attributes:
        template: ``json`` or a template for each row, "" for the table.
        options: what the layout takes besides the rows and the time.
    """

    template: str
    options: Mapping[str, bool]

    def __new__(cls, rows: Iterable[Row] = (), *, template: str = "", **options: bool) -> Self:
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

    def to_text(self, now: datetime) -> str:
        """Draw the table, or one line per row from the template."""
        from ocimagic.cli.template import fill
        from ocimagic.render.escape import visible
        from ocimagic.render.text import table_text

        if not self.template:
            return table_text(self.layout(now))
        template = "{{json .}}" if self.template == "json" else self.template
        lines = (fill(template, self.fields(row, now)) for row in self)
        return "\n".join(visible(line, lines=True) for line in lines)

    def to_html(self, now: datetime) -> str | None:
        """Draw the table; None when there is a template."""
        from ocimagic.render.html import table_html

        return None if self.template else table_html(self.layout(now))

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), tuple(self), self.template, dict(self.options)))


class ImageRows(_Rows["ImageSummary"]):
    """What ``image ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for images."""
        from ocimagic.render.table import image_table

        return image_table(self, now, **self.options)

    def fields(self, row: ImageSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of an image."""
        from ocimagic.render.table import image_fields

        return image_fields(row, now, no_trunc=self.options.get("no_trunc", False))


class ContainerRows(_Rows["ContainerSummary"]):
    """What ``container ls`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for containers."""
        from ocimagic.render.table import container_table

        return container_table(self, now, **self.options)

    def fields(self, row: ContainerSummary, now: datetime) -> dict[str, str]:
        """Return docker's fields of a container."""
        from ocimagic.render.table import container_fields

        return container_fields(row, now, no_trunc=self.options.get("no_trunc", False))


class HistoryRows(_Rows["HistoryLine"]):
    """What ``image history`` returns."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker's columns for a history."""
        from ocimagic.render.table import history_table

        return history_table(self, now, **self.options)

    def fields(self, row: HistoryLine, now: datetime) -> dict[str, str]:
        """Return docker's fields of a step."""
        from ocimagic.render.table import history_fields

        return history_fields(row, now, **self.options)


def _restore(
    kind: type[_Rows[Any]], rows: tuple[Any, ...], template: str, options: dict[str, bool]
) -> object:
    return kind(rows, template=template, **options)
