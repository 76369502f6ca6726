"""``container run``: what happens from the command to the process.

Read it beside the class notes.  The image becomes snapshots (image repository), image and
request become a bundle (OCI bundle), the bundle goes to the launcher, which forks a shim, which
has the runtime (the role of runc) make the namespaces and start the command.
"""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.bundle.convert import Place, command_line, runtime_config
from ocimagic.bundle.directory import write_bundle
from ocimagic.bundle.hostfiles import write_host_files
from ocimagic.engine.names import check_name, new_id, new_name
from ocimagic.engine.record import Document
from ocimagic.errors import Cancelled, ContainerNotFound, NameInUse, OcimagicError, StartFailed
from ocimagic.home.disk import storage_errors
from ocimagic.model.event import OnEvent, Output
from ocimagic.model.options import NetworkMode
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.model.state import Verb
from ocimagic.shim import client as shim
from ocimagic.shim import protocol
from ocimagic.store.containers import ContainerRecord
from ocimagic.transfer.unpack import layers_of

if TYPE_CHECKING:
    from ocimagic.engine.containers import Containers
    from ocimagic.model.options import RunOptions
    from ocimagic.store.images import StoredImage

_INTERRUPT_GRACE_S = 0.5


def run(
    containers: Containers,
    options: RunOptions,
    *,
    stdin: int | bytes | None,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> RunResult | ContainerSummary:
    """Create, start, and wait for the end unless detached."""
    began = time.monotonic()
    record = create(containers, options, on_event)
    try:
        with start(containers, record, attach=not options.detach) as connection:
            if options.detach:
                return containers.summary(record)
            if options.interactive:
                _feed(connection, stdin)
            out, err, ended = _follow(record, connection, on_event, cancelled)
    except BaseException:  # an interrupt or a listener that failed, too
        _give_up(containers, record, remove=options.remove)
        raise
    if options.remove:
        containers.store.containers.remove(record.container_id)
    return RunResult(
        container_id=record.container_id,
        name=record.name,
        image=options.image,
        exit_code=ended.code,
        stdout=out,
        stderr=err,
        duration_s=time.monotonic() - began,
        removed=options.remove,
        network=Document.decode(record.document).network,
    )


def create(containers: Containers, options: RunOptions, on_event: OnEvent) -> ContainerRecord:
    """Make a container: its snapshots, its directory, its bundle, its row."""
    store = containers.store
    _ = containers.launcher
    with store.in_use(), storage_errors(store.home.data):
        name = _free_name(containers, options.name)
        image = containers.images.obtain(options, on_event)
        layers = containers.unpacker.ensure(layers_of(image))
        store.sync()  # what a container stands on must be there after a power cut
        container_id = new_id()
        document = _document(options, image, container_id, layers)
        record = ContainerRecord(
            container_id, name, image.manifest.digest, time.time(), document.encode()
        )
        # The row last: a row without a directory is what a container that is gone looks like.
        try:
            _write(containers, container_id, document, image)
            return _add(containers, record, chosen=bool(options.name))
        except BaseException:
            containers.discard(record)
            raise


def _free_name(containers: Containers, chosen: str | None) -> str:
    """Return the chosen name, or one nobody has.

    Raises:
        NameInUse: by another container, and not by one that its shim has removed.
    """
    if chosen:
        with suppress(ContainerNotFound):
            containers.find(chosen)
    taken = {each.name for each in containers.store.containers.all()}
    return check_name(chosen, taken) if chosen else new_name(taken)


def _add(containers: Containers, record: ContainerRecord, *, chosen: bool) -> ContainerRecord:
    """Give a container its row; a friendly name somebody else took just now is changed."""
    while True:
        try:
            containers.store.containers.add(record)
        except NameInUse:
            if chosen:
                raise
            record = replace(record, name=_free_name(containers, None))
        else:
            return record


def start(containers: Containers, record: ContainerRecord, *, attach: bool) -> shim.Connection:
    """Hand the bundle to the launcher and wait until the command began.

    Raises:
        InvalidState: it runs already.
        CommandNotFound, CommandNotExecutable, StartFailed: the runtime says why.
    """
    document = Document.decode(record.document)
    directory = containers.directory(record.container_id)
    run_directory = containers.run_directory(record.container_id)
    with containers.locked(record), storage_errors(containers.store.home.data):
        if not directory.exists():
            raise ContainerNotFound(f"no such container: {record.name}", why="it was removed")
        containers.check(record, Verb.START)
        for stale in ("exit.json", "state.json"):
            (directory / stale).unlink(missing_ok=True)
        run_directory.mkdir(mode=0o700, exist_ok=True)
        (run_directory / "shim.sock").unlink(missing_ok=True)
        connection = containers.launcher.launch(
            {
                "id": record.container_id,
                "bundle": str(directory / "bundle"),
                "directory": str(directory),
                "run_directory": str(run_directory),
                "log": str(containers.log_path(record.container_id)),
                "interactive": document.options.interactive,
                "remove": document.options.remove,
                "attached": attach,
            }
        )
        try:
            connection.started()
        except OcimagicError:
            connection.close()
            raise
        except BaseException:  # an interrupt: its command is perhaps about to begin
            connection.abort()
            connection.close()
            raise
    return connection


def _document(
    options: RunOptions, image: StoredImage, container_id: str, layers: list[str]
) -> Document:
    shared = options.network is NetworkMode.HOST
    hostname = options.hostname or (socket.gethostname() if shared else container_id[:12])
    return Document(
        options=options,
        image_id=image.image_id,
        command=command_line(image.config.config, options),
        hostname=hostname,
        network="none" if options.network is NetworkMode.NONE else "host",
        layers=tuple(layers),
    )


def _write(
    containers: Containers, container_id: str, document: Document, image: StoredImage
) -> None:
    """Fill the container's directory: host files, changes, bundle."""
    options = document.options
    rootless = containers.unpacker.rootless
    directory = containers.directory(container_id)
    directory.mkdir(mode=0o700)
    files = write_host_files(directory, document.hostname, own_network=document.network == "none")
    place = Place(
        machine=platform.machine(), rootless=rootless, hostname=document.hostname, files=files
    )
    config = runtime_config(image.config.config, options, place)
    rootfs = containers.store.snapshots.rootfs(
        document.layers, directory / "rw", userxattr=rootless, volatile=options.remove
    )
    write_bundle(directory / "bundle", config, rootfs)


def _feed(connection: shim.Connection, stdin: int | bytes | None) -> None:
    """Send bytes, or copy a descriptor until its end, to the container's stdin.

    Beside the reading: a container that writes as much as it reads would wait for us, and we
    for it.
    """

    def copy() -> None:
        try:
            if isinstance(stdin, int):
                while data := os.read(stdin, 1 << 16):
                    connection.send_stdin(data)
            elif stdin:
                connection.send_stdin(stdin)
            connection.send_stdin(b"")
        except OSError:
            return  # the container or the terminal went first

    threading.Thread(target=copy, daemon=True).start()


def _follow(
    record: ContainerRecord,
    connection: shim.Connection,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> tuple[bytes, bytes, shim.Exit]:
    """Collect and pass on what the container writes until it ends."""
    collected = {protocol.STDOUT: bytearray(), protocol.STDERR: bytearray()}
    for kind, payload in connection.frames(cancelled=cancelled):
        if kind in collected:
            collected[kind] += payload
            on_event(Output(protocol.STREAMS[kind], payload))
        elif ended := shim.exit_of(payload):
            return bytes(collected[protocol.STDOUT]), bytes(collected[protocol.STDERR]), ended
    if cancelled is not None and cancelled.is_set():
        removed = Document.decode(record.document).options.remove
        raise Cancelled(
            f"stopped by you: container {record.name} was stopped",
            hint=None if removed else f"%container_logs {record.name} shows what it wrote",
        )
    raise StartFailed(
        f"the shim of container {record.name} is gone",
        why="it was killed; nobody saw the exit code",
        hint=f"%container_logs {record.name} shows what was written until then",
    )


def _give_up(containers: Containers, record: ContainerRecord, *, remove: bool) -> None:
    """Leave nothing running behind a run that its caller will not see the end of."""
    with suppress(OcimagicError):
        containers.stop(record.container_id, grace_s=_INTERRUPT_GRACE_S)
        shim.end_lost(containers.directory(record.container_id))
        if remove:
            containers.remove(record.container_id, force=True)
