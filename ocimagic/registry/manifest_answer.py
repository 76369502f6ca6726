"""What a registry's answer to the question for a manifest says, and whether it may be believed.

Spec: distribution-spec "Pulling manifests".
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ocimagic.errors import DigestMismatch, InvalidDigest, RegistryAnswered
from ocimagic.spec import mediatype
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import is_schema1, schema1

if TYPE_CHECKING:
    from ocimagic.registry.message import Answer
    from ocimagic.spec.reference import Reference

# Old registries answer with schema 1 when they are not told what we can read.
ACCEPT = (*mediatype.INDEXES, *mediatype.MANIFESTS)


def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def descriptor_in(answer: Answer) -> Descriptor | None:
    """Read a descriptor out of the headers; None when they do not make one."""
    digest = announced_digest(answer)
    size = answer.header("content-length")
    kind = media_type(answer.header("content-type"))
    if digest is None or kind not in ACCEPT or not re.fullmatch(r"[1-9][0-9]{0,9}", size):
        return None
    return Descriptor(kind, digest, int(size))


def announced_digest(answer: Answer) -> Digest | None:
    """Return the digest that the registry says, None if it says none.

    Raises:
        RegistryAnswered: what it says is no digest.
    """
    said = answer.header("docker-content-digest")
    if not said:
        return None
    try:
        return Digest.parse(said)
    except InvalidDigest as err:
        raise RegistryAnswered(
            f"{answer.origin.shown} announces a digest that is none", why=err.what
        ) from err


def refuse_encoded(answer: Answer) -> None:
    """See that the bytes are the document's own.

    Raises:
        RegistryAnswered: they are packed.
    """
    encoding = answer.header("content-encoding").lower()
    if encoding not in {"", "identity"}:
        raise RegistryAnswered(
            f"{answer.origin.shown} packs its answer though it was asked not to",
            why=f"Content-Encoding: {encoding[:40]}",
        )


def verify_manifest(raw: bytes, expected: Digest, reference: Reference) -> None:
    """See that a manifest is the one that was asked for.

    Raises:
        DigestMismatch: it is another.
        InvalidDocument: it is of docker's schema 1, whose digest is not over these bytes.
    """
    actual = Digest.of_hash(hashlib.new(expected.algorithm, raw))
    if actual != expected:
        raise schema1() if is_schema1(raw) else mismatch(reference, expected, actual)


def mismatch(reference: Reference, expected: Digest, actual: Digest) -> DigestMismatch:
    """Return the error for a manifest that is not the one its digest says."""
    return DigestMismatch(
        f"the manifest of {reference.familiar}",
        expected=expected,
        actual=actual,
        where=reference.registry,
    )
