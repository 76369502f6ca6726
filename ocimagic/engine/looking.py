"""Looking at containers: one, all, and everything that is known of one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ocimagic.engine.links import linked_as, linked_env, links_of
from ocimagic.engine.record import Document
from ocimagic.engine.register import STATE_NAME, Register, read_json
from ocimagic.errors import ContentError, NotFound
from ocimagic.model.report import ContainerSize, PortBinding
from ocimagic.model.result import ContainerDetails, ContainerSummary
from ocimagic.model.state import ALIVE
from ocimagic.spec.config import ContainerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ocimagic.store.containers import ContainerRecord


class Looking(Register):
    """Verbs that change nothing; ``name`` is a name or an ID, whole or its first digits."""

    def list(self, *, all: bool = False, size: bool = False) -> tuple[ContainerSummary, ...]:  # noqa: A002  docker's word
        """List containers, newest first; only those that live unless ``all``.

        Args:
            all: those that do not run too.
            size: look how much each takes on disk.
        """
        found = []
        records = self.store.containers.all()
        called = linked_as(self, records)
        for record in records:
            summary = self.summary(record, measured=True)
            # Asked last: what goes while it is described is not to be shown.
            if self.is_gone(record):
                continue
            if record.container_id in called:
                summary = replace(summary, linked_as=tuple(called[record.container_id]))
            if all or summary.status in ALIVE:
                found.append(self._sized(record, summary) if size else summary)
        return tuple(found)

    def get(self, name: str) -> ContainerSummary:
        """Return one container as it is now."""
        return self.summary(self.find(name))

    def inspect(self, name: str, *, size: bool = False) -> ContainerDetails:
        """Return everything known of one container; ``size`` looks how much it takes on disk."""
        record = self.find(name)
        document = Document.decode(record.document)
        directory = self.directory(record.container_id)
        config = json.loads((directory / "bundle" / "config.json").read_bytes())
        lowers = [self.store.snapshots.directory(each) / "fs" for each in document.layers]
        summary = self.summary(record)
        state = read_json(directory / STATE_NAME) or {}
        return ContainerDetails(
            summary=self._sized(record, summary) if size else summary,
            options=document.options,
            hostname=document.hostname,
            bundle_path=str(directory / "bundle"),
            log_path=str(self.log_path(record.container_id)),
            upper_dir=str(directory / "rw" / "upper"),
            lower_dirs=tuple(str(each) for each in reversed(lowers)),
            runtime_config=config,
            image_config=self._image_config(record),
            health=document.health,
            files=_own_files(config, directory),
            exec_ids=_running_execs(state),
            links=tuple((linked.name, alias) for linked, alias in links_of(self, document)),
            linked_env=linked_env(self, record),
        )

    def ports(self, name: str) -> tuple[PortBinding, ...]:
        """Return the published ports of a container that runs."""
        return self.summary(self.find(name)).ports

    def _image_config(self, record: ContainerRecord) -> ContainerConfig:
        try:
            return self.store.images.documents(record.manifest)[1].config
        except (NotFound, ContentError):
            return ContainerConfig()  # removed by force, or damaged: the container has its own

    def _sized(self, record: ContainerRecord, summary: ContainerSummary) -> ContainerSummary:
        changed = self.changed_bytes(record)
        total = changed + self.images.size_of(str(summary.image_id))
        return replace(summary, size=ContainerSize(changed_bytes=changed, total_bytes=total))


def _own_files(config: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """Return where files of the engine's own are shown in a container."""
    return {
        str(mount["destination"]): str(mount["source"])
        for mount in config.get("mounts", ())
        if str(mount.get("source", "")).startswith(f"{directory}/")
    }


def _running_execs(state: Mapping[str, object]) -> tuple[str, ...]:
    """Return the exec_ids of what still runs, as docker lists them."""
    known = state.get("execs")
    entries = known.items() if isinstance(known, dict) else ()
    return tuple(exec_id for exec_id, entry in entries if not entry.get("exit"))
