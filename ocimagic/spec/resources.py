"""What a container may use: ``linux.resources`` of the runtime configuration.

None means "leave it as it is"; zero means the same wherever 0 is no possible limit (runc's and
docker's reading of config-linux.md), and -1 means "no limit".

Spec: runtime-spec config-linux.md (1.2), "Control groups".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self, cast

from ocimagic.errors import InvalidDocument
from ocimagic.spec.codec import without_none
from ocimagic.spec.record import dataclass, field, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

    from ocimagic.spec.codec import Fields

_INT64: Final = (-(1 << 63), (1 << 63) - 1)
_UINT64: Final = (0, (1 << 64) - 1)
_UINT32: Final = (0, (1 << 32) - 1)

_DEVICE_TYPES = {"": "a", "a": "a", "b": "b", "c": "c", "u": "c"}
_CPU_LIST = re.compile(r"[0-9][0-9,\-: /]*|")
_PAGE_SIZE = re.compile(r"[1-9][0-9]*[KMG]B")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # net/core/dev.c, dev_valid_name
_RDMA_DEVICE = re.compile(r"\S{1,63}")
_ACRONYMS = {"tcp", "oom", "io", "iops", "id"}
_KNOB = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_.\-]*)")


class _Part:
    """A part of the document: its fields are JSON keys, in snake_case."""

    __slots__ = ()

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                _json_key(each.name): _json_value(getattr(self, each.name))
                for each in fields(cast("DataclassInstance", self))
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRule(_Part):
    """One entry of the ordered list of device rules; a later one overrides an earlier one.

    Attributes:
        type: "b", "c", or "a" for all devices, which makes the other fields meaningless.
        major: None for any; so is ``minor``.
        access: letters of "rwm": read, write, mknod.
    """

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``devices``."""
        said = fields.text("type", "")
        if said not in _DEVICE_TYPES:
            raise _wrong(fields, "type", f"{said!r} is not one of a, b, c")
        access = fields.text("access", "") or "rwm"
        if set(access) - set("rwm"):
            raise _wrong(fields, "access", f"{access!r} has letters other than r, w, m")
        return cls(
            allow=fields.flag("allow"),
            type=_DEVICE_TYPES[said],
            major=_device_number(fields, "major"),
            minor=_device_number(fields, "minor"),
            access="".join(letter for letter in "rwm" if letter in access),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(_Part):
    """Limits on memory, in bytes; -1 is no limit.

    Attributes:
        swap: memory and swap together, never less than ``limit``.
        kernel: deprecated by the kernel and by the spec; so is ``kernel_tcp``.
        swappiness: 0 to 100.
        check_before_update: refuse a limit below what is in use now.
    """

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``memory``."""
        return cls(
            limit=_number(fields, "limit", *_INT64),
            reservation=_number(fields, "reservation", *_INT64),
            swap=_number(fields, "swap", *_INT64),
            kernel=_number(fields, "kernel", *_INT64),
            kernel_tcp=_number(fields, "kernelTCP", *_INT64),
            swappiness=_number(fields, "swappiness", 0, 100),
            disable_oom_killer=_flag(fields, "disableOOMKiller"),
            use_hierarchy=_flag(fields, "useHierarchy"),
            check_before_update=_flag(fields, "checkBeforeUpdate"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu(_Part):
    """Limits on processor time.

    Attributes:
        shares: relative weight, 2 to 262144, 1024 by default.
        quota: microseconds in each ``period`` for all processors together; -1 is no limit.
        period: microseconds.
        burst: microseconds of unused quota that may be spent later.
        realtime_runtime: microseconds in each ``realtime_period``.
        cpus: a list of processors, "0-2,7"; ``mems`` one of memory nodes.
        idle: 1 for the idle scheduling class.
    """

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    burst: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``cpu``."""
        return cls(
            shares=_number(fields, "shares", *_UINT64),
            quota=_number(fields, "quota", *_INT64),
            period=_number(fields, "period", *_UINT64),
            burst=_number(fields, "burst", *_UINT64),
            realtime_runtime=_number(fields, "realtimeRuntime", *_INT64),
            realtime_period=_number(fields, "realtimePeriod", *_UINT64),
            cpus=_matching(fields, "cpus", _CPU_LIST),
            mems=_matching(fields, "mems", _CPU_LIST),
            idle=_number(fields, "idle", 0, 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightDevice(_Part):
    """The weights of one block device, 10 to 1000."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``weightDevice``."""
        return cls(
            major=fields.number("major"),
            minor=fields.number("minor"),
            weight=_weight(fields, "weight"),
            leaf_weight=_weight(fields, "leafWeight"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleDevice(_Part):
    """The rate limit of one block device, in bytes or operations a second; 0 takes it off."""

    major: int
    minor: int
    rate: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of a ``throttle…Device`` list."""
        rate = _number(fields, "rate", *_UINT64)
        if rate is None:
            raise _wrong(fields, "rate", "is missing")
        return cls(major=fields.number("major"), minor=fields.number("minor"), rate=rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockIO(_Part):
    """Limits on block devices.

    Attributes:
        weight: relative, 10 to 1000.
    """

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``blockIO``."""

        def throttles(key: str) -> tuple[ThrottleDevice, ...]:
            return tuple(ThrottleDevice.parse(each) for each in fields.children(key))

        return cls(
            weight=_weight(fields, "weight"),
            leaf_weight=_weight(fields, "leafWeight"),
            weight_device=tuple(WeightDevice.parse(e) for e in fields.children("weightDevice")),
            throttle_read_bps_device=throttles("throttleReadBpsDevice"),
            throttle_write_bps_device=throttles("throttleWriteBpsDevice"),
            throttle_read_iops_device=throttles("throttleReadIOPSDevice"),
            throttle_write_iops_device=throttles("throttleWriteIOPSDevice"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HugepageLimit(_Part):
    """How many bytes of huge pages of one size, such as "2MB"."""

    page_size: str
    limit: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``hugepageLimits``."""
        size = fields.text("pageSize")
        if not _PAGE_SIZE.fullmatch(size):
            raise _wrong(fields, "pageSize", f"{size!r} is not a size such as 2MB or 1GB")
        limit = _number(fields, "limit", *_UINT64)
        if limit is None:
            raise _wrong(fields, "limit", "is missing")
        return cls(page_size=size, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfacePriority(_Part):
    """The priority of what goes out through one network interface."""

    name: str
    priority: int

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one entry of ``priorities``."""
        name = fields.text("name")
        if not _INTERFACE.fullmatch(name):
            raise _wrong(fields, "name", f"{name!r} cannot be an interface's name")
        return cls(name=name, priority=_number(fields, "priority", *_UINT32) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(_Part):
    """Marks on outgoing packets; version 1 only."""

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``network``."""
        return cls(
            class_id=_number(fields, "classID", *_UINT32),
            priorities=tuple(InterfacePriority.parse(e) for e in fields.children("priorities")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RdmaLimits(_Part):
    """How many handles and objects of one RDMA device; at least one of the two is given."""

    hca_handles: int | None = None
    hca_objects: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read one value of ``rdma``."""
        handles = _number(fields, "hcaHandles", *_UINT32)
        objects = _number(fields, "hcaObjects", *_UINT32)
        if handles is None and objects is None:
            raise _wrong(fields, "hcaHandles", "is missing, and so is hcaObjects")
        return cls(hca_handles=handles, hca_objects=objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """All limits of a container.

    Attributes:
        pids_limit: tasks; -1 is no limit, 0 leaves it as it is.
        rdma: by device name.
        unified: file name to text, written as it is; version 2 only.
    """

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory = field(default_factory=Memory)
    cpu: Cpu = field(default_factory=Cpu)
    pids_limit: int | None = None
    block_io: BlockIO = field(default_factory=BlockIO)
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network = field(default_factory=Network)
    rdma: Mapping[str, RdmaLimits] = field(default_factory=dict)
    unified: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read ``linux.resources``.

        Raises:
            InvalidDocument: breaks the spec.
        """
        pids = fields.child("pids")
        return cls(
            devices=tuple(DeviceRule.parse(each) for each in fields.children("devices")),
            memory=Memory.parse(fields.child("memory")),
            cpu=Cpu.parse(fields.child("cpu")),
            pids_limit=_number(pids, "limit", *_INT64),
            block_io=BlockIO.parse(fields.child("blockIO")),
            hugepage_limits=tuple(
                HugepageLimit.parse(each) for each in fields.children("hugepageLimits")
            ),
            network=Network.parse(fields.child("network")),
            rdma=_rdma(fields.child("rdma")),
            unified=_unified(fields),
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        return without_none(
            {
                "devices": [each.to_json() for each in self.devices],
                "memory": self.memory.to_json(),
                "cpu": self.cpu.to_json(),
                "pids": without_none({"limit": self.pids_limit}),
                "blockIO": self.block_io.to_json(),
                "hugepageLimits": [each.to_json() for each in self.hugepage_limits],
                "network": self.network.to_json(),
                "rdma": {name: each.to_json() for name, each in self.rdma.items()},
                "unified": dict(self.unified),
            }
        )


def _json_key(name: str) -> str:
    """Return the spec's spelling of a field's name: ``disable_oom_killer``, disableOOMKiller."""
    first, *rest = name.split("_")
    return first + "".join(word.upper() if word in _ACRONYMS else word.title() for word in rest)


def _json_value(value: object) -> object:
    if isinstance(value, tuple):
        return [each.to_json() for each in value]
    return value.to_json() if isinstance(value, _Part) else value


def _rdma(fields: Fields) -> dict[str, RdmaLimits]:
    for name in fields.value:
        if not _RDMA_DEVICE.fullmatch(name):
            raise _wrong(fields, name, "cannot be a device's name")
    return {name: RdmaLimits.parse(fields.child(name)) for name in fields.value}


def _unified(fields: Fields) -> dict[str, str]:
    """Read file names that must stay in the container's own directory."""
    found = fields.text_map("unified")
    for name in found:
        # A name that escapes would write any file of the machine as root.
        if not _KNOB.fullmatch(name) or ".." in name:
            raise _wrong(fields, "unified", f"{name!r} is not the name of a cgroup file")
    return found


def _device_number(fields: Fields, key: str) -> int | None:
    """Read a major or minor number; absent and -1 are any."""
    found = _number(fields, key, -1, _UINT32[1])
    return None if found == -1 else found


def _weight(fields: Fields, key: str) -> int | None:
    found = _number(fields, key, 0, 1000)
    if found and found < 10:
        raise _wrong(fields, key, f"{found} is not between 10 and 1000")
    return found


def _number(fields: Fields, key: str, low: int, high: int) -> int | None:
    found = fields.value.get(key)
    if found is None:
        return None
    if type(found) is not int:
        raise _wrong(fields, key, "must be a whole number")
    if not low <= found <= high:
        raise _wrong(fields, key, f"{found} is not between {low} and {high}")
    return found


def _flag(fields: Fields, key: str) -> bool | None:
    return fields.flag(key) if key in fields else None


def _matching(fields: Fields, key: str, pattern: re.Pattern[str]) -> str:
    found = fields.text(key, "")
    if not pattern.fullmatch(found):
        raise _wrong(fields, key, f"{found!r} is not a list of numbers such as 0-2,7")
    return found


def _wrong(fields: Fields, key: str, reason: str) -> InvalidDocument:
    return InvalidDocument(f"this {fields.what} is not valid", why=f"field {key!r} {reason}")
