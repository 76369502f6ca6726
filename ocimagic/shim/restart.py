"""When a container that ended is started again, and how soon.

Docker's rules: 100 ms after the first end, then twice as long each time, at most a minute; from
the beginning again once it has run for ten seconds.  What somebody stopped stays stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocimagic.shim.task import RestartPolicy

_FIRST_S = 0.1
_LONGEST_S = 60.0
_STEADY_S = 10.0


def is_wanted(policy: RestartPolicy, *, code: int, count: int, is_stopped: bool) -> bool:
    """Say whether a container is to be started again.

    Args:
        policy: what was asked for.
        code: its exit code.
        count: how often it was started again already.
        is_stopped: somebody stopped or killed it on purpose.
    """
    if is_stopped or policy.name == "no":
        return False
    if policy.name == "on-failure":
        limit = policy.maximum_retry_count
        return code != 0 and (not limit or count < limit)
    return True


def delay_s(last_s: float, ran_s: float) -> float:
    """Return how long to wait.

    Args:
        last_s: how long the last time; 0 for the first.
        ran_s: how long it ran since.
    """
    if not last_s or ran_s >= _STEADY_S:
        return _FIRST_S
    return min(2 * last_s, _LONGEST_S)


def after_boot(policy: RestartPolicy, *, is_stopped: bool) -> bool:
    """Say whether an engine starts a container that the end of the machine ended."""
    return policy.name == "always" or (policy.name == "unless-stopped" and not is_stopped)
