"""Services of snapshots, and of the layers that are unpacked into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.containerd import messages
from ocimagic.containerd.convert import methods, mount_points, mounts, paths, time_of
from ocimagic.containerd.door import TELLS, Method
from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.engine.crud.snapshots import ACTIVE, COMMITTED, NAME, VIEW
from ocimagic.errors import BadInput
from ocimagic.spec.mediatype import OCI_LAYER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.containerd.door import Caller, Message
    from ocimagic.engine.crud.crud import Crud
    from ocimagic.store.objects import Object

_KINDS = {VIEW: 1, ACTIVE: 2, COMMITTED: 3}


class Snapshots:
    """Snapshots and diffs.

    Args:
        crud: what is offered.
    """

    def __init__(self, crud: Crud) -> None:
        self._crud = crud

    def services(self) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods by service."""
        package = messages.snapshots
        return {
            "containerd.services.snapshots.v1.Snapshots": {
                **methods(
                    package,
                    {
                        "Prepare": (
                            "PrepareSnapshotRequest",
                            "PrepareSnapshotResponse",
                            self._prepare,
                        ),
                        "View": ("ViewSnapshotRequest", "ViewSnapshotResponse", self._view),
                        "Mounts": ("MountsRequest", "MountsResponse", self._mounts),
                        "Commit": ("CommitSnapshotRequest", "", self._commit),
                        "Remove": ("RemoveSnapshotRequest", "", self._remove),
                        "Stat": ("StatSnapshotRequest", "StatSnapshotResponse", self._stat),
                        "Update": ("UpdateSnapshotRequest", "UpdateSnapshotResponse", self._update),
                        "Usage": ("UsageRequest", "UsageResponse", self._usage),
                        "Cleanup": ("CleanupRequest", "", self._cleanup),
                    },
                ),
                "List": Method(
                    package.ListSnapshotsRequest, package.ListSnapshotsResponse, self._list, TELLS
                ),
            },
            "containerd.services.diff.v1.Diff": methods(
                messages.diff,
                {
                    "Apply": ("ApplyRequest", "ApplyResponse", self._apply),
                    "Diff": ("DiffRequest", "DiffResponse", self._diff),
                },
            ),
        }

    def _prepare(self, request: Message, caller: Caller) -> Message:
        return messages.snapshots.PrepareSnapshotResponse(
            mounts=mounts(self._made(request, caller, ACTIVE))
        )

    def _view(self, request: Message, caller: Caller) -> Message:
        return messages.snapshots.ViewSnapshotResponse(
            mounts=mounts(self._made(request, caller, VIEW))
        )

    def _made(self, request: Message, caller: Caller, kind: str) -> Message:
        _check(request)
        return self._crud.snapshots.prepare(
            caller.namespace,
            request.key,
            request.parent,
            dict(request.labels),
            kind=kind,
            lease=caller.lease,
        )

    def _mounts(self, request: Message, caller: Caller) -> Message:
        _check(request)
        found = self._crud.snapshots.mounts(caller.namespace, request.key)
        return messages.snapshots.MountsResponse(mounts=mounts(found))

    def _commit(self, request: Message, caller: Caller) -> None:
        _check(request)
        self._crud.snapshots.commit(
            caller.namespace, request.name, request.key, dict(request.labels), lease=caller.lease
        )

    def _remove(self, request: Message, caller: Caller) -> None:
        _check(request)
        self._crud.snapshots.remove(caller.namespace, request.key)

    def _stat(self, request: Message, caller: Caller) -> Message:
        _check(request)
        found = self._crud.snapshots.stat(caller.namespace, request.key)
        return messages.snapshots.StatSnapshotResponse(info=_info(found))

    def _update(self, request: Message, caller: Caller) -> Message:
        _check(request)
        wanted = request.info
        found = self._crud.snapshots.update(
            caller.namespace, wanted.name, dict(wanted.labels), paths(request)
        )
        return messages.snapshots.UpdateSnapshotResponse(info=_info(found))

    def _list(self, request: Message, caller: Caller) -> Iterator[Any]:
        _check(request)
        found = chosen(
            self._crud.snapshots.list(caller.namespace),
            request.filters,
            lambda each: fields_of(
                each.labels,
                name=each.name,
                parent=str(each.document["parent"]),
                kind=str(each.document["kind"]).title(),
            ),
        )
        yield messages.snapshots.ListSnapshotsResponse(info=map(_info, found))

    def _usage(self, request: Message, caller: Caller) -> Message:
        _check(request)
        size, inodes = self._crud.snapshots.usage(caller.namespace, request.key)
        return messages.snapshots.UsageResponse(size=size, inodes=inodes)

    def _cleanup(self, request: Message, _caller: Caller) -> None:
        """Nothing waits to be cleaned up: what is removed is gone at once."""
        _check(request)

    def _apply(self, request: Message, caller: Caller) -> Message:
        blob = self._crud.content.info(caller.namespace, request.diff.digest)
        done = self._crud.snapshots.apply(
            caller.namespace, blob.digest, blob.size, mount_points(request.mounts)
        )
        return messages.diff.ApplyResponse(
            applied=messages.types.Descriptor(
                media_type=OCI_LAYER, digest=done.diff_id, size=done.tar_bytes
            )
        )

    def _diff(self, request: Message, caller: Caller) -> Message:
        made = self._crud.diffs.compare(
            caller.namespace,
            mount_points(request.left),
            mount_points(request.right),
            request.media_type,
            dict(request.labels),
            lease=caller.lease,
        )
        return messages.diff.DiffResponse(
            diff=messages.types.Descriptor(
                media_type=made.media_type, digest=made.digest, size=made.size
            )
        )


def _check(request: Message) -> None:
    if request.snapshotter != NAME:
        raise BadInput(
            f"snapshotter not loaded: {request.snapshotter}", why=f"there is only {NAME} here"
        )


def _info(found: Object) -> Message:
    return messages.snapshots.Info(
        name=found.name,
        parent=found.document["parent"],
        kind=_KINDS[found.document["kind"]],
        created_at=time_of(found.created),
        updated_at=time_of(found.updated),
        labels=found.labels,
    )
