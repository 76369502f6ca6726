"""Logins, found where docker and podman keep them.

Nothing is cached: a ``docker login`` in a terminal counts from the next request on.
A file or helper program that cannot be used is noted in ``Credentials.problems`` and passed
over, since most images need no login at all.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument
from ocimagic.registry.origin import HUB_HOST
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass, field
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.spec.codec import Fields

HUB_KEY = "https://index.docker.io/v1/"
HELPER_TIMEOUT_S = 30.0
_HUB_NAMES = frozenset({DEFAULT_REGISTRY, HUB_HOST, "index.docker.io"})
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A helper answers so instead of a name when its secret is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105  a marker, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What proves who we are to one registry.

    Attributes:
        identity_token: exchanged for an access token; wins over the password.
        registry_token: an access token itself; wins over both.
        source: the file or program it came from.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""

    @property
    def basic(self) -> str:
        """Return the value of a Basic Authorization header, "" without a password."""
        if not (self.username and self.password):
            return ""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


@dataclass(frozen=True, slots=True)
class _AuthFile:
    """One place to look.

    Attributes:
        has_paths: keys may name a repository below a host, as podman's may.
        is_flat: the whole document is ``auths``, as in the old ``.dockercfg``.
    """

    path: Path
    has_paths: bool = False
    is_flat: bool = False


class Credentials:
    """Looks logins up, the most explicit place first.

    Args:
        home: the user's home directory.
        env: DOCKER_CONFIG, REGISTRY_AUTH_FILE, XDG_* and PATH are read from it.
        explicit: logins by host that were given in this session; they win.
    """

    def __init__(
        self, home: Path, env: Mapping[str, str], *, explicit: Mapping[str, Login] | None = None
    ) -> None:
        self._home = home
        self._env = env
        self._explicit = {registry_key(host): login for host, login in (explicit or {}).items()}
        self._problems: dict[str, None] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be used so far, one sentence each."""
        return tuple(self._problems)

    def lookup(self, host: str, repository: str = "") -> Login | None:
        """Find the login for a registry.

        Args:
            host: as in a reference, ``docker.io`` for Docker Hub.
            repository: podman's files may hold a login for a part of a registry; the
                longest matching path wins.
        """
        key = registry_key(host)
        if key in self._explicit:
            return self._explicit[key]
        for file in self._files():
            document = self._document(file)
            login = document and self._in_file(file, document, key, repository)
            if login:
                return login
        return None

    def _files(self) -> Iterator[_AuthFile]:
        env, home = self._env, self._home
        docker = Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else home / ".docker"
        yield _AuthFile(docker / "config.json")
        if env.get("REGISTRY_AUTH_FILE"):
            yield _AuthFile(Path(env["REGISTRY_AUTH_FILE"]), has_paths=True)
        if env.get("XDG_RUNTIME_DIR"):
            runtime = Path(env["XDG_RUNTIME_DIR"])
            yield _AuthFile(runtime / "containers" / "auth.json", has_paths=True)
        config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
        yield _AuthFile(config / "containers" / "auth.json", has_paths=True)
        yield _AuthFile(home / ".dockercfg", is_flat=True)

    def _document(self, file: _AuthFile) -> Fields | None:
        try:
            return decode(file.path.read_bytes(), what="login file")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            self._note(f"{file.path} cannot be read: {err.strerror}")
        except InvalidDocument as err:
            self._note(f"{file.path}: {err.why or err.what}")
        return None

    def _in_file(
        self, file: _AuthFile, document: Fields, key: str, repository: str
    ) -> Login | None:
        names = _candidates(key, repository) if file.has_paths else [key]
        try:
            if not file.is_flat:
                helper = self._helper_for(document, names)
                login = helper and self._ask_helper(helper, key)
                if login:
                    return login
            return _in_auths(document if file.is_flat else document.child("auths"), names, file)
        except InvalidDocument as err:
            self._note(f"{file.path}: {err.why or err.what}")
            return None

    @staticmethod
    def _helper_for(document: Fields, names: list[str]) -> str:
        helpers = {
            registry_key(name): helper for name, helper in document.text_map("credHelpers").items()
        }
        for name in names:
            if helpers.get(name):
                return helpers[name]
        return document.text("credsStore", "")

    def _ask_helper(self, helper: str, key: str) -> Login | None:
        """Run ``docker-credential-HELPER get``; None when it knows no login or fails."""
        program = f"docker-credential-{helper}"
        path = shutil.which(program, path=self._env.get("PATH", ""))
        if not _HELPER_NAME.fullmatch(helper) or path is None:
            self._note(f"{program} is named in docker's configuration but is not installed")
            return None
        server = HUB_KEY if key == DEFAULT_REGISTRY else key
        try:
            done = subprocess.run(
                [path, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=HELPER_TIMEOUT_S,
                env=dict(self._env),
                check=False,
            )
        except subprocess.TimeoutExpired:
            self._note(f"{program} did not answer in {HELPER_TIMEOUT_S:g} s")
            return None
        except OSError as err:
            self._note(f"{program} cannot be run: {err.strerror}")
            return None
        if done.returncode != 0:
            if b"credentials not found" not in done.stdout:
                self._note(f"{program} failed with exit code {done.returncode}")
            return None
        return self._helper_answer(program, done.stdout)

    def _helper_answer(self, program: str, raw: bytes) -> Login | None:
        try:
            fields = decode(raw, what="answer of a credential helper")
            username, secret = fields.text("Username", ""), fields.text("Secret", "")
        except InvalidDocument as err:
            self._note(f"{program}: {err.why or err.what}")
            return None
        if not secret:
            return None
        if username == _TOKEN_USER:
            return Login(identity_token=secret, source=program)
        return Login(username=username, password=secret, source=program)

    def _note(self, problem: str) -> None:
        self._problems[problem] = None


def registry_key(name: str) -> str:
    """Bring a key to ``host`` or ``host/path``: no scheme, no API version, one name for the Hub."""
    rest = name.partition("://")[2] or name
    rest = re.sub(r"/v[12]$", "", rest.rstrip("/"))
    host, slash, path = rest.partition("/")
    host = host.lower()
    return (DEFAULT_REGISTRY if host in _HUB_NAMES else host) + slash + path


def _candidates(key: str, repository: str) -> list[str]:
    """List the keys that cover a repository, the longest first, the host last."""
    parts = [part for part in repository.split("/") if part]
    return ["/".join([key, *parts[:length]]) for length in range(len(parts), -1, -1)]


def _in_auths(auths: Fields, names: list[str], file: _AuthFile) -> Login | None:
    entries = {registry_key(name): name for name in auths.value}
    for name in names:
        if name in entries:
            login = _login(auths.child(entries[name]), source=str(file.path))
            if login:
                return login
    return None


def _login(entry: Fields, *, source: str) -> Login | None:
    """Read one entry of ``auths``; docker leaves it empty when a helper holds the secret.

    Raises:
        InvalidDocument: ``auth`` is not base64 of ``user:password``.
    """
    username, password = entry.text("username", ""), entry.text("password", "")
    packed = entry.text("auth", "")
    if packed:
        try:
            pair = base64.b64decode(packed, validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as err:
            raise _not_valid(entry, "auth is no base64") from err
        username, colon, password = pair.partition(":")
        # Docker's older versions padded the pair with NUL.
        password = password.rstrip("\0")
        if not colon:
            raise _not_valid(entry, "auth is no user:password")
    identity, registry = entry.text("identitytoken", ""), entry.text("registrytoken", "")
    if not (identity or registry or (username and password)):
        return None
    return Login(
        username=username,
        password=password,
        identity_token=identity,
        registry_token=registry,
        source=source,
    )


def _not_valid(entry: Fields, why: str) -> InvalidDocument:
    return InvalidDocument(f"this {entry.what} is not valid", why=why)
