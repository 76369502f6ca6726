"""What was asked cannot be understood, names nothing, or does not fit what is there."""

from __future__ import annotations

from ocimagic.errors.base import OcimagicError


class BadInput(OcimagicError):
    """What the user or a document said cannot be understood."""

    http_status = 400


class InvalidReference(BadInput):
    """An image name that breaks the reference grammar."""


class InvalidDigest(BadInput):
    """A digest that is not ``sha256:`` or ``sha512:`` and lower-case hex of the right length."""


class InvalidPlatform(BadInput):
    """A platform that is not ``os/arch[/variant]``."""


class InvalidOption(BadInput):
    """A command line or option value that cannot be understood."""


class DriverNotFound(InvalidOption):
    """An option names a driver that nobody has: in docker it would be a plugin."""

    http_status = 404


class InvalidDocument(BadInput):
    """A manifest, index, config or compose file that breaks its specification."""


class NotAnImage(InvalidDocument):
    """A manifest of another thing that registries keep: a chart, a signature, an attestation."""


class DockerfileError(BadInput):
    """A Dockerfile that cannot be understood or planned.

    Args:
        what: what is so.
        line: 1-based line in the Dockerfile (or cell body) the error is about.
        column: 1-based column, or None when the whole line is meant.
        source: the text of that line.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        line: int,
        column: int | None = None,
        source: str = "",
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        at = f"Dockerfile line {line}" + (f", column {column}" if column else "")
        first = max(0, (column or 1) - 200) if len(source) > 400 else 0  # a line may be endless
        frame = f"{at}: {source[first : first + 400].rstrip()}" if source else at
        mark = f"\n{' ' * (len(at) + 1 + (column or 0) - first)}^" if source and column else ""
        super().__init__(what, why=why, hint=hint, where=frame + mark)
        self.line = line
        self.column = column
        self.source = source


class NotFound(OcimagicError):
    """A thing that was named does not exist."""

    http_status = 404


class ImageNotFound(NotFound):
    """No image of that name or ID, here or in its registry."""


class PlatformNotFound(NotFound):
    """The image exists, but not for the platform asked for."""


class ContainerNotFound(NotFound):
    """No container of that name or ID."""


class NetworkNotFound(NotFound):
    """No network of that name or ID."""


class VolumeNotFound(NotFound):
    """No volume of that name."""


class ExecNotFound(NotFound):
    """No command of that ID in any container."""


class BlobNotFound(NotFound):
    """A blob that a manifest names is in neither the store nor the registry."""


class SuiteNotFound(NotFound):
    """The mirror has no such suite of the distribution."""


class Conflict(OcimagicError):
    """The request is clear but does not fit what is there."""

    http_status = 409


class NameInUse(Conflict):
    """A container already has this name."""


class ImageInUse(Conflict):
    """A container or another image still needs this image."""


class PortTaken(Conflict):
    """A port of the machine that somebody else has."""


class InvalidState(Conflict):
    """A verb that the container's status does not allow."""
