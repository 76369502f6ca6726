"""What the clouds' token services have in common: a question with a proof, an answer in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ocimagic.errors import InvalidDocument, RegistryAnswered, RegistryUnreachable, Unauthorized
from ocimagic.registry.message import Request
from ocimagic.registry.refusal import RegistryWords
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from ocimagic.registry.credentials import Login
    from ocimagic.registry.transport import Transport
    from ocimagic.spec.codec import Fields

MAX_KEY_FILE_BYTES = 1 << 20
_MAX_TOKEN_BYTES = 1 << 20
_HIDDEN = b"(hidden)"


@dataclass(frozen=True, slots=True)
class Loan:
    """A login that a cloud lends.

    Attributes:
        lifetime_s: how long it works from now on.
    """

    login: Login
    lifetime_s: float


def form(url: str, fields: Mapping[str, str]) -> Request:
    """Write the request that sends a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", url, headers, urlencode(fields).encode())


def ask(
    transport: Transport,
    request: Request,
    *,
    hides: Collection[str],
    cancelled: threading.Event | None,
) -> Fields:
    """Ask a token service.

    Args:
        transport: follows no redirect of a request with a body.
        request: the question.
        hides: what no message may repeat, whatever the service says.
        cancelled: stops it when set.

    Raises:
        Unauthorized: it knows who asks, and says no.
        RegistryUnreachable, RegistryAnswered: it does not answer, or in no way we can read.
    """
    limits = transport.patience
    with transport.open(request, cancelled=cancelled) as answer:
        host = answer.origin.shown
        if answer.status != 200:
            words = said(answer.error_text(within_s=limits.error_body_s), hides)
            why = words or f"HTTP {answer.status}"
            if answer.status >= 500 or answer.status in {408, 429}:
                raise RegistryUnreachable(f"{host} is out of order", why=why)
            if answer.status in {400, 401, 403}:
                raise Unauthorized(f"{host} refuses the key", why=why)
            raise RegistryAnswered(f"{host} gives no token", why=why)
        raw = answer.read(max_bytes=_MAX_TOKEN_BYTES, within_s=limits.body_s, what="token")
    try:
        return decode(raw, what="token", max_bytes=_MAX_TOKEN_BYTES)
    except InvalidDocument as err:
        # Not its words: they may quote the token.
        raise RegistryAnswered(f"{host} gives no token", why="its answer is not JSON") from err


def said(body: bytes, hides: Collection[str]) -> str:
    """Return a service's own words, without what must not be shown."""
    for secret in hides:
        # Before it is cut to one line: half of a secret is one too.
        written = json.dumps(secret)[1:-1]
        for form_of_it in {secret, written, written.replace("/", "\\/")} - {""}:
            body = body.replace(form_of_it.encode(), _HIDDEN)
    return str(RegistryWords.parse(body))


def token_in(fields: Fields, name: str, host: str) -> str:
    """Take a token out of an answer.

    Raises:
        RegistryAnswered: there is none, or one that no header could carry.
    """
    try:
        token = fields.text(name)
    except InvalidDocument as err:
        raise RegistryAnswered(f"{host} gives no token", why=f"no {name} in its answer") from err
    if not token.isascii() or not token.isprintable() or " " in token:
        raise RegistryAnswered(f"{host} gives no token", why="it is not printable ASCII")
    return token


def seconds_in(fields: Fields, name: str, otherwise: float) -> float:
    """Return a lifetime that an answer names; one that makes no sense counts as not said."""
    found = fields.value.get(name)
    return float(found) if isinstance(found, int) and 0 < found < 10**6 else otherwise


def key_file(path: Path) -> bytes | None:
    """Read a file with keys; None when there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large to be one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > MAX_KEY_FILE_BYTES:
        raise ValueError(f"larger than {MAX_KEY_FILE_BYTES} bytes")
    return content
