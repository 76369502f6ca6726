"""How a container ended, as its shim says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.model.result import ExitStatus
from ocimagic.shim import client as shim
from ocimagic.shim import protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


def exit_in(payload: bytes) -> ExitStatus | None:
    """Return how a container ended if this message of its shim says so."""
    record = protocol.parse_message(payload).get("exit")
    return exit_status(record) if isinstance(record, dict) else None


def exit_status(record: Mapping[str, object]) -> ExitStatus:
    """Return a shim's exit record as the model's value."""
    ended = shim.Exit.from_message(record)
    return ExitStatus(
        code=ended.code,
        signal=ended.signal,
        finished=parse_time(ended.finished),
        oom_killed=bool(record.get("oom_killed")),
        error=str(record.get("error") or ""),
    )


def parse_time(text: str) -> datetime:
    """Read RFC 3339 with nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone(UTC)
