"""Google's Container and Artifact Registry: application default credentials become a password.

A service account signs a statement about itself and gets an access token for it; a person's
refresh token is exchanged for one.  The user name for an access token is ``oauth2accesstoken``.

Spec: "Using OAuth 2.0 for Server to Server Applications" (Google Identity; RFC 7523); "How
Application Default Credentials works"; "Configure authentication to Artifact Registry for
Docker".
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidOption
from ocimagic.registry.cloudhosts import is_google
from ocimagic.registry.cloudtoken import Loan, ask, form, key_file, seconds_in, token_in
from ocimagic.registry.credentials import Login
from ocimagic.registry.message import Request
from ocimagic.spec.codec import decode

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ocimagic.registry.transport import Transport
    from ocimagic.spec.codec import Fields

TOKEN_USER = "oauth2accesstoken"  # noqa: S105  a user's name
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME_S = 3600.0
_SIGN_TIMEOUT_S = 30.0
_MAX_PEM_BYTES = 16 << 10
# Where a key file may send what it signs; old ones name the second and third.
_TOKEN_URLS = frozenset(
    {
        TOKEN_URL,
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)


class Google:
    """Logins for Google's registries.

    Args:
        home: of the account on this machine.
        env: GOOGLE_APPLICATION_CREDENTIALS, CLOUDSDK_CONFIG, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE;
            the machine's own account is asked for only when GCE_METADATA_HOST names where.
            PATH, to find openssl.
        now: the time that statements carry.
    """

    def __init__(
        self, transport: Transport, home: Path, env: Mapping[str, str], now: Callable[[], datetime]
    ) -> None:
        self._transport = transport
        self._home = home
        self._env = env
        self._now = now

    def covers(self, registry: str) -> bool:
        """Say whether a registry is Google's."""
        return is_google(registry)

    def lend(self, _registry: str, cancelled: threading.Event | None) -> Loan | None:
        """Return a login; None when there are no credentials.

        Raises:
            InvalidOption: what there is cannot be used.
            Unauthorized, RegistryError: what Google said.
        """
        token_file = self._env.get("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE")
        if token_file:
            token = _content(Path(token_file)).decode("ascii", "replace").strip()
            return _loan(token, 60.0, token_file)
        named = self._env.get("GOOGLE_APPLICATION_CREDENTIALS")
        path = Path(named) if named else self._well_known()
        content = _content(path) if named or path.exists() else b""
        if content:
            return self._by_file(path, content, cancelled)
        host = self._env.get("GCE_METADATA_HOST")
        return self._by_machine(host, cancelled) if host else None

    def _well_known(self) -> Path:
        config = self._env.get("CLOUDSDK_CONFIG")
        base = Path(config) if config else self._home / ".config/gcloud"
        return base / "application_default_credentials.json"

    def _by_file(self, path: Path, content: bytes, cancelled: threading.Event | None) -> Loan:
        try:
            fields = decode(content, what="key file")
            kind = fields.text("type")
            if kind == "service_account":
                question, secret = self._statement(fields, path)
            elif kind == "authorized_user":
                question, secret = _exchange(fields)
            else:
                raise InvalidOption(
                    f"{path} holds credentials of a kind that is not supported",
                    why=f"type {kind[:40]!r}",
                    hint="a key of a service account, or what"
                    " `gcloud auth application-default login` writes",
                )
        except InvalidDocument as err:
            # Not its words: they may quote the key.
            raise InvalidOption(f"{path} is no key file of Google's") from err
        answer = ask(self._transport, question, hides=(secret,), cancelled=cancelled)
        token = token_in(answer, "access_token", question.origin.shown)
        return _loan(token, seconds_in(answer, "expires_in", _LIFETIME_S), str(path))

    def _statement(self, fields: Fields, path: Path) -> tuple[Request, str]:
        """Write what a service account says of itself, signed."""
        url = fields.text("token_uri", TOKEN_URL)
        if url not in _TOKEN_URLS:
            raise InvalidOption(
                f"{path} wants its key to be used elsewhere than at Google's",
                why=f"token_uri {url[:80]!r}",
            )
        now = int(self._now().timestamp())
        head = {"alg": "RS256", "typ": "JWT", "kid": fields.text("private_key_id", "")}
        claims = {
            "iss": fields.text("client_email"),
            "scope": _SCOPE,
            "aud": url,
            "iat": now,
            "exp": now + int(_LIFETIME_S),
        }
        text = f"{_packed(_json(head))}.{_packed(_json(claims))}"
        signature = sign_rs256(text.encode(), fields.text("private_key").encode(), self._env)
        statement = f"{text}.{_packed(signature)}"
        return form(url, {"grant_type": _JWT_BEARER, "assertion": statement}), statement

    def _by_machine(self, host: str, cancelled: threading.Event | None) -> Loan:
        if not re.fullmatch(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?", host):
            raise InvalidOption("this is no host", where="GCE_METADATA_HOST")
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        question = Request("GET", url, {"Metadata-Flavor": "Google"})
        answer = ask(self._transport, question, hides=(), cancelled=cancelled)
        token = token_in(answer, "access_token", host)
        return _loan(token, seconds_in(answer, "expires_in", _LIFETIME_S), "GCE_METADATA_HOST")


def sign_rs256(message: bytes, private_key: bytes, env: Mapping[str, str]) -> bytes:
    """Sign with RSA and SHA-256, PKCS #1 v1.5, by means of openssl.

    The key goes through a pipe: it is on no command line and in no file.

    Args:
        message: what is signed.
        private_key: PEM.
        env: PATH.

    Raises:
        InvalidOption: there is no openssl, or it cannot use this key.
    """
    program = shutil.which("openssl", path=env.get("PATH", ""))
    if program is None:
        raise InvalidOption(
            "a key of a service account needs openssl, which is not installed",
            hint="install it, or log in with `gcloud auth configure-docker`",
        )
    # More would not fit into a pipe that nobody reads yet.
    if len(private_key) > _MAX_PEM_BYTES:
        raise InvalidOption("the private key of the service account is too long to be one")
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as pipe:
            pipe.write(private_key)
        done = subprocess.run(
            [program, "dgst", "-sha256", "-sign", f"/dev/fd/{reading}"],
            input=message,
            capture_output=True,
            timeout=_SIGN_TIMEOUT_S,
            pass_fds=(reading,),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise InvalidOption("openssl cannot be run", where=program) from err
    finally:
        os.close(reading)
    if done.returncode or not done.stdout:
        raise InvalidOption("openssl cannot use the private key of the service account")
    return done.stdout


def _exchange(fields: Fields) -> tuple[Request, str]:
    """Write the exchange of a person's refresh token."""
    refresh, secret = fields.text("refresh_token"), fields.text("client_secret")
    wanted = {
        "grant_type": "refresh_token",
        "client_id": fields.text("client_id"),
        "client_secret": secret,
        "refresh_token": refresh,
    }
    return form(TOKEN_URL, wanted), refresh


def _loan(token: str, lifetime_s: float, source: str) -> Loan:
    return Loan(Login(username=TOKEN_USER, password=token, source=source), lifetime_s)


def _content(path: Path) -> bytes:
    try:
        content = key_file(path)
    except (OSError, ValueError) as err:
        raise InvalidOption(f"{path} cannot be used", why=str(err)) from err
    if not content:
        raise InvalidOption(f"{path} is not there, or empty")
    return content


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
