"""One HTTP request and its answer.

The answer's body is read as it arrives and never decoded: digests are over the bytes the
registry stored.  What urllib3 raises becomes one of our errors here and nowhere else.
"""

from __future__ import annotations

import contextlib
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from ocimagic.errors import RegistryAnswered, RegistryError, RegistryUnreachable
from ocimagic.registry.origin import Origin, shown_url
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from urllib3.response import BaseHTTPResponse

MAX_ERROR_BYTES = 64 << 10
_PIECE_BYTES = 256 << 10
_DRAIN_S = 1.0
_OFFLINE = "are you offline? images you have already still work; else check the name or the proxy"


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask of an HTTP server.

    Attributes:
        headers: may hold Authorization; it goes to the origin of ``url`` only.
        body: bytes, or what makes them anew each time the request is sent; the headers then say
            how many they are.
        is_movable: its body may go to another host that a redirect names: it is no secret.
        is_once: it is not sent again when the connection breaks: half of it may have arrived.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    is_movable: bool = False
    is_once: bool = False

    @property
    def origin(self) -> Origin:
        """Return whom this asks."""
        return Origin.of(self.url)


class Answer:
    """Status, headers and a body that is still arriving; owns its connection until closed.

    Args:
        raw: urllib3's response, its body unread.
        request: what was answered, after redirects.
        asked: whom the first request asked, before redirects.
    """

    def __init__(self, raw: BaseHTTPResponse, request: Request, asked: Origin) -> None:
        self.status = raw.status
        self.request = request
        self.asked = asked
        self._raw = raw
        self._error_text: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def origin(self) -> Origin:
        """Return who answered."""
        return self.request.origin

    def header(self, name: str) -> str:
        """Return a header's value, or "" when it is absent."""
        return str(self._raw.headers.get(name, "")).strip()

    def every(self, name: str) -> list[str]:
        """Return each value of a header that may come more than once."""
        return list(self._raw.headers.getlist(name))

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, undecoded, in pieces of at most 256 KiB.

        Raises:
            RegistryUnreachable: the connection broke or went silent.
        """
        from urllib3.exceptions import HTTPError

        while True:
            try:
                piece = self._raw.read1(_PIECE_BYTES, decode_content=False)
            except (HTTPError, OSError) as err:
                raise failure(err, self.request.url) from err
            if not piece:
                return
            yield piece

    def read(self, *, max_bytes: int, within_s: float, what: str) -> bytes:
        """Return the whole body.

        Raises:
            RegistryAnswered: longer than ``max_bytes``, or not there ``within_s`` seconds
                from now.
        """
        body = self.read_some(max_bytes=max_bytes + 1, within_s=within_s)
        if len(body) > max_bytes:
            raise RegistryAnswered(
                f"the {what} from {self.origin.shown} is too large", why=f"limit {max_bytes} bytes"
            )
        if not self._raw.closed:
            raise RegistryAnswered(
                f"the {what} from {self.origin.shown} does not end", why=f"limit {within_s:g} s"
            )
        return body

    def read_some(self, *, max_bytes: int, within_s: float) -> bytes:
        """Return what arrives of the body until a limit is met."""
        body = bytearray()
        deadline = time.monotonic() + within_s
        for piece in self.pieces():
            body += piece
            if len(body) >= max_bytes or time.monotonic() > deadline:
                break
        return bytes(body[:max_bytes])

    def error_text(self, *, within_s: float) -> bytes:
        """Return the body of an error as far as it is worth reading; it is read once."""
        if self._error_text is None:
            try:
                self._error_text = self.read_some(max_bytes=MAX_ERROR_BYTES, within_s=within_s)
            except RegistryError:
                self._error_text = b""
        return self._error_text

    def interrupt(self) -> None:
        """Let another thread that waits for the body see its end at once."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # it is over already
            self._raw.shutdown()

    def close(self) -> None:
        """Give the connection back to its pool, or drop it when the body was not read.

        The short body of a redirect or a challenge is read for that: it is cheaper than a
        new connection with TLS.
        """
        if self.request.method == "HEAD":
            self._raw.drain_conn()
        elif self.status >= 300:
            self.error_text(within_s=_DRAIN_S)
        self._raw.close()


def retry_after_s(text: str) -> float | None:
    """Return what a Retry-After header asks to wait; None when it is none.

    It is seconds or an HTTP date; that of Docker Hub has been seconds since 1970 too.
    """
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        if re.fullmatch(r"[0-9]{10}", text):
            then = float(text)
        else:
            then = parsedate_to_datetime(text).timestamp()
        return max(0.0, then - time.time())
    except (ValueError, OverflowError):
        return None


def refuse_cancelled(cancelled: threading.Event | None, url: str) -> None:
    """Stop here when the user has stopped the transfer.

    Raises:
        RegistryUnreachable: the event is set.
    """
    if cancelled is not None and cancelled.is_set():
        raise RegistryUnreachable(
            f"the transfer from {Origin.of(url).shown} was stopped", where=shown_url(url)
        )


def failure(err: Exception, url: str) -> RegistryError:
    """Turn what urllib3 raised into the fact it stands for.

    RegistryUnreachable means that trying again may help; RegistryAnswered that it will not.
    """
    origin = Origin.of(url)
    host = origin.shown
    kind, why, hint = _explain(err)
    if kind == "unreachable" and origin.reach == "loopback":
        hint = "is a registry running on this machine, at this port?"
    what = {
        "unreachable": f"no connection to {host}",
        "broken": f"the connection to {host} broke",
        "untrusted": f"{host} cannot be trusted",
        "garbage": f"{host} does not answer in HTTP",
    }[kind]
    category = RegistryAnswered if kind in {"untrusted", "garbage"} else RegistryUnreachable
    return category(what, why=why, hint=hint, where=shown_url(url))


def _explain(err: Exception) -> tuple[str, str, str | None]:
    """Sort an error into a kind, its cause and what to do."""
    from http.client import HTTPException, IncompleteRead, RemoteDisconnected

    from urllib3 import exceptions as known

    if isinstance(err, known.ProxyError):
        return "unreachable", f"the proxy: {_system_words(err.original_error)}", _OFFLINE
    if isinstance(err, known.SSLError):
        return _explain_tls(err)
    if isinstance(err, (known.NameResolutionError, known.LocationValueError, UnicodeError)):
        return "unreachable", "its name cannot be resolved", _OFFLINE
    if isinstance(err, known.NewConnectionError):
        return "unreachable", _system_words(err), _OFFLINE
    if isinstance(err, known.ConnectTimeoutError):
        return "unreachable", "it does not answer", _OFFLINE
    if isinstance(err, known.ReadTimeoutError):
        return "broken", "nothing came for too long", "try again"
    cause = err.args[1] if len(err.args) > 1 else err
    if isinstance(cause, HTTPException) and not isinstance(
        cause, (IncompleteRead, RemoteDisconnected)
    ):
        return "garbage", "its answer breaks the protocol", "check the host and the port"
    return "broken", _system_words(cause), "try again"


def _explain_tls(err: Exception) -> tuple[str, str, str | None]:
    from ssl import SSLCertVerificationError

    cause = err.args[0] if err.args else err
    if isinstance(cause, SSLCertVerificationError):
        hint = (
            "is the clock right?  A registry of your own: put its CA into\n"
            "/etc/docker/certs.d/HOST:PORT/ca.crt, or name it in OCIMAGIC_INSECURE_REGISTRIES\n"
            "macOS with Python from python.org: run Install Certificates.command once"
        )
        return "untrusted", f"its certificate: {cause.verify_message}", hint
    if "WRONG_VERSION_NUMBER" in str(cause):
        hint = "if it has no TLS on purpose, name it in OCIMAGIC_INSECURE_REGISTRIES"
        return "untrusted", "it does not speak TLS", hint
    return "broken", "the TLS connection ended too early", "try again"


def _system_words(err: object) -> str:
    """Find the operating system's own words under urllib3's wrapping."""
    seen = err
    while isinstance(seen, BaseException):
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    return "it was closed too early"
