"""The register of containers: who they are, where their files are, how each one is now.

What was asked for is in the database; what became of it is in files that shims write, so
the truth is the same for every engine, and still there when none runs.
"""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.bundle.directory import CONFIG_NAME
from ocimagic.engine.attachment import Attachment
from ocimagic.engine.connected import bindings, places
from ocimagic.engine.exits import exit_status, parse_time
from ocimagic.engine.record import Document
from ocimagic.engine.timeline import Recent
from ocimagic.engine.usage import memory_of
from ocimagic.engine.volume_keeper import VolumeKeeper
from ocimagic.errors import HostLacks
from ocimagic.home.locks import is_locked, locked
from ocimagic.model.report import Health, HealthProbe
from ocimagic.model.result import ContainerSummary, ExitStatus
from ocimagic.model.state import Status, Verb, refusal
from ocimagic.shim import client as shim
from ocimagic.spec.codec import Fields
from ocimagic.spec.runtime import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.engine.images import Images
    from ocimagic.shim.client import Connection, Launcher
    from ocimagic.store.containers import ContainerRecord
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

LOST = 255
STATE_NAME = "state.json"
EXIT_NAME = "exit.json"


class Register:
    """What all verbs on containers stand on; ``Containers`` adds the verbs."""

    def __init__(
        self, store: Store, unpacker: Unpacker, launcher: Launcher | None, images: Images
    ) -> None:
        self.store = store
        self.unpacker = unpacker
        self.images = images
        self.volumes = VolumeKeeper(store, unpacker)
        self._launcher = launcher
        self._directories = os.fspath(store.home.containers)  # of all: lists ask for each of them
        self.way_out = ""  # of networks of an ordinary account, "" for the best
        self.recent = Recent()
        self.told: set[str] = set()  # what is said once in the life of an engine

    @property
    def launcher(self) -> Launcher:
        """Return the launcher.

        Raises:
            HostLacks: this is no Linux.
        """
        if self._launcher is None:
            raise HostLacks(
                "this machine cannot run containers",
                why="containers need a Linux kernel",
                hint="everything but running works here: pull, build without RUN, inspect, layers",
            )
        return self._launcher

    # -- where -------------------------------------------------------------------

    def directory(self, container_id: str) -> Path:
        """Return where a container keeps what survives a reboot."""
        return self.store.home.containers / container_id

    def run_directory(self, container_id: str) -> Path:
        """Return where a container's socket is while it runs."""
        return self.store.home.run / container_id[:12]

    def log_path(self, container_id: str) -> Path:
        """Return a container's log file."""
        return self.directory(container_id) / f"{container_id}-json.log"

    def note(self, record: ContainerRecord, action: str, **more: str) -> None:
        """Write into the event journal what was done to a container just now."""
        said = {**self.said_of(record), **more}
        self.store.note("container", action, record.container_id, said)

    def said_of(self, record: ContainerRecord) -> dict[str, str]:
        """Return what every event of a container says of it."""
        document = Document.decode(record.document)
        return {**document.labels, "image": document.options.image, "name": record.name}

    def locked(self, record: ContainerRecord) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of one container."""
        return locked(self.store.home.locks, _lock_of(record.container_id))

    def is_starting(self, container_id: str) -> bool:
        """Say whether an engine is at work on a container, such as starting it."""
        return is_locked(self.store.home.locks, _lock_of(container_id))

    def connect(self, record: ContainerRecord) -> Connection:
        """Connect to a running container's shim.

        Raises:
            InvalidState: it does not run.
        """
        # As its shim says: another session of this account may have another run root.
        state = read_json(self.directory(record.container_id) / STATE_NAME) or {}
        usual = self.run_directory(record.container_id)
        return shim.connect(Path(str(state.get("run_directory", usual))))

    def attachment(
        self, record: ContainerRecord, connection: Connection, *, stdin: bool
    ) -> Attachment:
        """Wrap a connection that is attached."""
        options = Document.decode(record.document).options
        return Attachment(
            connection,
            container_id=record.container_id,
            name=record.name,
            tty=options.tty,
            interactive=stdin and options.interactive,
        )

    # -- who ---------------------------------------------------------------------

    def find(self, name: str) -> ContainerRecord:
        """Return a container by name or ID, those left out that their shims have removed.

        Raises:
            ContainerNotFound: none, or more than one.
        """
        while True:
            record = self.store.containers.find(name)
            if not self.is_gone(record):
                return record

    def users_of(self, manifest: str) -> Sequence[ContainerSummary]:
        """Return the containers made from an image."""
        return [
            self.summary(record)
            for record in self.store.containers.all()
            if record.manifest == manifest and not self.is_gone(record)
        ]

    def is_gone(self, record: ContainerRecord) -> bool:
        """Forget a container that its shim has removed, as ``--rm`` asked."""
        if os.path.exists(f"{self._directories}/{record.container_id}"):
            removes = Document.decode(record.document).options.remove
            if not removes or self.status(record)[0] is not Status.EXITED:
                return False
            # The shim did not live to do it.
            with self.locked(record):
                self.discard(record)
        self.forget(record)
        return True

    def forget(self, record: ContainerRecord, *, volumes: bool = False) -> None:
        """Take a container's row away, and with ``--rm`` the volumes that nobody named.

        Args:
            record: the container's, whose files are gone.
            volumes: take such volumes away in any case.
        """
        self.store.containers.remove(record.container_id)
        if volumes or Document.decode(record.document).options.remove:
            self.volumes.release(record.document)

    def discard(self, record: ContainerRecord, *, volumes: bool = False) -> None:
        """Take a container's files and row away, see ``forget``; the caller holds its lock."""
        directory = self.directory(record.container_id)
        gone = directory.with_suffix(".gone")
        # At once gone for whoever looks, its shim perhaps doing the same; then bit by bit.
        with contextlib.suppress(FileNotFoundError):
            directory.rename(gone)
        doomed = [gone, self.run_directory(record.container_id)]
        self.unpacker.remove_trees([path for path in doomed if path.exists()])
        self.forget(record, volumes=volumes)

    # -- how ---------------------------------------------------------------------

    def check(self, record: ContainerRecord, verb: Verb) -> None:
        """Ask the state table.

        Raises:
            InvalidState: the verb is not for this status.
        """
        refused = refusal(verb, self.status(record)[0], record.name)
        if refused:
            raise refused

    def status(self, record: ContainerRecord) -> tuple[Status, ExitStatus | None]:
        """Return where a container is in its life, from what its shim wrote."""
        return life_in(f"{self._directories}/{record.container_id}")[:2]

    def runtime_config(self, record: ContainerRecord) -> RuntimeConfig:
        """Return the config.json of a container's bundle."""
        path = self.directory(record.container_id) / "bundle" / CONFIG_NAME
        return RuntimeConfig.parse(path.read_bytes())

    def changed_bytes(self, record: ContainerRecord) -> int:
        """Return how much a container wrote into its own files."""
        upper = self.directory(record.container_id) / "rw" / "upper"
        request = {"op": "files", "job": "measure", "path": str(upper)}
        return int(str(self.launcher.work(request)["bytes"]))

    def summary(self, record: ContainerRecord, *, measured: bool = False) -> ContainerSummary:
        """Describe a container as it is now; ``measured`` looks what memory it uses."""
        document = Document.decode(record.document)
        status, ended, state = life_in(f"{self._directories}/{record.container_id}")
        started = shim.Started.from_message(state) if state else None
        alive = started is not None and status in (Status.RUNNING, Status.PAUSED)
        return ContainerSummary(
            container_id=record.container_id,
            name=record.name,
            image=document.options.image,
            image_id=self.images.parse_id(document.image_id),
            command=document.command,
            created=datetime.fromtimestamp(record.created, UTC),
            started=parse_time(started.started) if started else None,
            status=status,
            pid=started.init.pid if started and alive else None,
            exit=ended,
            network=document.network,
            labels=document.labels,
            health=_health(state) if state else None,
            restart_count=int(str(state.get("restart_count", 0))),
            mounts=tuple(
                (each.name or each.source, each.target) for each in document.options.volumes
            ),
            volumes=tuple(each.name for each in document.options.volumes if each.kept),
            exposed_ports=document.exposed_ports,
            networks=tuple(each.network for each in document.options.networks),
            places=places(record, state) if alive else (),
            ports=bindings(state) if alive else (),
            volume_mounts=document.options.volumes,
            choices=document.options.networks,
            annotations=document.options.annotations,
            memory_bytes=memory_of(_cgroup_paths(state)) if measured and alive else None,
        )


def status_in(directory: Path) -> tuple[Status, ExitStatus | None]:
    """Return where the container of a directory is in its life, from what its shim wrote."""
    return life_in(os.fspath(directory))[:2]


def life_in(where: str) -> tuple[Status, ExitStatus | None, Mapping[str, object]]:
    """Return what ``status_in`` does, and what the shim wrote of the container while it lived."""
    ended = read_json(f"{where}/{EXIT_NAME}")
    state = read_json(f"{where}/{STATE_NAME}")
    if ended is not None:
        return Status.EXITED, exit_status(ended), state or {}
    if state is None:
        return Status.CREATED, None, {}
    directory = Path(where)
    if shim.is_kept(directory):
        return Status(str(state.get("status", "running"))), None, state
    # Its shim was killed, or the machine went down: nobody saw the exit code.
    ended = read_json(directory / EXIT_NAME)
    if ended is not None:
        return Status.EXITED, exit_status(ended), state
    try:
        when = datetime.fromtimestamp((directory / STATE_NAME).stat().st_mtime, UTC)
    except FileNotFoundError:
        return Status.CREATED, None, {}  # it is being removed
    shim.end_lost(directory)
    return Status.EXITED, ExitStatus(code=LOST, signal=None, finished=when), state


def _lock_of(container_id: str) -> str:
    return f"container-{container_id[:12]}"


def read_json(path: Path | str) -> dict[str, object] | None:
    """Read a file that a shim writes; None if it is not there, or not a JSON object."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _cgroup_paths(state: Mapping[str, object]) -> Mapping[str, str]:
    """Read where a shim has put its container."""
    return Fields(state, "state.json").text_map("cgroup_paths")


def _health(state: Mapping[str, object]) -> Health | None:
    """Read what a shim wrote of its health checks."""
    found = Fields(state, "state.json").child("health")
    if not found.value:
        return None
    probes = tuple(
        HealthProbe(
            started=parse_time(probe.text("start")),
            finished=parse_time(probe.text("end")),
            exit_code=probe.integer("exit_code", 0, least=-1),  # -1: it did not answer in time
            output=probe.text("output", ""),
        )
        for probe in found.children("log")
    )
    return Health(
        status=found.text("status"),
        failing_streak=found.number("failing_streak", 0),
        log=probes,
    )
