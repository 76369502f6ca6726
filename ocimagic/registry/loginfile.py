"""Where a login is written down: docker's configuration, or the program it names for that.

Spec: docker's ``config.json`` (auths, credsStore, credHelpers); docker-credential-helpers'
``store`` and ``erase``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument, InvalidOption, StorageError
from ocimagic.registry.credentials import HELPER_TIMEOUT_S, HUB_KEY, registry_key
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass
from ocimagic.spec.reference import DEFAULT_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a login is now.

    Attributes:
        where: path of the file, or name of the program.
        is_readable: it lies there as plain text, for whoever may read the file.
    """

    where: str
    is_readable: bool


def registry_host(text: str) -> str:
    """Return the host that a person means, as references have it.

    Raises:
        InvalidOption: it is no host.
    """
    host = registry_key(text.strip() or DEFAULT_REGISTRY)
    if "/" in host or not host or not host.isprintable() or " " in host:
        raise InvalidOption(
            f"{text!r} is not the name of a registry",
            hint="a host such as quay.io or localhost:5000, without a path",
        )
    return host


class LoginFile:
    """Docker's configuration file, which keeps all that it holds besides.

    Args:
        path: of ``config.json``.
        env: PATH, and what helper programs want.
    """

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self._path = path
        self._env = env

    @classmethod
    def of(cls, home: Path, env: Mapping[str, str]) -> Self:
        """Return the file of an account: DOCKER_CONFIG, or ``.docker`` in its home."""
        directory = Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else home / ".docker"
        return cls(directory / "config.json", env)

    def store(self, host: str, username: str, password: str) -> Kept:
        """Write a login down.

        Raises:
            StorageError: it cannot be.
            InvalidDocument: the file is damaged; it is left as it is.
        """
        document = self._read()
        key = _key_of(host)
        helper = _helper(document, key)
        if helper:
            secret = {"ServerURL": key, "Username": username, "Secret": password}
            self._ask_helper(helper, "store", json.dumps(secret).encode())
            _auths(document)[key] = {}
            self._write(document)
            return Kept(f"docker-credential-{helper}", is_readable=False)
        pair = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        _auths(document)[key] = {"auth": pair}
        self._write(document)
        return Kept(str(self._path), is_readable=True)

    def erase(self, host: str) -> bool:
        """Forget a login; say whether there was one.

        Raises:
            StorageError, InvalidDocument: as ``store``.
        """
        document = self._read()
        auths = _auths(document)
        named = [each for each in auths if registry_key(each) == host]
        key = _key_of(host)
        helper = _helper(document, key)
        if helper:
            with contextlib.suppress(StorageError):  # it has none
                self._ask_helper(helper, "erase", key.encode())
        for each in named:
            del auths[each]
        if named:
            self._write(document)
        return bool(named)

    def _read(self) -> dict[str, object]:
        try:
            return dict(decode(self._path.read_bytes(), what="login file").value)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as err:
            raise StorageError(f"cannot read {self._path}", why=err.strerror) from err
        except InvalidDocument as err:
            raise InvalidDocument(
                f"{self._path} is damaged", why=err.why or err.what, hint="mend or remove it"
            ) from err

    def _write(self, document: Mapping[str, object]) -> None:
        """Replace the file; nobody but the account can read it at any moment."""
        target = self._path.resolve()  # it may be a link into a repository of settings
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(json.dumps(document, indent="\t").encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as err:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StorageError(f"cannot write {target}", why=err.strerror) from err

    def _ask_helper(self, helper: str, verb: str, said: bytes) -> None:
        program = f"docker-credential-{helper}"
        path = shutil.which(program, path=self._env.get("PATH", ""))
        if path is None:
            raise StorageError(
                f"{program} is not installed",
                why=f"{self._path} names it as the place for logins",
                hint="install it, or take credsStore out of that file",
            )
        try:
            done = subprocess.run(
                [path, verb],
                input=said,
                capture_output=True,
                timeout=HELPER_TIMEOUT_S,
                env=dict(self._env),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            raise StorageError(f"{program} cannot keep the login", why=str(err)) from err
        if done.returncode:
            words = (done.stdout or done.stderr).decode(errors="replace").strip()
            raise StorageError(f"{program} cannot {verb} the login", why=words[:300] or None)


def _key_of(host: str) -> str:
    return HUB_KEY if host == DEFAULT_REGISTRY else host


def _helper(document: Mapping[str, object], key: str) -> str:
    helpers = document.get("credHelpers")
    named = helpers.get(key) if isinstance(helpers, dict) else None
    found = named or document.get("credsStore")
    return found if isinstance(found, str) else ""


def _auths(document: dict[str, object]) -> dict[str, object]:
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise InvalidDocument("this login file is not valid", why="auths is no object")
    return auths
