"""Which cloud a registry's name belongs to, and how its people log in there.

Only what is below a cloud's own domain is that cloud's: a login made with a cloud's keys goes to
no other host.

Sources: Amazon ECR endpoints and quotas (AWS General Reference); "Azure Container Registry,
login server"; "Artifact Registry, repository and image names" (Google Cloud).
"""

from __future__ import annotations

import re

from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import DEFAULT_REGISTRY

ECR_PUBLIC = "public.ecr.aws"
_ECR = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z]{2}[a-z0-9-]{3,30})\."
    r"(?P<domain>amazonaws\.com|amazonaws\.com\.cn|on\.aws)"
)
_ACR = re.compile(r"(?P<name>[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?)\.azurecr\.(?:io|cn|us)")
_GOOGLE = re.compile(r"(?:[a-z0-9-]+\.)?gcr\.io|(?:[a-z0-9-]+-)?docker\.pkg\.dev")


@dataclass(frozen=True, slots=True)
class EcrHost:
    """A registry of Amazon's.

    Attributes:
        region: where it is, which is where its tokens are made.
        endpoint: of the API that makes them.
        service: the name that a signature is for.
    """

    region: str
    endpoint: str
    service: str = "ecr"

    @property
    def is_public(self) -> bool:
        """Say whether this is the one registry that all may pull from."""
        return self.service == "ecr-public"


def ecr_host(registry: str) -> EcrHost | None:
    """Return what an ECR registry's name says; None for another registry."""
    if registry == ECR_PUBLIC:
        # The public registry's tokens are made in one region only.
        region = "us-east-1"
        return EcrHost(region, f"https://api.ecr-public.{region}.amazonaws.com", "ecr-public")
    found = _ECR.fullmatch(registry)
    if not found:
        return None
    region, fips, domain = found["region"], bool(found["fips"]), found["domain"]
    if domain == "on.aws":
        return EcrHost(region, f"https://{'ecr-fips' if fips else 'ecr'}.{region}.api.aws")
    return EcrHost(region, f"https://{'ecr-fips' if fips else 'api.ecr'}.{region}.{domain}")


def is_acr(registry: str) -> bool:
    """Say whether a registry is one of Azure's."""
    return _ACR.fullmatch(registry) is not None


def is_google(registry: str) -> bool:
    """Say whether a registry is one of Google's."""
    return _GOOGLE.fullmatch(registry) is not None


def login_command(registry: str) -> str:
    """Return what to type to log in; docker's and podman's logins are ours too.

    The clouds' own tools give a password for docker's; a person has none to type.
    """
    ecr, acr = ecr_host(registry), _ACR.fullmatch(registry)
    if ecr:
        verb = "ecr-public" if ecr.is_public else "ecr"
        return (
            f"aws {verb} get-login-password --region {ecr.region}"
            f" | docker login --username AWS --password-stdin {registry}"
        )
    if acr:
        return f"az acr login --name {acr['name']}"
    if is_google(registry):
        return f"gcloud auth configure-docker {registry}"
    return "docker login" if registry == DEFAULT_REGISTRY else f"docker login {registry}"
