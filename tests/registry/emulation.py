"""The clouds' registries and token services, emulated: their own names, over TLS, on loopback.

No cloud is asked.  What each says is written down from what its documentation shows or what its
users recorded; the tests name the source.  The client knows none of this: it meets
``contoso.azurecr.io`` through a proxy that answers itself.
"""

import base64
import contextlib
from urllib.parse import parse_qs, urlsplit

from scripted import Reply, ScriptedServer

from ocimagic.registry.client import RegistryClient
from ocimagic.registry.cloudlogins import CloudLogins
from ocimagic.registry.credentials import Credentials
from ocimagic.registry.settings import RegistrySettings
from ocimagic.registry.transport import Transport
from ocimagic.spec.reference import Reference

HOSTS = (
    "123456789012.dkr.ecr.eu-west-2.amazonaws.com", "api.ecr.eu-west-2.amazonaws.com",
    "prod-eu-west-2-starport-layer-bucket.s3.eu-west-2.amazonaws.com",
    "public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com",
    "contoso.azurecr.io", "login.microsoftonline.com", "login.microsoftonline.us",
    "gcr.io", "europe-docker.pkg.dev", "oauth2.googleapis.com",
    "acme.jfrog.io", "acme-docker-local.jfrog.io", "production.cloudflare.docker.com",
    "registry-1.docker.io", "auth.docker.io",
    "ghcr.io", "quay.io", "registry.gitlab.com", "gitlab.com",
    "registry.school.example", "gitlab.school.example", "evil.example",
)  # fmt: skip


def form(seen):
    return {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}


def query(seen):
    return {name: values[0] for name, values in parse_qs(urlsplit(seen.path).query).items()}


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class World:
    """All hosts of a test behind one proxy.

    Attributes:
        hosts: what answers for each; it gets the request and returns a Reply.
    """

    def __init__(self, tls, certificate, patience, home):
        self.hosts = {}
        self.home = home
        self._undo = contextlib.ExitStack()
        self._proxy = ScriptedServer(self._answer, guarded=True, stands_for=tls)
        self._undo.callback(self._proxy.close)
        self._certificate, self._patience = certificate, patience

    def _answer(self, seen):
        return self.hosts[seen.host](seen) if seen.host in self.hosts else Reply(502)

    def asked(self, host):
        return [seen for seen in self._proxy.seen if seen.host == host]

    @property
    def seen(self):
        return self._proxy.seen

    def client(self, env=None, *, logins=None, **times):
        """Make a client of an account with this environment, and these logins besides."""
        env = {"PATH": "/usr/bin:/bin", **(env or {})}
        proxy = {"HTTPS_PROXY": self._proxy.url, "HTTP_PROXY": self._proxy.url}
        transport = Transport(patience=self._patience, ca_file=self._certificate, env=proxy)
        self._undo.enter_context(transport)
        return RegistryClient(
            transport,
            Credentials(self.home, env, explicit=logins),
            clouds=CloudLogins(transport, self.home, env, **times),
            settings=RegistrySettings.read(self.home, env, etc=self.home / "etc"),
        )

    def environment(self):
        """Return what brings a whole engine here: the proxy, and a CA for each host."""
        for host in HOSTS:
            folder = self.home / ".config/containers/certs.d" / host
            folder.mkdir(parents=True)
            (folder / "ca.crt").write_bytes(self._certificate.read_bytes())
        return {"HTTPS_PROXY": self._proxy.url}

    def serves(self, host, image, *, challenge, accepts, path=""):
        """Let a host be a registry with one image, for whoever sends what it ``accepts``.

        Args:
            challenge: its WWW-Authenticate, "" when it asks for none.
            accepts: a test of the Authorization header.
            path: what stands before the image's name.
        """
        manifest, blobs = image

        def answer(seen):
            if not accepts(seen.headers.get("authorization", "")):
                return Reply(401, [("Www-Authenticate", challenge)], b"Not Authorized")
            rest = urlsplit(seen.path).path
            if rest == "/v2/":
                return Reply(body=b"{}")
            if rest.startswith(f"/v2/{path}app/manifests/"):
                head = [("Content-Type", manifest.media_type)]
                return Reply(
                    headers=[*head, ("Docker-Content-Digest", str(manifest.digest))],
                    body=manifest.raw,
                )
            for digest, content in blobs.items():
                if rest == f"/v2/{path}app/blobs/{digest}":
                    return Reply(body=content)
            return Reply(404)

        self.hosts[host] = answer

    def close(self):
        self._undo.close()


def pulls(client, image, name):
    """Pull an image as ``transfer.pull`` does: its name, its manifest, its blobs."""
    reference = Reference.parse(name)
    manifest, blobs = image
    described = client.resolve(reference)
    assert described.digest == manifest.digest
    assert client.manifest(reference.pinned(described.digest)).raw == manifest.raw
    for descriptor in (manifest.config, *manifest.layers):
        with client.open_blob(reference, descriptor) as stream:
            assert b"".join(stream.chunks) == blobs[descriptor.digest]
