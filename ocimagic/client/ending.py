"""The end of a container behind an API: waited for from before it, so that it is not missed.

Spec: Docker Engine API v1.41, ContainerWait: its head comes at once, its body at the end.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.client.calling import part
from ocimagic.client.connection import Stopped, never
from ocimagic.errors import Cancelled, ContainerNotFound, NeighbourError
from ocimagic.model.result import ExitStatus
from ocimagic.wire.read_container import exit_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocimagic.client.calling import Caller


class Ending:
    """A wait that has begun; closed by whoever began it.

    Args:
        caller: asks the API.
        container_id: whose end.
        condition: ``not-running``, ``next-exit`` or ``removed``.
    """

    def __init__(self, caller: Caller, container_id: str, condition: str) -> None:
        self._caller = caller
        self._container_id = container_id
        path = f"/containers/{part(container_id)}/wait"
        self._connection, self._answer = caller.begun(
            "POST", path, kind="container", query={"condition": condition}
        )

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait no more."""
        self._connection.close()

    def status(self, is_over: Callable[[], bool] = never) -> ExitStatus:
        """Wait for the end, and say how it was.

        Raises:
            Stopped: ``is_over``.
            NeighbourError: the API does not say.
        """
        self._connection.is_over = is_over
        raw = b"".join(self._connection.pieces(self._answer))
        try:
            code = int(json.loads(raw)["StatusCode"])
        except (ValueError, KeyError, TypeError) as err:
            raise NeighbourError(
                f"{self._caller.address.url} does not say how the container ended"
            ) from err
        return self._known(code)

    def until(self, is_over: Callable[[], bool]) -> ExitStatus:
        """Do what ``status`` does for somebody who can be told to stop.

        Raises:
            Cancelled: ``is_over``.
        """
        try:
            return self.status(is_over)
        except Stopped as err:
            raise Cancelled("stopped by you: nobody waits any more") from err

    def _known(self, code: int) -> ExitStatus:
        """Add what the container's document says, if it is still there."""
        path = f"/containers/{part(self._container_id)}/json"
        try:
            state = self._caller.document("GET", path, kind="container").child("State")
        except ContainerNotFound:
            state = None
        found = exit_status(state) if state else None
        if found is None or found.code != code:
            return ExitStatus(code=code, signal=None, finished=datetime.now(UTC))
        return found
