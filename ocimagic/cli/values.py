"""Results that only a command line has; the others are in ``ocimagic.model.result``.

Each draws itself, so that ``render.display`` shows them like any other result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ocimagic.model.distribution import ManifestDetails, ManifestDocument
    from ocimagic.model.report import DiskUsage
    from ocimagic.model.result import ContainerSummary, ExitStatus


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

    def to_html(self, _now: datetime) -> str | None:
        """Leave it to the text."""
        return None


@dataclass(frozen=True, slots=True)
class Places(Names):
    """Where one port of a container is published, as ``0.0.0.0:8080``."""

    is_tcp: bool

    def to_html(self, _now: datetime) -> str:
        """Draw the same with links."""
        from ocimagic.render.ports import places_html

        return places_html(self.lines, is_tcp=self.is_tcp)


@dataclass(frozen=True, slots=True)
class InspectDocument:
    """What ``inspect`` shows.

    Attributes:
        kind: ``image``, ``container``, ``mixed`` or ``system``.
        documents: one JSON object per name, in docker's shape.
    """

    kind: str
    documents: list[dict[str, object]]

    @property
    def raw(self) -> list[dict[str, object]]:
        """Return docker's documents."""
        return self.documents

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
class ManifestText:
    """What ``manifest inspect`` shows: the document itself, its JSON indented."""

    found: ManifestDocument

    @property
    def raw(self) -> bytes:
        """Return the document's own bytes, which its digest names."""
        return self.found.content.raw

    def to_text(self, _now: datetime) -> str:
        """Return the document with docker's indentation."""
        from ocimagic.render.distribution import manifest_text

        return manifest_text(self.found)

    def to_html(self, _now: datetime) -> str:
        """Draw what it names as a table, and the document as a tree."""
        from ocimagic.render.distribution import manifest_html

        return manifest_html(self.found)


@dataclass(frozen=True, slots=True)
class ManifestsText:
    """What ``manifest inspect --verbose`` shows: a document of an image, a list for an index."""

    details: ManifestDetails

    @property
    def documents(self) -> list[dict[str, object]]:
        """Return one JSON object per manifest, in docker's shape."""
        from ocimagic.wire.manifest import manifest_details

        return [manifest_details(each) for each in self.details.manifests]

    @property
    def raw(self) -> list[bytes]:
        """Return the documents' own bytes, which their digests name."""
        return [each.content.raw for each in self.details.manifests]

    def to_text(self, _now: datetime) -> str:
        """Return indented JSON, as docker prints it."""
        from ocimagic.render.distribution import manifests_text
        from ocimagic.spec.manifest import Index

        is_list = isinstance(self.details.document.content, Index)
        return manifests_text(self.documents, is_list=is_list)

    def to_html(self, _now: datetime) -> str:
        """Draw a tree per manifest."""
        from ocimagic.render.inspect_tree import tree_html

        return "".join(tree_html(each, title=str(each["Ref"])) for each in self.documents)


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


@dataclass(frozen=True, slots=True)
class TarBytes:
    """A tar that a command would write to standard output."""

    data: bytes

    def __len__(self) -> int:
        return len(self.data)

    def to_text(self, _now: datetime) -> str:
        """Say how large it is; its bytes are no text."""
        from ocimagic.render.units import human_size

        return f"tar of {human_size(len(self.data))}, its bytes are .data"

    def to_html(self, _now: datetime) -> None:
        """Leave it to the text."""


def stamped(time: str, data: bytes) -> bytes:
    """Put a time before a log entry."""
    return time.encode() + b" " + data


@dataclass(frozen=True, slots=True)
class Acted:
    """What ``start``, ``kill``, ``rm`` and their like did, for each name as typed."""

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
        return drawn or paragraph(f"{self.verb}: {', '.join(self.names)}".rstrip(": "))


@dataclass(frozen=True, slots=True)
class Exits:
    """How containers ended: what ``wait`` and ``stop`` return.

    Attributes:
        verb: ``wait``, ``stop`` or ``attach``; docker prints codes for the first, names for the
            second and nothing for the last.
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
        if self.verb == "attach":
            return ""
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


@dataclass(frozen=True, slots=True)
class UsageDetails:
    """What ``system df -v`` returns: the usage, with each image and each container."""

    usage: DiskUsage

    def to_text(self, now: datetime) -> str:
        """Draw a table of each kind."""
        from ocimagic.render.report import usage_tables
        from ocimagic.render.text import table_text

        parts = [f"{each.caption}:\n\n{table_text(each)}" for each in usage_tables(self.usage, now)]
        return "\n\n".join(parts)

    def to_html(self, now: datetime) -> str:
        """Draw a table of each kind."""
        from ocimagic.render.html import table_html
        from ocimagic.render.report import usage_tables

        return "".join(
            table_html(each, caption=each.caption) for each in usage_tables(self.usage, now)
        )
