"""The Engine holds its parts together and owns what must be closed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from ocimagic.engine.containers import Containers
from ocimagic.engine.explaining import Explainer
from ocimagic.engine.images import Images
from ocimagic.engine.manifests import Manifests
from ocimagic.engine.networks import Networks
from ocimagic.engine.system import System
from ocimagic.engine.volumes import Volumes
from ocimagic.engine.wayout import asked_way
from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.home.location import Home
from ocimagic.shim.client import Launcher
from ocimagic.store import gc
from ocimagic.store.store import Store
from ocimagic.transfer.unpack import SNAPSHOTTERS, Unpacker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.engine.classroom import ClassRegistry


class Engine:
    """Pull, build, look, run.

    Any number of engines may share a data root, in one process or many; none is the leader,
    and containers outlive them all.

    Args:
        root: the data root; without it OCIMAGIC_ROOT or the account's usual place.
        environment: where to look for OCIMAGIC_ROOT, OCIMAGIC_SNAPSHOTTER, OCIMAGIC_WAY_OUT
            and credentials; the process's own if not given.

    Example::

        from ocimagic import Engine

        with Engine() as engine:
            result = engine.containers.run("busybox", ["echo", "hello"], remove=True)
            print(result.exit_code, result.stdout)
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        known = os.environ if environment is None else environment
        self.home = Home.find(known, root=root)
        self._store = Store(self.home)
        log_path = self.home.own / "launcher.log"
        launcher = Launcher(log_path, room=self.home.run) if _on_linux() else None
        self._launcher = launcher
        unpacker = Unpacker(self._store, launcher, _snapshotter(known))
        self.images = Images(self._store, unpacker, known)
        self.containers = Containers(self._store, unpacker, launcher, self.images)
        self.images.containers = self.containers
        self.containers.way_out = asked_way(known)
        self.networks = Networks(self.containers)
        self.volumes = Volumes(self.containers)
        self.manifests = Manifests(self._store, self.images)
        self.explainer = Explainer(self._store, self.containers, self.images)
        self.system = System(
            self._store, unpacker, self.images, self.containers, self.networks, known
        )
        if launcher is not None:
            self._tidy(unpacker)
            self._sweep_networks()
            self._start_again()

    def _tidy(self, unpacker: Unpacker) -> None:
        """Take away what killed engines left, if nobody is at work now."""
        with suppress(OcimagicError), self._store.alone() as held:
            if held:
                gc.tidy(self._store, unpacker.remove_trees)
                self.containers.volumes.tidy()

    def _sweep_networks(self) -> None:
        """Take away what the networks of killed containers left in the kernel."""
        with suppress(OcimagicError, OSError):  # not ours to change: an ordinary user
            self.networks.sweep()

    def _start_again(self) -> None:
        """Start what a restart policy says and the end of the machine ended."""
        # Only here: where there is no Linux, this room is loaded as well.
        from ocimagic.engine.boot import start_again

        start_again(self.containers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def classroom() -> ClassRegistry:
        """Start a registry on this machine with stand-ins of the class's images.

        Raises:
            HostLacks: this machine has no programs that Linux could run.
        """
        from ocimagic.engine.classroom import ClassRegistry

        return ClassRegistry()

    def close(self) -> None:
        """Let go of the launcher and the database; containers stay."""
        self.system.close()
        if self._launcher is not None:
            self._launcher.close()
        self._store.close()


def _snapshotter(environment: Mapping[str, str]) -> str:
    """Return how layers are to be unpacked, "" for the best that works.

    Raises:
        InvalidOption: there is none of that name.
    """
    name = environment.get("OCIMAGIC_SNAPSHOTTER", "")
    if name not in SNAPSHOTTERS:
        raise InvalidOption(
            f"OCIMAGIC_SNAPSHOTTER={name} is not known",
            hint="set it to erofs (one file a layer) or overlay (directories), or leave it out",
        )
    return name


def _on_linux() -> bool:
    try:
        import ocimagic.linux.syscalls  # noqa: F401  only whether it can be imported
    except ImportError:
        return False
    return True
