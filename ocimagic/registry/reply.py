"""Error answers of a registry, with the codes of the distribution spec.

Spec: distribution-spec "Error Codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import (
    BadInput,
    BlobNotFound,
    DigestMismatch,
    ImageInUse,
    ImageNotFound,
    InvalidDigest,
    InvalidDocument,
    InvalidState,
    NotFound,
    RateLimited,
    RegistryError,
    SizeMismatch,
    Unauthorized,
)

if TYPE_CHECKING:
    from ocimagic.errors import OcimagicError

_ANSWERS: tuple[tuple[type[OcimagicError], int, str], ...] = (
    (InvalidDigest, 400, "DIGEST_INVALID"),
    (DigestMismatch, 400, "DIGEST_INVALID"),
    (InvalidDocument, 400, "MANIFEST_INVALID"),
    (SizeMismatch, 400, "SIZE_INVALID"),
    (BlobNotFound, 400, "MANIFEST_BLOB_UNKNOWN"),
    (ImageNotFound, 404, "MANIFEST_UNKNOWN"),
    (NotFound, 404, "BLOB_UPLOAD_UNKNOWN"),
    (InvalidState, 409, "BLOB_UPLOAD_INVALID"),
    (ImageInUse, 405, "UNSUPPORTED"),
    (RateLimited, 429, "TOOMANYREQUESTS"),
    (Unauthorized, 403, "DENIED"),
    (RegistryError, 502, "UNAVAILABLE"),
    (BadInput, 400, "UNSUPPORTED"),
)


class Refusal(Exception):
    """An error answer of the distribution spec.

    Args:
        status: of HTTP.
        code: from the list of the spec.
        message: for people.
        headers: with ``_`` for ``-`` in their names.
    """

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @classmethod
    def of(cls, error: OcimagicError) -> Refusal:
        """Put an error of ours into the spec's terms."""
        said = ": ".join(part for part in (error.what, error.why) if part)
        for kind, status, code in _ANSWERS:
            if isinstance(error, kind):
                return cls(status, code, said)
        return cls(error.http_status, "UNKNOWN", said)

    def document(self) -> dict[str, object]:
        """Return the body."""
        return {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
