"""Volumes: made, looked at, removed, packed and unpacked."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.engine.names import new_id
from ocimagic.engine.pipes import Beside, Pipe, pieces_of
from ocimagic.engine.volume_keeper import options_of
from ocimagic.errors import Conflict, InvalidState, VolumeNotFound
from ocimagic.layers.compress import decompressed
from ocimagic.model.options import VolumeMount
from ocimagic.model.volume import (
    ANONYMOUS,
    VolumeOptions,
    VolumesPruned,
    VolumeSummary,
    check_driver_options,
    check_volume_driver,
    check_volume_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.engine.register import Register
    from ocimagic.store.volumes import VolumeRecord


class Volumes:
    """Verbs on volumes.

    Args:
        containers: those of the same engine.
    """

    def __init__(self, containers: Register) -> None:
        self._containers = containers
        self._keeper = containers.volumes
        self._store = containers.store.volumes

    def create(self, options: VolumeOptions) -> VolumeSummary:
        """Make a volume; one that is there already stays as it is, as in docker.

        Raises:
            InvalidOption: a name, a driver or an option of it that cannot be.
            HostLacks: an option that takes quotas.
        """
        check_volume_driver(options.driver)
        check_driver_options(options.options)
        name = check_volume_name(options.name) if options.name else new_id()
        mount = VolumeMount(
            target="",
            kept=True,
            name=name,
            anonymous=not options.name,
            labels=options.labels,
            options=options.options,
        )
        with self._keeper.using([name]):
            self._keeper.ensure(mount)
            return self._summary(self._store.find(name), ())

    def all(self) -> tuple[VolumeSummary, ...]:
        """Return all volumes, by name."""
        self._look_who_is_gone()
        users = self._keeper.users()
        return tuple(self._summary(each, users.get(each.name, ())) for each in self._store.all())

    def inspect(self, name: str) -> VolumeSummary:
        """Return one volume and who was made with it.

        Raises:
            VolumeNotFound: there is none of this name.
        """
        self._look_who_is_gone()
        return self._summary(self._store.find(name), self._keeper.users().get(name, ()))

    def remove(self, name: str) -> str:
        """Remove a volume with its files; return its name.

        Raises:
            VolumeNotFound: there is none of this name.
            Conflict: a container was made with it.
        """
        self._look_who_is_gone()
        self._keeper.remove(name)
        return name

    def prune(
        self,
        keep: Callable[[VolumeSummary], bool] = lambda _: False,
        *,
        all: bool = False,  # noqa: A002  docker's word
    ) -> VolumesPruned:
        """Remove volumes that no container was made with.

        Args:
            keep: those it says yes to stay.
            all: those that somebody named, too.
        """
        gone, freed = [], 0
        for each in self.all():
            if each.users or keep(each) or not (all or each.anonymous):
                continue
            size = self.size_bytes(each.name)
            with contextlib.suppress(VolumeNotFound, Conflict):
                self._keeper.remove(each.name)
                gone.append(each.name)
                freed += size
        return VolumesPruned(volumes=tuple(gone), freed_bytes=freed)

    def size_bytes(self, name: str) -> int:
        """Return what the files of a volume take."""
        request = {"job": "measure", "path": str(self._keeper.data(name))}
        return int(str(self._keeper.work(request)["bytes"]))

    # -- tar -------------------------------------------------------------------------

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Give a volume's files as a tar; return its size in bytes.

        Raises:
            VolumeNotFound: there is none of this name.
            InvalidState: its files are not kept here.
        """
        self._expect_files(name)
        with self._keeper.using([name]), Pipe() as pipe:
            with self._keeper.filling([name]):
                self._keeper.work(self._request(name, "settle"))
            request = self._request(name, "pack_volume")
            worker = Beside(lambda: self._keeper.work(request, [pipe.writer]), pipe.close_writer)
            total = 0
            try:
                for piece in pipe.pieces():
                    total += len(piece)
                    out(piece)
            finally:
                pipe.close_reader()
                worker.join()
            worker.result()
        return total

    def load(self, name: str, stream: int | bytes) -> int:
        """Unpack a tar, compressed or not, into a volume; return its size in bytes.

        A volume that is empty gets all of it or stays empty.

        Raises:
            VolumeNotFound: there is none of this name.
            LayerRefused: malformed or hostile.
            InvalidState: its files are not kept here.
        """
        self._expect_files(name)
        single = self._containers.launcher.ids == 1
        with self._keeper.using([name]), self._keeper.filling([name]), Pipe() as pipe:
            request = self._request(name, "unpack_volume") | {"single_id": single}
            worker = Beside(lambda: self._keeper.work(request, [pipe.reader]), pipe.close_reader)
            try:
                with contextlib.suppress(BrokenPipeError):  # the worker says why
                    for piece in decompressed(pieces_of(stream)):
                        pipe.write(piece)
            finally:
                pipe.close_writer()
                worker.join()
            worker.result()
            return pipe.total

    def _expect_files(self, name: str) -> None:
        """See that the files of a volume are kept here."""
        options = options_of(self._store.find(name))
        if options:
            raise InvalidState(
                f"the files of volume {name} are not kept here",
                why=f"its driver mounts {options['device']}, and only in containers",
                hint=f"a container with -v {name}:/v can pack and unpack them",
            )

    def _request(self, name: str, job: str) -> dict[str, object]:
        self._store.find(name)
        return {"job": job, "directory": str(self._keeper.directory(name))}

    def _look_who_is_gone(self) -> None:
        """Forget containers that their shims have removed: their volumes are not in use."""
        for record in self._containers.store.containers.all():
            self._containers.is_gone(record)

    def _summary(self, record: VolumeRecord, users: Sequence[str]) -> VolumeSummary:
        document = json.loads(record.document)
        nameless = {ANONYMOUS: ""} if document["anonymous"] else {}
        return VolumeSummary(
            name=record.name,
            created=datetime.fromtimestamp(record.created, UTC),
            mountpoint=str(self._keeper.data(record.name)),
            labels=document["labels"] | nameless,
            anonymous=document["anonymous"],
            users=tuple(users),
            options=options_of(record),
        )
