"""What can be asked of a container that is there already; making one is in ``options``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.model.resources import ResourceOptions
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from ocimagic.model.policy import RestartPolicy
    from ocimagic.spec.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """What ``container exec`` takes.

    Attributes:
        command: at least one word.
        env: ``NAME=value``, on top of the container's own.
        working_dir: absolute; None is the container's.
        user: name or id, ``:`` and a group; None is the container's.
        interactive: keep stdin open.
        tty: give it a terminal.
        console_size: rows and columns of that terminal.
        detach: do not wait for its end.
        privileged: all capabilities the engine has; the system call filter is the container's.
        detach_keys: what typed in a row lets go of a terminal; "" is docker's.
    """

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    interactive: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    detach: bool = False
    privileged: bool = False
    detach_keys: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOptions:
    """What ``container commit`` takes.

    Attributes:
        reference: a name for the image, "" for none.
        changes: Dockerfile lines that change the config: ``CMD ["sh"]``.
        pause: stop the container's processes meanwhile.
    """

    reference: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOptions:
    """What ``container update`` changes; what is not given stays.

    Attributes:
        resources: the limits to set; a field that is zero or None stays.
        restart: None keeps the policy.
    """

    resources: ResourceOptions = field(default_factory=ResourceOptions)
    restart: RestartPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What ``image import`` takes.

    Attributes:
        reference: a name for the image, "" for none.
        changes: Dockerfile lines that make its config: ``CMD ["sh"]``.
        platform: what the files are for; None is this machine.
    """

    reference: str = ""
    changes: tuple[str, ...] = ()
    message: str = ""
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapOptions:
    """What ``image bootstrap`` takes.

    Attributes:
        name: ``debian:SUITE`` or ``ubuntu:SUITE``.
        tags: names for the image; without any it is called ``name``.
        mirror: a URL that is asked instead of what this machine's apt knows.
        keyrings: files with the keys that count, instead of the distribution's.
        include: names of more packages.
        check_signature: False takes what any mirror says.
        check_valid_until: False takes a mirror of the past.
        no_cache: unpack and configure anew; what was fetched stays.
    """

    name: str
    tags: tuple[str, ...] = ()
    mirror: str = ""
    keyrings: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    check_signature: bool = True
    check_valid_until: bool = True
    no_cache: bool = False
