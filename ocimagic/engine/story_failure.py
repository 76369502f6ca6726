"""A command that failed: how far it came, and where it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ocimagic.engine.story import known
from ocimagic.errors import StartFailed
from ocimagic.model import chapters
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.shim.sources import source_in

if TYPE_CHECKING:
    from ocimagic.errors import OcimagicError


def end_with(told: Explanation, failure: OcimagicError) -> Explanation:
    """Return the story of a container that was made and did not start."""
    return replace(
        told,
        ending=f"failed with exit code {failure.exit_code}: {failure.what}",
        steps=(*told.steps, failed_step(failure)),
        lacks=("What its first process did before that went with it.",),
    )


def nothing_made(line: str, failure: OcimagicError) -> Explanation:
    """Return the story of a command that made nothing."""
    return Explanation(
        kind="failure",
        name="",
        line=line,
        began=datetime.now(UTC).isoformat(),
        seconds=None,
        ending=f"failed with exit code {failure.exit_code}: {failure.what}",
        steps=(failed_step(failure),),
        lacks=("It made nothing that could be looked at.",),
    )


def failed_step(failure: OcimagicError) -> Step:
    """Return the last step of a command that failed."""
    phase = failure.phase if isinstance(failure, StartFailed) else ""
    return Step(
        party=Party.RUNC if phase else Party.DAEMON,
        to=Party.SHIM if phase else Party.CLIENT,
        title=f"error: {failure.what}",
        facts=known(
            ("what", failure.what),
            ("why", failure.why),
            ("try", failure.hint),
            ("where", failure.where),
            ("phase", phase),
            ("exit code", failure.exit_code),
        ),
        chapter=chapters.CREATE if phase else None,
        source=source_in(phase) if phase else None,
    )
