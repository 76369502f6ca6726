"""A registry of our own, served from threads of the engine's process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocimagic.registry.client import RegistryClient
from ocimagic.registry.cloudlogins import CloudLogins
from ocimagic.registry.credentials import Credentials
from ocimagic.registry.directory import RegistryDirectory
from ocimagic.registry.mirror import MirrorSource, upstream
from ocimagic.registry.passwords import Passwords
from ocimagic.registry.server import RegistryServer, Rules, server_tls
from ocimagic.registry.settings import RegistrySettings
from ocimagic.registry.tokens import TokenServer
from ocimagic.registry.transport import Patience, Transport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

    from ocimagic.model.registry import OnRequest, RegistryOptions

# Whoever waits for us has patience of their own; and what is kept can be served at once.
_PATIENCE = Patience(connect_s=5.0, tries=2)
_EVERYBODY = (
    "there is no login: everybody who reaches this address can pull, push and replace images"
)
_IN_CLEAR = (
    "there is no TLS: names and passwords can be read on the network; add --tls-cert and --tls-key"
)


class ServedRegistry:
    """A registry that is being served, until it is closed or its engine is.

    Args:
        options: how.
        data: where it keeps its content, unless the options say.
        environment: proxies and logins, for a mirror.
        on_request: gets method, path and status of each request.

    Raises:
        InvalidOption: the address, a file or the directory cannot be used.
        StorageError: the directory cannot be written.
    """

    def __init__(
        self,
        options: RegistryOptions,
        data: Path,
        environment: Mapping[str, str],
        on_request: OnRequest | None = None,
    ) -> None:
        path = Path(options.data) if options.data else data
        tls = None
        if options.tls_cert and options.tls_key:
            tls = server_tls(options.tls_cert, options.tls_key)
        passwords = Passwords(Path(options.htpasswd)) if options.htpasswd else None
        with ExitStack() as undo:
            kept = undo.enter_context(RegistryDirectory(path))
            rules = _rules(options, kept, tls, passwords)
            source = _mirror(kept, options.mirror, environment, undo) if options.mirror else kept
            server = undo.enter_context(
                RegistryServer(
                    source,
                    address=options.address,
                    port=options.port,
                    on_request=on_request,
                    rules=rules,
                )
            )
            self._undo = undo.pop_all()
        self.url = server.url
        self.host = server.host
        self.data = str(path)
        self.warnings = _warnings(options)
        self.is_served = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return f"registry at {self.url}, kept in {self.data}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def close(self) -> None:
        """Stop serving; a second call does nothing."""
        self.is_served = False
        self._undo.close()


def _rules(
    options: RegistryOptions,
    kept: RegistryDirectory,
    tls: SSLContext | None,
    passwords: Passwords | None,
) -> Rules:
    tokens = None
    if options.tokens and passwords:
        anonymous = options.anonymous_pull
        tokens = TokenServer(passwords, kept.secret(), anonymous_pull=anonymous)
    return Rules(
        passwords=None if tokens else passwords,
        tokens=tokens,
        is_open=options.is_open,
        tls=tls,
        read_only=options.read_only,
        may_delete=options.may_delete,
    )


def _mirror(
    kept: RegistryDirectory, url: str, environment: Mapping[str, str], undo: ExitStack
) -> MirrorSource:
    registry, is_plain = upstream(url)
    home = Path(environment.get("HOME") or Path.home())
    settings = RegistrySettings.read(home, environment)
    transport = undo.enter_context(
        Transport(
            insecure=settings.insecure | ({registry} if is_plain else set()),
            env=environment,
            certificates=settings.certificates,
            patience=_PATIENCE,
        )
    )
    # Without the machine's mirrors: this one may be among them.
    clouds = CloudLogins(transport, home, environment)
    client = RegistryClient(
        transport,
        Credentials(home, environment),
        clouds=clouds,
        settings=replace(settings, mirrors=()),
    )
    mirror = MirrorSource(kept, client, registry)
    undo.callback(mirror.close)
    return mirror


def _warnings(options: RegistryOptions) -> tuple[str, ...]:
    if options.htpasswd:
        is_here = options.address in {"127.0.0.1", "::1", "localhost"}
        return () if options.tls_cert or is_here else (_IN_CLEAR,)
    return (_EVERYBODY,) if options.is_open else ()
