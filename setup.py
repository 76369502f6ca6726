"""What setup.cfg cannot say: the work of others that is fetched when the wheel is built.

The terminal of the notebook, xterm.js, comes from the npm registry, and the schema of compose
files from a wheel on PyPI, at the versions below, checked against their published digests.
Neither is in this repository.  Without a network the build goes on: ``-it`` in a notebook asks
for its input line by line, and compose files are checked by our own knowledge alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
STATIC = Path("ocimagic/widgets/static")
Package = tuple[str, str, dict[str, str]]
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
# For tests of what pages of ours say to a screen reader; it is in no wheel.
TOOLS = Path("build/tools")
TEST_PACKAGES = (
    (
        "axe-core/-/axe-core-4.14.1.tgz",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        {"axe.min.js": "axe.min.js"},
    ),
)
# The schema is in the wheel of a checker that its keepers renew every month; see docs/adr/0026.
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
SCHEMA = Path("ocimagic/compose/static")
WHEEL = (
    "check-jsonschema",
    "check_jsonschema-0.39.0-py3-none-any.whl",
    "14ce5c94871c551268ea948ffe21e9f1464dc48fb20bf9a4c13deeaaf756cf9b",
    {
        "check_jsonschema/builtin_schemas/vendor/compose-spec.json": "compose-spec.json",
        "check_jsonschema/builtin_schemas/vendor/licenses/LICENSE.compose-spec": (
            "compose-spec.LICENSE"
        ),
    },
)
TIMEOUT_S = 20
MAX_BYTES = 16 << 20


class BuildWithOthers(build_py):
    """Fetch the work of others, then collect the package as ever."""

    def run(self) -> None:
        """Fetch, and go on without what is not to be had."""
        try:
            fetch(STATIC)
        except OSError as err:
            self.warn(f"no terminal in notebooks, xterm.js cannot be fetched: {err}")
        try:
            fetch_schema(SCHEMA)
        except OSError as err:
            self.warn(
                f"compose files are checked without their schema, it cannot be fetched: {err}"
            )
        super().run()


class WithData(Distribution):
    """A distribution whose data files are installed by ``pip install --editable`` too.

    setuptools asks ``has_data`` there, which its Distribution does not have, and so leaves the
    kernel and the extension of JupyterLab out.
    """

    has_data = Distribution.has_data_files


def fetch_schema(target: Path, index: str = INDEX) -> None:
    """Put the schema of compose files and its licence into a directory, whole and verified.

    Raises:
        OSError: the index cannot be reached, or has something else.
    """
    project, wheel, digest, names = WHEEL
    if all((target / name).exists() for name in names.values()):
        return
    page = f"{index}/{project}/"
    with urllib.request.urlopen(page, timeout=TIMEOUT_S) as answer:  # noqa: S310  the digest decides
        links = re.findall(r'href="([^"]+)"', answer.read(MAX_BYTES).decode(errors="replace"))
    found = next((each for each in links if f"/{wheel}" in each.partition("#")[0]), None)
    if found is None:
        raise OSError(f"{page} does not list {wheel}")
    url = urllib.parse.urljoin(page, found)
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310
        content = answer.read(MAX_BYTES)
    if hashlib.sha256(content).hexdigest() != digest:
        raise OSError(f"{wheel} is not the file that was published")
    target.mkdir(exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member, name in names.items():
            put(target / name, archive.read(member))


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def fetch(target: Path, packages: tuple[Package, ...] = PACKAGES) -> None:
    """Put the files of packages into a directory, each whole and verified or not at all.

    Raises:
        OSError: the registry cannot be reached, or sends something else.
    """
    for tarball, digest, names in packages:
        if all((target / name).exists() for name in names.values()):
            continue
        with urllib.request.urlopen(f"{REGISTRY}/{tarball}", timeout=TIMEOUT_S) as answer:  # noqa: S310  the digest decides
            content = answer.read(MAX_BYTES)
        if base64.b64encode(hashlib.sha512(content).digest()).decode() != digest:
            raise OSError(f"{tarball} is not the file that was published")
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member, name in names.items():
                file = archive.extractfile(f"package/{member}")
                assert file is not None
                put(target / name, file.read())


if __name__ == "__main__":
    if sys.argv[1:] == ["fetch", "tests"]:
        fetch(TOOLS, TEST_PACKAGES)
    elif sys.argv[1:] == ["fetch"]:
        fetch(STATIC)
        fetch_schema(SCHEMA)
    else:
        setup(cmdclass={"build_py": BuildWithOthers}, distclass=WithData)
