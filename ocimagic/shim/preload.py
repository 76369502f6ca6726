"""All code a launcher and its children will ever run, loaded before they do anything.

Whatever becomes of the package on disk then, an upgrade, a removal, or an image that brings
modules of the same names (CVE-2019-14271), these processes go on with what they have.
"""

from __future__ import annotations

import codecs
import importlib
import os
import sys
from typing import Any

# What the modules of this room and of the runtime import only when they need it.
_FOR_CONTAINERS = (
    "ocimagic.runtime.cgroup",
    "ocimagic.runtime.rootfs",
    "ocimagic.runtime.seccomp",
    "ocimagic.spec.hooks",
    "ocimagic.spec.runtime",
)
_FOR_ORDINARY_USERS = ("shutil",)
_FOR_FILES = (
    "ocimagic.shim.files",
    "ocimagic.shim.probe",
    "ocimagic.shim.unpack",
    "ocimagic.shim.pretence.pretend",
    "ocimagic.shim.pretence.probe",
    "ocimagic.shim.volume_files",
    "ocimagic.layers.toc",
    "ocimagic.network.probe",
    "ocimagic.network.sweep",
    "tempfile",
)
_CODECS = ("isal.isal_zlib", "zstandard", "zlib")
_ENCODINGS = ("ascii", "utf-8")  # open() loads the module of one when it first meets it


def load_for_containers() -> None:
    """Load what shims and first processes need."""
    for name in _FOR_CONTAINERS:
        importlib.import_module(name)
    if os.geteuid():
        for name in _FOR_ORDINARY_USERS:
            importlib.import_module(name)
    for name in _ENCODINGS:
        codecs.lookup(name)


def load_for_files() -> None:
    """Load what workers need besides; a codec that is not installed is done without."""
    for name in _FOR_FILES:
        importlib.import_module(name)
    for name in _CODECS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


Ways = tuple[list[Any], list[Any], list[str]]  # of three lists of ``sys``


def forbid_imports() -> Ways:
    """Load nothing from now on; what is loaded can be imported again.

    Returns:
        What ``allow_imports`` takes.
    """
    ways: Ways = (list(sys.meta_path), list(sys.path_hooks), list(sys.path))
    for each in (sys.meta_path, sys.path_hooks, sys.path, sys.path_importer_cache):
        each.clear()
    return ways


def allow_imports(ways: Ways) -> None:
    """Load code again, in a child that was not there when it was forbidden."""
    sys.meta_path[:], sys.path_hooks[:], sys.path[:] = ways
