"""Proving who we are: challenges, Basic and Bearer.

A request goes out with what is known to work.  A registry that wants more answers 401 with a
challenge; that is answered, at most twice, and what worked is kept until it expires.

Spec: RFC 9110 section 11 (challenges); distribution's "Token Authentication Specification".
"""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from ocimagic.errors import (
    InvalidDocument,
    RateLimited,
    RegistryAnswered,
    RegistryError,
    RegistryUnreachable,
    Unauthorized,
)
from ocimagic.registry.azure import as_identity
from ocimagic.registry.cloudhosts import login_command
from ocimagic.registry.cloudtoken import Loan
from ocimagic.registry.message import Answer, Request
from ocimagic.registry.origin import HUB_HOST, Origin, check_step
from ocimagic.registry.refusal import RegistryWords
from ocimagic.registry.settings import TRUSTED_REALMS
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ocimagic.registry.cloudlogins import CloudLogins
    from ocimagic.registry.credentials import Credentials, Login
    from ocimagic.registry.transport import Transport

MAX_TOKEN_BYTES = 1 << 20
CLIENT_ID = "ocimagic"
_MAX_ROUNDS = 3
_MIN_LIFETIME_S = 60.0
_MAX_LIFETIME_S = 24 * 3600.0
_EARLY_S = 10.0
# Registries whose token server is a host of the same owner.
_KNOWN_REALMS = {
    HUB_HOST: frozenset({"auth.docker.io"}),
    "registry.gitlab.com": frozenset({"gitlab.com"}),
}
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"\s*({_WORD})(?:\s+|$|(?=,))")
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that a registry offers.

    Attributes:
        scheme: lower case, ``basic`` or ``bearer`` or another.
        parameters: names in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers, each of which may hold several challenges.

    What is not understood is passed over.
    """
    found: list[Challenge] = []
    for header in headers:
        at = 0
        while scheme := _SCHEME.match(header, at):
            at = scheme.end()
            parameters: dict[str, str] = {}
            while pair := _PARAMETER.match(header, at):
                at = pair.end()
                quoted = re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
                parameters.setdefault(pair[1].lower(), quoted)
            found.append(Challenge(scheme[1].lower(), parameters))
            at = _next_challenge(header, at)
    return found


def _next_challenge(header: str, at: int) -> int:
    """Skip a credential we cannot read (Negotiate's blob) and commas."""
    while at < len(header) and header[at] in ", \t":
        at += 1
    if _SCHEME.match(header, at):
        return at
    comma = header.find(",", at)
    return len(header) if comma < 0 else comma + 1


@dataclass(frozen=True, slots=True)
class _Proof:
    """A value for Authorization and when it stops working, on the monotonic clock."""

    value: str
    expires: float


@dataclass(frozen=True, slots=True)
class Subject:
    """What a login is looked up for.

    Attributes:
        registry: host and port as in a reference.
        repository: "" for the registry itself.
        actions: what is to be done there.
        source: another repository that blobs are taken over from, or "".
    """

    registry: str
    repository: str
    actions: str = "pull"
    source: str = ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Return what that needs of a token."""
        own = (f"repository:{self.repository}:{self.actions}",) if self.repository else ()
        return (*own, f"repository:{self.source}:pull") if self.source else own

    @property
    def scope(self) -> str:
        """Return the same as one text."""
        return " ".join(self.scopes)


class Authenticator:
    """Sends requests and answers the challenges that come back; thread-safe.

    Args:
        credentials: where logins are; None asks for nothing but public images.
        clouds: where more are, for clouds' own registries.
        trusted_realms: hosts (``host`` or ``host:port``) of token servers that may get the
            login of any registry.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        transport: Transport,
        credentials: Credentials | None = None,
        *,
        clouds: CloudLogins | None = None,
        trusted_realms: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._clouds = clouds
        self._trusted_realms = trusted_realms
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[tuple[Origin, str], threading.Lock] = {}
        self._proofs: dict[tuple[Origin, str], _Proof] = {}
        self._withheld: dict[str, str] = {}

    def open(
        self, request: Request, subject: Subject, *, cancelled: threading.Event | None = None
    ) -> Answer:
        """Send a request, logged in if the registry wants that.

        Returns the last answer, a 401 too when no login helped; the caller closes it.

        Raises:
            Unauthorized: the token server refuses the login.
            RegistryError: see Transport.open.
        """
        key = (request.origin, subject.scope)
        proof = self._known(key)
        for attempt in range(1, _MAX_ROUNDS + 1):
            answer = self._transport.open(_with(request, proof), cancelled=cancelled)
            # A 401 of a host we were redirected to is that host's affair: it gets no login.
            if answer.status != 401 or answer.origin != request.origin or attempt == _MAX_ROUNDS:
                return answer
            challenges = parse_challenges(answer.every("www-authenticate"))
            # Read now, so that the connection is free for the token and the next round.
            answer.error_text(within_s=self._transport.patience.error_body_s)
            try:
                better = self._renew(key, proof, challenges, subject, cancelled)
            except RegistryError:
                answer.close()
                raise
            if better is None or (proof and better.value == proof.value):
                return answer
            answer.close()
            proof = better
        raise AssertionError("the last round returns")

    def notes(self, subject: Subject) -> list[str]:
        """Say what may have kept a login from working."""
        problems = list(self._credentials.problems) if self._credentials else []
        cloud = self._clouds.problem(subject.registry) if self._clouds else ""
        withheld = self._withheld.get(subject.registry, "")
        return [*problems, *(each for each in (cloud, withheld) if each)]

    def _known(self, key: tuple[Origin, str]) -> _Proof | None:
        with self._lock:
            proof = self._proofs.get(key)
        return proof if proof and proof.expires > self._clock() else None

    def _renew(
        self,
        key: tuple[Origin, str],
        refused: _Proof | None,
        challenges: list[Challenge],
        subject: Subject,
        cancelled: threading.Event | None,
    ) -> _Proof | None:
        """Get a better proof than the refused one; one thread asks, the others wait for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            known = self._known(key)
            if known and known != refused:
                return known
            with self._lock:
                self._proofs.pop(key, None)
            loan = self._login(subject, anew=refused is not None, cancelled=cancelled)
            proof = self._answer(key[0], challenges, subject, loan, cancelled)
            if proof:
                with self._lock:
                    self._proofs[key] = proof
            return proof

    def _answer(
        self,
        origin: Origin,
        challenges: list[Challenge],
        subject: Subject,
        loan: Loan | None,
        cancelled: threading.Event | None,
    ) -> _Proof | None:
        """Answer the first challenge we understand; None when it wants a login we lack."""
        login = loan.login if loan else None
        for challenge in challenges:
            if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                if login and login.registry_token:
                    return self._proof(f"Bearer {login.registry_token}", _MAX_LIFETIME_S)
                return self._bearer(origin, challenge, subject, login, cancelled)
            if challenge.scheme == "basic" and loan and loan.login.basic:
                return self._proof(loan.login.basic, loan.lifetime_s)
        return None

    def _login(
        self, subject: Subject, *, anew: bool, cancelled: threading.Event | None
    ) -> Loan | None:
        """Find the user's own login, which lasts, or one that the registry's cloud lends."""
        credentials = self._credentials
        login = credentials and credentials.lookup(subject.registry, subject.repository)
        if login:
            return Loan(as_identity(login, subject.registry), _MAX_LIFETIME_S)
        if self._clouds is None:
            return None
        return self._clouds.lend(subject.registry, anew=anew, cancelled=cancelled)

    def _bearer(
        self,
        origin: Origin,
        challenge: Challenge,
        subject: Subject,
        login: Login | None,
        cancelled: threading.Event | None,
    ) -> _Proof:
        """Fetch an access token from the challenge's realm."""
        realm = challenge.parameters["realm"]
        server = check_step(realm, asked_by=origin, insecure=self._transport.insecure)
        if login and not self._may_have_login(server, origin):
            self._withheld[subject.registry] = (
                f"the login for {subject.registry} was not sent to {server},"
                " which is not known to belong to it;"
                f" if it does: {TRUSTED_REALMS}={server}"
            )
            login = None
        request = _token_request(challenge, subject, login)
        patience = self._transport.patience
        with self._transport.open(request, cancelled=cancelled) as answer:
            if answer.status != 200:
                said = RegistryWords.parse(answer.error_text(within_s=patience.error_body_s))
                reasons = [str(said), *self.notes(subject)]
                raise _token_refused(answer, subject.registry, login, reasons)
            raw = answer.read(max_bytes=MAX_TOKEN_BYTES, within_s=patience.body_s, what="token")
        token, lifetime_s = _parse_token(raw, server)
        return self._proof(f"Bearer {token}", lifetime_s)

    def _may_have_login(self, server: Origin, registry: Origin) -> bool:
        """Say whether a token server may see the registry's login.

        On this machine another port may be another user's, so there the port counts too.
        """
        if server.is_listed(self._trusted_realms):
            return True
        if server.host in _KNOWN_REALMS.get(registry.host, ()):
            return server.scheme == "https"
        if registry.reach == "loopback":
            return server == registry
        return server.host == registry.host

    def _proof(self, value: str, lifetime_s: float) -> _Proof:
        lifetime_s = min(max(lifetime_s, _MIN_LIFETIME_S), _MAX_LIFETIME_S)
        return _Proof(value, self._clock() + lifetime_s - _EARLY_S)


def _with(request: Request, proof: _Proof | None) -> Request:
    if proof is None:
        return request
    return replace(request, headers={**request.headers, "Authorization": proof.value})


def _token_request(challenge: Challenge, subject: Subject, login: Login | None) -> Request:
    """Write the request for a token.

    The scope is the challenge's own when it names one: the registry knows best what it wants.
    Only of another repository that we take from it knows nothing.
    """
    realm = challenge.parameters["realm"].partition("#")[0]
    scopes = challenge.parameters.get("scope", "").split() or list(subject.scopes)
    scopes += [each for each in subject.scopes[1:] if each not in scopes]
    service = challenge.parameters.get("service", "")
    if login and login.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": login.identity_token,
            "client_id": CLIENT_ID,
        }
        # Artifact Registry names no service, a bare /v2/ no scope.
        form |= {"service": service} if service else {}
        form |= {"scope": " ".join(scopes)} if scopes else {}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm, headers, urlencode(form).encode())
    fields = [("service", service)] if service else []
    fields += [("scope", each) for each in scopes]
    basic = login.basic if login else ""
    if basic:
        fields.append(("client_id", CLIENT_ID))
    joint = "&" if urlsplit(realm).query else "?"
    headers = {"Authorization": basic} if basic else {}
    return Request("GET", f"{realm.rstrip('?')}{joint}{urlencode(fields)}", headers)


def _token_refused(
    answer: Answer, registry: str, login: Login | None, reasons: list[str]
) -> RegistryError:
    host = answer.origin.shown
    why = "\n".join(each for each in reasons if each) or None
    if answer.status == 429:
        hint = "wait a few minutes"
        return RateLimited(f"{host} asks us to slow down", why=why, hint=hint, where=host)
    if answer.status in {400, 401, 403} and login:
        return Unauthorized(
            f"{host} refuses the login of {login.username or 'this user'}",
            why=why,
            where=login.source or None,
            hint=f"log in again: {login_command(registry)}",
        )
    if answer.status in {401, 403, 406}:  # Artifactory says 406 to the anonymous
        hint = f"log in: {login_command(registry)}"
        return Unauthorized(f"{host} gives nothing without a login", why=why, hint=hint)
    if answer.status >= 500:
        return RegistryUnreachable(f"{host} is out of order", why=f"HTTP {answer.status}")
    return RegistryAnswered(f"{host} gives no token", why=why or f"HTTP {answer.status}")


def _parse_token(raw: bytes, server: Origin) -> tuple[str, float]:
    """Return the access token and its lifetime in seconds."""
    try:
        fields = decode(raw, what="token", max_bytes=MAX_TOKEN_BYTES)
        token = fields.text("token", "") or fields.text("access_token")
        lifetime_s = float(fields.number("expires_in", int(_MIN_LIFETIME_S)))
    except (InvalidDocument, OverflowError) as err:
        raise RegistryAnswered(f"{server.shown} gives no token", why=str(err)) from err
    # It becomes a header line: a line break in it would add headers of the server's choice.
    if not re.fullmatch(r"[!-~]+", token):
        raise RegistryAnswered(f"{server.shown} gives no token", why="it is not printable ASCII")
    return token, lifetime_s
