"""Volumes behind an API.

Spec: Docker Engine API v1.41, "Volume".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ocimagic.client.calling import part
from ocimagic.client.refusing import undone
from ocimagic.errors import OcimagicError
from ocimagic.model.volume import VolumesPruned
from ocimagic.wire.read_volume import volume_summary
from ocimagic.wire.sent import volume_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.client.calling import Caller
    from ocimagic.model.volume import VolumeOptions, VolumeSummary
    from ocimagic.spec.codec import Fields

_KIND = "volume"
_INSTEAD = "mount it into a container and use %container_cp"


class RemoteVolumes:
    """Verbs on volumes."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(self, options: VolumeOptions) -> VolumeSummary:
        """Make a volume; one that is there already stays as it is."""
        body = volume_body(options)
        made = self._caller.document("POST", "/volumes/create", kind=_KIND, body=body)
        return self.inspect(made.text("Name"))

    def all(self) -> tuple[VolumeSummary, ...]:
        """Return all volumes, by name."""
        users = self._users()
        found = self._caller.document("GET", "/volumes", kind=_KIND).children("Volumes")
        rows = [volume_summary(each, users.get(each.text("Name"), ())) for each in found]
        return tuple(sorted(rows, key=lambda each: each.name))

    def inspect(self, name: str) -> VolumeSummary:
        """Return one volume and who was made with it."""
        document = self._document(name)
        return volume_summary(document, self._users().get(document.text("Name"), ()))

    def _document(self, name: str) -> Fields:
        return self._caller.document("GET", f"/volumes/{part(name)}", kind=_KIND)

    def _users(self) -> dict[str, tuple[str, ...]]:
        """Return IDs of the containers that each volume is used by, which only they say."""
        users: dict[str, tuple[str, ...]] = {}
        for each in self._caller.documents("/containers/json", query={"all": "1"}):
            for mount in each.children("Mounts"):
                if mount.text("Type", "") == "volume" and (name := mount.text("Name", "")):
                    users[name] = (*users.get(name, ()), each.text("Id"))
        return users

    def remove(self, name: str) -> str:
        """Remove a volume with its files; return its name."""
        self._caller.done("DELETE", f"/volumes/{part(name)}", kind=_KIND)
        return name

    def prune(
        self,
        keep: Callable[[VolumeSummary], bool] = lambda _: False,
        *,
        all: bool = False,  # noqa: A002  docker's word
    ) -> VolumesPruned:
        """Remove volumes that no container was made with; those with a name only if ``all``."""
        doomed = [
            each for each in self.all() if not each.users and (all or each.anonymous)
            and not keep(each)
        ]  # fmt: skip
        sizes = self._sizes() if doomed else {}
        gone = []
        for each in doomed:
            with suppress(OcimagicError):  # somebody uses it by now
                gone.append(self.remove(each.name))
        return VolumesPruned(
            volumes=tuple(gone), freed_bytes=sum(sizes.get(each, 0) for each in gone)
        )

    def _sizes(self) -> dict[str, int]:
        volumes = self._caller.document("GET", "/system/df").children("Volumes")
        return {
            each.text("Name"): max(0, each.child("UsageData").integer("Size", 0, least=-1))
            for each in volumes
        }

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Refuse: no API gives the files of a volume."""
        del out
        raise undone(f"export the volume {name}", _INSTEAD)

    def load(self, name: str, stream: int | bytes) -> int:
        """Refuse: no API takes files for a volume."""
        del stream
        raise undone(f"load files into the volume {name}", _INSTEAD)
