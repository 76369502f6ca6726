"""What comes back of a build and of a check: plain values that every front room shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.spec.digest import Digest
    from ocimagic.spec.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """One line of a build's outcome; see ``StepDone``.

    Attributes:
        stands_on: of FROM: another stage's label, if it stands on one.
        takes_from: stages that ``COPY --from`` or ``RUN --mount`` reads, by their labels.
    """

    number: int
    stage: str
    text: str
    line: int
    cached: bool
    seconds: float
    layer: Digest | None
    size_bytes: int
    why: str = ""
    image_id: Digest | None = None
    stands_on: str = ""
    takes_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWarning:
    """What a build check found.

    Attributes:
        rule: docker's name of it.
        line: of the Dockerfile, from 1.
        url: where docker explains the rule; "" for one of ours.
    """

    rule: str
    message: str
    line: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildChecked:
    """What ``build --check`` found; nothing was built."""

    warnings: tuple[BuildWarning, ...]

    @property
    def exit_code(self) -> int:
        """Return 1 if anything was found."""
        return int(bool(self.warnings))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlatform:
    """One image of a build for several platforms.

    Attributes:
        digest: of its manifest.
        size_bytes: of its files unpacked.
    """

    platform: Platform
    image_id: Digest
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build made.

    Attributes:
        image_id: of the image that is run on this machine.
        digest: of its manifest, or of the index where several platforms were asked for; None
            where an API does not tell it.
        platforms: all images of that index; empty for one image.
    """

    image_id: Digest
    digest: Digest | None
    tags: tuple[str, ...]
    steps: tuple[BuildStep, ...]
    seconds: float
    size_bytes: int
    warnings: tuple[str, ...] = ()
    platforms: tuple[BuiltPlatform, ...] = ()
