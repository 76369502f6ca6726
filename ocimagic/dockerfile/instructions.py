"""The 18 instructions, each as a frozen value.

Texts are as written: nothing here is expanded (`Scope.expanded` does that), and quotes and
escapes are still in.  Where docker has a shell form and an exec form, the type says which.

Source: Dockerfile reference; facts/build.md section 1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.dockerfile.lex import Heredoc
    from ocimagic.dockerfile.mounts import RunMount
    from ocimagic.dockerfile.source import SourceRange

Network: TypeAlias = Literal["default", "none", "host"]
Security: TypeAlias = Literal["sandbox", "insecure"]


@dataclass(frozen=True, slots=True)
class ShellForm:
    """A text for the shell: SHELL's words come before it, as one argument it is passed on."""

    text: str


@dataclass(frozen=True, slots=True)
class ExecForm:
    """An argv to execute as it is; CMD and ENTRYPOINT may have an empty one, to clear."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A heredoc that starts with ``#!``.

    The builder writes ``text`` (mode 0755) where ``path`` says, in a mount that is not part
    of the layer, and runs SHELL with ``path`` as the command.
    """

    path: str
    text: str


Command: TypeAlias = ShellForm | ExecForm


@dataclass(frozen=True, slots=True)
class Pair:
    """One ``key=value`` of ENV or LABEL."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Declared:
    """One name of ARG; ``default`` is None when there is no ``=``."""

    name: str
    default: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What all instructions share: where they stand."""

    keyword: ClassVar[str]
    source: SourceRange


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """The start of a stage.

    Args:
        base: stage name, image reference or ``scratch``.
        name: the stage's name in lower case, or None.
        platform: of ``--platform``, or None.
    """

    keyword: ClassVar[str] = "FROM"
    base: str
    name: str | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Names that ``--build-arg`` may set."""

    keyword: ClassVar[str] = "ARG"
    args: tuple[Declared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    """Environment of later steps and of containers; ``legacy`` is the form without ``=``."""

    keyword: ClassVar[str] = "ENV"
    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    """Metadata of the image; ``legacy`` is the form without ``=``."""

    keyword: ClassVar[str] = "LABEL"
    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """A command that runs in a container of the build; heredocs are already part of it."""

    keyword: ClassVar[str] = "RUN"
    command: Command | Script
    mounts: tuple[RunMount, ...] = ()
    network: Network = "default"
    security: Security = "sandbox"
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """Files from the context, or from a stage or image, to the image.

    Args:
        sources: paths and wildcards in order; heredocs are not among them.
        destination: path; a final ``/`` means a directory.
        heredocs: files whose text stands in the Dockerfile, named by their heredoc.
        from_stage: stage name, stage index or image; never expanded.
        chown: ``user[:group]``.
        chmod: octal or symbolic.
        link: make a layer that does not depend on those below.
        parents: keep the sources' parent directories.
        exclude: patterns in .dockerignore's syntax; never expanded.
    """

    keyword: ClassVar[str] = "COPY"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_stage: str | None = None
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Instruction):
    """COPY that also takes URLs and unpacks local archives.

    Args:
        sources: as in `Copy`, or URLs.
        destination: as in `Copy`.
        heredocs: as in `Copy`.
        chown: as in `Copy`.
        chmod: as in `Copy`.
        checksum: ``sha256:...`` of the one URL.
        link: as in `Copy`.
        keep_git_dir: keep ``.git`` of a git source; None if not said.
        unpack: unpack archives; None means local ones only.
        exclude: as in `Copy`.
    """

    keyword: ClassVar[str] = "ADD"
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    checksum: str | None = None
    link: bool = False
    keep_git_dir: bool | None = None
    unpack: bool | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    """The default command, or the default arguments of ENTRYPOINT."""

    keyword: ClassVar[str] = "CMD"
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    """The command that CMD and ``docker run`` arguments are added to."""

    keyword: ClassVar[str] = "ENTRYPOINT"
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    """Ports a server listens on; expanded, each is ``port/protocol``."""

    keyword: ClassVar[str] = "EXPOSE"
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    """Paths that get a volume of their own in a container."""

    keyword: ClassVar[str] = "VOLUME"
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    """``user[:group]`` of later steps and of containers."""

    keyword: ClassVar[str] = "USER"
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """The working directory; a relative path goes on from the last one."""

    keyword: ClassVar[str] = "WORKDIR"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    """What shell forms are handed to."""

    keyword: ClassVar[str] = "SHELL"
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(Instruction):
    """The signal that ``stop`` sends: a name with or without SIG, or a number."""

    keyword: ClassVar[str] = "STOPSIGNAL"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """How to ask a container whether it is well.

    Args:
        command: None for ``HEALTHCHECK NONE``.
        interval_ns: nanoseconds, as are all times here; 0 leaves it to the base or default.
        timeout_ns: how long one check may take.
        start_period_ns: how long failures do not count.
        start_interval_ns: time between checks in the start period.
        retries: failures in a row that make it unhealthy; 0 as above.
    """

    keyword: ClassVar[str] = "HEALTHCHECK"
    command: Command | None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBuild(Instruction):
    """An instruction for images built on this one, as text: heredoc bodies are in it."""

    keyword: ClassVar[str] = "ONBUILD"
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    """The author; deprecated, a label says it now."""

    keyword: ClassVar[str] = "MAINTAINER"
    name: str
