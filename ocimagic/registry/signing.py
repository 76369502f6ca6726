"""Claims that only we can have made: JSON web tokens, signed with HMAC-SHA256.

Whoever checks a token here is who made it, so one secret does: nobody needs a public key.  A
token is looked into only when its signature is right, and its header is never believed: it is
one of the bytes that are signed, and we write only one.

Spec: RFC 7519 (claims), RFC 7515 section 3.1 and 7518 section 3.2 (HS256).
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES = 32
_MAX_TOKEN = 32 << 10


class Signer:
    """Makes and knows tokens.

    Args:
        key: 32 random bytes that nobody else has.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._key = key

    def sign(self, claims: Mapping[str, object]) -> str:
        """Return a token that says so."""
        payload = json.dumps(claims, separators=(",", ":"), sort_keys=True).encode()
        said = f"{_HEADER}.{_text(payload)}"
        return f"{said}.{self._signature(said)}"

    def claims(self, token: str) -> dict[str, object] | None:
        """Return what a token of ours says; None when it is not ours.

        Whether its time has come, or is over, its reader looks up.
        """
        if len(token) > _MAX_TOKEN:
            return None
        said, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(said).encode()):
            return None
        payload = said.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert isinstance(claims, dict)
        return claims

    def mark(self, text: str) -> str:
        """Return a short text that tells texts apart and does not tell what they are."""
        return _text(hmac.digest(self._key, b"mark\0" + text.encode(), "sha256")[:16])

    def _signature(self, said: str) -> str:
        return _text(hmac.digest(self._key, said.encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEADER = _text(b'{"alg":"HS256","typ":"JWT"}')
