"""Everything that can go wrong, as one tree.

Each class names a fact.  A message says what is so and where; ``why`` and ``hint`` say
the cause and what to do.  ``exit_code`` is what the shell gets, ``http_status`` what the
Docker API answers.

::

    OcimagicError                         125  500
    ├── BadInput                          125  400
    │   ├── InvalidReference  InvalidDigest  InvalidPlatform  InvalidOption
    │   ├── DriverNotFound                an option names a driver that nobody has: 404
    │   ├── InvalidDocument               a manifest, config or compose file that breaks its spec
    │   │   └── NotAnImage                or that is of something else than an image
    │   └── DockerfileError               with line, column and the line itself
    ├── NotFound                          125  404
    │   ├── ImageNotFound  ContainerNotFound  NetworkNotFound  VolumeNotFound  BlobNotFound
    │   └── SuiteNotFound (a mirror's)  PlatformNotFound (an index's)  ExecNotFound
    ├── Conflict                          125  409
    │   └── NameInUse  ImageInUse  PortTaken  InvalidState
    ├── ContentError                      125  500
    │   ├── Mismatch                      bytes are not what their descriptor says
    │   │   └── DigestMismatch  SizeMismatch
    │   ├── LayerRefused                  a layer tar that is malformed or hostile
    │   ├── ArchiveRefused                a saved image's archive that is so
    │   ├── PackageRefused                a .deb, or the index of a mirror, that is so
    │   └── SignatureRefused              a mirror's index that nobody known has signed
    ├── RegistryError                     125  502
    │   ├── RegistryUnreachable  RegistryAnswered
    │   └── Unauthorized  RateLimited  Offline
    ├── NeighbourError                    125  502   a dockerd or podman that refuses or babbles
    │   └── NeighbourUnreachable          or that cannot be asked at all
    ├── StorageError                      125  500
    │   └── DiskFull
    ├── HostLacks                         125  501   this machine cannot give it
    ├── NotBuiltYet                       125  501   a later version will
    ├── Cancelled                         130  500   the user stopped it
    ├── StartFailed                       125  500   the runtime could not make the container
    │   └── CommandNotFound (127)  CommandNotExecutable (126)
    └── BuildFailed                         1  500
        └── StepFailed                    a RUN that ended non-zero, with its last lines
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OcimagicError(Exception):
    """Base of all errors that ocimagic raises on purpose.

    Args:
        what: what is so, in one short sentence without a full stop.
        why: the cause, if it is known.
        hint: what the user can do.
        where: file, line, layer or host the error is about.
    """

    exit_code: ClassVar[int] = 125
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.where = where

    def lines(self) -> list[str]:
        """Return the message for people: what, then why, where and try, a line each."""
        said = [self.what]
        for word, text in (("why", self.why), ("where", self.where), ("try", self.hint)):
            if text:
                head, *rest = text.splitlines()
                said.append(f"  {word:<6}{head}")
                said.extend(f"        {line}" for line in rest)
        return said

    def __str__(self) -> str:
        return "\n".join(self.lines())


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


class RegistryError(OcimagicError):
    """A registry could not be reached, refused, or answered nonsense."""

    http_status = 502


class RegistryUnreachable(RegistryError):
    """No connection to the registry, or it broke."""


class Offline(RegistryError):
    """The engine was told to ask no other machine, and would have to."""


class RegistryAnswered(RegistryError):
    """An answer that is an error or breaks the distribution spec."""


class Unauthorized(RegistryError):
    """The registry wants a login, or refuses this one."""


class RateLimited(RegistryError):
    """The registry counts pulls and this address has none left (HTTP 429)."""


class NeighbourError(OcimagicError):
    """A dockerd or podman refused, or answered nonsense."""

    http_status = 502


class NeighbourUnreachable(NeighbourError):
    """No dockerd and no podman could be asked."""


class StorageError(OcimagicError):
    """The data root cannot be read or written."""


class DiskFull(StorageError):
    """No space is left under the data root."""

    http_status = 507


class HostLacks(OcimagicError):
    """This machine cannot give what was asked: kernel, privileges or a missing program."""

    http_status = 501


class NotBuiltYet(OcimagicError):
    """A thing docker can do and this version cannot; the message says so plainly."""

    http_status = 501


class Cancelled(OcimagicError):
    """The user stopped it; what was finished before is kept."""

    exit_code = 130


class StartFailed(OcimagicError):
    """The runtime could not make the container.

    Args:
        phase: the name of the runtime phase that failed.
    """

    def __init__(
        self,
        what: str,
        *,
        phase: str = "",
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, where=where)
        self.phase = phase


class CommandNotFound(StartFailed):
    """The command is not in the image."""

    exit_code = 127
    http_status = 400


class CommandNotExecutable(StartFailed):
    """The command is there but cannot be executed: no x bit, a directory, a wrong format."""

    exit_code = 126
    http_status = 400


class BuildFailed(OcimagicError):
    """A build that did not reach an image."""

    exit_code = 1


class StepFailed(BuildFailed):
    """A RUN step that ended with a non-zero exit code.

    Args:
        command_exit_code: what the command ended with.
        command: its words.
        tail: the last lines it wrote, oldest first.
    """

    def __init__(
        self,
        what: str,
        *,
        command_exit_code: int,
        command: str = "",
        tail: Sequence[str] = (),
        why: str | None = None,
        hint: str | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what, why=why, hint=hint, where=where)
        self.command_exit_code = command_exit_code
        self.command = command
        self.tail = tuple(tail)
        self.image_id = ""  # what the step was to work on can be run by it


_MAX_FIELD = 4096  # characters


def pack(err: OcimagicError) -> dict[str, object]:
    """Return an error as a JSON object, to cross a process border.

    Long texts are cut: a command or a path in them may be megabytes, a frame is not.
    """
    fields = {
        name: f"{value[:_MAX_FIELD]}…" if isinstance(value, str) and value[_MAX_FIELD:] else value
        for name, value in vars(err).items()
    }
    return {"error": type(err).__name__, "fields": fields}


def unpack(message: Mapping[str, object]) -> OcimagicError:
    """Return the error that ``pack`` was given, with its class and all its fields."""
    kind, fields = globals().get(str(message["error"]), OcimagicError), message["fields"]
    assert issubclass(kind, OcimagicError)
    assert isinstance(fields, dict)
    err: OcimagicError = kind.__new__(kind)
    Exception.__init__(err, fields["what"])
    vars(err).update(fields)
    return err
