"""What docker's commands take and this version refuses, with the reason for each.

Data only.  The lists follow docker 28; ``tests/cli/test_refused.py`` counts them.
"""

from __future__ import annotations

from ocimagic.cli.parser import Refused

_TERMINAL = "a notebook cell is not a terminal, and terminals come with the next version"
_BRIDGE = "it needs a bridge network, which this version does not have"
_CGROUPS = "limits need cgroups, which come with a later version"
_WINDOWS = "it is for Windows containers only"
_HEALTH = "health checks come with a later version"
_NAMESPACES = "every container has its own namespaces of this kind in this version"
_HOST_FILE = "containers use the host's file for this, until bridge networks are built"
_DISPLAY = "this version shows the plain list"
_CACHE = "this version builds with its own cache only"

_VALUE, _SWITCH = True, False


def _group(why: str, *names: str, takes_value: bool = _VALUE) -> tuple[Refused, ...]:
    return tuple(Refused(tuple(name.split()), takes_value, why) for name in names)


CREATE = (
    Refused(
        ("--tty", "-t"),
        _SWITCH,
        _TERMINAL,
        "leave -t out: write the command after the image, or use -i with input",
    ),
    Refused(
        ("--publish", "-p"),
        _VALUE,
        "ports need a bridge network, which this version does not have; the container shares "
        "the host's network, so its ports are open on the host already",
        "leave -p out and open the container's own port on this machine",
    ),
    Refused(
        ("--publish-all", "-P"),
        _SWITCH,
        "ports need a bridge network, which this version does not have; the container shares "
        "the host's network, so its ports are open on the host already",
        "leave -P out and open the container's own port on this machine",
    ),
    Refused(
        ("--mount",),
        _VALUE,
        "this version binds directories by -v only",
        "write -v SOURCE:TARGET, with :ro at the end for read-only",
    ),
    *_group(
        _CGROUPS,
        "--memory -m",
        "--memory-reservation",
        "--memory-swap",
        "--memory-swappiness",
        "--kernel-memory",
        "--cpus",
        "--cpu-shares -c",
        "--cpu-period",
        "--cpu-quota",
        "--cpu-rt-period",
        "--cpu-rt-runtime",
        "--cpuset-cpus",
        "--cpuset-mems",
        "--pids-limit",
        "--blkio-weight",
        "--blkio-weight-device",
        "--device-read-bps",
        "--device-read-iops",
        "--device-write-bps",
        "--device-write-iops",
        "--device-cgroup-rule",
        "--cgroup-parent",
        "--cgroupns",
    ),
    *_group(_CGROUPS, "--oom-kill-disable", takes_value=_SWITCH),
    *_group(
        _BRIDGE,
        "--ip",
        "--ip6",
        "--link",
        "--link-local-ip",
        "--mac-address",
        "--network-alias",
        "--net-alias",
        "--expose",
    ),
    *_group(_HOST_FILE, "--add-host", "--dns", "--dns-option", "--dns-opt", "--dns-search"),
    *_group(
        _HEALTH,
        "--health-cmd",
        "--health-interval",
        "--health-retries",
        "--health-start-interval",
        "--health-start-period",
        "--health-timeout",
    ),
    *_group(_HEALTH, "--no-healthcheck", takes_value=_SWITCH),
    *_group(_WINDOWS, "--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops"),
    *_group(_WINDOWS, "--isolation"),
    *_group(_NAMESPACES, "--ipc", "--pid", "--userns", "--uts"),
    *_group("named volumes come with a later version", "--volume-driver", "--volumes-from"),
    *_group("temporary mounts by option come with a later version", "--tmpfs", "--shm-size"),
    *_group("devices come with a later version", "--device", "--gpus"),
    *_group("logs are always docker's json-file in this version", "--log-driver", "--log-opt"),
    *_group(
        "this version has only its own runtime, and no switch to turn its protection off",
        "--runtime",
    ),
    Refused(
        ("--privileged",),
        _SWITCH,
        "this version has no switch that turns all protection off",
        "name what is needed, for example --cap-add NET_ADMIN",
    ),
    *_group("restart policies come with a later version", "--restart"),
    *_group(
        "this version keeps docker's defaults for it",
        "--domainname",
        "--group-add",
        "--oom-score-adj",
        "--storage-opt",
        "--sysctl",
        "--ulimit",
        "--annotation",
    ),
    *_group("write the labels as -l KEY=VALUE", "--label-file"),
    *_group("the ID is printed, and a notebook returns it", "--cidfile"),
    *_group("output and errors are always attached, input with -i", "--attach -a"),
    *_group("an init process of its own comes with a later version", "--init", takes_value=_SWITCH),
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
    *_group("this engine needs no socket", "--use-api-socket", takes_value=_SWITCH),
)

RUN = (
    *CREATE,
    *_group(_TERMINAL, "--detach-keys"),
    *_group("the stop button and Ctrl-C stop the container", "--sig-proxy", takes_value=_SWITCH),
)

PULL = (
    *_group("this version pulls one tag at a time", "--all-tags -a", takes_value=_SWITCH),
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
)

IMAGE_LS = _group(_DISPLAY, "--tree", takes_value=_SWITCH)

IMAGE_ONE_PLATFORM = _group("this version keeps one platform of an image", "--platform")

IMAGE_RM = (
    *IMAGE_ONE_PLATFORM,
    *_group("what nothing needs any more is always removed", "--no-prune", takes_value=_SWITCH),
)

BUILD = (
    *_group(_CGROUPS, "--cpu-period", "--cpu-quota", "--cpu-shares -c", "--cpuset-cpus"),
    *_group(_CGROUPS, "--cpuset-mems", "--memory -m", "--memory-swap", "--cgroup-parent"),
    *_group(_HOST_FILE, "--add-host"),
    *_group(_CACHE, "--cache-from", "--cache-to", "--no-cache-filter"),
    *_group("the context is read in place, nothing is sent", "--compress", takes_value=_SWITCH),
    *_group(
        "content trust was given up by docker too", "--disable-content-trust", takes_value=_SWITCH
    ),
    *_group("steps leave no containers behind", "--force-rm", takes_value=_SWITCH),
    *_group("-q prints the ID, and a notebook returns it", "--iidfile", "--metadata-file"),
    *_group(_WINDOWS, "--isolation"),
    *_group("RUN steps have the default protection", "--security-opt", "--allow"),
    *_group("this version keeps docker's defaults for it", "--shm-size", "--ulimit"),
    *_group("this version keeps one layer per step", "--squash", takes_value=_SWITCH),
    *_group("secrets and agents come with a later version", "--secret", "--ssh"),
    *_group("this version builds into its own store only", "--output -o", "--builder"),
    *_group("this version builds into its own store only", "--push", takes_value=_SWITCH),
    *_group("attestations come with a later version", "--attest", "--provenance", "--sbom"),
    *_group("one context is enough for this version", "--build-context", "--annotation"),
    *_group("this version lints while it builds", "--call"),
    *_group("this version lints while it builds", "--check", takes_value=_SWITCH),
)

CONTAINER_LS = _group(
    "sizes of containers come with a later version", "--size -s", takes_value=_SWITCH
)

START = (
    Refused(
        ("--attach", "-a"),
        _SWITCH,
        "a started container runs by itself in this version",
        "read its output with logs -f",
    ),
    *_group("input can be given to run -i only", "--interactive -i", takes_value=_SWITCH),
    *_group(_TERMINAL, "--detach-keys"),
    *_group("checkpoints come with a later version", "--checkpoint", "--checkpoint-dir"),
)

STOP = _group("set it when the container is made: --stop-signal", "--signal -s")

LOGS = (
    *_group("this version shows all of a log or its tail", "--since", "--until"),
    *_group("this version has no extra log attributes", "--details", takes_value=_SWITCH),
)

RM = _group("links need a bridge network", "--link -l", takes_value=_SWITCH)

INSPECT_SIZE = _group(
    "sizes of containers come with a later version", "--size -s", takes_value=_SWITCH
)

_LATER = "it comes with a later version"
_NETWORKS = "networks of their own come with a later version"

ROOT_WORDS = {
    **dict.fromkeys(
        ("attach", "commit", "cp", "diff", "events", "exec", "export", "import", "load", "login",
         "logout", "pause", "port", "push", "rename", "restart", "save", "search", "stats", "top",
         "unpause", "update", "builder", "buildx", "context", "manifest", "plugin", "volume"),
        _LATER,
    ),
    "network": _NETWORKS,
    **dict.fromkeys(("swarm", "node", "service", "stack", "secret", "config", "trust", "checkpoint",
                     "compose"), "this is an engine for one machine"),
}  # fmt: skip

IMAGE_WORDS = dict.fromkeys(("import", "load", "prune", "push", "save"), _LATER)

CONTAINER_WORDS = dict.fromkeys(
    ("attach", "commit", "cp", "diff", "exec", "export", "pause", "port", "prune", "rename",
     "restart", "stats", "top", "unpause", "update"),
    _LATER,
)  # fmt: skip

SYSTEM_WORDS = dict.fromkeys(("df", "events", "prune", "dial-stdio"), _LATER)
