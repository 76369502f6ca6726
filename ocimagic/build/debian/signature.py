"""Who signed a Release file: asked of gpgv, with the distribution's own keys and no others.

What counts is what gpgv says a signature at a time (``--status-fd``), as apt does it: an
archive signs with several keys, and a keyring need not have all of them.

Spec: gpgv(1); GnuPG doc/DETAILS, "Format of the --status-fd output".
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATUS = "[GNUPG:] "
_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n]+: [^\n]*\n)*\s*?\n"
    rb"(.*?)\n(?:=[^\n]*\n)?-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_FAULTS = {
    "BADSIG": "a signature does not fit",
    "EXPSIG": "a signature has expired",
    "EXPKEYSIG": "the key {} has expired",
    "REVKEYSIG": "the key {} was revoked",
    "NO_PUBKEY": "the key {} is not in the keyring",
}
# RFC 9580 9.5: MD5, SHA-1 and RIPEMD-160 prove nothing any more.
_BROKEN_HASHES = frozenset({"1", "2", "3"})
_TIMEOUT_S = 60
UNCHECKED_HINT = (
    "install {}; or add --no-check-gpg: whoever answers in the mirror's place\n"
    "could then put anything into the image"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A document whose signature was checked.

    Attributes:
        text: what was signed, and nothing besides.
        keys: fingerprints of those who did, at least one.
    """

    text: str
    keys: tuple[str, ...]


def check(
    document: bytes, signature: bytes | None, keyrings: Sequence[Path | bytes], *, where: str
) -> Signed:
    """Check a signature.

    Args:
        document: signed inline, or plain with ``signature`` beside it.
        signature: detached, None for an inline one.
        keyrings: files, or keys as text (a .sources file may hold one).
        where: it is from, for errors.

    Raises:
        SignatureRefused: none of these keys has signed it, or something was changed; also when
            gpgv is not here, or a keyring cannot be read.
        InvalidDocument: what was signed is not UTF-8.
    """
    program = shutil.which("gpgv")
    if program is None:
        raise SignatureRefused(
            "the signature of the mirror cannot be checked",
            why="gpgv is not installed here",
            where=where,
            hint=UNCHECKED_HINT.format("it (on Debian and Ubuntu: apt install gpgv)"),
        )
    with tempfile.TemporaryDirectory(prefix="ocimagic-keys-") as name:
        room = Path(name)
        command = [program, "--homedir", name, "--status-fd", "1", "--output", f"{name}/plain"]
        for number, keyring in enumerate(keyrings):
            command += ["--keyring", str(_keyring(keyring, room / f"{number}.gpg"))]
        (room / "document").write_bytes(document)
        if signature is None:
            command += [f"{name}/document"]
        else:
            (room / "signature").write_bytes(signature)
            command += [f"{name}/signature", f"{name}/document"]
            command.remove("--output")
            command.remove(f"{name}/plain")
        told = _run(command, where)
        keys = _good(told, where)
        plain = room / ("document" if signature is not None else "plain")
        try:
            return Signed(plain.read_text(encoding="utf-8"), keys)
        except UnicodeDecodeError as err:
            raise InvalidDocument("the Release file is not UTF-8", where=where) from err


def _keyring(keyring: Path | bytes, copy: Path) -> Path:
    """Return a file as gpgv wants it: not armored."""
    try:
        content = keyring if isinstance(keyring, bytes) else keyring.read_bytes()
    except OSError as err:
        raise SignatureRefused(
            "a keyring cannot be read",
            why=err.strerror,
            where=str(keyring),
            hint="name the distribution's with --keyring FILE",
        ) from err
    blocks = _ARMOR.findall(content)
    if not blocks:
        copy.write_bytes(content)
        return copy
    try:
        copy.write_bytes(b"".join(base64.b64decode(b"".join(each.split())) for each in blocks))
    except binascii.Error as err:
        raise SignatureRefused(
            "a keyring cannot be read", why=str(err), where=str(keyring)
        ) from err
    return copy


def _run(command: Sequence[str], where: str) -> list[list[str]]:
    """Return the words of each status line; the exit code says less than they do."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise SignatureRefused(
            "the signature of the mirror cannot be checked", why=str(err), where=where
        ) from err
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.removeprefix(_STATUS).split() for line in lines if line.startswith(_STATUS)]


def _good(told: Sequence[Sequence[str]], where: str) -> tuple[str, ...]:
    """Return who signed; a bad signature spoils the good ones."""
    keys: list[str] = []
    faults: list[str] = []
    is_good = False
    for word, *rest in filter(None, told):
        if word in _FAULTS:
            faults.append(_FAULTS[word].format(rest[0] if rest else ""))
        if word in ("NEWSIG", *_FAULTS):
            is_good = False
        elif word == "GOODSIG":
            is_good = True
        elif word == "VALIDSIG" and is_good and len(rest) >= 8:
            if rest[7] in _BROKEN_HASHES:
                faults.append("it is signed with a hash that can be forged")
            else:
                keys.append(rest[0])
    if any(word[:1] == ["BADSIG"] for word in told) or not keys:
        raise SignatureRefused(
            "the mirror's Release file is not signed by the distribution",
            why="; ".join(dict.fromkeys(faults)) or "it has no signature",
            where=where,
            hint="use another mirror, or its own keyring with --keyring FILE",
        )
    return tuple(dict.fromkeys(keys))
