"""The options of ``run`` and ``create``: from words to ``RunOptions``.

The table is what ``--help`` and completion show, in the alphabet's order.  What only one
option means is read where its like are: ``mount_options``, ``resource_options`` and the others.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocimagic.cli.mount_options import devices, mount, tmpfs, volume, volumes_from
from ocimagic.cli.network_options import network_options
from ocimagic.cli.platforms import platform
from ocimagic.cli.policy_options import health_options, log_options, restart_policy
from ocimagic.cli.quantities import BYTES, DURATION, WHOLE, Reader, within
from ocimagic.cli.resource_options import resource_options, resource_parameters
from ocimagic.cli.security_options import security_options, sysctls, ulimits
from ocimagic.cli.texts import environment, labels, pairs
from ocimagic.errors import InvalidOption
from ocimagic.model.name_words import extra_host, ip_address, search_domain
from ocimagic.model.namespace import namespace_choice
from ocimagic.model.network_words import link
from ocimagic.model.options import (
    FOREVER_S,
    PullPolicy,
    RunOptions,
    TmpfsMount,
    VolumeMount,
)
from ocimagic.model.volume import check_volume_driver
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ocimagic.cli.session import Session

F = TypeVar("F", bound="Callable[..., Any]")

STREAMS = ("stdin", "stdout", "stderr")
_KINDS = ("pid", "ipc", "uts", "userns", "cgroupns")


class _OnOption(click.Option):
    """A switch that is on: ``=false`` is how docker turns it off, so help shows one word."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the word and what it means."""
        record = super().get_help_record(ctx)
        return record and (self.opts[0], record[1])


def _link(_option: str, text: str) -> tuple[str, str]:
    return link(text)


def _stream(option: str, text: str) -> str:
    if text.lower() not in STREAMS:
        raise InvalidOption(
            f"{option} {text!r} is not a stream", hint=f"it is {', '.join(STREAMS)}"
        )
    return text.lower()


def _timeout(option: str, text: str) -> float:
    seconds = within(-1, int(FOREVER_S))(option, text)
    return FOREVER_S if seconds == -1 else float(seconds)


_OPTIONS = (
    click.option("--add-host", multiple=True, type=Reader("host", extra_host),
                 metavar="NAME:IP", help="Add a name and its address to /etc/hosts"),
    click.option("--annotation", multiple=True, metavar="KEY=VALUE",
                 help="Add an annotation to the runtime's config.json"),
    click.option("-a", "--attach", multiple=True, type=Reader("stream", _stream),
                 metavar="STREAM", help="Attach to stdin, stdout or stderr only"),
    click.option("--cap-add", multiple=True, metavar="CAP", help="Add a Linux capability"),
    click.option("--cap-drop", multiple=True, metavar="CAP", help="Drop a Linux capability"),
    click.option("--cgroupns", default="", metavar="private|host",
                 help="Cgroup namespace to use"),
    click.option("--cidfile", metavar="FILE", help="Write the container ID to a new file"),
    click.option("--device", multiple=True, metavar="DEVICE[:PATH][:rwm]",
                 help="Add a device of this machine"),
    click.option("--dns", multiple=True, type=Reader("address", ip_address), metavar="IP",
                 help="Ask this DNS server"),
    click.option("--dns-option", "--dns-opt", multiple=True, metavar="OPTION",
                 help="Set an option of the resolver"),
    click.option("--dns-search", multiple=True, type=Reader("domain", search_domain),
                 metavar="DOMAIN", help="Search names in this domain too"),
    click.option("--domainname", default="", metavar="NAME", help="NIS domain name"),
    click.option("--entrypoint", metavar="CMD", help="Replace the image's ENTRYPOINT"),
    click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable"),
    click.option("--env-file", multiple=True, metavar="FILE", help="Read variables from a file"),
    click.option("--group-add", multiple=True, metavar="GROUP", help="Join one more group"),
    click.option("--health-cmd", metavar="CMD", help="Command that checks the health"),
    click.option("--health-interval", type=DURATION, metavar="DURATION",
                 help="Time between checks (ms|s|m|h)"),
    click.option("--health-retries", type=Reader("int", within(0)), metavar="INT",
                 help="Failures in a row that mean unhealthy"),
    click.option("--health-start-interval", type=DURATION, metavar="DURATION",
                 help="Time between checks while it starts (ms|s|m|h)"),
    click.option("--health-start-period", type=DURATION, metavar="DURATION",
                 help="Time to start in which failures do not count (ms|s|m|h)"),
    click.option("--health-timeout", type=DURATION, metavar="DURATION",
                 help="Longest time for one check (ms|s|m|h)"),
    click.option("--expose", multiple=True, metavar="PORT[/PROTO]",
                 help="Say that it listens at a port"),
    click.option("-h", "--hostname", metavar="NAME", help="Host name in the container"),
    click.option("--init", is_flag=True,
                 help="Run a small init that passes signals on and reaps processes"),
    click.option("-i", "--interactive", is_flag=True, help="Keep standard input open"),
    click.option("--ipc", default="", metavar="MODE",
                 help="IPC: private, shareable, none, host or container:NAME"),
    click.option("-l", "--label", multiple=True, metavar="KEY[=VALUE]", help="Set a label"),
    click.option("--label-file", multiple=True, metavar="FILE", help="Read labels from a file"),
    click.option("--link", multiple=True, type=Reader("link", _link), metavar="NAME[:ALIAS]",
                 help="Know another container of the bridge by a name of its own"),
    click.option("--log-driver", metavar="DRIVER", help="Log as json-file, cri or none"),
    click.option("--log-opt", multiple=True, metavar="KEY=VALUE",
                 help="Option of the log: max-size, max-file, compress"),
    click.option("--mount", multiple=True, metavar="KEY=VALUE,...",
                 help="Mount a volume, a directory (type=bind) or memory (type=tmpfs)"),
    click.option("--name", metavar="NAME", help="Name the container"),
    click.option("--ip", metavar="IP", help="Its address in the network"),
    click.option("--ip6", metavar="IP", help="Its address of IPv6 in the network"),
    click.option("--mac-address", metavar="MAC", help="Its link's address in the network"),
    click.option("--network", "--net", "network", multiple=True, metavar="NETWORK",
                 help="Choose the network: its name, none, host or container:NAME"),
    click.option("--network-alias", "--net-alias", multiple=True, metavar="NAME",
                 help="Another name for it in the network"),
    click.option("--no-healthcheck", is_flag=True, help="Leave the image's HEALTHCHECK out"),
    click.option("--oom-score-adj", type=WHOLE, default=0, metavar="INT",
                 help="How soon it is killed when memory is short (-1000 to 1000)"),
    click.option("--pid", default="", metavar="MODE",
                 help="Processes to see: host or container:NAME"),
    click.option("--platform", metavar="OS/ARCH", help="Choose among the image's platforms"),
    click.option("--privileged", is_flag=True, help="Turn the protection of this machine off"),
    click.option("-p", "--publish", multiple=True, metavar="[IP:][PORT:]PORT[/PROTO]",
                 help="Let a port of this machine lead to one of the container"),
    click.option("-P", "--publish-all", is_flag=True, help="Publish all ports it exposes"),
    click.option("--pull", metavar="always|missing|never", default="missing",
                 help="When to ask the registry"),
    click.option("-q", "--quiet", is_flag=True, help="Do not show the pull"),
    click.option("--read-only", is_flag=True, help="Mount the root file system read-only"),
    click.option("--restart", default="no", metavar="POLICY",
                 help="Restart it: no, on-failure[:N], always, unless-stopped"),
    click.option("--rm", "remove", is_flag=True, help="Remove the container when it exits"),
    click.option("--runtime", metavar="NAME|PATH", help="Run it with runc, crun or another one"),
    click.option("--security-opt", multiple=True, metavar="OPT",
                 help="Security: seccomp=FILE, no-new-privileges, ..."),
    click.option("--shm-size", type=BYTES, default=0, metavar="BYTES", help="Size of /dev/shm"),
    click.option("--stop-signal", metavar="SIGNAL", help="Signal that stops the container"),
    click.option("--stop-timeout", type=Reader("seconds", _timeout), metavar="SECONDS",
                 help="Wait this long before SIGKILL, -1 for ever"),
    click.option("--sysctl", multiple=True, metavar="NAME=VALUE", help="Set a kernel setting"),
    click.option("--tmpfs", multiple=True, metavar="DIR[:OPTIONS]",
                 help="Mount an empty directory in memory"),
    click.option("-t", "--tty", is_flag=True, help="Give it a terminal"),
    click.option("--ulimit", multiple=True, metavar="NAME=SOFT[:HARD]",
                 help="Limit its processes: nofile, nproc, core, ..."),
    click.option("-u", "--user", metavar="USER[:GROUP]", help="User name or ID"),
    click.option("--userns", default="", metavar="host", help="User namespace to use"),
    click.option("--uts", default="", metavar="host", help="UTS namespace (host name) to use"),
    click.option("-v", "--volume", multiple=True, metavar="[SRC:]DST[:ro]",
                 help="Mount a volume, or a directory of this machine"),
    click.option("--volume-driver", default="", metavar="local", help="Driver of its volumes"),
    click.option("--volumes-from", multiple=True, metavar="CONTAINER[:ro]",
                 help="Mount what another container has mounted"),
    click.option("-w", "--workdir", metavar="DIR", help="Working directory in the container"),
)  # fmt: skip
_FOREGROUND = (
    click.option("--detach-keys", default="", metavar="KEYS",
                 help="Keys that let go of the terminal (ctrl-p,ctrl-q)"),
    click.option("--sig-proxy/--no-sig-proxy", default=True, cls=_OnOption,
                 help="Pass an interrupt on to the container (on unless =false)"),
)  # fmt: skip


def run_parameters(function: F) -> F:
    """Decorate a verb with everything ``create`` takes; ``run`` adds ``-d`` and its like."""
    function = resource_parameters(function)
    for option in reversed(_OPTIONS):
        function = option(function)
    words = click.argument("words", nargs=-1, required=True, metavar="IMAGE")
    return words(function)


def foreground_parameters(function: F) -> F:
    """Decorate ``run`` with what only a caller who stays needs."""
    for option in reversed(_FOREGROUND):
        function = option(function)
    return function


def run_options(
    session: Session, words: tuple[str, ...], given: Mapping[str, Any], *, detach: bool
) -> RunOptions:
    """Turn parsed words into the request.

    Args:
        session: for relative paths, variables of the user and the size of the terminal.
        words: the image, then the command.
        given: click's values by parameter name.
        detach: ``-d``.

    Raises:
        InvalidOption: a value that cannot be understood.
        NotBuiltYet: a value that docker knows and this version does not.
    """
    image, *command = words
    if not image:
        raise InvalidOption("the image name is empty")
    if detach and given["attach"]:
        raise InvalidOption("-a and -d contradict each other", hint="leave one of them out")
    entrypoint = given["entrypoint"]
    plain = ("name", "user", "hostname", "domainname", "read_only", "remove", "interactive", "tty",
             "init", "privileged", "cap_add", "cap_drop", "stop_signal", "oom_score_adj", "runtime",
             "dns", "dns_search", *_KINDS)  # fmt: skip
    for kind in _KINDS:
        namespace_choice(kind, given[kind])
    return RunOptions(
        image=image,
        command=tuple(command),
        entrypoint=None if entrypoint is None else (entrypoint,) if entrypoint else (),
        working_dir=given["workdir"],
        groups=given["group_add"],
        annotations=pairs("--annotation", given["annotation"]),
        console_size=_console_size(session) if given["tty"] else None,
        attach=tuple(dict.fromkeys(given["attach"])) or None,
        dns_options=given["dns_option"],
        extra_hosts=given["add_host"],
        resources=resource_options(given),
        restart=restart_policy(given["restart"]),
        health=health_options(given),
        log=log_options(given["log_driver"], given["log_opt"]),
        sysctls=sysctls(given["sysctl"]),
        ulimits=ulimits(given["ulimit"]),
        shm_size_bytes=given["shm_size"],
        labels=labels(session, given["label_file"], given["label"]),
        env=tuple(environment(session, given["env_file"], given["env"])),
        platform=platform(given["platform"]),
        pull=_pull(given["pull"]),
        cidfile=session.path(given["cidfile"]) if given["cidfile"] else None,
        **_foreground(given, detach=detach),
        **_mounts(session, given),
        **_isolation(session, given),
        **{name: given[name] for name in plain},
    )


def _foreground(given: Mapping[str, Any], *, detach: bool) -> dict[str, Any]:
    """Return what a caller who stays, or does not, asks for."""
    found = {"detach": detach, "detach_keys": given.get("detach_keys", "")}
    found["sig_proxy"] = given.get("sig_proxy", True)
    if given["stop_timeout"] is not None:
        found["stop_timeout_s"] = given["stop_timeout"]
    return found


def _mounts(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    check_volume_driver(given["volume_driver"])
    asked = [mount(session, text) for text in given["mount"]]
    bound = [volume(session, text) for text in given["volume"]]
    memory = [tmpfs(text) for text in given["tmpfs"]]
    return {
        "volumes": (*bound, *(each for each in asked if isinstance(each, VolumeMount))),
        "volumes_from": tuple(volumes_from(text) for text in given["volumes_from"]),
        "tmpfs": (*memory, *(each for each in asked if isinstance(each, TmpfsMount))),
        "devices": tuple(each for text in given["device"] for each in devices(text)),
    }


def _isolation(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    security, no_new_privileges = security_options(session, given["security_opt"])
    return {
        "security": security,
        "no_new_privileges": no_new_privileges,
        **network_options(given),
    }


def _console_size(session: Session) -> tuple[int, int] | None:
    """Return rows and columns of the caller's own terminal, if it has one."""
    if not isinstance(session.stdin, int) or not os.isatty(session.stdin):
        return None
    size = os.get_terminal_size(session.stdin)
    return size.lines, size.columns


def _pull(text: str) -> PullPolicy:
    try:
        return PullPolicy(text)
    except ValueError:
        known = [policy.value for policy in PullPolicy]
        near = nearest(text, known)
        hint = f"did you mean {near}?" if near else f"write one of {', '.join(known)}"
        raise InvalidOption(f"--pull {text!r} is not a pull policy", hint=hint) from None
