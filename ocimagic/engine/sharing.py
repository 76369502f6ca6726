"""Namespaces of one container that another one uses: ``--pid container:web`` and its like."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.bundle.directory import CONFIG_NAME
from ocimagic.bundle.hostfiles import host_files
from ocimagic.bundle.joining import join
from ocimagic.bundle.namespaces import LINKS, joined_containers
from ocimagic.engine.record import Document
from ocimagic.engine.register import STATE_NAME, read_json
from ocimagic.errors import ContainerNotFound, HostLacks, InvalidOption, InvalidState
from ocimagic.home.location import write_atomic
from ocimagic.model.namespace import CONTAINER_PREFIX, Share, namespace_choice
from ocimagic.model.options import NetworkMode
from ocimagic.model.state import Status
from ocimagic.shim.client import Launcher
from ocimagic.spec.record import dataclass, field, replace
from ocimagic.spec.runtime import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions

SHM_NAME = "shm"


@dataclass(frozen=True, slots=True)
class Donors:
    """The containers whose namespaces a new one uses.

    Attributes:
        options: with what a donor has of the host asked from the host itself.
        ids: namespace type to the donor's ID.
        files: the files of the donor of the network, which have its names and servers.
        hostname: the donor's, "" without one.
        shm_path: what is shown as /dev/shm, "" for memory of its own.
    """

    options: RunOptions
    ids: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    shm_path: str = ""


def find_donors(containers: Register, options: RunOptions, container_id: str) -> Donors:
    """Look at the containers that a new one names.

    Raises:
        ContainerNotFound: there is none of this name.
        InvalidOption: one does not share what is asked for.
    """
    found = Donors(options, shm_path=_own_shm(containers, options, container_id))
    for kind, name in joined_containers(options).items():
        record = containers.find(name)
        donor = Document.decode(record.document)
        if kind == "ipc":
            found = _join_ipc(containers, found, record.container_id, donor)
        elif kind == "pid" and donor.options.pid == Share.HOST.value:
            found = replace(found, options=replace(found.options, pid=donor.options.pid))
        elif kind == "network" and donor.network == NetworkMode.HOST.value:
            host = replace(found.options, network=NetworkMode.HOST, network_container="")
            found = replace(found, options=host)
        else:
            found = replace(found, ids={**found.ids, kind: record.container_id})
            if kind == "network":
                files = _files(containers, record.container_id, donor)
                found = replace(found, files=files, hostname=donor.hostname)
    return found


def _files(containers: Register, donor_id: str, donor: Document) -> tuple[tuple[str, str], ...]:
    """Return the files of whoever the network belongs to: a donor may have it from another."""
    while owner := donor.joined.get("network"):
        donor_id = owner
        donor = Document.decode(containers.find(owner).document)
    return host_files(containers.directory(donor_id))


def _own_shm(containers: Register, options: RunOptions, container_id: str) -> str:
    """Return where others find a shareable container's /dev/shm.

    A directory in the run root, which is memory on most machines: a mount of the container's
    own could be reached by nobody else, and one on the machine could be left behind.
    """
    shareable = namespace_choice("ipc", options.ipc).share is Share.SHAREABLE
    return str(containers.run_directory(container_id) / SHM_NAME) if shareable else ""


def _join_ipc(containers: Register, found: Donors, donor_id: str, donor: Document) -> Donors:
    share = namespace_choice("ipc", donor.options.ipc).share
    if share is Share.HOST:
        return replace(found, options=replace(found.options, ipc=Share.HOST.value))
    if share is not Share.SHAREABLE:
        raise InvalidOption(
            f"container {donor_id[:12]} does not share its IPC namespace",
            why=f"its --ipc is {share.value or Share.PRIVATE.value}",
            hint="make it with --ipc shareable",
        )
    shm = str(containers.run_directory(donor_id) / SHM_NAME)
    return replace(found, ids={**found.ids, "ipc": donor_id}, shm_path=shm)


@contextlib.contextmanager
def sharing_launcher(
    containers: Register, document: Document, container_id: str
) -> Iterator[Launcher]:
    """Make ready what is shared, and yield the launcher that can enter it.

    The bundle learns whom to join, and others find this container's /dev/shm.

    Raises:
        ContainerNotFound: a container to join is gone.
        InvalidState: one does not run.
        HostLacks: two belong to different sessions of this account.
    """
    if namespace_choice("ipc", document.options.ipc).share is Share.SHAREABLE:
        shm = containers.run_directory(container_id) / SHM_NAME
        with contextlib.suppress(FileExistsError):
            shm.mkdir()
        shm.chmod(0o1777)
    if not document.joined:
        yield containers.launcher
        return
    donors = {kind: _running(containers, kind, each) for kind, each in document.joined.items()}
    paths = {kind: f"/proc/{pid}/ns/{LINKS.get(kind, kind)}" for kind, pid in donors.items()}
    shm_path = ""
    if "ipc" in donors:
        shm_path = str(_run_directory(containers, document.joined["ipc"]) / SHM_NAME)
    path = containers.directory(container_id) / "bundle" / CONFIG_NAME
    config = join(RuntimeConfig.parse(path.read_bytes()), paths, shm_path)
    write_atomic(path, config.encode(), durable=False)
    foreign = _in_a_foreign_user_namespace(containers, set(donors.values()))
    if foreign is None:
        yield containers.launcher
        return
    guest = Launcher(containers.store.home.own / "launcher.log", join=foreign)
    try:
        yield guest
    finally:
        guest.close()


def _running(containers: Register, kind: str, donor_id: str) -> int:
    """Return the pid of the first process of a container whose namespace is to be joined."""
    try:
        donor = containers.find(donor_id)
    except ContainerNotFound as err:
        raise ContainerNotFound(
            f"container {donor_id[:12]}, whose {kind} namespace is to be joined, is gone"
        ) from err
    summary = containers.summary(donor)
    if summary.status not in {Status.RUNNING, Status.PAUSED} or summary.pid is None:
        raise InvalidState(
            f"cannot join the {kind} namespace of container {donor.name}",
            why=f"it is {summary.status.value}",
            hint=f"%container_start {donor.name}",
        )
    return summary.pid


def _in_a_foreign_user_namespace(containers: Register, pids: set[int]) -> int | None:
    """Return the pid of a process in the user namespace of another launcher, if there is one.

    An ordinary user's launchers have a user namespace each, and only from the one that owns
    a namespace can that be joined.
    """
    if not containers.unpacker.rootless:
        return None
    ours = os.stat(f"/proc/{containers.launcher.pid}/ns/user").st_ino
    owners = {os.stat(f"/proc/{pid}/ns/user").st_ino: pid for pid in pids}
    if len(owners) > 1:
        raise HostLacks(
            "cannot join containers of different sessions",
            why="each session of an ordinary user has a user namespace of its own",
            hint="start the containers to join from one notebook or by one command",
        )
    return next((pid for owner, pid in owners.items() if owner != ours), None)


def _run_directory(containers: Register, container_id: str) -> Path:
    """Return a running container's run directory, as its shim says."""
    state = read_json(containers.directory(container_id) / STATE_NAME) or {}
    return Path(str(state.get("run_directory", containers.run_directory(container_id))))


def network_name(options: RunOptions, ids: Mapping[str, str]) -> str:
    """Return docker's word for the network that a container really gets."""
    if "network" in ids:
        return f"{CONTAINER_PREFIX}{ids['network']}"
    if options.network is NetworkMode.NETWORK:
        return options.networks[0].network
    return "none" if options.network is NetworkMode.NONE else "host"
