"""What a client asks for when it has a container made: ``POST /containers/create``.

Spec: Docker Engine API v1.41, ContainerCreate; newer fields of API 1.50 too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption
from ocimagic.model.options import FOREVER_S, RunOptions
from ocimagic.model.policy import HealthOptions
from ocimagic.spec.platform import Platform
from ocimagic.wire.create_host import host_options
from ocimagic.wire.create_mounts import mounts
from ocimagic.wire.create_network import networks
from ocimagic.wire.reading import asked

if TYPE_CHECKING:
    from ocimagic.wire.reading import Asked

_STREAMS = ("stdin", "stdout", "stderr")
_TESTS = ("NONE", "CMD", "CMD-SHELL")
_SECOND_NS = 1_000_000_000
_LEAST_NS = 1_000_000
# docker: our field of it.
_TIMES = {
    "Interval": "interval_s",
    "Timeout": "timeout_s",
    "StartPeriod": "start_period_s",
    "StartInterval": "start_interval_s",
}


def container_create(body: object, *, name: str | None, platform: str | None) -> RunOptions:
    """Read a request to make a container.

    Its client waits with requests of their own, so ``detach`` is always set.  What only the
    client itself does, as writing ``ContainerIDFile``, is not in the result.

    Args:
        body: as ``json.loads`` returns it.
        name: of the query; "" and None let the engine choose.
        platform: of the query.

    Raises:
        InvalidOption: a value that is of a wrong type or cannot be understood.
        NotBuiltYet: what docker has and this version has not.
        InvalidPlatform: it is none.
    """
    config = asked(body, "container config")
    if not config.value:
        raise InvalidOption("config cannot be empty in order to create a container")
    image = config.text("Image", "")
    if not image:
        raise InvalidOption("invalid container config: no image is named")
    # Before API 1.19 its fields were the body's own, and docker-py still writes one there.
    host = config.child("HostConfig") if config.given("HostConfig") is not None else config
    return RunOptions(
        image=image,
        name=(name or "").removeprefix("/") or None,
        platform=Platform.parse(platform) if platform else None,
        labels=config.text_map("Labels"),
        health=_health(config),
        detach=True,
        stop_signal=config.text("StopSignal", "") or None,
        **_stop_timeout(config),
        **_process(config, host),
        **host_options(host),
        **mounts(config, host),
        **networks(config, host, config.child("NetworkingConfig")),
    )


def _process(config: Asked, host: Asked) -> dict[str, Any]:
    tty, size = config.flag("Tty"), console_size(host)
    streams = tuple(each for each in _STREAMS if config.flag(f"Attach{each}"))
    return {
        "command": config.words("Cmd") or (),
        "entrypoint": _entrypoint(config),
        "env": environment(config),
        "user": config.text("User", "") or None,
        "working_dir": config.text("WorkingDir", "") or None,
        "hostname": config.text("Hostname", "") or None,
        "domainname": config.text("Domainname", ""),
        "interactive": config.flag("OpenStdin"),
        "tty": tty,
        "console_size": size if tty else None,
        "attach": streams or None,
    }


def _entrypoint(config: Asked) -> tuple[str, ...] | None:
    """Return the entrypoint: none and one empty word clear the image's."""
    words = config.words("Entrypoint")
    return () if words == ("",) else words


def environment(given: Asked) -> tuple[str, ...]:
    """Return ``Env``.

    Raises:
        InvalidOption: a variable without a name.
    """
    found = given.texts("Env")
    for text in found:
        if not text.partition("=")[0]:
            raise InvalidOption(f"invalid environment variable: {text}")
    return found


def console_size(given: Asked) -> tuple[int, int] | None:
    """Return rows and columns of ``ConsoleSize``, None if it was not given or is nothing.

    Raises:
        InvalidOption: it is no pair of numbers.
    """
    size = given.integers("ConsoleSize", most=65535)
    if len(size) not in (0, 2):
        raise InvalidOption(f"invalid ConsoleSize: {list(size)} is no height and width")
    return (size[0], size[1]) if all(size) and size else None


def _health(config: Asked) -> HealthOptions | None:
    """Return ``Healthcheck``; None if there is nothing in it, which keeps the image's."""
    given = config.child("Healthcheck")
    test = given.texts("Test")
    if test and test[0] not in _TESTS:
        raise InvalidOption(
            f"invalid Healthcheck: {test[0]!r} begins no test", hint=f"write {', '.join(_TESTS)}"
        )
    if test[:1] == ("CMD-SHELL",) and len(test) != 2:
        raise InvalidOption("invalid Healthcheck: CMD-SHELL takes one line")
    times = {}
    for key, field in _TIMES.items():
        value = given.size(key)
        if 0 < value < _LEAST_NS:
            raise InvalidOption(f"{key} in Healthcheck cannot be less than 1ms")
        times[field] = value / _SECOND_NS
    found = HealthOptions(test=test, retries=given.size("Retries"), **times)
    return found if found != HealthOptions() else None


def _stop_timeout(config: Asked) -> dict[str, Any]:
    """Return the seconds before SIGKILL, if they were given; docker's -1 is never."""
    if "StopTimeout" not in config:
        return {}
    seconds = config.size("StopTimeout", least=-1, most=int(FOREVER_S))
    return {"stop_timeout_s": FOREVER_S if seconds == -1 else float(seconds)}
