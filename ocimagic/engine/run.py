"""``container run``: what happens from the command to the process.

Read it beside the class notes.  The image becomes snapshots (image repository), image and
request become a bundle (OCI bundle), the bundle goes to the launcher, which forks a shim, which
has the runtime (the role of runc) make the namespaces and start the command.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.bundle.checks import NOT_ISOLATED, check_options, warnings
from ocimagic.bundle.convert import command_line, runtime_config
from ocimagic.bundle.directory import CONFIG_NAME, write_bundle
from ocimagic.bundle.health import health_check
from ocimagic.bundle.hostfiles import write_host_files
from ocimagic.bundle.machine import find_place
from ocimagic.engine.addresses import shown_address
from ocimagic.engine.connected import with_holder
from ocimagic.engine.links import announce, find_linked, introduce
from ocimagic.engine.names import check_name, new_id, new_name
from ocimagic.engine.networks import Networks
from ocimagic.engine.record import Document, with_made
from ocimagic.engine.sharing import Donors, find_donors, network_name, sharing_launcher
from ocimagic.engine.supervision import find_runtime, stop_signal, supervision
from ocimagic.engine.timeline import Remembered, Ticks
from ocimagic.engine.volume_mounts import check_parts, inherited, with_volumes
from ocimagic.errors import (
    Cancelled,
    ContainerNotFound,
    InvalidOption,
    NameInUse,
    OcimagicError,
    PortTaken,
    StorageError,
)
from ocimagic.home.disk import storage_errors
from ocimagic.model.event import Notice, OnEvent
from ocimagic.model.network import BRIDGE
from ocimagic.model.options import NetworkMode
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.model.state import Verb
from ocimagic.network.plan import RESOLVER
from ocimagic.shim import client as shim
from ocimagic.store.containers import ContainerRecord
from ocimagic.transfer.layer import layers_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from ocimagic.bundle.place import Place
    from ocimagic.engine.attachment import Attachment
    from ocimagic.engine.lifecycle import Lifecycle
    from ocimagic.model.options import RunOptions, VolumeMount
    from ocimagic.model.result import ExitStatus
    from ocimagic.store.images import StoredImage

_INTERRUPT_GRACE_S = 0.5


def run(
    containers: Lifecycle,
    options: RunOptions,
    *,
    stdin: int | bytes | None,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> RunResult | ContainerSummary:
    """Create, start, and wait for the end unless detached."""
    began = time.monotonic()
    record = create(containers, options, on_event)
    streams = _streams(options)
    try:
        connection = start(containers, record, attach=bool(streams))
        if not streams:
            connection.close()
            return containers.summary(record)
        with containers.attachment(record, connection, stdin="stdin" in streams) as attachment:
            if streams == {"stdin"}:
                attachment.copy_input(stdin)
                return containers.summary(record)
            out, err, ended = _follow(attachment, options, stdin, on_event, cancelled)
    except BaseException:  # an interrupt or a listener that failed, too
        _give_up(containers, record, options)
        raise
    if ended is None:
        return containers.summary(record)
    if options.remove:
        containers.recent.ended(record.container_id, ended)
        containers.forget(record)
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
        isolated=not containers.unpacker.copies,
    )


def _streams(options: RunOptions) -> set[str]:
    """Return which streams the caller follows."""
    if options.detach:
        return set()
    chosen = {"stdout", "stderr"} if options.attach is None else set(options.attach)
    return chosen | ({"stdin"} if options.interactive else set())


def create(containers: Lifecycle, options: RunOptions, on_event: OnEvent) -> ContainerRecord:
    """Make a container: its snapshots, its directory, its bundle, its row."""
    store, ticks = containers.store, Ticks()
    ticks.note("asked", options.network.value)
    _ = containers.launcher
    container_id = new_id()
    with store.in_use(), storage_errors(store.home.data), _id_file(options, container_id):
        name = _free_name(containers, options.name)
        networks = Networks(containers)
        options = networks.usual(options)
        donors = find_donors(containers, inherited(containers, options), container_id)
        links = find_linked(containers, options)
        if options.networks:
            networks.check(options.networks)
        place = _place(containers, donors, container_id)
        runtime = find_runtime(options.runtime)
        if runtime:
            check_parts(donors.options)
        ticks.note("checked")
        image = containers.images.obtain(options, on_event)
        ticks.note("image", image.manifest.digest)
        layers = containers.unpacker.ensure(layers_of(image))
        ticks.note("layers", len(layers))
        if not options.remove:
            store.sync()  # what a container stands on must be there after a power cut
            ticks.note("synced")
        # Where nothing can be mounted, what the image has there stays in the root.
        wanted = () if place.bare else image.config.config.volumes
        donors = replace(donors, options=with_volumes(containers, donors.options, wanted))
        document = replace(
            _document(donors, image, container_id, layers, bare=place.bare),
            runtime=runtime,
            links=links,
        )
        record = ContainerRecord(
            container_id, name, image.manifest.digest, time.time(), document.encode()
        )
        try:
            with _volumes(containers, donors.options.volumes):
                # The row last: one without a directory is what a container that is gone looks like.
                _write(containers, document, donors, image, place, ticks)
                record = replace(record, document=with_made(record.document, ticks.encode()))
                for text in warnings(donors.options, place):
                    if text not in containers.told:
                        on_event(Notice(text))
                containers.told |= {NOT_ISOLATED} if place.bare else set()
                added = _add(containers, record, chosen=bool(options.name))
                containers.note(added, "create")
                return added
        except BaseException:
            containers.discard(record, volumes=True)
            raise


@contextmanager
def _volumes(containers: Lifecycle, mounts: Sequence[VolumeMount]) -> Iterator[None]:
    """Have the volumes of a container there, and keep them until its row does."""
    kept = [each for each in mounts if each.kept]
    with containers.volumes.using(each.name for each in kept):
        for each in kept:
            containers.volumes.ensure(each)
            containers.volumes.expect(each)
        yield


@contextmanager
def _id_file(options: RunOptions, container_id: str) -> Iterator[None]:
    """Write the ID to the file that was asked for; it goes again if the container does."""
    if not options.cidfile:
        yield
        return
    try:
        fd = os.open(options.cidfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as err:
        raise InvalidOption(
            f"the container ID file {options.cidfile} is there already",
            hint="make sure that its container does not run, and remove it",
        ) from err
    except OSError as err:
        raise StorageError(f"cannot write {options.cidfile}", why=err.strerror) from err
    try:
        yield
        os.write(fd, container_id.encode())
    except BaseException:
        with suppress(OSError):
            os.unlink(options.cidfile)
        raise
    finally:
        os.close(fd)


def _free_name(containers: Lifecycle, chosen: str | None) -> str:
    """Return the chosen name, or one nobody has.

    Raises:
        NameInUse: by another container, and not by one that its shim has removed.
    """
    if chosen:
        with suppress(ContainerNotFound):
            containers.find(chosen)
    taken = {each.name for each in containers.store.containers.all()}
    return check_name(chosen, taken) if chosen else new_name(taken)


def _add(containers: Lifecycle, record: ContainerRecord, *, chosen: bool) -> ContainerRecord:
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


def start(containers: Lifecycle, record: ContainerRecord, *, attach: bool) -> shim.Connection:
    """Hand the bundle to the launcher and wait until the command began.

    Raises:
        InvalidState: it runs already, or a container whose namespace it shares does not.
        CommandNotFound, CommandNotExecutable, StartFailed: the runtime says why.
    """
    document, ticks = Document.decode(record.document), Ticks()
    ticks.note("asked", os.getpid())
    directory = containers.directory(record.container_id)
    run_directory = containers.run_directory(record.container_id)
    settling = Networks(containers).settling(document.options.networks)
    with containers.locked(record), storage_errors(containers.store.home.data), settling:
        if not directory.exists():
            raise ContainerNotFound(f"no such container: {record.name}", why="it was removed")
        containers.check(record, Verb.START)
        is_again = (directory / "exit.json").exists()
        for stale in ("exit.json", "state.json", shim.TIMELINE_NAME):
            (directory / stale).unlink(missing_ok=True)
        run_directory.mkdir(mode=0o700, exist_ok=True)
        (run_directory / "shim.sock").unlink(missing_ok=True)
        network = _connected(containers, record, document)
        ticks.note("networks")
        if attach:
            containers.note(record, "attach")
        if document.options.remove:
            config = (directory / "bundle" / CONFIG_NAME).read_bytes()
            containers.recent.put(Remembered(record, config))
        request = {
            "id": record.container_id,
            "bundle": str(directory / "bundle"),
            "directory": str(directory),
            "run_directory": str(run_directory),
            "log_path": str(containers.log_path(record.container_id)),
            "interactive": document.options.interactive,
            "remove": document.options.remove,
            "attached": attach,
            "network": network,
            "volumes": containers.volumes.ending(document),
            "events": {
                "path": str(containers.store.home.journal),
                "attributes": containers.said_of(record),
                "volumes": containers.volumes.told(record.container_id, document),
            },
            **supervision(document),
        }
        with sharing_launcher(containers, document, record.container_id) as launcher:
            ticks.note("launch", launcher.pid)
            connection = launcher.launch(request | {"engine": ticks.encode()})
            try:
                _wait_started(connection)
            except PortTaken as err:
                raise with_holder(err, network) from err
    containers.recent.started(record.container_id, connection)
    if is_again:
        announce(containers, record)
    return connection


def _connected(
    containers: Lifecycle, record: ContainerRecord, document: Document
) -> dict[str, object] | None:
    """Decide where a container is in its networks, and write that into its /etc/hosts."""
    if not document.options.networks:
        return None
    plan = Networks(containers).plan(record, document)
    addresses = [shown_address(each) for one in plan.endpoints for each in one.addresses]
    write_host_files(
        containers.directory(record.container_id),
        document.hostname,
        own_network=True,
        options=document.options,
        addresses=addresses,
        resolver=RESOLVER if any(each.resolves for each in plan.endpoints) else "",
    )
    if document.links and any(each.network == BRIDGE for each in plan.endpoints):
        introduce(containers, record, document)
    return plan.to_json()


def _wait_started(connection: shim.Connection) -> None:
    try:
        connection.started()
    except OcimagicError:
        connection.close()
        raise
    except BaseException:  # an interrupt: its command is perhaps about to begin
        connection.abort()
        connection.close()
        raise


def _document(
    donors: Donors, image: StoredImage, container_id: str, layers: list[str], *, bare: bool
) -> Document:
    config, options = image.config.config, donors.options
    shared = options.network is NetworkMode.HOST or options.uts == "host" or bare
    hostname = options.hostname or donors.hostname
    return Document(
        options=options,
        image_id=image.image_id,
        command=command_line(config, options),
        hostname=hostname or (socket.gethostname() if shared else container_id[:12]),
        network=network_name(options, donors.ids),
        layers=tuple(layers),
        labels={**config.labels, **options.labels},
        stop_signal=stop_signal(options, config.stop_signal),
        health=health_check(config.healthcheck, options.health),
        shell=config.shell,
        exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *options.exposed_ports))),
        joined=donors.ids,
    )


def _place(containers: Lifecycle, donors: Donors, container_id: str) -> Place:
    """Look at the machine, and refuse what cannot be before anything is fetched for it."""
    place = find_place(
        donors.options,
        rootless=containers.unpacker.rootless,
        shares_processes=containers.unpacker.shares_processes,
        bare=containers.unpacker.copies,
        tracer=containers.unpacker.tracer,
        container_id=container_id,
        shm_path=donors.shm_path,
    )
    check_options(donors.options, place)
    return place


def _write(
    containers: Lifecycle,
    document: Document,
    donors: Donors,
    image: StoredImage,
    place: Place,
    ticks: Ticks,
) -> None:
    """Fill the container's directory: host files, changes, bundle."""
    options = document.options
    directory = containers.directory(place.container_id)
    directory.mkdir(mode=0o700)
    files = donors.files or write_host_files(
        directory, document.hostname, own_network=_is_own(options), options=options
    )
    where = replace(place, hostname=document.hostname, files=files)
    ticks.note("host files")
    config = runtime_config(image.config.config, options, where)
    ticks.note("config")
    snapshots = containers.store.snapshots
    if place.bare:
        rootfs = snapshots.copied_rootfs(document.layers, directory / "rw")
        request = {"op": "files", "job": "populate", "rootfs": rootfs.to_json(), "files": files}
        containers.launcher.work(request)
    else:
        rootfs = snapshots.rootfs(
            document.layers, directory / "rw", userxattr=place.rootless, volatile=options.remove
        )
    ticks.note("snapshot", len(document.layers))
    bundle = directory / "bundle"
    write_bundle(bundle, config, rootfs)
    ticks.note("bundle")
    layers = {"rootfs": rootfs.to_json(), "bundle": str(bundle)}
    containers.volumes.fill(options.volumes, layers)


def _is_own(options: RunOptions) -> bool:
    return options.network in (NetworkMode.NONE, NetworkMode.NETWORK)


def _follow(
    attachment: Attachment,
    options: RunOptions,
    stdin: int | bytes | None,
    on_event: OnEvent,
    cancelled: threading.Event | None,
) -> tuple[bytes, bytes, ExitStatus | None]:
    """Collect and pass on what the container writes until it ends, or we let go of it."""
    if attachment.interactive:
        attachment.feed(stdin)
    out, err = attachment.follow(on_event, cancelled, streams=_streams(options))
    if attachment.exit is None and cancelled is not None and cancelled.is_set():
        raise _cancelled(attachment.name, options)
    return out, err, attachment.exit


def _cancelled(name: str, options: RunOptions) -> Cancelled:
    if not options.sig_proxy:
        return Cancelled(
            f"detached by you: container {name} goes on",
            hint=f"%container_attach {name} comes back to it, %container_stop {name} ends it",
        )
    done = "killed" if options.kill_at_interrupt else "stopped"
    return Cancelled(
        f"stopped by you: container {name} was {done}",
        hint=None if options.remove else f"%container_logs {name} shows what it wrote",
    )


def _give_up(containers: Lifecycle, record: ContainerRecord, options: RunOptions) -> None:
    """Leave nothing running behind a run that its caller will not see the end of."""
    if not options.sig_proxy:
        return
    with suppress(OcimagicError):
        if options.kill_at_interrupt:
            containers.kill(record.container_id)
            containers.wait(record.container_id)
        else:
            containers.stop(record.container_id, grace_s=_INTERRUPT_GRACE_S)
        shim.end_lost(containers.directory(record.container_id))
        if options.remove:
            containers.remove(record.container_id, force=True)
