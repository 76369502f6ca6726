"""Azure Container Registry: an account of Entra becomes a refresh token of the registry.

Entra gives an access token, the registry's own /oauth2/exchange makes a refresh token of it, and
that is exchanged for access tokens as any identity token is.

Spec: "Azure Container Registry integration with Azure Active Directory" (Azure/acr,
docs/AAD-OAuth.md); "The OAuth 2.0 client credentials flow" (Microsoft identity platform).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.registry.cloudhosts import is_acr
from ocimagic.registry.cloudtoken import Loan, ask, form, key_file, token_in
from ocimagic.registry.credentials import Login

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from ocimagic.registry.transport import Transport

# With this user name the password is a refresh token.
NOBODY = "00000000-0000-0000-0000-000000000000"
_AUTHORITY = "https://login.microsoftonline.com"
_SCOPE = "https://containerregistry.azure.net/.default"
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# The registry's refresh token works for three hours.
_LIFETIME_S = 2 * 3600.0
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,200}")


class Azure:
    """Logins for ACR.

    Args:
        env: AZURE_TENANT_ID and AZURE_CLIENT_ID with AZURE_CLIENT_SECRET or
            AZURE_FEDERATED_TOKEN_FILE; AZURE_AUTHORITY_HOST for a sovereign cloud.
    """

    def __init__(self, transport: Transport, env: Mapping[str, str]) -> None:
        self._transport = transport
        self._env = env

    def covers(self, registry: str) -> bool:
        """Say whether a registry is Azure's."""
        return is_acr(registry)

    def lend(self, registry: str, cancelled: threading.Event | None) -> Loan | None:
        """Return a login for a registry; None when no service principal is named.

        Raises:
            InvalidOption: what the environment says cannot be used.
            Unauthorized, RegistryError: what Entra or the registry said.
        """
        tenant, client = self._env.get("AZURE_TENANT_ID"), self._env.get("AZURE_CLIENT_ID")
        proof = self._proof()
        if not (tenant and client and proof):
            return None
        if not _TENANT.fullmatch(tenant):
            raise InvalidOption("this is no tenant of Azure's", where="AZURE_TENANT_ID")
        hides = tuple(proof.values())
        authority = self._authority()
        question = form(
            f"{authority}/{tenant}/oauth2/v2.0/token",
            {"grant_type": "client_credentials", "client_id": client, "scope": _SCOPE, **proof},
        )
        answer = ask(self._transport, question, hides=hides, cancelled=cancelled)
        access = token_in(answer, "access_token", authority)
        question = form(
            f"https://{registry}/oauth2/exchange",
            {
                "grant_type": "access_token",
                "service": registry,
                "tenant": tenant,
                "access_token": access,
            },
        )
        answer = ask(self._transport, question, hides=(access,), cancelled=cancelled)
        refresh = token_in(answer, "refresh_token", registry)
        return Loan(Login(identity_token=refresh, source="AZURE_CLIENT_ID"), _LIFETIME_S)

    def _proof(self) -> dict[str, str]:
        """Return the fields that prove the service principal; none when it is not to be had."""
        secret = self._env.get("AZURE_CLIENT_SECRET")
        if secret:
            return {"client_secret": secret}
        path = self._env.get("AZURE_FEDERATED_TOKEN_FILE")
        if not path:
            return {}
        try:
            token = (key_file(Path(path)) or b"").decode("ascii").strip()
        except (OSError, ValueError) as err:
            raise InvalidOption(
                f"{path} cannot be read", where="AZURE_FEDERATED_TOKEN_FILE"
            ) from err
        return {"client_assertion_type": _JWT_BEARER, "client_assertion": token} if token else {}

    def _authority(self) -> str:
        named = self._env.get("AZURE_AUTHORITY_HOST", "").rstrip("/")
        if not named:
            return _AUTHORITY
        url = named if "://" in named else f"https://{named}"
        if not re.fullmatch(r"https://[a-z0-9.-]+(?::[0-9]+)?", url):
            raise InvalidOption(
                "this is no authority of Azure's",
                where="AZURE_AUTHORITY_HOST",
                hint="such as https://login.microsoftonline.us",
            )
        return url


def as_identity(login: Login, registry: str) -> Login:
    """Read a login as ACR means it: nobody's password is a refresh token."""
    if login.username == NOBODY and login.password and is_acr(registry):
        return Login(identity_token=login.password, source=login.source)
    return login
