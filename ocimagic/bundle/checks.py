"""Options that contradict each other, or that no container can have.

Spec: the rules are docker's (runconfig and daemon); the words are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.bundle.resources import check_resources, resource_warnings
from ocimagic.bundle.security import security_warnings
from ocimagic.errors import HostLacks, InvalidOption, NotBuiltYet
from ocimagic.model.namespace import CONTAINER_PREFIX, Share, namespace_choice
from ocimagic.model.options import NetworkMode
from ocimagic.model.policy import RestartName
from ocimagic.spec.isolation import sysctl_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.bundle.place import Place
    from ocimagic.model.options import RunOptions

RESERVED = "dev.ocimagic."
NOT_ISOLATED = (
    "not isolated: only its files are its own; processes, network and users are the machine's"
)
LOG_DRIVERS = ("json-file", "cri", "none")


def check_options(options: RunOptions, place: Place) -> None:
    """Refuse what cannot be, before anything is made.

    Raises:
        InvalidOption: says what contradicts what.
        NotBuiltYet: docker can do it and this version cannot.
        HostLacks: this machine lets nobody do it.
    """
    _check_names(options)
    if place.bare:
        _check_bare(options, place)
    _check_policies(options)
    _check_numbers(options)
    check_resources(options.resources, place)
    for key in options.annotations:
        if key.startswith(RESERVED):
            raise InvalidOption(f"the annotation {key} is the engine's own")
    if (
        ".." in options.resources.cgroup_parent.split("/")
        or "\0" in options.resources.cgroup_parent
    ):
        raise InvalidOption(
            f"the cgroup parent {options.resources.cgroup_parent!r} leads out of its hierarchy"
        )
    for volume in options.volumes:
        if volume.relabel and place.selinux:
            raise NotBuiltYet(f"giving {volume.source} an SELinux label is not built yet")


def _check_names(options: RunOptions) -> None:
    """Host names and addresses belong to namespaces; those of another container are its own."""
    if options.uts == "host" and (options.hostname or options.domainname):
        raise InvalidOption("--hostname contradicts --uts host", hint="leave one of them out")
    if options.network is not NetworkMode.CONTAINER:
        return
    shared = f"--network {CONTAINER_PREFIX}{options.network_container}"
    given = {
        "--hostname": options.hostname,
        "--dns": options.dns or options.dns_search or options.dns_options,
        "--add-host": options.extra_hosts,
    }
    for name, value in given.items():
        if value:
            raise InvalidOption(
                f"{name} contradicts {shared}", why="names are those of the other container"
            )


def _means(place: Place) -> str:
    return "shown by proot" if place.tracer else "chroot"


def _check_bare(options: RunOptions, place: Place) -> None:
    """Refuse what needs a mount or a namespace: weaker than it was asked for, nothing is run."""
    kinds = ("pid", "ipc", "uts", "cgroupns", "userns")
    apart = [
        kind
        for kind in kinds
        if namespace_choice(kind, getattr(options, kind)).share not in (Share.DEFAULT, Share.HOST)
    ]
    asked = {
        "--network": options.network not in (NetworkMode.DEFAULT, NetworkMode.HOST),
        "--volume and --mount": bool(options.volumes),
        "--volumes-from": bool(options.volumes_from),
        "--tmpfs": bool(options.tmpfs),
        "--read-only": options.read_only,
        "--hostname": bool(options.hostname or options.domainname),
    } | {f"--{kind}": True for kind in apart}
    for name, is_asked in asked.items():
        if is_asked:
            raise HostLacks(
                f"{name} cannot be had here",
                why="this machine lets nobody mount or make namespaces: a container is a "
                f"directory that is its root ({_means(place)}), and no more",
                hint="leave it out; %container_cp copies files in and out",
            )


def _check_policies(options: RunOptions) -> None:
    restart = options.restart
    if options.remove and restart.name is not RestartName.NO:
        raise InvalidOption("--restart contradicts --rm", hint="leave one of them out")
    if restart.maximum_retry_count < 0 or (
        restart.maximum_retry_count and restart.name is not RestartName.ON_FAILURE
    ):
        raise InvalidOption(f"invalid restart policy: {restart}")
    if options.log.driver not in LOG_DRIVERS:
        raise InvalidOption(
            f"log driver {options.log.driver!r} is unknown", hint=f"it is {', '.join(LOG_DRIVERS)}"
        )
    log = options.log
    if log.compress and (log.max_files < 2 or log.max_size_bytes is None):
        raise InvalidOption(
            "there is no older log to compress",
            why="max-size says when the log is rotated, max-file how many are kept",
            hint="write --log-opt max-size=10m --log-opt max-file=3 too",
        )


def _check_numbers(options: RunOptions) -> None:
    if not -1000 <= options.oom_score_adj <= 1000:
        raise InvalidOption(
            f"an OOM score adjustment of {options.oom_score_adj} is not possible",
            why="it goes from -1000 to 1000",
        )
    if options.shm_size_bytes < 0:
        raise InvalidOption("the size of /dev/shm cannot be negative")
    if options.stop_timeout_s < 0:
        raise InvalidOption("a stop timeout cannot be negative")


def check_sysctls(options: RunOptions, namespaces: Mapping[str, str]) -> None:
    """Refuse settings of the whole machine, and of a namespace that is not the container's own.

    Raises:
        InvalidOption: says which namespace it would need.
    """
    for name in options.sysctls:
        kind = sysctl_namespace(name)
        if not kind:
            raise InvalidOption(
                f"sysctl {name!r} is not allowed",
                why="it is a setting of the whole machine, not of a container",
                hint="a container has its own net. and fs.mqueue. and System V IPC settings",
            )
        if kind not in namespaces:
            hint = "--network none gives one" if kind == "network" else "leave --ipc out"
            raise InvalidOption(
                f"sysctl {name} is not allowed here",
                why=f"the container has no {kind} namespace of its own",
                hint=hint,
            )


def warnings(options: RunOptions, place: Place) -> Iterator[str]:
    """Yield what will not be quite as asked for, a sentence each."""
    if place.bare:
        yield NOT_ISOLATED
    yield from resource_warnings(options.resources, place)
    yield from security_warnings(options, place)
    for device in options.devices if place.rootless else ():
        if device.permissions != "rwm":
            yield f"who may open {device.source} is what its mode says, not {device.permissions!r}"
    is_own = namespace_choice("pid", options.pid).share is Share.DEFAULT
    if options.init and (place.shares_processes or not is_own):
        yield "--init does nothing in a PID namespace that has an init already"
