"""What setup.cfg cannot say: the terminal of the notebook is fetched when the wheel is built.

xterm.js is the work of others, so it is not in this repository.  It comes from the npm registry
at the versions below, checked against their published digests.  Without a network the build goes
on, and ``-it`` in a notebook asks for its input line by line.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
STATIC = Path("ocimagic/widgets/static")
# Tarball below the registry, its sha512 as npm publishes it, and the files taken out of it.
PACKAGES = (
    (
        "@xterm/xterm/-/xterm-6.0.0.tgz",
        "TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==",
        {"lib/xterm.mjs": "xterm.mjs", "css/xterm.css": "xterm.css", "LICENSE": "xterm.LICENSE"},
    ),
    (
        "@xterm/addon-fit/-/addon-fit-0.11.0.tgz",
        "jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==",
        {"lib/addon-fit.mjs": "addon-fit.mjs"},
    ),
)
TIMEOUT_S = 20
MAX_BYTES = 16 << 20


class BuildWithTerminal(build_py):
    """Fetch the front-end files, then collect the package as ever."""

    def run(self) -> None:
        """Fetch, and go on without if that is not to be had."""
        try:
            fetch(STATIC)
        except OSError as err:
            self.warn(f"no terminal in notebooks, xterm.js cannot be fetched: {err}")
        super().run()


def fetch(target: Path) -> None:
    """Put the files of all packages into a directory, each whole and verified or not at all.

    Raises:
        OSError: the registry cannot be reached, or sends something else.
    """
    for tarball, digest, names in PACKAGES:
        if all((target / name).exists() for name in names.values()):
            continue
        with urllib.request.urlopen(f"{REGISTRY}/{tarball}", timeout=TIMEOUT_S) as answer:  # noqa: S310  the digest decides
            content = answer.read(MAX_BYTES)
        if base64.b64encode(hashlib.sha512(content).digest()).decode() != digest:
            raise OSError(f"{tarball} is not the file that was published")
        target.mkdir(exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member, name in names.items():
                file = archive.extractfile(f"package/{member}")
                assert file is not None
                partial = target / f".{name}.{os.getpid()}"
                partial.write_bytes(file.read())
                partial.replace(target / name)


if __name__ == "__main__":
    if sys.argv[1:] == ["fetch"]:
        fetch(STATIC)
    else:
        setup(cmdclass={"build_py": BuildWithTerminal})
