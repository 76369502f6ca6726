"""What a shim is asked to keep: a request to the launcher, understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.errors import InvalidDocument
from ocimagic.network.plan import Plan
from ocimagic.shim.events import EventSink
from ocimagic.spec.codec import Fields
from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

RESTART_NAMES = ("no", "on-failure", "always", "unless-stopped")
LOG_DRIVERS = ("json-file", "cri", "none")
_MAX_SIZE = 0xFFFF  # struct winsize has 16 bits


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How the log is kept.

    Attributes:
        driver: ``json-file``, ``cri`` or ``none``.
        max_size_bytes: a file that has grown to it is rotated; None never.
        max_files: how many are kept, the current one included.
        compress: gzip the older ones.
    """

    driver: str = "json-file"
    max_size_bytes: int | None = None
    max_files: int = 1
    compress: bool = False


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a container that ended is started again.

    Attributes:
        name: ``no``, ``on-failure``, ``always`` or ``unless-stopped``.
        maximum_retry_count: for ``on-failure``; 0 means for ever.
    """

    name: str = "no"
    maximum_retry_count: int = 0


@dataclass(frozen=True, slots=True)
class HealthTest:
    """How to find out whether a container still does its work.

    Attributes:
        argv: what is run in it.
        start_period_s: failures this soon after the start do not count.
        start_interval_s: between checks during that time.
        retries: failures in a row that make it unhealthy.
    """

    argv: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    start_period_s: float = 0.0
    start_interval_s: float = 5.0
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameless:
    """A volume that nobody named and that goes with its container.

    Attributes:
        directory: the volume's.
        gone: where it is put first, so that it is gone at once.
        locks: where lock files are.
        lock: what whoever begins to use it holds.
    """

    directory: str
    gone: str
    locks: str
    lock: str

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one that ``VolumeKeeper.ending`` wrote."""
        return cls(
            directory=fields.text("directory"),
            gone=fields.text("gone"),
            locks=fields.text("locks"),
            lock=fields.text("lock"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a shim is asked to keep.

    Attributes:
        directory: the container's directory under the data root.
        run_directory: the container's directory under the run root.
        log_path: where the log goes.
        interactive: keep stdin open for clients.
        remove: take both directories away after the exit.
        tied: end the container when the client that started it goes away.
        attached: that client gets the output from the first byte on, and all of it.
        terminal: the process has one.
        console_size: rows and columns at first.
        runtime: path of another runtime with runc's command line; None for our own.
        init: run a small process as pid 1 that passes signals on and reaps.
        stop_signal: what ends the container by agreement.
        sender: what the client that asks calls itself when it sends stdin.
        traced: each process is a tracer, whose child is the command.
        network: how it is connected; None if its networks are not its own, or none.
        volumes: what goes with it, if it is to be removed.
        engine: what the engine noted of the start, see ``timeline``.
        events: where it is told what happens.
    """

    container_id: str
    bundle_path: str
    directory: str
    run_directory: str
    log_path: str
    interactive: bool = False
    remove: bool = False
    tied: bool = False
    attached: bool = False
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    restart: RestartPolicy = RestartPolicy()
    health: HealthTest | None = None
    log: LogOptions = LogOptions()
    runtime: str | None = None
    init: bool = False
    stop_signal: int = 15
    stop_timeout_s: float = 10.0
    sender: int = 0
    traced: bool = False
    network: Plan | None = None
    volumes: tuple[Nameless, ...] = ()
    engine: str = ""
    events: EventSink = EventSink()

    @classmethod
    def parse(cls, request: Mapping[str, object]) -> Self:
        """Understand a request ``{"op": "container", ...}``.

        Raises:
            InvalidDocument: a field is missing or has another type.
        """
        fields = Fields(request, "request")
        size = request.get("console_size")
        return cls(
            container_id=fields.text("id"),
            bundle_path=fields.text("bundle"),
            directory=fields.text("directory"),
            run_directory=fields.text("run_directory"),
            log_path=fields.text("log_path"),
            interactive=fields.flag("interactive"),
            remove=fields.flag("remove"),
            tied=fields.flag("tied"),
            attached=fields.flag("attached"),
            terminal=fields.flag("terminal"),
            console_size=parse_size(size) if size else None,
            restart=_restart(fields.child("restart")),
            health=_health(fields.child("health")),
            log=_log(fields.child("log")),
            runtime=fields.text("runtime", "") or None,
            init=fields.flag("init"),
            stop_signal=fields.number("stop_signal", 15),
            stop_timeout_s=_seconds(fields, "stop_timeout_s", 10.0),
            sender=fields.number("sender", 0),
            traced=fields.flag("traced"),
            network=Plan.parse(fields.child("network")) if request.get("network") else None,
            volumes=tuple(map(Nameless.parse, fields.children("volumes"))),
            engine=fields.text("engine", ""),
            events=EventSink.parse(fields.child("events")),
        )


def number_in(request: Mapping[str, object], key: str) -> int:
    """Return a whole number that a client says, 0 if it says none.

    Raises:
        InvalidDocument: it is something else, or does not fit into 64 bits.
    """
    value = request.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise InvalidDocument(f"{key} is a number", why=repr(value)[:60])
    return value


def parse_size(value: object) -> tuple[int, int]:
    """Understand ``[rows, columns]``.

    Raises:
        InvalidDocument: it is something else.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        rows, columns = value
        if isinstance(rows, int) and isinstance(columns, int) and min(rows, columns) >= 0:
            return min(rows, _MAX_SIZE), min(columns, _MAX_SIZE)
    raise InvalidDocument("a console size is two numbers, rows and columns", why=repr(value)[:60])


def parse_restart(value: Mapping[str, object]) -> RestartPolicy:
    """Understand ``{"name": ..., "maximum_retry_count": n}``.

    Raises:
        InvalidDocument: there is no such policy.
    """
    return _restart(Fields(value, "restart policy"))


def _restart(fields: Fields) -> RestartPolicy:
    name = fields.text("name", "no")
    if name not in RESTART_NAMES:
        raise InvalidDocument(f"there is no restart policy {name!r}", why=", ".join(RESTART_NAMES))
    return RestartPolicy(name, fields.number("maximum_retry_count", 0))


def _health(fields: Fields) -> HealthTest | None:
    """Understand docker's ways to write a test; None for no check."""
    test = fields.texts("test")
    if not test or test[0] == "NONE":
        return None
    usual = HealthTest(())
    return HealthTest(
        argv=("/bin/sh", "-c", *test[1:]) if test[0] == "CMD-SHELL" else test[1:],
        # Zero stands for docker's default in an image config.
        interval_s=_seconds(fields, "interval_s", 0.0) or usual.interval_s,
        timeout_s=_seconds(fields, "timeout_s", 0.0) or usual.timeout_s,
        start_period_s=_seconds(fields, "start_period_s", 0.0),
        start_interval_s=_seconds(fields, "start_interval_s", 0.0) or usual.start_interval_s,
        retries=fields.number("retries", 0) or usual.retries,
    )


def _log(fields: Fields) -> LogOptions:
    driver = fields.text("driver", "json-file")
    if driver not in LOG_DRIVERS:
        raise InvalidDocument(f"there is no log driver {driver!r}", why=", ".join(LOG_DRIVERS))
    return LogOptions(
        driver=driver,
        max_size_bytes=fields.number("max_size_bytes", 0) or None,
        max_files=max(1, fields.number("max_files", 1)),
        compress=fields.flag("compress"),
    )


def _seconds(fields: Fields, key: str, default: float) -> float:
    value = fields.value.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidDocument(f"{key} is a number of seconds", why=repr(value)[:60])
    return float(value)
