"""What happened when a command was given: steps with the figures of that very run."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING

from ocimagic.spec.record import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.model.options import RunOptions


class Party(Enum):
    """Who does something; the words are those of the class notes."""

    CLIENT = "docker client"
    API = "REST API"
    DAEMON = "daemon"
    CONTAINERD = "containerd"
    REGISTRY = "registry"
    IMAGES = "local image repository"
    BUNDLE = "OCI bundle"
    SHIM = "shim"
    RUNC = "runc"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Chapter:
    """A section of a specification.

    Attributes:
        title: its name, after that of the document.
        url: with an anchor where the document has sections.
    """

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a function of ours is.

    Attributes:
        path: below the directory that holds the package: ``ocimagic/runtime/init.py``.
        line: its first, from 1.
        name: of the function.
        code: its text; "" where the file is not there any more.
    """

    path: str
    line: int
    name: str
    code: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """Return ``path:line``."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing inside a step: a phase, a mount or a system call.

    Attributes:
        at_s: seconds since the beginning; None where nobody noted it.
        name: ``pivot_root``, ``mount``.
        detail: what is to be known besides, or "".
    """

    at_s: float | None
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that one party did, perhaps for another.

    Attributes:
        party: who did it.
        to: whom it concerns; the same party where it concerns nobody else.
        title: what, in a few words.
        at_s: when it was done: seconds since the beginning; None where nobody noted it.
        seconds: how long it took; None where nobody noted it.
        facts: names and values of this run.
        moments: what it was made of, in order.
        documents: JSON documents by name, to be opened.
        chapter: where a specification says so.
        source: our function that did it.
        more: sources of what it was made of.
        was_sent: it went from one process to another; False for a mere call in one process.
    """

    party: Party
    to: Party
    title: str
    at_s: float | None = None
    seconds: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    moments: tuple[Moment, ...] = ()
    documents: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)
    chapter: Chapter | None = None
    source: Source | None = None
    more: tuple[Source, ...] = ()
    was_sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardRequest:
    """A request that a client really sent over a socket.

    Attributes:
        path: with version and query.
        operation: docker's name of it.
        tag: what docker lists it under.
        status: of the answer.
        began_s: when it came, in seconds since 1970.
        seconds: until its answer was whole.
        socket: where it came to, as DOCKER_HOST has it.
        client: what the client calls itself.
        body: of the making of a container; of others nothing.
        exec_id: of the command that it is about, or "".
    """

    method: str
    path: str
    operation: str
    tag: str
    status: int
    began_s: float
    seconds: float
    socket: str
    client: str = ""
    body: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)
    exec_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command asked the engine for: what a request to it is made of.

    Attributes:
        options: of a container; None for an image.
        container_id: what the engine answered.
        network: ``--network`` before the engine chose; "" if the options still say it.
        pulled: its image was not here.
        started: False for a container that was only made.
        at_once: it was made and started by one command, which perhaps followed it.
        reference: of a pull, or "".
        build: of a build: docker's names of what was asked for, and their values.
        tags: of a build.
        exec_id: of a command in a container, or "".
        executed: of that, by the names of ``ExecOptions``; of variables their names.
        heard: what a client really sent, if it came over a socket.
    """

    options: RunOptions | None = None
    container_id: str = ""
    network: str = ""
    pulled: bool = False
    started: bool = True
    at_once: bool = True
    reference: str = ""
    build: Mapping[str, object] = field(default_factory=dict, hash=False)
    tags: tuple[str, ...] = ()
    exec_id: str = ""
    executed: Mapping[str, object] = field(default_factory=dict, hash=False)
    heard: tuple[HeardRequest, ...] = ()


PROJECT_DEED = "Project"


@dataclass(frozen=True, slots=True)
class Deed:
    """What a command that does many things said it did: ``Container``, ``web-1``, ``Started``.

    Attributes:
        at_s: when, in seconds since 1970.
        kind: ``PROJECT_DEED`` for the first, which says whose the others are.
    """

    at_s: float
    kind: str
    name: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The story of one command.

    Attributes:
        kind: ``container``, ``exec``, ``compose``, ``pull``, ``build``, or ``failure``.
        name: of the container, project or image.
        line: the command as docker has it.
        began: RFC 3339.
        seconds: until its work was done; None where nobody saw that.
        ending: the last word: how it ended, or that it runs.
        steps: in order.
        lacks: what could not be told, a sentence each.
        asked: what it was asked with; None where nobody knows.
    """

    kind: str
    name: str
    line: str
    began: str
    seconds: float | None
    ending: str
    steps: tuple[Step, ...]
    lacks: tuple[str, ...] = ()
    asked: Asked | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, object]:
        """Return all of it as plain values."""
        document = asdict(replace(self, asked=None))
        del document["asked"]
        for step, plain in zip(self.steps, document["steps"], strict=True):
            plain["party"], plain["to"] = step.party.value, step.to.value
            plain["facts"] = dict(step.facts)
        return document
