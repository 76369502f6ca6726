"""Who may use a registry: a file of names and hashed passwords, and HTTP's Basic login.

::

    ada:$ocimagic$scrypt$16384$8$1$<salt>$<hash>      ``ocimagic registry user add ada``
    kim:{SHA}<hash>                                   ``htpasswd -s``

Spec: RFC 7617.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.home.disk import storage_errors
from ocimagic.home.location import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_SCRYPT = re.compile(
    r"\$ocimagic\$scrypt\$(?P<n>\d{1,7})\$(?P<r>\d{1,2})\$(?P<p>\d{1,2})"
    r"\$(?P<salt>[A-Za-z0-9+/=]{1,100})\$(?P<hash>[A-Za-z0-9+/=]{1,200})"
)
_SHA = re.compile(r"\{SHA\}(?P<hash>[A-Za-z0-9+/=]{28})")
_COST = (1 << 14, 8, 1)
_MAX_MEMORY_BYTES = 64 << 20
_MAX_PASSWORD_BYTES = 1024
_MOST_REMEMBERED = 1024
_HINT = "make a file of our own: ocimagic registry user add --htpasswd FILE NAME"


def hashed(password: bytes) -> str:
    """Hash a password for the file."""
    salt = os.urandom(16)
    n, r, p = _COST
    found = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES)
    parts = (*map(str, _COST), _text(salt), _text(found))
    return "$ocimagic$scrypt$" + "$".join(parts)


def add_user(path: Path, name: str, password: str) -> None:
    """Write a user into a file, in place of an earlier line of that name.

    Raises:
        InvalidOption: a name or a password that no line could hold.
        StorageError: the file cannot be read or written.
    """
    if not re.fullmatch(r"[^:\s\x00-\x1f]{1,255}", name):
        raise InvalidOption(f"{name!r} is no user name", why="it has a colon or a space in it")
    if not password or len(password.encode()) > _MAX_PASSWORD_BYTES:
        raise InvalidOption("a password has 1 to 1024 bytes")
    with storage_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    others = [line for line in lines if line.partition(":")[0] != name]
    text = "\n".join([*others, f"{name}:{hashed(password.encode())}", ""])
    with storage_errors(path):
        write_atomic(path, text.encode())


class Passwords:
    """A file of users, read again when it changes.

    Raises:
        InvalidOption: it cannot be read, or has a line that cannot be checked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._key = os.urandom(32)
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[str, str] = {}
        self._known: set[bytes] = set()
        self._read()

    def admits(self, authorization: str) -> bool:
        """Check the value of an Authorization header."""
        return self.user(authorization) is not None

    def line(self, name: str) -> str | None:
        """Return what the file holds of a user; None when there is no such user."""
        with self._lock:
            self._read()
            return self._users.get(name)

    def user(self, authorization: str) -> str | None:
        """Return whose login the value of an Authorization header is; None when nobody's."""
        scheme, _, said = authorization.strip().partition(" ")
        try:
            login = base64.b64decode(said.strip(), validate=True)
            name = login.partition(b":")[0].decode()
        except (ValueError, binascii.Error):
            return None
        if scheme.lower() != "basic" or len(login) > 2 * _MAX_PASSWORD_BYTES:
            return None
        with self._lock:
            self._read()
            users, known = self._users, self._known
        seen = hmac.digest(self._key, login, "sha256")
        if seen in known:
            return name
        # Hashing is slow and takes 16 MiB on purpose: once per login and one at a time.  Who is
        # known already does not wait for those who guess.
        with self._hashing:
            if not _matches(login.partition(b":")[2], users.get(name)):
                return None
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known.add(seen)
        return name

    def _read(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise InvalidOption(
                f"cannot read the users in {self._path}", why=str(err), hint=_HINT
            ) from err
        self._users = _users(text, self._path)
        # A new set: a login that is being checked now goes into the old one.
        self._known = set()
        self._stamp = stamp


def _users(text: str, path: Path) -> dict[str, str]:
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, secret = line.strip().partition(":")
        if not _SCRYPT.fullmatch(secret) and not _SHA.fullmatch(secret):
            raise InvalidOption(
                f"line {number} of {path} cannot be checked", why=_unknown(secret), hint=_HINT
            )
        users[name] = secret
    return users


def _unknown(secret: str) -> str:
    if secret.startswith(("$2a$", "$2b$", "$2y$")):
        return "its password is hashed with bcrypt, which Python cannot check by itself"
    return "its password is hashed in a way that Python cannot check by itself"


def _matches(password: bytes, secret: str | None) -> bool:
    """Compare a password; it takes as long for a name that is not there."""
    found = _SCRYPT.fullmatch(secret or _NOBODY)
    if found:
        expected, salt = base64.b64decode(found["hash"]), base64.b64decode(found["salt"])
        cost = {name: int(found[name]) for name in ("n", "r", "p")}
        actual = hashlib.scrypt(password, salt=salt, maxmem=_MAX_MEMORY_BYTES, **cost)
    else:
        assert secret is not None
        expected = base64.b64decode(secret.removeprefix("{SHA}"))
        actual = hashlib.sha1(password).digest()  # noqa: S324  the format's, not our choice
    return hmac.compare_digest(expected, actual) and secret is not None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


_NOBODY = f"$ocimagic$scrypt${_COST[0]}${_COST[1]}${_COST[2]}${_text(bytes(16))}${_text(bytes(64))}"
