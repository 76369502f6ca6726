"""A registry's own token server: logins in, short-lived tokens out, and who may do what by them.

A request without a token is answered 401 with where to get one.  There, names and passwords of
the file of users are exchanged for a token that lets its bearer do what was asked for, for five
minutes; who asks for it gets a refresh token as well, which stands for the login and is what
docker then keeps in place of the password.  Claims::

    iss   ocimagic-registry
    sub   the user; "" for nobody in particular
    aud   ocimagic-registry; of a refresh token ocimagic-registry/token
    iat   when it was made, nbf and exp: from when and until when it holds; seconds since 1970
    jti   its own name, random
    login what the user's line in the file was: another password ends all tokens, both kinds
    access  [{"type": "repository", "name": "class/demo", "actions": ["pull", "push"]}, …]

Spec: distribution "Token Authentication Specification", "… Implementation", "OAuth2 Token
Authentication"; RFC 6750 section 3.
"""

from __future__ import annotations

import base64
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ocimagic.errors import InvalidOption
from ocimagic.registry.reply import Refusal
from ocimagic.registry.scope import Scope, covers, granted, parse_scopes
from ocimagic.registry.signing import Signer
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocimagic.registry.exchange import Exchange
    from ocimagic.registry.passwords import Passwords

TOKEN_PATH = "/token"  # noqa: S105  an address
SERVICE = "ocimagic-registry"
TOKEN_S = 300
REFRESH_S = 30 * 24 * 3600
_EARLY_S = 30  # a clock that is set back must not end what was given out a moment ago
_MAX_FORM_BYTES = 64 << 10
_FORM = "application/x-www-form-urlencoded"
_REFRESH = f"{SERVICE}{TOKEN_PATH}"


@dataclass(frozen=True, slots=True)
class _Wish:
    """What somebody asks the token server for.

    Attributes:
        user: who they have shown to be; "" when nobody in particular.
        scopes: what they want to do.
        is_lasting: they want a refresh token too.
    """

    user: str
    scopes: Sequence[Scope]
    is_lasting: bool


class TokenServer:
    """Gives tokens out and lets their bearers in; many threads at once.

    Args:
        passwords: who gets which.
        key: signs them; whoever has it can make tokens for anybody.
        anonymous_pull: who has no login may pull.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        passwords: Passwords,
        key: bytes,
        *,
        anonymous_pull: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._passwords = passwords
        self._signer = Signer(key)
        self._anonymous_pull = anonymous_pull
        self._clock = clock

    # -- at the registry -------------------------------------------------------

    def admit(self, authorization: str, wanted: Sequence[Scope], realm: str) -> None:
        """Let a request pass.

        Args:
            authorization: the header of that name.
            wanted: what it needs.
            realm: where tokens are given out.

        Raises:
            Refusal: 401, with what a token has to have.
            InvalidOption: the file of users cannot be read.
        """
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise _challenge(realm, wanted, "this registry wants a login")
        claims = self._claims(token.strip(), SERVICE)
        if claims is None:
            words = "this token is not valid here, or not any more"
            raise _challenge(realm, wanted, words, error="invalid_token")
        if not covers(_access(claims), wanted):
            words = f"this token is not for {' '.join(map(str, wanted))}"
            raise _challenge(realm, wanted, words, error="insufficient_scope", code="DENIED")

    def _claims(self, token: str, audience: str) -> Mapping[str, object] | None:
        """Return what a token says that holds now; None for all others."""
        claims = self._signer.claims(token)
        if claims is None or (claims["iss"], claims["aud"]) != (SERVICE, audience):
            return None
        begin, end = claims["nbf"], claims["exp"]
        assert isinstance(begin, int)
        assert isinstance(end, int)
        if not begin <= self._clock() < end:
            return None
        return claims if claims["login"] == self._mark(str(claims["sub"])) else None

    def _mark(self, user: str) -> str | None:
        """Return what tells a user's line in the file from an earlier or a later one."""
        if not user:
            return "" if self._anonymous_pull else None
        line = self._passwords.line(user)
        return self._signer.mark(f"{user}:{line}") if line else None

    # -- at the token server ---------------------------------------------------

    def answer(self, exchange: Exchange) -> None:
        """Answer a request for a token.

        Raises:
            Refusal: a wrong password, or a request that cannot be read.
            InvalidOption: the file of users cannot be read.
        """
        if exchange.command == "GET":
            wish = self._asked(exchange)
        elif exchange.command == "POST":
            wish = self._posted(exchange)
        else:
            words = f"{exchange.command} is not allowed here"
            raise Refusal(405, "UNSUPPORTED", words, Allow="GET, POST")
        if not wish.user and not self._anonymous_pull:
            raise _unknown("this registry gives nothing without a login")
        exchange.send_json(self._document(wish), headers={"Cache-Control": "no-store"})

    def _asked(self, exchange: Exchange) -> _Wish:
        """GET: the login is in the header, as it would be for Basic."""
        authorization = exchange.headers.get("Authorization", "")
        user = self._passwords.user(authorization) if authorization else ""
        account = exchange.asked("account")
        if user is None or (user and account not in {None, "", user}):
            raise _unknown("this name and this password do not go together")
        return _wish(exchange.query, user, is_lasting=exchange.asked("offline_token") == "true")

    def _posted(self, exchange: Exchange) -> _Wish:
        """POST: the login is in a form, as OAuth 2 has it."""
        form = _form(exchange)
        grant = _first(form, "grant_type")
        if grant == "password":
            login = f"{_first(form, 'username')}:{_first(form, 'password')}".encode()
            user = self._passwords.user(f"Basic {base64.b64encode(login).decode()}")
        elif grant == "refresh_token":
            claims = self._claims(_first(form, "refresh_token"), _REFRESH)
            user = str(claims["sub"]) if claims else None
        else:
            words = "grant_type must be password or refresh_token"
            raise Refusal(400, "UNSUPPORTED", words)
        if not user:
            raise _unknown("this login is not valid here, or not any more")
        return _wish(form, user, is_lasting=_first(form, "access_type") == "offline")

    def _document(self, wish: _Wish) -> dict[str, object]:
        access = granted(wish.scopes, is_user=bool(wish.user))
        now = int(self._clock())
        token = self._token(wish.user, SERVICE, now, TOKEN_S, access)
        document: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": TOKEN_S,
            "issued_at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "scope": " ".join(map(str, access)),
        }
        if wish.is_lasting and wish.user:
            document["refresh_token"] = self._token(wish.user, _REFRESH, now, REFRESH_S, ())
        return document

    def _token(
        self, user: str, audience: str, now: int, seconds: int, access: Sequence[Scope]
    ) -> str:
        claims = {
            "iss": SERVICE,
            "sub": user,
            "aud": audience,
            "iat": now,
            "nbf": now - _EARLY_S,
            "exp": now + seconds,
            "jti": os.urandom(16).hex(),
            "login": self._mark(user),
            "access": [each.to_json() for each in access],
        }
        return self._signer.sign(claims)


def _challenge(
    realm: str, wanted: Sequence[Scope], words: str, *, error: str = "", code: str = "UNAUTHORIZED"
) -> Refusal:
    """Say that a token is wanted, which one, and where there are some."""
    parts = {"realm": realm, "service": SERVICE, "scope": " ".join(map(str, wanted))}
    parts["error"] = error
    said = ",".join(f'{name}="{value}"' for name, value in parts.items() if value)
    return Refusal(401, code, words, WWW_Authenticate=f"Bearer {said}")


def _unknown(words: str) -> Refusal:
    return Refusal(401, "UNAUTHORIZED", words, WWW_Authenticate='Basic realm="ocimagic registry"')


def _access(claims: Mapping[str, object]) -> list[Scope]:
    access = claims["access"]
    assert isinstance(access, list)
    return [Scope.of_json(each) for each in access]


def _wish(said: Mapping[str, list[str]], user: str, *, is_lasting: bool) -> _Wish:
    service = _first(said, "service")
    if service not in {"", SERVICE}:
        raise Refusal(400, "UNSUPPORTED", f"no tokens for {service[:200]!r} are given out here")
    try:
        scopes = parse_scopes(said.get("scope", []))
    except InvalidOption as err:
        raise Refusal.of(err) from err
    return _Wish(user, scopes, is_lasting)


def _form(exchange: Exchange) -> Mapping[str, list[str]]:
    kind = exchange.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise Refusal(415, "UNSUPPORTED", f"a token is asked for with a form: {_FORM}")
    assert exchange.body is not None
    raw = b"".join(exchange.body.pieces(most=_MAX_FORM_BYTES))
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=32)
    except ValueError as err:
        raise Refusal(400, "UNSUPPORTED", "this form cannot be read") from err


def _first(said: Mapping[str, list[str]], name: str) -> str:
    return said.get(name, [""])[0]


def realm_at(host: str, fallback: str, *, is_secure: bool) -> str:
    """Return where tokens are given out, by the name that the client has for this registry.

    Args:
        host: what the client says that we are called; anything.
        fallback: what we are called when that is no host.
        is_secure: it came by TLS.
    """
    known = (
        host
        if re.fullmatch(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", host)
        else fallback
    )
    return f"{'https' if is_secure else 'http'}://{known}{TOKEN_PATH}"
