"""HTTP for registries: pools, redirects, time limits and second tries.

Redirects are followed by hand, because a login belongs to one origin and must not travel
with the request to another.  One Transport serves any number of threads and clients.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from ocimagic.errors import (
    InvalidOption,
    Offline,
    RegistryAnswered,
    RegistryError,
    RegistryUnreachable,
)
from ocimagic.registry.message import (
    Answer,
    Request,
    failure,
    refuse_cancelled,
    retry_after_s,
)
from ocimagic.registry.origin import HUB_HOST, Origin, check_step, resolve_step, shown_url
from ocimagic.registry.proxy import proxy_for
from ocimagic.registry.settings import Certificates
from ocimagic.spec.record import dataclass, replace
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from ssl import SSLContext
    from types import TracebackType

    from urllib3 import PoolManager

OFFLINE = "OCIMAGIC_OFFLINE"
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_WITH_BODY = frozenset({307, 308})
_READING = frozenset({"GET", "HEAD"})
_WORTH_A_RETRY = frozenset({408, 429, 500, 502, 503, 504})
_POOL_CONNECTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        read_s: the longest silence inside an answer.
        tries: how often a request is sent before giving up.
        backoff_s: the first pause; each further one is twice as long.
        retry_after_s: the longest Retry-After that is waited for; a longer one ends the tries.
        head_s: the status and headers of an answer.
        body_s: a whole manifest, token or list of tags.
        error_body_s: the body of an error.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    tries: int = 3
    backoff_s: float = 0.5
    retry_after_s: float = 20.0
    head_s: float = 90.0
    body_s: float = 120.0
    error_body_s: float = 5.0


class Transport:
    """Connections to registries; thread-safe.

    Plain HTTP is spoken to this machine and to the hosts in ``insecure`` only; their TLS
    certificates, if they have any, are not checked.

    Args:
        insecure: ``host`` or ``host:port`` of registries without TLS or with a certificate
            of their own.
        env: where HTTPS_PROXY, HTTP_PROXY and NO_PROXY are looked up, and ``OCIMAGIC_OFFLINE``:
            with it, no other machine is asked.
        ca_file: PEM certificates to trust besides the system's.
        certificates: says what is kept for a host (``name`` or ``name:port``): authorities to
            trust, and what proves who we are.
        patience: how long to wait for what.
        wait: pauses between tries, until the event is set or so many seconds are over.
    """

    def __init__(
        self,
        *,
        insecure: frozenset[str] = frozenset(),
        env: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        certificates: Callable[[str], Certificates] | None = None,
        patience: Patience | None = None,
        wait: Callable[[threading.Event, float | None], object] = threading.Event.wait,
    ) -> None:
        self.insecure = insecure
        self.patience = patience or Patience()
        self._env = dict(env or {})
        self._ca_file = ca_file
        self._certificates = certificates or (lambda _: Certificates())
        self._pause = wait
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, bool, Certificates], PoolManager] = {}
        self._base_urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop all idle connections."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.clear()

    def base_url(self, registry: str, *, cancelled: threading.Event | None = None) -> str:
        """Return ``scheme://host:port`` of a registry as a reference names it.

        https, but for this machine and the insecure hosts: those are asked once whether
        they speak http (first, unless the port is 443) or https.  HTTP goes first because
        a TLS server refuses it at once, while a plain server may wait for ever for the rest
        of a TLS greeting.

        Raises:
            RegistryUnreachable: neither is spoken there.
        """
        known = self._base_urls.get(registry)
        if known:
            return known
        host = HUB_HOST if registry == DEFAULT_REGISTRY else registry.lower()
        secure, plain = f"https://{host}", f"http://{host}"
        if not self._is_lenient(Origin.of(secure)) and not self._is_lenient(Origin.of(plain)):
            return self._base_urls.setdefault(registry, secure)
        order = (secure, plain) if Origin.of(plain).port == 443 else (plain, secure)
        problems: list[RegistryError] = []
        for base in order:
            try:
                if self._speaks(base, cancelled):
                    return self._base_urls.setdefault(registry, base)
            except RegistryError as err:
                problems.append(err)
        raise problems[0]

    def open(self, request: Request, *, cancelled: threading.Event | None = None) -> Answer:
        """Send a request, follow redirects, try again where that may help.

        Returns the last answer whatever its status; the caller closes it.

        Raises:
            RegistryUnreachable: no connection after all tries, or ``cancelled`` was set.
            RegistryAnswered: garbage, an untrusted certificate, or a redirect we refuse.
        """
        tries = 1 if request.is_once else self.patience.tries
        for attempt in range(1, tries + 1):
            refuse_cancelled(cancelled, request.url)
            last = attempt == tries
            pause: float | None = self.patience.backoff_s * 2 ** (attempt - 1)
            try:
                answer = self._follow(request)
            except RegistryUnreachable:
                if last:
                    raise
            else:
                pause = self._pause_after(answer, pause)
                if last or pause is None:
                    return answer
                answer.close()
            self.pause(pause, request.url, cancelled)
        raise AssertionError("patience.tries is at least 1")

    def _follow(self, request: Request) -> Answer:
        """Send a request and go where it is sent, at most five times."""
        start = request
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(request, start.origin)
            location = answer.header("location")
            followed = _REDIRECTS if request.method in _READING else _REDIRECTS_WITH_BODY
            stays = request.body is not None and not request.is_movable
            if answer.status not in followed or not location or stays:
                return answer
            answer.close()
            url = resolve_step(request.url, location)
            target = check_step(url, asked_by=request.origin, insecure=self.insecure)
            request = replace(request, url=url)
            if target != start.origin:
                # For good: a host that sends us back must not get it re-attached either.
                request = replace(request, headers=_without_login(request.headers))
        raise RegistryAnswered(
            f"{start.origin.shown} sends us in circles",
            why=f"more than {MAX_REDIRECTS} redirects",
            where=shown_url(start.url),
        )

    def _send(self, request: Request, asked: Origin) -> Answer:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        timeout = Timeout(connect=self.patience.connect_s, read=self.patience.read_s)
        try:
            raw = self._pool(request.origin).urlopen(
                request.method,
                request.url,
                body=request.body() if callable(request.body) else request.body,
                headers={"Accept-Encoding": "identity"} | dict(request.headers),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=timeout,
            )
        except (HTTPError, OSError, UnicodeError) as err:
            raise failure(err, request.url) from err
        return Answer(raw, request, asked)

    def _speaks(self, base: str, cancelled: threading.Event | None) -> bool:
        """Ask whether a registry speaks this scheme.

        Go and nginx answer plain HTTP on their TLS port with a 400 that says so.
        """
        refuse_cancelled(cancelled, base)
        probe = Request("GET", f"{base}/v2/")
        with self._send(probe, probe.origin) as answer:
            if answer.status != 400:
                return True
            said = answer.error_text(within_s=self.patience.error_body_s)
        if b"https" in said.lower():
            raise RegistryAnswered(f"{Origin.of(base).shown} speaks HTTPS")
        return True

    def _is_lenient(self, origin: Origin) -> bool:
        return origin.reach == "loopback" or origin.is_listed(self.insecure)

    def _pool(self, origin: Origin) -> PoolManager:
        if origin.reach != "loopback":
            refuse_offline(self._env, origin.shown)
        kept = self._certificates(str(origin)) if origin.scheme == "https" else Certificates()
        # An authority of its own is there to be checked, on this machine too.
        verified = bool(kept.authorities) or not self._is_lenient(origin)
        proxy = proxy_for(origin, self._env) or ""
        with self._lock:
            pool = self._pools.get((proxy, verified, kept))
            if pool is None:
                pool = self._pools[proxy, verified, kept] = self._new_pool(proxy, verified, kept)
            return pool

    def _new_pool(self, proxy: str, verified: bool, kept: Certificates) -> PoolManager:
        import urllib3

        from ocimagic.registry.heads import limit_heads

        context = _tls_context(self._ca_file) if verified else _unchecked_context()
        _load(context, kept)
        if not verified:
            # The user has listed this host, or it is this machine: told once is enough.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        if proxy:
            login = urllib3.util.parse_url(proxy).auth
            headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
            manager: PoolManager = urllib3.ProxyManager(
                proxy, maxsize=_POOL_CONNECTIONS, ssl_context=context, proxy_headers=headers
            )
        else:
            manager = urllib3.PoolManager(maxsize=_POOL_CONNECTIONS, ssl_context=context)
        limit_heads(manager, self.patience.head_s)
        return manager

    def _pause_after(self, answer: Answer, backoff_s: float | None) -> float | None:
        """Return the seconds to wait before the next try, None when there is no point."""
        if answer.status not in _WORTH_A_RETRY:
            return None
        if answer.header("ratelimit-remaining").partition(";")[0] == "0":
            return None
        asked = retry_after_s(answer.header("retry-after"))
        if asked is None:
            return backoff_s
        return asked if asked <= self.patience.retry_after_s else None

    def pause(self, seconds: float | None, url: str, cancelled: threading.Event | None) -> None:
        """Wait before another try.

        Raises:
            RegistryUnreachable: ``cancelled`` was set.
        """
        self._pause(cancelled or threading.Event(), seconds)
        refuse_cancelled(cancelled, url)


def refuse_offline(env: Mapping[str, str], whom: str) -> None:
    """Refuse to ask another machine where the user said so.

    Raises:
        Offline: ``OCIMAGIC_OFFLINE`` is set.
    """
    if env.get(OFFLINE, "") not in {"", "0"}:
        raise Offline(
            f"{whom} is not asked: ocimagic is to stay offline",
            why=f"{OFFLINE} is set, or %config OciMagic.offline = True",
            hint="images that are here work; %image_load -i FILE brings others",
        )


def _without_login(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _tls_context(ca_file: Path | None) -> SSLContext:
    import ssl

    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _load(context: SSLContext, kept: Certificates) -> None:
    """Put what is kept for a registry into the context of its connections.

    Raises:
        InvalidOption: a file that is no certificate or key.
    """
    import ssl

    path: object = None
    try:
        for path in kept.authorities:
            context.load_verify_locations(path)
        for path, key in kept.clients:
            context.load_cert_chain(path, key)
    except (OSError, ssl.SSLError) as err:
        raise InvalidOption(
            f"{path} cannot be used", why=str(err), hint="mend it or take it away"
        ) from err


def _unchecked_context() -> SSLContext:
    """Make a context that takes any certificate; it loads none, which is 30 ms cheaper."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
