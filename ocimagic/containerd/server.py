"""The containerd role of an engine: its CRUD behind gRPC, for ``ctr`` and its like."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Self

from ocimagic.engine.crud.crud import Crud
from ocimagic.errors import HostLacks

if TYPE_CHECKING:
    from ocimagic.engine.engine import Engine

_NEEDED = ("grpc", "google.protobuf")


class Server:
    """containerd's services over one engine, until it is closed; what runs goes on.

    Args:
        engine: whose containers and images they are; it stays its owner's.
        path: of the socket, for this account only.

    Attributes:
        path: where it listens; ``url`` the same as clients write it.

    Raises:
        HostLacks: the libraries for gRPC are not installed.
        StorageError: there can be no socket.
        InvalidOption: something else is at its path.
        PortTaken: somebody listens there.
    """

    def __init__(self, engine: Engine, path: str) -> None:
        _check_libraries()
        # Only with the extra: what these import is not there without it.
        from ocimagic.containerd.about import About
        from ocimagic.containerd.containers import Containers
        from ocimagic.containerd.door import Door
        from ocimagic.containerd.images import Images
        from ocimagic.containerd.snapshots import Snapshots
        from ocimagic.containerd.tasks import Tasks

        self._over = threading.Event()
        self._crud = Crud(engine)
        parts = (
            About(self._crud),
            Images(self._crud),
            Snapshots(self._crud),
            Containers(self._crud, self._over),
            Tasks(self._crud, self._over),
        )
        services = {name: found for part in parts for name, found in part.services().items()}
        self._door = Door(path, services)
        self.path = self._door.path
        self.url = f"unix://{self.path}"
        self._crud.tasks.adopt()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_served(self) -> bool:
        """Say whether it still listens."""
        return not self._over.is_set()

    @property
    def hint(self) -> str:
        """Return a command that tries it."""
        return f"ctr -a {self.path} images ls"

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        if not self.is_served:
            return f"containerd's services were served at {self.path}"
        return f"containerd's services at {self.path}\n  in a terminal: {self.hint}"

    def close(self) -> None:
        """Stop listening, and end all answers; tasks go on."""
        if self._over.is_set():
            return
        self._over.set()
        self._door.close()
        with contextlib.suppress(OSError):
            self._crud.close()


def _check_libraries() -> None:
    import importlib

    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as err:
            raise HostLacks(
                "containerd's services cannot be offered here",
                why=f"there is no module {name}: gRPC needs grpcio and protobuf",
                hint="pip install 'ocimagic[grpc]'",
            ) from err
