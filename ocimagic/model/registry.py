"""A registry of our own: how it is to be served, and the handle on one that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self

from ocimagic.errors import InvalidOption
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_PORT = 5000
OnRequest = Callable[[str, str, int], None]
"""Gets method, path and status of each request, from the serving threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLogin:
    """What proves to a registry who somebody is.

    Attributes:
        identity_token: exchanged for an access token; wins over the password.
        registry_token: an access token itself; wins over both.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How to serve a registry.

    Attributes:
        address: other than this machine's own needs ``htpasswd`` or ``is_open``.
        port: 0 takes a free one.
        data: where it keeps what is pushed; None is a place in the data root.
        read_only: nobody may push.
        may_delete: manifests, tags and blobs may be deleted.
        tls_cert: a PEM file; with ``tls_key`` it speaks HTTPS.
        htpasswd: a file of users; nobody else may do anything.
        tokens: users log in for short-lived tokens (Bearer), not with each request (Basic).
        anonymous_pull: nobody needs a login to pull; needs ``tokens``.
        is_open: everybody who reaches the address may push and pull.
        mirror: another registry's URL; what is not here is fetched from there, and nobody
            may push.

    Raises:
        InvalidOption: a port that is none, half of a certificate, or tokens for nobody.
    """

    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data: str | None = None
    read_only: bool = False
    may_delete: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    htpasswd: str | None = None
    tokens: bool = False
    anonymous_pull: bool = False
    is_open: bool = False
    mirror: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidOption(f"{self.port} is no port: the largest is 65535")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InvalidOption(
                "a certificate and its key go together", hint="give both --tls-cert and --tls-key"
            )
        if self.tokens and not self.htpasswd:
            raise InvalidOption("tokens are for users", hint="name them with --htpasswd FILE")
        if self.anonymous_pull and not self.tokens:
            raise InvalidOption(
                "pulls without a login go with tokens",
                why="with passwords alone a client is not told what it may do without one",
                hint="add --token, and --htpasswd FILE for those who push",
            )


class RegistryAPI(Protocol):
    """A registry that is being served, until it is closed or its engine is."""

    @property
    def url(self) -> str:
        """Return where it answers."""
        ...

    @property
    def host(self) -> str:
        """Return how its images' names begin."""
        ...

    @property
    def data(self) -> str:
        """Return the directory it keeps its content in."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what whoever serves it should know."""
        ...

    def close(self) -> None:
        """Stop serving; a second call does nothing."""
        ...

    def __enter__(self) -> Self:
        """Serve until the end of the block."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        ...
