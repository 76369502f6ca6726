"""How long the processes of a cgroup waited for processor, memory and disks.

Spec: kernel Documentation/accounting/psi.rst; only version 2 of cgroups tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ocimagic.spec.record import dataclass

if TYPE_CHECKING:
    from ocimagic.runtime.cgroup_files import Directory


@dataclass(frozen=True, slots=True)
class Stalled:
    """One line: the share of time in percent, over three windows, and the sum.

    Attributes:
        total_us: since the cgroup was made.
    """

    avg10: float
    avg60: float
    avg300: float
    total_us: int

    def to_json(self) -> dict[str, float]:
        """Return the JSON object, as runc has it."""
        return {
            "avg10": self.avg10,
            "avg60": self.avg60,
            "avg300": self.avg300,
            "total": self.total_us,
        }


@dataclass(frozen=True, slots=True)
class Pressure:
    """How long some, and how long all, processes waited for one thing."""

    some: Stalled | None
    full: Stalled | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a ``.pressure`` file."""
        lines = {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}
        return cls(_stalled(lines.get("some")), _stalled(lines.get("full")))

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, as runc has it."""
        both = {"some": self.some, "full": self.full}
        return {name: each.to_json() for name, each in both.items() if each}


def _stalled(words: list[str] | None) -> Stalled | None:
    if words is None:
        return None
    fields = dict(word.split("=", 1) for word in words)
    ten, sixty, three_hundred = (float(fields[name]) for name in ("avg10", "avg60", "avg300"))
    return Stalled(ten, sixty, three_hundred, int(fields["total"]))


def read_pressure(directory: Directory | None) -> dict[str, Pressure]:
    """Return the pressure by "cpu", "memory" and "io"; empty where the kernel keeps none."""
    if directory is None:
        return {}
    texts = {name: directory.find(f"{name}.pressure") for name in ("cpu", "memory", "io")}
    return {name: Pressure.parse(text) for name, text in texts.items() if text}
