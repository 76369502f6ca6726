"""The health check of a container: the image's, what was asked for, docker's defaults.

Spec: Docker Engine API, ``HealthConfig``; the durations in an image are nanoseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption
from ocimagic.model.policy import HealthOptions
from ocimagic.spec.codec import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = HealthOptions(interval_s=30.0, timeout_s=30.0, start_interval_s=5.0, retries=3)
_NANO = 1_000_000_000
_LEAST_S = 0.001
_KINDS = ("CMD", "CMD-SHELL")


def health_check(
    image: Mapping[str, object] | None, asked: HealthOptions | None
) -> HealthOptions | None:
    """Return the check with everything filled in, None when there is none.

    Raises:
        InvalidOption: a time or a number that cannot be.
        InvalidDocument: the image's check is malformed.
    """
    chosen = asked or HealthOptions()
    if chosen.test[:1] == ("NONE",):
        return None  # whatever the image says, even nonsense
    base = _of_image(image)
    test = chosen.test or base.test
    if not test or test[0] == "NONE":
        return None
    if test[0] not in _KINDS or len(test) < 2:
        raise InvalidOption(
            f"a health check cannot be {test[0]!r}", why=f"it is {' or '.join(_KINDS)} and words"
        )
    found = HealthOptions(
        test=test,
        interval_s=chosen.interval_s or base.interval_s or _DEFAULTS.interval_s,
        timeout_s=chosen.timeout_s or base.timeout_s or _DEFAULTS.timeout_s,
        start_period_s=chosen.start_period_s or base.start_period_s,
        start_interval_s=(
            chosen.start_interval_s or base.start_interval_s or _DEFAULTS.start_interval_s
        ),
        retries=chosen.retries or base.retries or _DEFAULTS.retries,
    )
    _check(found)
    return found


def _of_image(image: Mapping[str, object] | None) -> HealthOptions:
    fields = Fields(image or {}, "image config, Healthcheck")
    return HealthOptions(
        test=fields.texts("Test"),
        interval_s=fields.number("Interval", 0) / _NANO,
        timeout_s=fields.number("Timeout", 0) / _NANO,
        start_period_s=fields.number("StartPeriod", 0) / _NANO,
        start_interval_s=fields.number("StartInterval", 0) / _NANO,
        retries=fields.number("Retries", 0),
    )


def _check(health: HealthOptions) -> None:
    times = {
        "interval": health.interval_s,
        "timeout": health.timeout_s,
        "start interval": health.start_interval_s,
    }
    for name, seconds in times.items():
        if seconds < _LEAST_S:
            raise InvalidOption(f"the {name} of a health check cannot be less than 1ms")
    if health.start_period_s < 0 or health.retries < 0:
        raise InvalidOption("the start period and the retries of a health check are not negative")
