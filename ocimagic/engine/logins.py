"""Who this account is to the registries, and the way to them."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from ocimagic.engine.obtaining import Obtaining
from ocimagic.model.result import LoggedIn, LoggedOut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ocimagic.model.registry import RegistryLogin
    from ocimagic.registry.client import RegistryClient
    from ocimagic.registry.credentials import Credentials, Login
    from ocimagic.registry.settings import RegistrySettings
    from ocimagic.registry.transport import Transport
    from ocimagic.store.store import Store


class Logins(Obtaining):
    """Verbs on logins, and a client for the registries."""

    def __init__(self, store: Store, environment: Mapping[str, str]) -> None:
        super().__init__(store)
        self._environment = environment
        self._client: tuple[RegistryClient, dict[str, str]] | None = None
        self._given: Mapping[str, RegistryLogin] = {}

    def with_logins(self, logins: Mapping[str, RegistryLogin]) -> Self:
        """Return the same verbs with other logins, by registry; nothing is kept of them."""
        other = copy.copy(self)
        vars(other).update(_client=None, _given=dict(logins))
        return other

    def login(self, registry: str, username: str, password: str, *, keep: bool = True) -> LoggedIn:
        """Log in to a registry, and keep the login where docker keeps it.

        Args:
            registry: host, with a port if it has one; "" for Docker Hub.
            username: as the registry knows it.
            password: or a token in its place.
            keep: False only tries it.

        Raises:
            Unauthorized: the registry refuses them; nothing is kept.
            RegistryError: unreachable, or no registry.
            StorageError: it cannot be written down.
        """
        from ocimagic.registry.client import RegistryClient
        from ocimagic.registry.credentials import Login
        from ocimagic.registry.loginfile import LoginFile, registry_host

        host = registry_host(registry)
        asked = self._credentials({host: Login(username=username, password=password)})
        settings = self._settings()
        with self._transport(settings) as transport:
            RegistryClient(transport, asked, settings=settings).check_login(host)
        if not keep:
            return LoggedIn(registry=host, username=username, kept_in="", is_readable=False)
        kept = LoginFile.of(self._home(), self._environment).store(host, username, password)
        self._client = None  # what it knew may be refused from now on
        return LoggedIn(
            registry=host, username=username, kept_in=kept.where, is_readable=kept.is_readable
        )

    def logout(self, registry: str) -> LoggedOut:
        """Forget the login for a registry; "" for Docker Hub.

        Raises:
            StorageError: the file it is in cannot be written.
        """
        from ocimagic.registry.loginfile import LoginFile, registry_host

        host = registry_host(registry)
        was_there = LoginFile.of(self._home(), self._environment).erase(host)
        self._client = None
        return LoggedOut(registry=host, was_there=was_there)

    # -- for the rest of this room ---------------------------------------------

    def registry_client(self) -> RegistryClient:
        """Return the way to the registries, with this account's logins and settings of now."""
        said = dict(self._environment)
        if self._client is None or self._client[1] != said:
            from ocimagic.registry.client import RegistryClient
            from ocimagic.registry.cloudlogins import CloudLogins

            settings = self._settings()
            transport = self._transport(settings)
            clouds = CloudLogins(transport, self._home(), self._environment)
            client = RegistryClient(
                transport, self._credentials(), clouds=clouds, settings=settings
            )
            self._client = client, said
        return self._client[0]

    def web(self) -> Transport:
        """Return connections without logins, to be closed by whoever asks for them."""
        return self._transport(self._settings())

    def _settings(self) -> RegistrySettings:
        from ocimagic.registry.settings import RegistrySettings

        return RegistrySettings.read(self._home(), self._environment)

    def _transport(self, settings: RegistrySettings) -> Transport:
        from ocimagic.registry.transport import Transport

        return Transport(
            insecure=settings.insecure,
            env=self._environment,
            certificates=settings.certificates,
        )

    def _credentials(self, explicit: Mapping[str, Login] | None = None) -> Credentials:
        from ocimagic.registry.credentials import Credentials, Login

        given = {host: Login(**asdict(each)) for host, each in self._given.items()}
        return Credentials(self._home(), self._environment, explicit=given | dict(explicit or {}))

    def _home(self) -> Path:
        from pathlib import Path

        return Path(self._environment.get("HOME") or Path.home())
