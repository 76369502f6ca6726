"""What the verbs of ``compose`` show: the tables, and the values only they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ocimagic.cli.rows import Rows
from ocimagic.model.result import ContainerSummary
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ocimagic.model.report import ProcessTable
    from ocimagic.model.result import ImageDetails
    from ocimagic.render.table import Table


class ComposeRows(Rows[ContainerSummary]):
    """What ``compose ps`` and, in a notebook, ``compose up`` return: the services' containers."""

    def layout(self, now: datetime) -> Table:
        """Lay out docker compose's columns."""
        from ocimagic.render.compose import services_table

        return services_table(self, now, **self.options)

    def fields(self, row: ContainerSummary, now: datetime) -> dict[str, str]:
        """Return docker compose's fields of a container."""
        from ocimagic.render.compose import service_fields

        return service_fields(row, now, no_trunc=self.options.get("no_trunc", False))

    def heads(self) -> Mapping[str, str]:
        """Return docker compose's heads."""
        from ocimagic.render.compose import SERVICE_HEADS

        return SERVICE_HEADS

    def to_text(self, now: datetime) -> str:
        """Draw the table, or a JSON document for each container."""
        if self.template != "json":
            return super().to_text(now)
        from ocimagic.render.compose import service_document

        return "\n".join(json.dumps(service_document(each, now)) for each in self)

    def to_html(self, now: datetime) -> str | None:
        """Draw the services with their state, health and ports."""
        from ocimagic.render.compose import services_html

        return None if self.template else services_html(self, now)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a verb returns whose exit code is a container's.

    Attributes:
        name: the container's.
    """

    name: str
    exit_code: int

    def to_text(self, _now: datetime) -> str:
        """Say how it ended."""
        return f"{self.name} exited with code {self.exit_code}" if self.name else ""

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


@dataclass(frozen=True, slots=True)
class ComposeText:
    """A compose file in its long form: what ``compose config`` returns."""

    text: str
    document: dict[str, object]

    def to_text(self, _now: datetime) -> str:
        """Return it as it is."""
        return self.text.rstrip("\n")

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


@dataclass(frozen=True, slots=True)
class ComposeTop:
    """The processes of a project's containers, by the container's name."""

    tables: tuple[tuple[str, ProcessTable], ...]

    def to_text(self, now: datetime) -> str:
        """Draw a table for each container below its name."""
        from ocimagic.render.display import as_text

        return "\n\n".join(f"{name}\n{as_text(table, now)}" for name, table in self.tables)

    def to_html(self, now: datetime) -> str:
        """Draw a table for each container below its name."""
        from ocimagic.render.display import as_html
        from ocimagic.render.html import paragraph

        return "".join(paragraph(n) + (as_html(table, now) or "") for n, table in self.tables)


@dataclass(frozen=True, slots=True)
class ComposeList:
    """Rows of text under heads: what ``compose ls`` and ``compose images`` return.

    Attributes:
        as_json: print them as JSON.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    as_json: bool = False

    def to_text(self, _now: datetime) -> str:
        """Draw the table."""
        from ocimagic.render.table import Table
        from ocimagic.render.text import table_text

        if self.as_json:
            names = [_field(head) for head in self.heads]
            return json.dumps([dict(zip(names, row, strict=True)) for row in self.rows])
        return table_text(Table(self.caption, self.heads, self.rows))

    def to_html(self, _now: datetime) -> str | None:
        """Draw the table."""
        from ocimagic.render.html import table_html
        from ocimagic.render.table import Table

        return None if self.as_json else table_html(Table(self.caption, self.heads, self.rows))


def _field(head: str) -> str:
    """Return ``ConfigFiles`` for ``CONFIG FILES``."""
    return "".join("ID" if word == "ID" else word.capitalize() for word in head.split())


def image_row(container: ContainerSummary, image: ImageDetails | None) -> tuple[str, ...]:
    """Return what ``compose images`` shows of one container."""
    from ocimagic.render.units import human_size

    name = container.image
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    platform = "" if image is None else str(image.config.platform)
    return (
        container.name,
        repository,
        tag or "latest",
        platform,
        container.image_id.hex[:12],
        human_size(image.size_bytes) if image else "",
    )
