"""Amazon ECR: keys of an AWS account become a login for twelve hours.

Spec: "GetAuthorizationToken" (Amazon ECR and Amazon ECR Public API Reference); "Create a signed
AWS API request" (IAM User Guide); "Configuration and credential file settings" (AWS CLI).
"""

from __future__ import annotations

import base64
import binascii
import configparser
import hashlib
import hmac
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from ocimagic.errors import InvalidDocument, InvalidOption, RegistryAnswered
from ocimagic.registry.cloudhosts import ecr_host
from ocimagic.registry.cloudtoken import Loan, ask, key_file
from ocimagic.registry.credentials import Login
from ocimagic.registry.message import Request
from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ocimagic.registry.transport import Transport
    from ocimagic.spec.codec import Fields

_ALGORITHM = "AWS4-HMAC-SHA256"
_LIFETIME_S = 12 * 3600.0
_TARGETS = {
    "ecr": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
    "ecr-public": "SpencerFrontendService.GetAuthorizationToken",
}
_PLAIN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Keys:
    """What proves an AWS account.

    Attributes:
        session: goes with keys that were lent for a while; "" otherwise.
        source: where they were found.
    """

    access: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)
    source: str = ""


class Aws:
    """Logins for ECR.

    Args:
        home: of the account on this machine.
        env: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; AWS_PROFILE and
            AWS_SHARED_CREDENTIALS_FILE.
        now: the time that signatures carry.
    """

    def __init__(
        self, transport: Transport, home: Path, env: Mapping[str, str], now: Callable[[], datetime]
    ) -> None:
        self._transport = transport
        self._home = home
        self._env = env
        self._now = now

    def covers(self, registry: str) -> bool:
        """Say whether a registry is Amazon's."""
        return ecr_host(registry) is not None

    def lend(self, registry: str, cancelled: threading.Event | None) -> Loan | None:
        """Return a login for a registry; None when there are no keys.

        Raises:
            InvalidOption: the file with the keys cannot be used.
            Unauthorized, RegistryError: what the API said.
        """
        host, keys = ecr_host(registry), self.keys()
        if host is None or keys is None:
            return None
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": _TARGETS[host.service],
        }
        question = Request("POST", f"{host.endpoint}/", headers, b"{}")
        question = signed(question, keys, host.region, host.service, self._now())
        hides = (keys.secret, keys.session)
        fields = ask(self._transport, question, hides=hides, cancelled=cancelled)
        login, expires = _login(fields, is_public=host.is_public, source=keys.source)
        lifetime_s = expires - self._now().timestamp() if expires else _LIFETIME_S
        return Loan(login, min(max(lifetime_s, 0.0), _LIFETIME_S))

    def keys(self) -> Keys | None:
        """Find the keys: in the environment, else in the profile's part of the file.

        Raises:
            InvalidOption: the file cannot be used, or the profile that was asked for has no keys.
        """
        env = self._env
        access, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
        if access and secret:
            session = env.get("AWS_SESSION_TOKEN", "")
            return _checked(Keys(access, secret, session, "AWS_ACCESS_KEY_ID"))
        named = env.get("AWS_SHARED_CREDENTIALS_FILE")
        path = Path(named) if named else self._home / ".aws/credentials"
        asked = env.get("AWS_PROFILE", "")
        section = _section(path, asked or "default")
        if "aws_access_key_id" in section and "aws_secret_access_key" in section:
            session = section.get("aws_session_token", "")
            found = Keys(section["aws_access_key_id"], section["aws_secret_access_key"], session)
            return _checked(replace(found, source=str(path)))
        if asked:
            raise InvalidOption(
                f"profile {asked} has no keys in {path}",
                why="roles and single sign-on are the AWS CLI's affair",
                hint=f'eval "$(aws configure export-credentials --profile {asked} --format env)"',
            )
        return None


def signed(request: Request, keys: Keys, region: str, service: str, when: datetime) -> Request:
    """Return a request with its signature, version 4, over all of its headers.

    Args:
        request: its body is bytes or None; its path is encoded as it is sent.
        keys: who signs.
        region: where it goes.
        service: what it goes to.
        when: aware, UTC.
    """
    assert request.body is None or isinstance(request.body, bytes)
    stamp = when.strftime("%Y%m%dT%H%M%SZ")
    headers = {**request.headers, "X-Amz-Date": stamp}
    if keys.session:
        headers["X-Amz-Security-Token"] = keys.session
    covered = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    covered["host"] = str(request.origin)
    names = sorted(covered)
    parts = urlsplit(request.url)
    canonical = "\n".join(
        (
            request.method,
            parts.path or "/",
            _canonical_query(parts.query),
            *(f"{name}:{covered[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(request.body or b"").hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for each in scope.split("/"):
        key = hmac.digest(key, each.encode(), "sha256")
    signature = hmac.digest(key, f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256")
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={keys.access}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature.hex()}"
    )
    return replace(request, headers=headers)


def _canonical_query(query: str) -> str:
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _checked(keys: Keys) -> Keys:
    """Refuse keys that would not be one header's words: a line break would add headers."""
    for text in (keys.access, keys.secret, keys.session or "-"):
        if not _PLAIN.fullmatch(text):
            raise InvalidOption("the AWS keys have characters that no key has", where=keys.source)
    return keys


def _section(path: Path, profile: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string((key_file(path) or b"").decode())
    except (OSError, ValueError, configparser.Error) as err:
        # Not the parser's words: they quote the line, and the line may hold the key.
        why = err.strerror if isinstance(err, OSError) else "not as the AWS CLI writes it"
        raise InvalidOption(f"{path} cannot be used", why=why) from err
    return dict(parser.items(profile)) if parser.has_section(profile) else {}


def _login(fields: Fields, *, is_public: bool, source: str) -> tuple[Login, float]:
    """Take the login, and when it ends in seconds since 1970 (0: not said), out of an answer."""
    try:
        if is_public:
            data = fields.child("authorizationData", required=True)
        else:
            data = fields.children("authorizationData")[0]
        pair = base64.b64decode(data.text("authorizationToken"), validate=True).decode("ascii")
    except (InvalidDocument, IndexError, binascii.Error, UnicodeDecodeError) as err:
        why = "no authorizationToken in its answer"
        raise RegistryAnswered("ECR gives no token", why=why) from err
    username, _, password = pair.partition(":")
    expires = data.value.get("expiresAt")
    known = float(expires) if isinstance(expires, int | float) else 0.0
    return Login(username=username, password=password, source=source), known
