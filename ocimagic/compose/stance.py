"""What a compose file may say, and what we make of it: done, refused by name, or left alone.

The tables are ours, after the Compose Specification.  They find a key that nobody has and its
nearest neighbour even where the published schema is not there, and say why before it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocimagic.compose.tree import Map, Node, Seq
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one kind of mapping.

    Attributes:
        done: we do what they say.
        refused: compose has them and we do not, with the reason.
        ignored: they change nothing on one machine, with the reason for saying so.
        below: keys of the mappings below some of them.
        named: the keys are names of the user's own, and all values are of ``below[""]``.
    """

    done: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    below: Mapping[str, Keys] = field(default_factory=dict)
    named: bool = False


def each(keys: Keys) -> Keys:
    """Return the keys of a mapping whose own keys are names."""
    return Keys(named=True, below={"": keys})


_WINDOWS = "it is for Windows"
_CLUSTER = "it is for a cluster of machines"
_ROLLING = "services are replaced at once here, not in steps"
_USE = Keys("source target uid gid mode")
_LIMIT = Keys("path rate")

_BUILD = Keys(
    "context dockerfile dockerfile_inline args target labels cache_from cache_to network shm_size "
    "tags platforms secrets ssh no_cache no_cache_filter pull extra_hosts additional_contexts "
    "ulimits entitlements",
    refused={
        "isolation": _WINDOWS,
        "privileged": "RUN steps have the default protection; RUN --security=insecure asks for "
        "more, with entitlements",
        "provenance": "provenance is not made by this version",
        "sbom": "an SBOM is not made by this version",
    },
    below={"secrets": _USE},
)
_DEVICES = "graphics cards and their like are not given out by this version"
_DEPLOY = Keys(
    "mode replicas resources restart_policy",
    refused={"placement": _CLUSTER},
    ignored={
        "labels": "they are of a cluster's service, not of its containers; labels: are those",
        "endpoint_mode": _CLUSTER,
        "update_config": _ROLLING,
        "rollback_config": _ROLLING,
    },
    below={
        "resources": Keys(
            "limits reservations",
            below={
                "limits": Keys("cpus memory pids"),
                "reservations": Keys(
                    "memory",
                    refused={"devices": _DEVICES, "generic_resources": _CLUSTER},
                    ignored={"cpus": "only a cluster keeps CPUs free"},
                ),
            },
        ),
        "restart_policy": Keys(
            "condition max_attempts",
            ignored=dict.fromkeys(("delay", "window"), "how long to wait is decided here"),
        ),
    },
)
_LINK = "links are what docker had before networks: services find each other by name"
_HOOK = "hooks are not run by this version"
_SERVICE = Keys(
    "image build pull_policy command entrypoint environment env_file ports expose volumes tmpfs "
    "networks network_mode depends_on profiles scale deploy secrets configs healthcheck restart "
    "extends labels label_file annotations container_name hostname domainname user working_dir "
    "cap_add cap_drop privileged read_only security_opt sysctls ulimits shm_size mem_limit "
    "mem_reservation memswap_limit mem_swappiness oom_kill_disable oom_score_adj cpus cpu_shares "
    "cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpuset pids_limit blkio_config init tty "
    "stdin_open stop_signal stop_grace_period extra_hosts dns dns_opt dns_search devices "
    "device_cgroup_rules group_add ipc pid uts userns_mode cgroup cgroup_parent logging platform "
    "runtime volumes_from mac_address attach",
    refused={
        **dict.fromkeys(("cpu_count", "cpu_percent", "isolation", "credential_spec"), _WINDOWS),
        **dict.fromkeys(("links", "external_links"), _LINK),
        **dict.fromkeys(("post_start", "pre_start", "pre_stop"), _HOOK),
        "develop": "files are not watched by this version; compose up --build builds anew",
        "gpus": _DEVICES,
        "models": "models are not run by this version",
        "provider": "services that another program provides are not known here",
        "pull_refresh_after": "when an image was pulled is not kept",
        "storage_opt": "the size of a container's changes cannot be limited yet",
        "umask": "a container's umask cannot be set yet",
        "use_api_socket": "this engine needs no socket",
    },
    below={
        "build": _BUILD,
        "deploy": _DEPLOY,
        "healthcheck": Keys("test interval timeout retries start_period start_interval disable"),
        "ports": Keys(
            "target published protocol host_ip name mode",
            ignored={"app_protocol": "nobody here reads it"},
        ),
        "volumes": Keys(
            "type source target read_only bind volume tmpfs",
            refused={"image": "images cannot be mounted yet"},
            ignored={"consistency": "it is for macOS"},
            below={
                "bind": Keys("propagation create_host_path selinux recursive"),
                "volume": Keys("nocopy subpath labels"),
                "tmpfs": Keys("size mode"),
            },
        ),
        "networks": each(
            Keys(
                "aliases ipv4_address ipv6_address mac_address priority gw_priority",
                refused={
                    "link_local_ips": "such addresses are the kernel's",
                    "driver_opts": "there are no options for a container's place in a network",
                    "interface_name": "links are called eth0, eth1 and so on",
                    "use_service_name_alias": "a service is always found by its name",
                },
            )
        ),
        "depends_on": each(Keys("condition restart required")),
        "secrets": _USE,
        "configs": _USE,
        "extends": Keys("service file"),
        "env_file": Keys("path required format"),
        "logging": Keys("driver options"),
        "devices": Keys("source target permissions"),
        "blkio_config": Keys(
            "weight weight_device device_read_bps device_read_iops device_write_bps "
            "device_write_iops",
            below={
                "weight_device": Keys("path weight"),
                **dict.fromkeys(
                    ("device_read_bps", "device_read_iops", "device_write_bps",
                     "device_write_iops"), _LIMIT,
                ),
            },
        ),
    },
)  # fmt: skip
_NETWORK = Keys(
    "name driver driver_opts internal attachable enable_ipv6 enable_ipv4 ipam labels external",
    below={
        "ipam": Keys(
            "driver config",
            refused={"options": "there is one way here to give out addresses"},
            below={"config": Keys("subnet ip_range gateway aux_addresses")},
        ),
    },
)
_NO_SWARM = "only a swarm keeps such; file:, environment: or content: bring it here"
_SECRET = Keys(
    "name file environment labels external",
    refused={"driver": _NO_SWARM, "driver_opts": _NO_SWARM, "template_driver": _NO_SWARM},
)
_CONFIG = Keys(
    "name file environment content labels external", refused={"template_driver": _NO_SWARM}
)
ROOT = Keys(
    "name services networks volumes secrets configs include",
    refused={
        "models": "models are not run by this version",
        "jobs": "jobs are not known to this version; compose run runs a service once",
    },
    ignored={"version": "compose files have no version any more; leave the line out"},
    below={
        "services": each(_SERVICE),
        "networks": each(_NETWORK),
        "volumes": each(Keys("name driver driver_opts labels external")),
        "secrets": each(_SECRET),
        "configs": each(_CONFIG),
        "include": Keys("path env_file project_directory"),
    },
)


def check(node: Node, warn: Callable[[str], None], keys: Keys = ROOT) -> None:
    """See that all keys are known, and that none asks for what we do not do.

    Args:
        node: the file, or a part of it.
        warn: hears of what is left alone.
        keys: of this part.

    Raises:
        InvalidDocument: a key that nobody has.
        NotBuiltYet: one that compose has and we have not.
    """
    if isinstance(node.value, Seq):
        for item in node.items():
            check(item, warn, keys)
        return
    if not isinstance(node.value, Map):
        return
    for key, child in node.fields():
        if not keys.named:
            if key.startswith("x-"):
                continue
            _one(key, child, warn, keys)
        if below := keys.below.get("" if keys.named else key):
            check(child, warn, below)


def _one(key: str, child: Node, warn: Callable[[str], None], keys: Keys) -> None:
    done = keys.done.split()
    if key in done:
        return
    if key in keys.refused:
        if child.value in (None, False, "default"):  # says what is so without it
            return
        raise child.refused(keys.refused[key])
    if key in keys.ignored:
        warn(f"{child.path} is left alone: {keys.ignored[key]} ({child.place})")
        return
    near = nearest(key, [*done, *keys.refused, *keys.ignored])
    hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(done))}"
    if child.path == key and not near:
        hint = "services go under services:; keys of your own begin with x-"
    raise child.wrong("this key is not known", hint=hint)
