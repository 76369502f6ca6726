"""What is executed, as whom and within which limits: ``process`` of the runtime configuration.

Spec: runtime-spec config.md (1.2), "Process".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from ocimagic.errors import InvalidDocument
from ocimagic.spec.capability import CAPABILITY_NAMES
from ocimagic.spec.codec import without_none
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.spec.codec import Fields

# What PATH is where env says nothing.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_LIMITS = """
AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK
"""
RLIMIT_NAMES = tuple(f"RLIMIT_{word}" for word in _LIMITS.split())
# In the order of <linux/sched.h>: the index is the policy's number, or the flag's bit.
_POLICIES = "OTHER FIFO RR BATCH ISO IDLE DEADLINE"
SCHEDULER_POLICIES = tuple(f"SCHED_{word}" for word in _POLICIES.split())
_FLAGS = "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX"
SCHEDULER_FLAGS = tuple(f"SCHED_FLAG_{word}" for word in _FLAGS.split())
IO_PRIORITY_CLASSES = ("", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")

_UINT32 = (1 << 32) - 1
_LAST_ID = _UINT32 - 1  # the last number is "leave it as it is" to setgid(2) (CVE-2024-40635)
_UINT64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who the process is.

    Attributes:
        umask: octal bits, or None for 022.
        username: ``name[:group]`` by the container's own files, instead of the numbers.  The
            specification has it for another platform; our engine's ``exec`` says it so.
    """

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None
    username: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``process.user``."""
        return cls(
            uid=fields.integer("uid", 0, most=_LAST_ID),
            gid=fields.integer("gid", 0, most=_LAST_ID),
            additional_gids=fields.integers("additionalGids", most=_LAST_ID),
            umask=fields.integer("umask", most=0o777) if "umask" in fields else None,
            username=fields.text("username", ""),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        more = without_none(
            {"additionalGids": list(self.additional_gids), "username": self.username}
        )
        masked = {} if self.umask is None else {"umask": self.umask}
        return {"uid": self.uid, "gid": self.gid} | more | masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimit:
    """One resource limit; a value of 2**64-1 is no limit."""

    type: str
    soft: int
    hard: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``process.rlimits``."""
        name = fields.text("type")
        if name not in RLIMIT_NAMES:
            raise _invalid(f"rlimit {name!r} is unknown")
        soft, hard = (fields.integer(key, most=_UINT64) for key in ("soft", "hard"))
        if soft > hard:
            raise _invalid(f"the soft limit of {name} is above the hard one")
        return cls(type=name, soft=soft, hard=hard)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"type": self.type, "soft": self.soft, "hard": self.hard}


class Scheduler(NamedTuple):
    """How the process is scheduled: sched_setattr(2); the last three are in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``process.scheduler``."""
        found = cls(
            policy=_one_of(SCHEDULER_POLICIES, fields, "policy"),
            nice=fields.integer("nice", 0, least=-20, most=19),
            priority=fields.integer("priority", 0, most=99),
            flags=fields.texts("flags"),
            runtime=fields.integer("runtime", 0, most=_UINT64),
            deadline=fields.integer("deadline", 0, most=_UINT64),
            period=fields.integer("period", 0, most=_UINT64),
        )
        for flag in found.flags:
            if flag not in SCHEDULER_FLAGS:
                raise _invalid(f"scheduler flag {flag!r} is unknown")
        return found

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        found = self._asdict() | {"flags": list(self.flags)}
        return {key: value for key, value in found.items() if value}


class IoPriority(NamedTuple):
    """How urgent input and output are: ioprio_set(2); 0 is the most urgent of a class."""

    io_class: str
    priority: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``process.ioPriority``."""
        return cls(
            _one_of(IO_PRIORITY_CLASSES[1:], fields, "class"),
            fields.integer("priority", 0, most=7),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return {"class": self.io_class, "priority": self.priority}


class CpuAffinity(NamedTuple):
    """Processors of an executed process before and after it joins its cgroup, like ``0-3,7``."""

    initial: str = ""
    final: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``process.execCPUAffinity``."""
        return cls(*(_cpu_list(fields.text(key, "")) for key in ("initial", "final")))

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(self._asdict())


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is executed.

    Attributes:
        args: at least one word.
        env: ``NAME=value``.
        cwd: absolute.
        console_size: rows and columns.
        capabilities: set name to capability names.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = field(default_factory=User)
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    capabilities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity = field(default_factory=CpuAffinity)
    apparmor_profile: str = ""
    selinux_label: str = ""

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``process``, or the document of an ``exec``.

        Raises:
            InvalidDocument: breaks the spec.
        """
        affinity, io = fields.child("execCPUAffinity"), fields.child("ioPriority")
        scheduler = fields.child("scheduler")
        process = cls(
            args=fields.texts("args"),
            env=fields.texts("env"),
            cwd=fields.text("cwd", ""),
            user=User.parse(fields.child("user")),
            terminal=fields.flag("terminal"),
            console_size=_console_size(fields.child("consoleSize")),
            capabilities=_capabilities(fields.child("capabilities")),
            rlimits=tuple(Rlimit.parse(each) for each in fields.children("rlimits")),
            no_new_privileges=fields.flag("noNewPrivileges"),
            oom_score_adj=_oom_score_adj(fields),
            scheduler=Scheduler.parse(scheduler) if "scheduler" in fields else None,
            io_priority=IoPriority.parse(io) if "ioPriority" in fields else None,
            exec_cpu_affinity=CpuAffinity.parse(affinity),
            apparmor_profile=fields.text("apparmorProfile", ""),
            selinux_label=fields.text("selinuxLabel", ""),
        )
        process.check()
        return process

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                "terminal": self.terminal or None,
                "consoleSize": self.console_size
                and {"height": self.console_size[0], "width": self.console_size[1]},
                "args": list(self.args),
                "env": list(self.env),
                "capabilities": {name: list(each) for name, each in self.capabilities.items()},
                "rlimits": [each.to_json() for each in self.rlimits],
                "noNewPrivileges": self.no_new_privileges or None,
                "scheduler": self.scheduler and self.scheduler.to_json(),
                "ioPriority": self.io_priority and self.io_priority.to_json(),
                "execCPUAffinity": self.exec_cpu_affinity.to_json(),
                "apparmorProfile": self.apparmor_profile,
                "selinuxLabel": self.selinux_label,
                "oomScoreAdj": self.oom_score_adj,
            }
        ) | {"cwd": self.cwd, "user": self.user.to_json()}

    def check(self) -> None:
        """Refuse what contradicts itself or the kernel could not take.

        Raises:
            InvalidDocument: which field, and why.
        """
        if not self.args or not self.args[0]:
            raise _invalid("process.args is empty")
        if not self.cwd.startswith("/"):
            raise _invalid("process.cwd must be an absolute path")
        for entry in self.env:
            if not entry.partition("=")[0] or "=" not in entry:
                raise _invalid(f"process.env has {entry!r}, which is not NAME=value")
        if any("\0" in text for text in (*self.args, *self.env, self.cwd)):
            raise _invalid("process has a NUL byte in a text")
        types = [each.type for each in self.rlimits]
        for each in types:
            if types.count(each) > 1:
                raise _invalid(f"rlimit {each} is given twice")

    def unknown_capabilities(self) -> list[str]:
        """Return the names that no capability has; they are warned about, never an error."""
        asked = {name for names in self.capabilities.values() for name in names}
        return sorted(asked - set(CAPABILITY_NAMES))


def _capabilities(fields: Fields) -> dict[str, tuple[str, ...]]:
    return {name: found for name in CAPABILITY_SETS if (found := fields.texts(name))}


def _console_size(fields: Fields) -> tuple[int, int] | None:
    if not fields.value:
        return None
    height, width = (fields.integer(key, most=0xFFFF) for key in ("height", "width"))
    return height, width


def _oom_score_adj(fields: Fields) -> int | None:
    if "oomScoreAdj" not in fields:
        return None
    return fields.integer("oomScoreAdj", least=-1000, most=1000)


def _one_of(known: tuple[str, ...], fields: Fields, key: str) -> str:
    said = fields.text(key)
    if said not in known:
        raise InvalidDocument(f"this {fields.what} is not valid", why=f"{key} {said!r} is unknown")
    return said


def _cpu_list(text: str) -> str:
    cpus(text)
    return text


def cpus(text: str) -> tuple[int, ...]:
    """Return the processors of a list like ``0-3,7``.

    Raises:
        InvalidDocument: it is no such list.
    """
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first, first)
        if not all(each.isascii() and each.isdigit() and len(each) < 6 for each in numbers):
            raise _invalid(f"{text!r} is no list of processors")
        found.extend(range(int(numbers[0]), int(numbers[1]) + 1))
    return tuple(found)


def _invalid(why: str) -> InvalidDocument:
    return InvalidDocument("this runtime config is not valid", why=why)
