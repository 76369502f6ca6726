"""Bytes that are not what they were said to be."""

from __future__ import annotations

from ocimagic.errors.base import OcimagicError


class ContentError(OcimagicError):
    """Bytes that are not what they were said to be."""


class Mismatch(ContentError):
    """Bytes that differ from what says what they are: ``expected`` and ``actual``."""

    _again = "pull again; if it comes back, the registry or the store holds a damaged copy"

    def __init__(
        self,
        name: str,
        *,
        expected: object,
        actual: object,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        what, why = self._words(expected, actual)
        super().__init__(f"{name} {what}", why=why, where=where, hint=hint or self._again)
        self.expected = expected
        self.actual = actual

    def _words(self, expected: object, actual: object) -> tuple[str, str]:
        return "is not what it was said to be", f"expected {expected}, got {actual}"


class DigestMismatch(Mismatch):
    """Content whose digest differs from its descriptor or diff_id."""


class SizeMismatch(Mismatch):
    """Content shorter or longer than its descriptor says."""

    def _words(self, expected: object, actual: object) -> tuple[str, str]:
        more = "at least " if int(str(actual)) > int(str(expected)) else ""
        return "has the wrong size", f"expected {expected} bytes, got {more}{actual}"


class LayerRefused(ContentError):
    """A layer whose tar is malformed, or that tries to reach outside its root.

    Args:
        entry: the name of the tar entry as text, or "" when the tar itself is broken.
        reason: what is wrong with it.
    """

    def __init__(self, entry: str, reason: str) -> None:
        super().__init__(
            "this layer cannot be unpacked safely" if entry else "this layer is not a valid tar",
            why=f"{entry!r}: {reason}" if entry else reason,
            hint="do not use this image; nothing of it was kept",
        )
        self.entry = entry
        self.reason = reason


class ArchiveRefused(ContentError):
    """An archive of images that is malformed, incomplete or hostile.

    Args:
        entry: the name of the file in it that is wrong, or "" when it is the archive itself.
        reason: what is wrong with it.
        hint: what to do, if it is not to get another copy.
    """

    def __init__(self, entry: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(
            "this archive of images cannot be loaded",
            why=f"{entry!r}: {reason}" if entry else reason,
            hint=hint or "get another copy of it; nothing of this one was kept",
        )
        self.entry = entry
        self.reason = reason


class PackageRefused(ContentError):
    """A .deb or an index of a mirror that is malformed, outdated or hostile."""


class SignatureRefused(ContentError):
    """A mirror's index that is not signed by a key of the distribution, or cannot be checked."""
