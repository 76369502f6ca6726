"""Where specifications say what a step does; each URL leads to a section of one version.

An anchor is made of its heading, as GitHub does it; that the headings are there is checked in
tests/model/test_model_chapters.py, against the texts' own.
"""

from __future__ import annotations

import re

from ocimagic.model.explanation import Chapter

RUNTIME_VERSION, IMAGE_VERSION, DISTRIBUTION_VERSION = "v1.2.0", "v1.1.0", "v1.1.0"
_VERSIONS = {
    "runtime-spec": RUNTIME_VERSION,
    "image-spec": IMAGE_VERSION,
    "distribution-spec": DISTRIBUTION_VERSION,
}
_OCI = "https://github.com/opencontainers"
_DOCKER = "https://docs.docker.com/reference/api/engine/version/v1.41"


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading of Markdown, if it is the first of its text."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def _section(spec: str, document: str, heading: str) -> Chapter:
    url = f"{_OCI}/{spec}/blob/{_VERSIONS[spec]}/{document}#{slug(heading)}"
    return Chapter(f"{spec}: {heading}", url)


LIFECYCLE = _section("runtime-spec", "runtime.md", "Lifecycle")
STATE = _section("runtime-spec", "runtime.md", "State")
CREATE = _section("runtime-spec", "runtime.md", "Create")
START = _section("runtime-spec", "runtime.md", "Start")
PROCESS = _section("runtime-spec", "config.md", "Process")
PRIVILEGES = _section("runtime-spec", "config.md", "Linux Process")
MOUNTS = _section("runtime-spec", "config.md", "Mounts")
ROOT = _section("runtime-spec", "config.md", "Root")
HOSTNAME = _section("runtime-spec", "config.md", "Hostname")
NAMESPACES = _section("runtime-spec", "config-linux.md", "Namespaces")
CGROUPS = _section("runtime-spec", "config-linux.md", "Control groups")
MASKED = _section("runtime-spec", "config-linux.md", "Masked Paths")

MANIFEST = _section("image-spec", "manifest.md", "Image Manifest")
CONFIG = _section("image-spec", "config.md", "Properties")
LAYERS = _section("image-spec", "layer.md", "Applying Changesets")
CONVERSION = _section("image-spec", "conversion.md", "Verbatim Fields")

PULL_MANIFEST = _section("distribution-spec", "spec.md", "Pulling manifests")
PULL_BLOB = _section("distribution-spec", "spec.md", "Pulling blobs")


def docker_api(operation: str, tag: str) -> Chapter:
    """Return where docker describes a request.

    Args:
        operation: its name there, ``ContainerCreate``.
        tag: what it is listed under, ``Container``.
    """
    return Chapter(f"Docker Engine API: {operation}", f"{_DOCKER}/#tag/{tag}/operation/{operation}")
