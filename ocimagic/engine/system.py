"""What this machine and this version can do, found out by trying."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ocimagic.engine import network_report
from ocimagic.engine.disk import Disk
from ocimagic.engine.events import events
from ocimagic.engine.host import host_facts
from ocimagic.errors import HostLacks
from ocimagic.model.isolation import Diagnosis, choose, findings
from ocimagic.model.result import SystemInfo
from ocimagic.model.state import ALIVE, Status
from ocimagic.version import VERSION

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping

    from ocimagic.engine.containers import Containers
    from ocimagic.engine.images import Images
    from ocimagic.engine.networks import Networks
    from ocimagic.engine.serving import ServedRegistry
    from ocimagic.model.registry import OnRequest, RegistryOptions
    from ocimagic.model.system_event import SystemEvent
    from ocimagic.shim.client import Launcher
    from ocimagic.store.store import Store
    from ocimagic.transfer.unpack import Unpacker

NOT_YET = ("RUN in a network of your own (build --network NAME)", "checkpoints of containers")
_NOT_ISOLATED = (
    "containers are not isolated: nobody may mount or make namespaces here, so they are changed "
    "roots (chroot) with the machine's processes, network and users"
)
_SNAPSHOTTERS = {"look": "none", "chroot": "copy", "traced": "copy"}
_TRACED = (
    "containers are not isolated: this account may neither change the root nor make namespaces "
    "here, so proot shows them their files; processes, network and users are the machine's"
)


class _Tried(NamedTuple):
    """What a launcher has found out of the machine, which stays so as long as it lives."""

    launcher: Launcher
    isolation: str
    lacks: list[str]


class System:
    """Verbs on the engine itself."""

    def __init__(
        self,
        store: Store,
        unpacker: Unpacker,
        images: Images,
        containers: Containers,
        networks: Networks,
        environment: Mapping[str, str],
    ) -> None:
        self._store = store
        self._unpacker = unpacker
        self._images = images
        self._containers = containers
        self._networks = networks
        self._environment = environment
        self._registries: list[ServedRegistry] = []
        self._tried: _Tried | None = None

    def close(self) -> None:
        """Stop the registries that are still served."""
        for each in self.registries():
            each.close()

    def serve_registry(
        self, options: RegistryOptions | None = None, *, on_request: OnRequest | None = None
    ) -> ServedRegistry:
        """Serve a registry that can be pushed to, until it or this engine is closed.

        Raises:
            InvalidOption: the address, a file or the directory cannot be used.
            StorageError: the directory cannot be written.

        Example::

            with engine.system.serve_registry(RegistryOptions(port=0)) as registry:
                print(registry.url)
        """
        from ocimagic.engine.serving import ServedRegistry
        from ocimagic.model.registry import RegistryOptions

        chosen = options or RegistryOptions()
        served = ServedRegistry(chosen, self._store.home.registry, self._environment, on_request)
        self._registries.append(served)
        return served

    def registries(self) -> tuple[ServedRegistry, ...]:
        """Return the registries that are served now."""
        self._registries = [each for each in self._registries if each.is_served]
        return tuple(self._registries)

    def add_registry_user(self, name: str, password: str, *, htpasswd: str | None = None) -> str:
        """Write a user for a registry into a file of users; return which file.

        Raises:
            InvalidOption: a name or a password that no line could hold.
            StorageError: the file cannot be written.
        """
        from ocimagic.registry.passwords import add_user

        path = Path(htpasswd) if htpasswd else self._store.home.registry_users
        add_user(path, name, password)
        return str(path)

    @property
    def disk(self) -> Disk:
        """Return the verbs on what is on disk."""
        return Disk(self._store, self._unpacker, self._images, self._containers)

    def events(
        self,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        conditions: Iterable[str] = (),
        cancelled: threading.Event | None = None,
    ) -> Iterator[SystemEvent]:
        """Yield what happened and what happens; see ``engine.events``."""
        return events(
            self._store.home.journal,
            since_ns=since_ns,
            until_ns=until_ns,
            conditions=conditions,
            cancelled=cancelled,
        )

    def info(self) -> SystemInfo:
        """Return what this machine and this version can do."""
        containers = self._containers.list(all=True)
        isolation, lacks = self._what_was_tried()
        free = shutil.disk_usage(self._store.home.data).free
        return SystemInfo(
            version=VERSION,
            data_root=str(self._store.home.data),
            run_root=str(self._store.home.run),
            isolation=isolation,
            snapshotter=_SNAPSHOTTERS.get(isolation) or self._snapshotter(),
            runtime="ocimagic-runtime" if isolation != "look" else "none",
            kernel=platform.release(),
            operating_system=_operating_system(),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            memory_bytes=_memory_bytes(),
            images=len(self._store.images.all()),
            containers=len(containers),
            running=sum(each.status in ALIVE for each in containers),
            store_bytes=self._store_bytes(),
            free_bytes=free,
            lacks=tuple(lacks),
            not_yet=NOT_YET,
            networks=network_report.report(self._networks, self._store.home.data, isolation),
            paused=sum(each.status is Status.PAUSED for each in containers),
            host=host_facts(self._store.home.data, self._environment, isolation),
        )

    def _what_was_tried(self) -> tuple[str, list[str]]:
        """Return isolation and lacks: tried once with a launcher, which mounts for it."""
        try:
            launcher = self._containers.launcher
        except HostLacks:  # perhaps only for now
            return self._isolation()
        if self._tried is None or self._tried.launcher is not launcher:
            self._tried = _Tried(launcher, *self._isolation())
        return self._tried.isolation, self._tried.lacks

    def diagnose(self) -> Diagnosis:
        """Try what containers need and say what would give more.

        Raises:
            HostLacks: this is no Linux, or it cannot even be tried.
        """
        _ = self._containers.launcher
        # Only here: where there is no Linux, this room is loaded as well.
        from ocimagic.shim.probing import probe

        found = probe((str(self._store.home.data),))
        mode = choose(found)
        networks = network_report.report(self._networks, self._store.home.data, mode.value)
        return Diagnosis(mode, (*findings(found), network_report.finding(networks)))

    def _isolation(self) -> tuple[str, list[str]]:
        try:
            launcher = self._containers.launcher
            ids = launcher.ids
        except HostLacks as err:
            return "look", [". ".join(part for part in (err.what, err.why) if part)]
        if not launcher.may_mount:
            return ("traced", [_TRACED]) if launcher.tracer else ("chroot", [_NOT_ISOLATED])
        probe = launcher.work(
            {"op": "probe", "directory": str(self._store.home.own), "userxattr": ids != 0}
        )
        lacks = []
        if not probe["overlay"]:
            lacks.append(
                f"overlayfs cannot write below {self._store.home.data} ({probe['why']}): "
                "set OCIMAGIC_ROOT to a directory on ext4, xfs, btrfs or tmpfs"
            )
        if ids == 1:
            lacks.append(
                "only one user id: builds record other owners, but containers run as root only; "
                "install uidmap and give this account a range in /etc/subuid and /etc/subgid"
            )
        if ids == 0:
            return "full", lacks
        if not launcher.has_own_processes:
            lacks.append(
                "containers see the processes around them: parts of /proc are hidden here, so "
                "none of their own may be mounted"
            )
            return "nested", lacks
        return ("rootless-1" if ids == 1 else "rootless"), lacks

    def _snapshotter(self) -> str:
        """Return how layers are unpacked where they can be stacked."""
        try:
            return "erofs" if self._unpacker.mounts_images else "overlay"
        except HostLacks:  # what was asked for does not work, as every pull will say
            return "none"

    def _store_bytes(self) -> int:
        """Add up blobs and unpacked layers as recorded; walking them would take long."""
        rows = self._store.database.rows(
            "SELECT (SELECT COALESCE(SUM(size), 0) FROM blobs) + "
            "(SELECT COALESCE(SUM(unpacked_bytes), 0) FROM layers)"
        )
        return int(str(rows[0][0]))


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _memory_bytes() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
