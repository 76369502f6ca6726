"""One Docker API as an engine: the same verbs, the same values.

Example::

    from ocimagic.client import ApiClient

    with ApiClient("unix:///var/run/docker.sock") as engine:
        print(engine.containers.list(all=True))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ocimagic.client.address import address_of
from ocimagic.client.calling import Caller
from ocimagic.client.containers import RemoteContainers
from ocimagic.client.images import RemoteImages
from ocimagic.client.manifests import NoManifests
from ocimagic.client.networks import RemoteNetworks
from ocimagic.client.system import NoExplainer, RemoteDisk, RemoteSystem
from ocimagic.client.volumes import RemoteVolumes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


class ApiClient:
    """Asks an API for everything; it keeps nothing, and many may ask one API.

    Args:
        host: ``unix://PATH``, ``tcp://HOST[:PORT]`` or ``ssh://[USER@]HOST[:PORT]``.
        tls: for TCP; None for none.
        environment: says where logins to registries are kept; the process's own if not given.

    Attributes:
        url: ``host``.

    Raises:
        InvalidOption: ``host`` is no address.
    """

    def __init__(
        self,
        host: str,
        *,
        tls: ssl.SSLContext | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = host
        self._caller = Caller(address_of(host, tls=tls is not None), tls)
        known = os.environ if environment is None else environment
        self.images = RemoteImages(self._caller, known)
        self.containers = RemoteContainers(
            self._caller,
            lambda name, platform, on_event: self.images.pull(
                name, platform=platform, on_event=on_event
            ),
        )
        self.networks = RemoteNetworks(self._caller)
        self.volumes = RemoteVolumes(self._caller)
        self.manifests = NoManifests()
        self.explainer = NoExplainer()
        disk = RemoteDisk(self._caller, self.images, self.containers, self.volumes)
        self.system = RemoteSystem(self._caller, disk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections, and end the ssh that leads there."""
        self._caller.close()

    def about(self) -> About:
        """Ask who is there.

        Raises:
            NeighbourUnreachable: nobody; says why.
            NeighbourError: it is no Docker API.
        """
        spoken = self._caller.version
        said = self._caller.document("GET", "/version")
        names = [each.text("Name", "") for each in said.children("Components")] or [""]
        # docker's first part is just an engine; what podman calls a platform is its machine's.
        name = "" if self._caller.is_podman else said.child("Platform").text("Name", "")
        return About(
            url=self.url,
            name=name or names[0],
            version=said.text("Version", ""),
            api="{}.{}".format(*spoken),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Who is behind an address.

    Attributes:
        url: the address.
        name: as it calls itself.
        version: its own.
        api: the version that is spoken with it.
    """

    url: str
    name: str
    version: str
    api: str

    def __str__(self) -> str:
        return f"{self.url}: {self.name} {self.version}, API {self.api}"
