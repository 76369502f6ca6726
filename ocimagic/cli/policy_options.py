"""``--restart``, ``--health-*`` and ``--log-*``: from words to what a shim keeps to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption
from ocimagic.model.policy import HealthOptions
from ocimagic.model.policy_words import log_options, restart_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["health_options", "log_options", "restart_policy"]

_HEALTH = ("health_cmd", "health_interval", "health_timeout", "health_start_period",
           "health_start_interval", "health_retries")  # fmt: skip


def health_options(given: Mapping[str, Any]) -> HealthOptions | None:
    """Collect ``--health-*`` among click's values; None when none was given.

    Raises:
        InvalidOption: they come with ``--no-healthcheck``.
    """
    asked = any(given[name] for name in _HEALTH)
    if given["no_healthcheck"]:
        if asked:
            raise InvalidOption("--no-healthcheck conflicts with --health-* options")
        return HealthOptions(test=("NONE",))
    if not asked:
        return None
    command = given["health_cmd"]
    return HealthOptions(
        test=("CMD-SHELL", command) if command else (),
        interval_s=given["health_interval"] or 0.0,
        timeout_s=given["health_timeout"] or 0.0,
        start_period_s=given["health_start_period"] or 0.0,
        start_interval_s=given["health_start_interval"] or 0.0,
        retries=given["health_retries"] or 0,
    )
