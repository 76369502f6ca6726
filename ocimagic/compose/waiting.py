"""Waiting for services: until they run, are healthy, or have done their work."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ocimagic.compose.model import Condition
from ocimagic.errors import Cancelled, ContainerNotFound, InvalidState
from ocimagic.model.state import ALIVE, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ocimagic.model.engine import EngineAPI
    from ocimagic.model.result import ContainerSummary

_LOOK_S = 0.05
_SLOW_S = 0.5  # nobody sees a difference after this many tenths of what was waited


class Waiting:
    """Looks at containers until a condition holds.

    Args:
        engine: that has them.
        cancelled: ends the waiting when set.
        timeout_s: None for ever.
    """

    def __init__(
        self,
        engine: EngineAPI,
        cancelled: threading.Event | None,
        timeout_s: float | None = None,
    ) -> None:
        self._engine = engine
        self._cancelled = cancelled or threading.Event()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def until(self, condition: Condition, containers: Sequence[str]) -> None:
        """Wait until a condition holds for all of some containers.

        Args:
            condition: what of.
            containers: their IDs.

        Raises:
            InvalidState: it cannot hold any more.
            Cancelled: the user wanted no more of it.
        """
        holds = _CONDITIONS[condition]
        for container_id in containers:
            self._one(container_id, holds)

    def up(self, containers: Sequence[str]) -> None:
        """Wait until containers run, and are healthy where somebody checks that."""
        for container_id in containers:
            self._one(container_id, _is_up)

    def _one(self, container_id: str, holds: Callable[[ContainerSummary], bool]) -> None:
        began = time.monotonic()
        while not holds(self._engine.containers.get(container_id)):
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                name = self._engine.containers.get(container_id).name
                raise InvalidState(f"container {name} is not up in time", hint="%compose_logs")
            if self._cancelled.wait(min(_SLOW_S, max(_LOOK_S, (now - began) / 10))):
                raise Cancelled("stopped by you", hint="%compose_ps shows what runs")


def _ended(summary: ContainerSummary) -> InvalidState:
    code = summary.exit.code if summary.exit else 0
    said = f"it exited with {code}"
    return InvalidState(
        f"container {summary.name} did not stay up",
        why=said,
        hint=f"%container_logs {summary.name}",
    )


def _has_started(summary: ContainerSummary) -> bool:
    return summary.status in ALIVE or summary.status is Status.EXITED


def _is_healthy(summary: ContainerSummary) -> bool:
    if summary.status is Status.EXITED:
        raise _ended(summary)
    if summary.health is None:
        if summary.status is Status.RUNNING:
            raise InvalidState(
                f"container {summary.name} has no healthcheck, so it cannot become healthy",
                hint="give its service a healthcheck:, or wait for service_started",
            )
        return False
    if summary.health.status == "unhealthy":
        last = summary.health.log[-1].output.strip() if summary.health.log else ""
        raise InvalidState(
            f"container {summary.name} is unhealthy",
            why=last or None,
            hint=f"%container_logs {summary.name}",
        )
    return summary.health.status == "healthy"


def _has_completed(summary: ContainerSummary) -> bool:
    if summary.status is not Status.EXITED or summary.exit is None:
        return False
    if summary.exit.code:
        raise InvalidState(
            f"container {summary.name} did not complete successfully",
            why=f"it exited with {summary.exit.code}",
            hint=f"%container_logs {summary.name}",
        )
    return True


def _is_up(summary: ContainerSummary) -> bool:
    if summary.status is Status.EXITED:
        if summary.exit is not None and summary.exit.code == 0:
            return True
        raise _ended(summary)
    if summary.status is not Status.RUNNING:
        return False
    return summary.health is None or _is_healthy(summary)


def is_gone(engine: EngineAPI, container_id: str) -> bool:
    """Tell whether a container was removed."""
    try:
        engine.containers.get(container_id)
    except ContainerNotFound:
        return True
    return False


_CONDITIONS = {
    Condition.STARTED: _has_started,
    Condition.HEALTHY: _is_healthy,
    Condition.COMPLETED: _has_completed,
}
