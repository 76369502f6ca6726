"""Logins that the clouds lend for their own registries, to whoever holds a key of theirs.

They are asked for only when a registry wants a login, its name is that cloud's, and the user has
not logged in there otherwise.  What a cloud refuses is noted: most of what is there may be
public.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from ocimagic.errors import OcimagicError
from ocimagic.registry.aws import Aws
from ocimagic.registry.azure import Azure
from ocimagic.registry.google import Google

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ocimagic.registry.cloudtoken import Loan
    from ocimagic.registry.transport import Transport

_EARLY_S = 30.0


class Cloud(Protocol):
    """One cloud."""

    def covers(self, registry: str) -> bool:
        """Say whether a registry is this cloud's."""

    def lend(self, registry: str, cancelled: threading.Event | None) -> Loan | None:
        """Return a login; None when there is nothing to get one with."""


class CloudLogins:
    """Lends logins, each until it ends; thread-safe.

    Args:
        transport: what asks the clouds.
        home: of the account on this machine.
        env: where the clouds' own tools look for keys.
        now: the time of day, UTC.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        transport: Transport,
        home: Path,
        env: Mapping[str, str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clouds: tuple[Cloud, ...] = (
            Aws(transport, home, env, now),
            Azure(transport, env),
            Google(transport, home, env, now),
        )
        self._clock = clock
        # Held while a cloud is asked: others would ask it the same.
        self._lock = threading.Lock()
        self._lent: dict[str, tuple[Loan, float]] = {}
        self._problems: dict[str, str] = {}

    def problem(self, registry: str) -> str:
        """Return why there is no login for a registry, "" when nothing went wrong."""
        return self._problems.get(registry, "")

    def lend(
        self, registry: str, *, anew: bool = False, cancelled: threading.Event | None = None
    ) -> Loan | None:
        """Return a login and how long it will work; None when there is none to be had.

        Args:
            registry: as in a reference.
            anew: what was lent before was refused.
            cancelled: stops it when set.
        """
        cloud = next((each for each in self._clouds if each.covers(registry)), None)
        if cloud is None:
            return None
        with self._lock:
            known = self._lent.pop(registry, None)
            rest_s = known[1] - self._clock() if known else 0.0
            if known and not anew and rest_s > _EARLY_S:
                self._lent[registry] = known
                return replace(known[0], lifetime_s=rest_s)
            self._problems.pop(registry, None)
            try:
                loan = cloud.lend(registry, cancelled)
            except OcimagicError as err:
                self._problems[registry] = ": ".join(each for each in (err.what, err.why) if each)
                return None
            if loan:
                self._lent[registry] = (loan, self._clock() + loan.lifetime_s)
            return loan
