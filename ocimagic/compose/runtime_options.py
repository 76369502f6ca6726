"""A service in its long form as ``RunOptions``: all that is not about other services."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ocimagic.compose import envfile
from ocimagic.compose.files import read_text
from ocimagic.compose.limits import resources_of
from ocimagic.compose.ports import published
from ocimagic.compose.quantity import bytes_of, seconds_of
from ocimagic.compose.volumes import mount
from ocimagic.errors import BadInput, NotBuiltYet
from ocimagic.model.namespace import CONTAINER_PREFIX
from ocimagic.model.options import (
    NetworkMode,
    RunOptions,
    SecurityOptions,
    TmpfsMount,
    VolumeMount,
    VolumesFrom,
    network_choice,
)
from ocimagic.model.policy import HealthOptions, LogOptions, RestartPolicy
from ocimagic.model.policy_words import log_options, restart_policy
from ocimagic.model.resources import DeviceMapping, Ulimit
from ocimagic.model.security_words import security_options, ulimits
from ocimagic.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.compose.tree import Node

    T = TypeVar("T")

_EXPOSED = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")
# Options that are the text, the texts or the truth that the file has.
_TEXT = {
    "user": "user",
    "working_dir": "working_dir",
    "hostname": "hostname",
    "domainname": "domainname",
    "uts": "uts",
    "userns_mode": "userns",
    "cgroup": "cgroupns",
    "stop_signal": "stop_signal",
    "runtime": "runtime",
}
_TEXTS = {
    "group_add": "groups",
    "dns": "dns",
    "dns_search": "dns_search",
    "dns_opt": "dns_options",
    "cap_add": "cap_add",
    "cap_drop": "cap_drop",
}
_TRUTH = {
    "read_only": "read_only",
    "privileged": "privileged",
    "init": "init",
    "tty": "tty",
    "stdin_open": "interactive",
}


def options_of(
    node: Node,
    volumes: Mapping[str, str],
    env: Mapping[str, str],
) -> RunOptions:
    """Return what a service's containers are made with.

    Args:
        node: the service in its long form.
        volumes: names of the project's volumes by what the file calls them.
        env: variables that ``environment`` may name without a value.

    Raises:
        InvalidDocument: a value that cannot be understood.
        NotBuiltYet: one that we do not do.
    """
    given: dict[str, Any] = {
        **{field: each.text() for key, field in _TEXT.items() if (each := node.get(key))},
        **{field: each.texts() for key, field in _TEXTS.items() if (each := node.get(key))},
        **{field: each.truth() for key, field in _TRUTH.items() if (each := node.get(key))},
        **_command(node),
        **_mounts(node, volumes),
        **_network(node),
        **_security(node),
        **_shared(node),
    }
    if grace := node.get("stop_grace_period"):
        given["stop_timeout_s"] = seconds_of(grace)
    if score := node.get("oom_score_adj"):
        given["oom_score_adj"] = score.whole()
    if size := node.get("shm_size"):
        given["shm_size_bytes"] = bytes_of(size)
    if wanted := node.get("platform"):
        given["platform"] = taken(wanted, lambda: Platform.parse(wanted.text()))
    return RunOptions(
        image="",
        detach=True,
        env=_environment(node, env),
        labels=_labels(node),
        annotations=_pairs(node, "annotations"),
        sysctls=_pairs(node, "sysctls"),
        extra_hosts=hosts_of(node),
        ports=tuple(published(each) for each in _items(node, "ports")),
        exposed_ports=tuple(port for each in _items(node, "expose") for port in _exposed(each)),
        devices=tuple(_device(each) for each in _items(node, "devices")),
        ulimits=ulimits_of(node),
        resources=resources_of(node),
        restart=_restart(node),
        health=_health(node),
        log=_log(node),
        **given,
    )


def taken(node: Node, read: Callable[[], T]) -> T:
    """Have a reader of the command line read a value; its error gets the place.

    Raises:
        InvalidDocument: the reader does not understand it.
        NotBuiltYet: it says that this is not built.
    """
    try:
        return read()
    except BadInput as err:
        raise node.wrong(err.what, why=err.why, hint=err.hint) from err
    except NotBuiltYet as err:
        raise node.refused(err.what, hint=err.hint) from err


def _items(node: Node, key: str) -> tuple[Node, ...]:
    found = node.get(key)
    return tuple(found.items()) if found else ()


def _pairs(node: Node, key: str) -> dict[str, str]:
    found = node.get(key)
    if found is None:
        return {}
    return {name: "" if each.value is None else each.text() for name, each in found.fields()}


def _command(node: Node) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if command := node.get("command"):
        given["command"] = command.texts()
    if entrypoint := node.get("entrypoint"):
        given["entrypoint"] = entrypoint.texts()
    return given


def _environment(node: Node, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables: those of files first, so that ``environment`` wins.

    A name without a value takes the caller's; where there is none it is taken out of the
    image's variables.
    """
    found: dict[str, str | None] = {}
    for each in _items(node, "env_file"):
        found |= _of_file(each, {**env, **{k: v for k, v in found.items() if v is not None}})
    if own := node.get("environment"):
        for name, value in own.fields():
            found[name] = env.get(name) if value.value is None else value.text()
    return tuple(name if value is None else f"{name}={value}" for name, value in found.items())


def _of_file(node: Node, env: Mapping[str, str]) -> dict[str, str]:
    path, required, form = node.get("path"), node.get("required"), node.get("format")
    if path is None:
        raise node.wrong("path is missing", hint="path: FILE")
    is_raw = form is not None and form.word_of(("raw",)) == "raw"
    try:
        text = read_text(path.text(), path)
    except BadInput as err:
        if required and not required.truth() and isinstance(err.__cause__, FileNotFoundError):
            return {}
        raise
    if is_raw:
        return envfile.parse_raw(text, env)
    return envfile.parse(text, path.text(), env)


def _labels(node: Node) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in _items(node, "label_file"):
        found |= envfile.parse(read_text(each.text(), each), each.text(), {})
    return found | _pairs(node, "labels")


def _mounts(node: Node, volumes: Mapping[str, str]) -> dict[str, Any]:
    found = [mount(each, volumes) for each in _items(node, "volumes")]
    memory = [_tmpfs(each) for each in _items(node, "tmpfs")]
    others = (each.text() for each in _items(node, "volumes_from"))
    return {
        "volumes": tuple(each for each in found if isinstance(each, VolumeMount)),
        "tmpfs": (*memory, *(each for each in found if isinstance(each, TmpfsMount))),
        "volumes_from": tuple(_volumes_from(each) for each in others if _is_container(each)),
    }


def _is_container(text: str) -> bool:
    return text.startswith(CONTAINER_PREFIX)


def _volumes_from(text: str) -> VolumesFrom:
    name, _, mode = text.removeprefix(CONTAINER_PREFIX).partition(":")
    return VolumesFrom(container=name, read_only=mode == "ro")


def _tmpfs(node: Node) -> TmpfsMount:
    target, _, options = node.text().partition(":")
    if not target.startswith("/"):
        raise node.wrong(f"{node.text()!r} is not absolute", hint="write /run or /run:size=64m")
    return TmpfsMount(target=target, options=tuple(filter(None, options.split(","))))


def _network(node: Node) -> dict[str, Any]:
    """Return what ``network_mode`` says; of a service it is filled in later."""
    found = node.get("network_mode")
    if found is None or found.text().startswith("service:"):
        return {}
    mode, name = taken(found, lambda: network_choice(found.text()))
    if mode is NetworkMode.NETWORK:
        from ocimagic.model.network import NetworkChoice

        return {"network": mode, "networks": (NetworkChoice(network=name),)}
    return {"network": mode, "network_container": name}


def _shared(node: Node) -> dict[str, Any]:
    """Return ``pid`` and ``ipc``; of a service they are filled in later."""
    found = {key: each.text() for key in ("pid", "ipc") if (each := node.get(key))}
    return {key: text for key, text in found.items() if not text.startswith("service:")}


def _security(node: Node) -> dict[str, Any]:
    found = node.get("security_opt")
    if found is None:
        return {"security": SecurityOptions()}
    texts = found.texts()
    security, none = taken(found, lambda: security_options(texts, lambda p: read_text(p, found)))
    return {"security": security, "no_new_privileges": none}


def hosts_of(node: Node) -> tuple[tuple[str, str], ...]:
    """Return ``extra_hosts`` as names and addresses."""
    made = []
    for each in _items(node, "extra_hosts"):
        name, _, address = each.text().partition("=")
        made.append((name, address))
    return tuple(made)


def _exposed(node: Node) -> list[str]:
    found = _EXPOSED.fullmatch(node.text())
    if not found or int(found[2] or found[1]) > 65535:
        raise node.wrong(f"{node.text()!r} is no port", hint='write "80", "3000-3005" or "53/udp"')
    ports = range(int(found[1]), int(found[2] or found[1]) + 1)
    return [f"{port}/{found[3] or 'tcp'}" for port in ports]


def _device(node: Node) -> DeviceMapping:
    source, target, permissions = (node.get(k) for k in ("source", "target", "permissions"))
    if source is None:
        raise node.wrong("source is missing", hint='write "/dev/NAME:/dev/NAME:rwm"')
    if not source.text().startswith("/"):
        raise source.refused("devices by CDI name are not built yet")
    return DeviceMapping(
        source=source.text(),
        target=target.text() if target else source.text(),
        permissions=permissions.text() if permissions else "rwm",
    )


def ulimits_of(node: Node) -> tuple[Ulimit, ...]:
    """Return ``ulimits``, each a number or ``soft`` and ``hard``."""
    found = node.get("ulimits")
    made: list[Ulimit] = []
    for name, each in found.fields() if found else ():
        soft = hard = each
        if isinstance(each.value, dict):
            both = each.get("soft"), each.get("hard")
            if not both[0] or not both[1]:
                raise each.wrong("soft and hard are needed", hint="soft: 1024 and hard: 4096")
            soft, hard = both[0], both[1]
        text = f"{name}={soft.text()}:{hard.text()}"
        made.extend(taken(each, partial(ulimits, [text])))
    return tuple(made)


def _restart(node: Node) -> RestartPolicy:
    """Return ``restart``; where it is not said, ``deploy.restart_policy``."""
    if found := node.get("restart"):
        return taken(found, lambda: restart_policy(found.text()))
    deploy = node.get("deploy")
    policy = deploy.get("restart_policy") if deploy else None
    if policy is None:
        return RestartPolicy()
    condition, attempts = policy.get("condition"), policy.get("max_attempts")
    word = condition.word_of(("none", "on-failure", "any")) if condition else "any"
    count = f":{attempts.whole(least=0)}" if attempts and word == "on-failure" else ""
    words = {"none": "no", "any": "always", "on-failure": f"on-failure{count}"}
    return taken(policy, lambda: restart_policy(words[word]))


def _health(node: Node) -> HealthOptions | None:
    found = node.get("healthcheck")
    if found is None:
        return None
    disable, test, retries = found.get("disable"), found.get("test"), found.get("retries")
    if disable and disable.truth():
        return HealthOptions(test=("NONE",))
    words = test.texts() if test else ()
    if test and (not words or words[0] not in ("NONE", "CMD", "CMD-SHELL")):
        raise test.wrong(
            "it begins with neither CMD, CMD-SHELL nor NONE", hint='write ["CMD", "program"]'
        )
    times = {
        f"{key}_s": seconds_of(each)
        for key in ("interval", "timeout", "start_period", "start_interval")
        if (each := found.get(key))
    }
    return HealthOptions(test=words, retries=retries.whole(least=0) if retries else 0, **times)


def _log(node: Node) -> LogOptions:
    found = node.get("logging")
    if found is None:
        return LogOptions()
    driver, texts = found.get("driver"), [f"{k}={v}" for k, v in _pairs(found, "options").items()]
    return taken(found, lambda: log_options(driver.text() if driver else None, texts))
