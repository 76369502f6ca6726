"""``%docker_host``: which engine the magics ask."""

from __future__ import annotations

import sys
from collections import ChainMap
from typing import TYPE_CHECKING

from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption
from ocimagic.magics.expansion import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.magics.session import KernelSession

_OWN = ("here", "default")


class DockerHostMagic:
    """``%docker_host``: point the magics at a Docker API, and back.

    Usage: %docker_host [URL|env|here] [--certs DIR]

    URL is unix://PATH, tcp://HOST:PORT or ssh://USER@HOST; env takes DOCKER_HOST; here comes
    back to this notebook's own engine.  Alone it says which one is asked.  DIR has ca.pem,
    cert.pem and key.pem, for TLS.
    """

    def __init__(self, session: KernelSession) -> None:
        self.session = session

    def __call__(self, line: str, local_ns: Mapping[str, object] | None = None) -> Names | None:
        """Change the engine, or say which one it is."""
        names = ChainMap(dict(local_ns or {}), self.session.ip.user_ns)
        words = list(split(line, names).words)
        if "--help" in words:
            sys.stdout.write(f"{self.getdoc()}\n")
            return None
        host, certificates = _parsed(words)
        if host:
            self.session.ask(  # an address that nobody answers at changes nothing
                "" if host in _OWN else host, certificates
            )
        return Names((self.session.asked(),))

    def getdoc(self) -> str:
        """Return what ``%docker_host?`` shows."""
        return str(self.__doc__)


def _parsed(words: list[str]) -> tuple[str, str]:
    """Return the address and the directory of certificates, "" for none.

    Raises:
        InvalidOption: it cannot be understood.
    """
    certificates = ""
    rest: list[str] = []
    given = iter(words)
    for word in given:
        if word == "--certs":
            certificates = next(given, "")
            if not certificates:
                raise InvalidOption("--certs needs a directory")
        elif word.startswith("--certs="):
            certificates = word.removeprefix("--certs=")
        elif word.startswith("-"):
            raise InvalidOption(f"%docker_host has no option {word}", hint="%docker_host --help")
        else:
            rest.append(word)
    if len(rest) > 1 or (certificates and not rest):
        raise InvalidOption("%docker_host takes one address", hint="%docker_host --help")
    return (rest[0] if rest else ""), certificates
