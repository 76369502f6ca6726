"""From ``debian:bookworm`` to the suites to fetch and the keys they must be signed with.

A mirror that is named is the only one.  Else this machine's own apt says where the
distribution is to be had, whichever suite of it the machine itself has; and where there is no
such apt, the distribution's usual places.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.build.debian.aptconf import AptConfig, AptSource
    from ocimagic.spec.platform import Platform

_SUITE = re.compile(r"[a-z][a-z0-9.+-]*")
_Place = tuple[str, str, tuple[str, ...]]  # its URL, the pocket, the keys
_POCKETS = ("", "-updates", "-security")
_ARCHITECTURES = {"386": "i386", "ppc64le": "ppc64el", "mips64le": "mips64el"}
_ARM = {"v5": "armel", "v6": "armel"}


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is known of a distribution.

    Attributes:
        name: as in ``/etc/os-release`` and in image names.
        default: the suite of a name without a tag.
        components: that packages are taken from.
        homes: its usual places by pocket: "", ``-updates``, ``-security``.
        ports: where it has processors that ``main`` does not name.
        rolling: suites that have no pockets.
        keyring: its name in /usr/share/keyrings; the package that brings it is ``package``.
    """

    name: str
    default: str
    components: tuple[str, ...]
    homes: Mapping[str, str]
    rolling: frozenset[str]
    keyring: str
    package: str
    ports: str = ""
    main: frozenset[str] = frozenset()


DISTRIBUTIONS = {
    "debian": Distribution(
        name="debian",
        default="stable",
        components=("main",),
        homes={
            "": "http://deb.debian.org/debian",
            "-updates": "http://deb.debian.org/debian",
            "-security": "http://deb.debian.org/debian-security",
        },
        rolling=frozenset({"sid", "unstable", "experimental"}),
        keyring="debian-archive-keyring.gpg",
        package="debian-archive-keyring",
    ),
    "ubuntu": Distribution(
        name="ubuntu",
        default="",
        components=("main", "universe"),
        homes={
            "": "http://archive.ubuntu.com/ubuntu",
            "-updates": "http://archive.ubuntu.com/ubuntu",
            "-security": "http://security.ubuntu.com/ubuntu",
        },
        rolling=frozenset(),
        keyring="ubuntu-archive-keyring.gpg",
        package="ubuntu-keyring",
        ports="http://ports.ubuntu.com/ubuntu-ports",
        main=frozenset({"amd64", "i386"}),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One suite of one mirror.

    Attributes:
        pocket: "" for the suite itself, which must be there.
        keyrings: files, or one key as text; empty if none is known.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    keyrings: tuple[str, ...] = ()
    pocket: str = ""

    @property
    def url(self) -> str:
        """Return the suite's directory."""
        return f"{self.uri}/dists/{self.suite}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image's name asks for."""

    distribution: Distribution
    suite: str
    reference: Reference


def wanted(name: str) -> Wanted:
    """Read ``debian:bookworm``.

    Raises:
        NotBuiltYet: another distribution.
        InvalidOption: a suite that cannot be one.
    """
    reference = Reference.parse(name)
    distribution = DISTRIBUTIONS.get(reference.familiar_name)
    if distribution is None or reference.digest:
        raise NotBuiltYet(
            f"{name} cannot be bootstrapped",
            why="only distributions that are made of .deb packages can be",
            hint="write debian:SUITE or ubuntu:SUITE, for example debian:bookworm; its own name\n"
            "is said with -t",
        )
    tagged = ":" in name.rpartition("/")[2]
    tag = (reference.tag or "") if tagged else ""
    suite = distribution.default if tag in ("", "latest") else tag.removesuffix("-slim")
    if not _SUITE.fullmatch(suite):
        raise InvalidOption(
            f"{tag or name!r} is no suite of {distribution.name}",
            hint="name it by its codename, for example debian:bookworm or ubuntu:noble",
        )
    return Wanted(distribution, suite, reference)


def architecture(wanted: Platform) -> str:
    """Return Debian's name of a processor."""
    if wanted.architecture == "arm":
        return _ARM.get(wanted.variant, "armhf")
    return _ARCHITECTURES.get(wanted.architecture, wanted.architecture)


def sites(
    wanted: Wanted, apt: AptConfig, *, mirror: str, keyrings: Sequence[str], architecture: str
) -> tuple[Site, ...]:
    """Decide where to fetch from, the suite itself first.

    Args:
        wanted: the distribution and the suite.
        apt: of this machine.
        mirror: a URL, "" for none.
        keyrings: that were named; they go before any other.
        architecture: Debian's name.

    Raises:
        InvalidOption: a mirror or a keyring that is none.
    """
    distribution = wanted.distribution
    for each in keyrings:
        if not Path(each).is_file():
            raise InvalidOption(f"there is no keyring {each}")
    if mirror:
        found: list[_Place] = [(_checked(mirror), "", ())]
    else:
        found = _of_host(wanted, apt.sources) or [
            (home, pocket, ())
            for pocket, home in _homes(distribution, architecture).items()
            if not pocket or wanted.suite not in distribution.rolling
        ]
    usual = Path("/usr/share/keyrings") / distribution.keyring
    known = (str(usual),) if usual.is_file() else ()
    return tuple(
        Site(
            uri=uri,
            suite=wanted.suite + pocket,
            components=distribution.components,
            keyrings=tuple(keyrings) or signed_by or known,
            pocket=pocket,
        )
        for uri, pocket, signed_by in found
    )


def _homes(distribution: Distribution, architecture: str) -> Mapping[str, str]:
    if distribution.ports and architecture not in distribution.main:
        return dict.fromkeys(distribution.homes, distribution.ports)
    return distribution.homes


def _of_host(wanted: Wanted, sources: Sequence[AptSource]) -> list[_Place]:
    """Return what this machine's apt has of the distribution, for the suite that is wanted."""
    said = _os_release()
    names = {wanted.suite}
    if said.get("ID") == wanted.distribution.name:
        names |= {said.get("VERSION_CODENAME", ""), "stable", "oldstable", "testing"} - {""}
    found: dict[str, _Place] = {}
    for source in sources:
        for pocket in _POCKETS:
            name = source.suite.removesuffix(pocket) if pocket else source.suite
            fits = name in names and (not pocket or source.suite.endswith(pocket))
            is_rolling = wanted.suite in wanted.distribution.rolling
            if fits and "main" in source.components and not (pocket and is_rolling):
                found.setdefault(pocket, (source.uri, pocket, source.keyrings))
    return [found[pocket] for pocket in _POCKETS if pocket in found] if "" in found else []


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _checked(mirror: str) -> str:
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidOption(
            f"{mirror} is no mirror",
            hint="write its URL, for example --mirror http://deb.debian.org/debian",
        )
    return mirror.rstrip("/")
