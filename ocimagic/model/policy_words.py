"""Restart policies and log drivers as words: what a command line and a compose file have.

The messages name the options of the command line, which compose's words are, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.policy import LogOptions, RestartName, RestartPolicy
from ocimagic.model.quantities import human_size, truth, within
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

_DRIVERS = ("json-file", "none", "cri")
# What docker's drivers take and ours does not do: naming them beats ignoring them.
_LOG_OPTIONS = ("max-size", "max-file", "compress")
_OTHER_LOG_OPTIONS = ("labels", "labels-regex", "env", "env-regex", "tag")


def restart_policy(text: str) -> RestartPolicy:
    """Read ``no``, ``always``, ``unless-stopped`` or ``on-failure[:COUNT]``.

    Raises:
        InvalidOption: another word, or a count where none belongs.
    """
    word, colon, count = text.partition(":")
    words = [each.value for each in RestartName]
    if not text:
        return RestartPolicy()
    if word not in words:
        near = nearest(word, words)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(words)}"
        raise InvalidOption(f"invalid restart policy: {text!r}", hint=hint)
    name = RestartName(word)
    if not colon or (name is RestartName.ON_FAILURE and not count):
        return RestartPolicy(name=name)
    if name is not RestartName.ON_FAILURE:
        raise InvalidOption(
            f"invalid restart policy: {text!r}", why="only on-failure takes a number of tries"
        )
    retries = within(0, (1 << 31) - 1)("--restart on-failure", count)
    return RestartPolicy(name=name, maximum_retry_count=retries)


def log_options(driver: str | None, texts: Sequence[str]) -> LogOptions:
    """Read ``--log-driver`` and ``--log-opt KEY=VALUE``.

    Raises:
        InvalidOption: a value that cannot be understood, or an option nobody has.
        NotBuiltYet: a driver or an option that docker has and this version has not.
    """
    driver = driver or _DRIVERS[0]
    if driver not in _DRIVERS:
        raise NotBuiltYet(
            f"log driver {driver!r} is not built yet", hint=f"there are {', '.join(_DRIVERS)}"
        )
    options = dict(_log_option(text) for text in texts)
    if driver == "none" and options:
        raise InvalidOption("--log-opt makes no sense with --log-driver none")
    size = options.get("max-size")
    files = options.get("max-file", "1")
    return LogOptions(
        driver=driver,
        max_size_bytes=None if size is None else human_size("--log-opt max-size", size),
        max_files=within(1, 1000)("--log-opt max-file", files),
        compress=truth("--log-opt compress", options.get("compress", "false")),
    )


def _log_option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if key == "mode" and value == "blocking":
        return key, value  # no line is ever dropped here
    if key in {*_OTHER_LOG_OPTIONS, "mode", "max-buffer-size"}:
        raise NotBuiltYet(f"--log-opt {key} is not built yet", hint="max-size and max-file are")
    if key not in _LOG_OPTIONS:
        near = nearest(key, _LOG_OPTIONS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(_LOG_OPTIONS)}"
        raise InvalidOption(f"unknown --log-opt: {text!r}", hint=hint)
    if not equals or not value:
        raise InvalidOption(f"--log-opt {key} has no value", hint=f"write --log-opt {key}=VALUE")
    return key, value
