"""Files of containers: copied in and out, compared with the image, exported."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from ocimagic.bundle.hostfiles import PLACED, SHOWN
from ocimagic.engine.copying import (
    CONTENTS,
    LocalSource,
    Source,
    Target,
    absolute,
    local_target,
    plan,
    source_name,
    target_in,
    unpack_here,
)
from ocimagic.engine.links import linked_env
from ocimagic.engine.pipes import Beside, Counted, Pipe, pieces_of
from ocimagic.engine.record import Document
from ocimagic.engine.register import STATE_NAME, Register, read_json
from ocimagic.errors import BadInput, HostLacks, InvalidState, NotFound
from ocimagic.layers.compress import decompressed
from ocimagic.model.report import ChangeKind, Committed, Copied, FileChange, PathInfo
from ocimagic.model.state import Status, Verb
from ocimagic.spec.runtime import TRACER_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ocimagic.model.request import CommitOptions
    from ocimagic.shim.client import Connection
    from ocimagic.store.containers import ContainerRecord

_CHUNK = 1 << 18
Request = dict[str, object]
MAX_NAMES = 1000


class Files(Register):
    """Verbs on files; ``name`` is a name or an ID, whole or its first digits."""

    # -- cp ----------------------------------------------------------------------

    def copy_from(
        self,
        name: str,
        path: str,
        target: str,
        *,
        follow_link: bool = False,
        archive: bool = False,
    ) -> Copied:
        """Copy a file or directory of a container to the machine, by docker's rules.

        Args:
            name: the container.
            path: in it; ``/.`` at its end means what is in the directory.
            target: a path of the machine.
            follow_link: copy what a symlink at the end of ``path`` leads to.
            archive: keep the owners.

        Raises:
            NotFound: there is no such file.
            BadInput: a directory onto a file, or the like.
        """
        record = self._checked(name)
        follow = follow_link or path.endswith(("/", "/."))
        found = self._look(record, path, follow=follow)
        source = Source(source_name(path), found.is_directory)
        directory, rebased = plan(source, local_target(target))
        with self._reading(record, path, rebased, follow=follow) as chunks:
            counted = Counted(chunks)
            unpack_here(counted, directory, owners=archive)
        self.note(record, "archive-path")
        return Copied(source=f"{record.name}:{path}", target=target, size_bytes=counted.total)

    def copy_to(self, name: str, source: str, path: str, *, follow_link: bool = False) -> Copied:
        """Copy a file or directory of the machine into a container, by docker's rules.

        Owners go along as numbers, as with docker.

        Raises:
            NotFound: no such file here, or no such directory there.
            BadInput: a directory onto a file, or the like.
        """
        record = self._checked(name)
        local = LocalSource.look(source, follow=follow_link)
        directory, rebased = plan(local.source, self._target(record, path))
        size = self._writing(record, directory, lambda out: local.write(rebased, out))
        self.note(record, "extract-to-dir")
        return Copied(source=source, target=f"{record.name}:{path}", size_bytes=size)

    def stat(self, name: str, path: str, *, follow_link: bool = False) -> PathInfo:
        """Look at a path in a container.

        Raises:
            NotFound: it is not there.
        """
        return self._look(self._checked(name), path, follow=follow_link)

    def names(self, name: str, path: str, *, limit: int = MAX_NAMES) -> tuple[str, ...]:
        """List a directory of a container, sorted; directories end with a slash.

        Raises:
            NotFound: there is no such directory.
        """
        request: Request = {"job": "names", "path": absolute(path), "limit": limit}
        found = self._work(self._checked(name), request, [])["names"]
        assert isinstance(found, list)
        return tuple(str(each) for each in found)

    def read_archive(
        self, name: str, path: str, out: Callable[[bytes], object], *, follow_link: bool = False
    ) -> int:
        """Give a file or directory of a container as a tar, and return its size in bytes.

        Raises:
            NotFound: it is not there.
        """
        record = self._checked(name)
        follow = follow_link or path.endswith(("/", "/."))
        found = self._look(record, path, follow=follow)
        first = CONTENTS if source_name(path) == CONTENTS else found.name
        with self._reading(record, path, first, follow=follow) as chunks:
            counted = Counted(chunks)
            for chunk in counted:
                out(chunk)
        self.note(record, "archive-path")
        return counted.total

    def write_archive(self, name: str, path: str, stdin: int | bytes) -> int:
        """Unpack a tar, gzipped or not, into a directory of a container; return its size.

        Raises:
            NotFound: the directory is not there.
            BadInput: it is no directory.
            LayerRefused: no tar, or one that names something outside.
        """
        record = self._checked(name)
        target = self._target(record, path)
        if not target.is_directory:
            raise BadInput(f"the destination {record.name}:{path} must be a directory")

        def write(out: Callable[[bytes | memoryview], object]) -> None:
            for piece in decompressed(pieces_of(stdin)):
                out(piece)

        size = self._writing(record, target.path or "/", write)
        self.note(record, "extract-to-dir")
        return size

    def _checked(self, name: str) -> ContainerRecord:
        record = self.find(name)
        self.check(record, Verb.COPY)
        return record

    def _target(self, record: ContainerRecord, path: str) -> Target:
        return target_in(
            record.name, path, lambda each, follow: self._look(record, each, follow=follow)
        )

    def _look(self, record: ContainerRecord, path: str, *, follow: bool) -> PathInfo:
        request = {"job": "look", "path": absolute(path), "follow": follow}
        try:
            found = self._work(record, request, [])
        except NotFound as err:
            raise NotFound(
                f"could not find the file {path} in container {record.name}", why=err.why
            ) from err
        return PathInfo(
            name=str(found["name"]),
            size_bytes=int(str(found["size"])),
            mode=int(str(found["mode"])),
            modified_ns=int(str(found["mtime_ns"])),
            link_target=str(found["linkname"]),
        )

    @contextlib.contextmanager
    def _reading(
        self, record: ContainerRecord, path: str, name: str, *, follow: bool
    ) -> Iterator[Iterator[bytes]]:
        """Have a worker write a tar, and yield its pieces."""
        request = {"job": "put_out", "path": absolute(path), "name": name, "follow": follow}
        with Pipe() as pipe:
            worker = Beside(lambda: self._work(record, request, [pipe.writer]), pipe.close_writer)
            try:
                yield pipe.pieces()
            finally:
                pipe.close_reader()
                worker.join()
            worker.result()

    def _writing(
        self,
        record: ContainerRecord,
        directory: str,
        write: Callable[[Callable[[bytes | memoryview], object]], None],
    ) -> int:
        """Have a worker unpack the tar that ``write`` writes; return its size in bytes."""
        single = self.launcher.ids == 1
        request = {"job": "take_in", "path": directory, "single_id": single}
        with Pipe() as pipe:

            def work() -> Mapping[str, object]:
                return self._work(record, request, [pipe.reader], writable=True)

            worker = Beside(work, pipe.close_reader)
            try:
                with contextlib.suppress(BrokenPipeError):  # the worker says why
                    write(pipe.write)
            finally:
                pipe.close_writer()
                worker.join()
            worker.result()
            return pipe.total

    # -- diff, export ------------------------------------------------------------

    def diff(self, name: str) -> tuple[FileChange, ...]:
        """Return what changed in a container's own files since it was made, sorted by path."""
        found = self.compared(self.find(name))
        return tuple(FileChange(ChangeKind(kind), f"/{path}") for kind, path, *_ in found)

    def compared(self, record: ContainerRecord) -> list[tuple[str, str, int, bool, bool]]:
        """Return what changed: see ``layers.changes.weighed``."""
        self.check(record, Verb.DIFF)
        with Pipe() as pipe:
            request = {"job": "compare"} | self._layers(record)
            worker = Beside(lambda: self.files_work(request, [pipe.writer]), pipe.close_writer)
            raw = b"".join(pipe.pieces())
            worker.join()
            worker.result()
        return [tuple(each) for each in json.loads(raw)]

    def export(self, name: str, out: Callable[[bytes], object]) -> int:
        """Give all files of a container, volumes left out, as a tar; return its size in bytes."""
        record = self.find(name)
        self.check(record, Verb.EXPORT)
        request = {"job": "export"} | self._layers(record)
        with Pipe() as pipe:
            worker = Beside(lambda: self.files_work(request, [pipe.writer]), pipe.close_writer)
            counted = Counted(pipe.pieces())
            try:
                for piece in counted:
                    out(piece)
            finally:
                pipe.close_reader()
                worker.join()
            worker.result()
        self.note(record, "export")
        return counted.total

    # -- commit ------------------------------------------------------------------

    def commit(self, name: str, options: CommitOptions) -> Committed:
        """Make an image of a container: its own image's layers, and what it changed as one more.

        Raises:
            InvalidReference: the name is none.
            InvalidOption: a change cannot be understood.
        """
        # Only here: it reads Dockerfiles, and knows how one is built.
        from ocimagic.engine.commit import (
            Origin,
            parse_name,
            store_image,
            store_layer,
            with_changes,
        )

        record = self.find(name)
        self.check(record, Verb.COMMIT)
        reference = parse_name(options.reference)
        document = Document.decode(record.document)
        with self.store.in_use():
            image = self.store.images.load(record.manifest)
            linked = linked_env(self, record)
            env = [each for each in self.runtime_config(record).process.env if each not in linked]
            origin = Origin(record.container_id, image, document, env)
            config = with_changes(origin.config, image.config.platform, options.changes)
            with self._paused(record) if options.pause else contextlib.nullcontext():
                layer = store_layer(
                    self.store,
                    lambda fd, toc: self.files_work(
                        {"job": "pack", "toc": toc} | self._layers(record), [fd]
                    ),
                )
            made = store_image(self.store, origin, config, layer, options)
        name = reference.familiar if reference else ""
        image_id = str(made.config.digest)
        self.note(record, "commit", comment=options.message, imageID=image_id, imageRef=name)
        return Committed(
            image_id=made.config.digest,
            reference=name,
            size_bytes=layer.unpacked_bytes,
        )

    @contextlib.contextmanager
    def _paused(self, record: ContainerRecord) -> Iterator[None]:
        """Stop a container's processes for a while, if they run."""
        if self.status(record)[0] is not Status.RUNNING:
            yield
            return
        with contextlib.ExitStack() as stack:
            # It may end any moment, or have no cgroup to freeze: better a picture in motion
            # than none.
            with contextlib.suppress(HostLacks, InvalidState):
                connection = stack.enter_context(self.connect(record))
                connection.pause()
                stack.callback(_resume, connection)
            yield

    # -- for the rest of this room -----------------------------------------------

    def files_work(self, request: Request, fds: list[int]) -> Mapping[str, object]:
        """Have a worker do a job on files."""
        return self.launcher.work({"op": "files"} | request, fds)

    def _layers(self, record: ContainerRecord) -> Request:
        """Return what a worker needs to know of a container's layers."""
        bundle = self.directory(record.container_id) / "bundle"
        return {
            "rootfs": json.loads((bundle / "rootfs.json").read_bytes()),
            "bundle": str(bundle),
            "stubs": _stubs(bundle, Document.decode(record.document)),
        }

    def _work(
        self, record: ContainerRecord, request: Request, fds: list[int], *, writable: bool = False
    ) -> Mapping[str, object]:
        """Do a job on the root of a container as its processes see it, or would."""
        is_running = self.status(record)[0] in (Status.RUNNING, Status.PAUSED)
        if is_running and self.unpacker.copies:
            return self.files_work(request | {"root": self._layers(record)}, fds)
        if is_running:
            state = read_json(self.directory(record.container_id) / STATE_NAME) or {}
            root = {key: state.get(key) for key in ("pid", "start_ticks", "boot_id")}
            return self.files_work(request | {"root": root}, fds)
        # Nobody may start it meanwhile: two mounts on one upper directory would ruin it.
        with self.locked(record):
            if self.status(record)[0] in (Status.RUNNING, Status.PAUSED, Status.RESTARTING):
                raise InvalidState(f"container {record.name} is just starting", hint="try again")
            root = self._root_of_files(record, writable=writable)
            return self.files_work(request | {"root": root}, fds)

    def _root_of_files(self, record: ContainerRecord, *, writable: bool) -> Request:
        options = Document.decode(record.document).options
        if writable and options.read_only:
            raise InvalidState(f"the root of container {record.name} is read-only")
        volumes = sorted(options.volumes, key=lambda each: each.target.count("/"))
        binds = [[each.source, each.target, each.read_only, each.part] for each in volumes]
        return self._layers(record) | {"binds": binds, "writable": writable}


def _stubs(bundle: Path, document: Document) -> list[str]:
    """List where the engine mounts something of its own: empty files and directories there."""
    config = json.loads((bundle / "config.json").read_bytes())
    if "mount" not in {each["type"] for each in config["linux"].get("namespaces", ())}:
        is_traced = TRACER_ANNOTATION in config.get("annotations", {})
        return [*PLACED, *(SHOWN if is_traced else ())]
    options = document.options
    targets = [*(each.target for each in options.volumes), *(each.target for each in options.tmpfs)]
    asked = {target.rstrip("/") for target in targets}
    mounts = (str(mount["destination"]) for mount in config["mounts"])
    return [path.strip("/") for path in mounts if path.rstrip("/") not in asked]


def _resume(connection: Connection) -> None:
    with contextlib.suppress(InvalidState):  # it was killed meanwhile
        connection.resume()
