"""What a bootstrapped root has besides its packages, and what of their traces it has not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.layers.tarheader import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.build.debian.sites import Site

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
# Unpacking warns of each package that needs another one first, a hundred times: that is kept
# for whoever has to look into a failure.
SCRIPT = f"""set -e
cd /{PACKAGES}
quietly() {{
    "$@" >log 2>&1 || {{ code=$?; tail -n 40 log >&2; exit "$code"; }}
}}
install() {{
    for each; do
        [ ! -e "$each.deb" ] || quietly dpkg --force-depends --install "$each.deb"
    done
}}
install base-passwd base-files dpkg
[ -e /etc/localtime ] || ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
install libc6 libc6.1 perl-base mawk debconf
quietly dpkg --force-depends --unpack ./*.deb
dpkg --configure --pending
# What is half installed would come to light in somebody's RUN.
if [ -n "$(dpkg --audit)" ]; then dpkg --audit >&2; exit 1; fi
cd /
rm -r /{PACKAGES}
"""
ENVIRONMENT = (
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
)

# Logs, caches, locks and copies of before: of the making, not of the system.
_FILES = re.compile(
    r"""
    var/log/(.*\.log|apt/.+)
    | var/cache/(apt|ldconfig)/.+
    | var/cache/debconf/.+-old
    | var/lib/dpkg/(available|lock.*|triggers/Lock|.+-old)
    | var/lib/apt/lists/.+
    | etc/(passwd|group|shadow|gshadow|subuid|subgid)-
    | etc/(\.pwd\.lock|hostname|hosts|resolv\.conf)
    | run/.+
    """,
    re.VERBOSE,
)
_TREES = re.compile(rf"{PACKAGES}(/.*)?|(tmp|var/tmp|dev|proc|sys)/.+")
EMPTIED = frozenset({"etc/machine-id"})


def is_dropped(path: str, kind: Kind) -> bool:
    """Say whether a file of the finished root is not to be in the image."""
    if _TREES.fullmatch(path):
        return True
    return kind is not Kind.DIR and _FILES.fullmatch(path) is not None


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
