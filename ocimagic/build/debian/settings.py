"""What a bootstrapped root has besides its packages, and what of their traces it has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.build.debian.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = "ocimagic-packages"  # where the .debs lie while they are configured
_POLICY = """#!/bin/sh
# By ocimagic: nothing is started when a package is installed; a container has one command.
exit 101
"""
_DPKG = "# By ocimagic: a layer is written whole or not at all.\nforce-unsafe-io\n"
_APT = """// By ocimagic: what apt fetches and counts would stay in a layer for ever.
APT::Keep-Downloaded-Packages "false";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
"""
_ETC = {
    "etc/apt/apt.conf.d/ocimagic": (_APT, 0o644),
    "etc/dpkg/dpkg.cfg.d/ocimagic": (_DPKG, 0o644),
    "usr/sbin/policy-rc.d": (_POLICY, 0o755),
    # dpkg wants both to be there before it is asked for the first time.
    "var/lib/dpkg/available": ("", 0o644),
    "var/lib/dpkg/status": ("", 0o644),
}

# The order is debootstrap's: what others only find out by failing without it comes first.
SCRIPT = f"""set -e
cd /{PACKAGES}
install() {{
    for each; do
        [ ! -e "$each.deb" ] || dpkg --force-depends --force-unsafe-io --install "$each.deb"
    done
}}
install base-passwd base-files dpkg
[ -e /etc/localtime ] || ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
install libc6 libc6.1 perl-base mawk debconf
dpkg --force-depends --force-unsafe-io --unpack ./*.deb
dpkg --force-unsafe-io --configure --pending
# What is half installed would come to light in somebody's RUN.
if [ -n "$(dpkg --audit)" ]; then dpkg --audit >&2; exit 1; fi
"""
ENVIRONMENT = (
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
)

# Logs, caches, locks and copies of before: of the making, not of the system.
_DROPPED = re.compile(
    rf"""
    {PACKAGES}(/.*)?
    | var/log/(.*\.log|apt/.+)
    | var/cache/(apt|ldconfig)/[^/]+(?<!/archives)
    | var/cache/apt/archives/.+
    | var/cache/debconf/.+-old
    | var/lib/dpkg/(lock.*|triggers/Lock|.+-old)
    | var/lib/apt/lists/.+
    | etc/(passwd|group|shadow|gshadow|subuid|subgid)-
    | etc/\.pwd\.lock
    | (run|tmp|var/tmp|dev|proc|sys)/.+
    """,
    re.VERBOSE,
)
EMPTIED = frozenset({"etc/machine-id"})


def is_dropped(path: str) -> bool:
    """Say whether a file of the finished root is not to be in the image."""
    return _DROPPED.fullmatch(path) is not None


def own_files(sites: Iterable[Site], name: str, keyring: str) -> dict[str, tuple[bytes, int]]:
    """Return path, content and mode of the files we write before the packages come.

    Args:
        sites: that apt is to know in there.
        name: of the distribution.
        keyring: a path in the root, "" if it has none of this distribution.
    """
    files = {path: (text.encode(), mode) for path, (text, mode) in _ETC.items()}
    parts = []
    for site in sites:
        lines = [
            "Types: deb",
            f"URIs: {site.uri}",
            f"Suites: {site.suite}",
            f"Components: {' '.join(site.components)}",
            *([f"Signed-By: {keyring}"] if keyring else []),
        ]
        parts.append("\n".join(lines) + "\n")
    files[f"etc/apt/sources.list.d/{name}.sources"] = ("\n".join(parts).encode(), 0o644)
    return files
