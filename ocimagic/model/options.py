"""What can be asked for: one frozen value per request, shared by magics, shell and Python.

The defaults here are the only ones; they are docker's unless a comment says why not.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from ocimagic.errors import InvalidOption
from ocimagic.model.namespace import CONTAINER_PREFIX
from ocimagic.model.network import NetworkChoice, PublishedPort, check_network_name
from ocimagic.model.policy import HealthOptions, LogOptions, RestartPolicy
from ocimagic.model.resources import DeviceMapping, ResourceOptions, Ulimit
from ocimagic.spec.record import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.model.cache import CacheFrom, CacheTo
    from ocimagic.spec.platform import Platform

# As long as a selector can wait: eleven days stand for "never" where docker says -1.
FOREVER_S = 1_000_000.0
DEFAULT_SHM_BYTES = 64 << 20
DEFAULT_STOP_S = 10.0


class NetworkMode(Enum):
    """Which network a container sees.

    DEFAULT is the bridge, or the host's network where an account cannot make one.  CONTAINER is
    that of ``RunOptions.network_container``, NETWORK those of ``RunOptions.networks``.
    """

    DEFAULT = "default"
    HOST = "host"
    NONE = "none"
    CONTAINER = "container"
    NETWORK = "network"


def network_choice(text: str) -> tuple[NetworkMode, str]:
    """Read ``host``, ``none``, ``container:NAME`` or a network; returns the mode and that name.

    Raises:
        InvalidOption: ``container:`` without a name, or no name.
    """
    if text.startswith(CONTAINER_PREFIX):
        name = text.removeprefix(CONTAINER_PREFIX)
        if not name:
            raise InvalidOption(f"--network {text} names no container")
        return NetworkMode.CONTAINER, name
    if text in (NetworkMode.DEFAULT.value, NetworkMode.HOST.value, NetworkMode.NONE.value):
        return NetworkMode(text), ""
    return NetworkMode.NETWORK, check_network_name(text)


class PullPolicy(Enum):
    """When ``run`` and ``create`` ask the registry."""

    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


class BindRecursion(Enum):
    """What becomes of mounts below the source of a bind mount; the words are docker's.

    ENABLED takes them along, read-only with it where the kernel can; DISABLED leaves them
    out; WRITABLE keeps them writable below a read-only mount; READONLY insists.
    """

    ENABLED = "enabled"
    DISABLED = "disabled"
    WRITABLE = "writable"
    READONLY = "readonly"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A directory or file of the host, or a volume, in the container: ``-v source:target[:ro]``.

    Attributes:
        source: an absolute path on the host; of a volume the engine fills it in.
        target: an absolute path in the container.
        propagation: ``rprivate`` when empty; see mount_namespaces(7).
        relabel: SELinux's ``z`` or ``Z``, "" for none.
        kept: it is a volume, which the engine keeps.
        name: the volume's; "" for a new one that the engine names.
        anonymous: the engine named the volume: it goes with ``rm -v`` and ``--rm``.
        no_copy: an empty volume does not get what the image has at the target.
        labels: of the volume, if it is made for this.
        part: a directory or file in the volume that is mounted instead of all of it, or "".
        inherited: another container has it, see ``VolumesFrom``.
        options: of the volume's driver: what is mounted instead of its files, or none.
        own: at each start its files come to belong to the user of the container's process.
    """

    source: str = ""
    target: str
    read_only: bool = False
    propagation: str = ""
    recursion: BindRecursion = BindRecursion.ENABLED
    relabel: str = ""
    kept: bool = False
    name: str = ""
    anonymous: bool = False
    no_copy: bool = False
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    part: str = ""
    inherited: bool = False
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesFrom:
    """Another container, whose volumes and directories this one has too: ``--volumes-from``.

    Attributes:
        container: name or ID.
        read_only: whatever they are there.
    """

    container: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """An empty directory in memory: ``--tmpfs target:options``.

    Attributes:
        target: an absolute path in the container.
        options: words of mount(8), such as ``size=64m`` or ``exec``.
    """

    target: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """``--security-opt``, but for ``no-new-privileges``.

    Attributes:
        seccomp: "" for docker's default profile, ``unconfined`` for none, else a profile in
            docker's JSON.
        apparmor: a profile's name, ``unconfined``, or "".
        label: SELinux: ``disable``, or ``user:``, ``role:``, ``type:``, ``level:`` and a word.
        unmask_paths: show all of /proc and /sys (``systempaths=unconfined``).
        writable_cgroups: mount /sys/fs/cgroup for writing.
    """

    seccomp: str = ""
    apparmor: str = ""
    label: tuple[str, ...] = ()
    unmask_paths: bool = False
    writable_cgroups: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What ``container run`` and ``container create`` take.

    Attributes:
        image: a reference or an image ID, whole or its first digits.
        command: replaces the image's CMD when not empty.
        entrypoint: None keeps the image's; ``()`` clears it, and its CMD with it.
        env: ``NAME=value``, later ones win; ``NAME`` alone takes it out of the image's.
        user: name or id, ``:`` and a group.
        groups: names or ids of more groups.
        network_container: name or ID, for ``NetworkMode.CONTAINER``.
        networks: for ``NetworkMode.NETWORK``, the first one gives the way out.
        links: other containers of the bridge by name or ID, each with what only this one calls it:
            docker's way from before networks, see ``engine.links``.
        ports: of the machine that lead to it.
        publish_all: each exposed port gets a free one of the machine.
        pid: whose processes are seen: "" its own, ``host`` or ``container:NAME``.
        ipc: "" or ``private``, ``shareable``, ``none``, ``host`` or ``container:NAME``.
        uts: whose host name: "" its own, or ``host``.
        userns: "" or ``host``.
        cgroupns: ``private``, ``host``, or "" as the machine has it.
        detach: do not wait for the exit.
        remove: remove the container, its log and its files after the exit.
        interactive: keep stdin open.
        tty: give it a terminal.
        console_size: rows and columns of that terminal.
        attach: of ``stdin``, ``stdout``, ``stderr`` what the caller follows; None is docker's
            default, both outputs and with ``interactive`` the input.
        detach_keys: what typed in a row lets go of a terminal.
        sig_proxy: an interrupt of the caller ends the container too.
        kill_at_interrupt: at once then, without the stop signal.
        init: a small process of ours reaps orphans and passes signals on.
        extra_hosts: names and addresses for /etc/hosts; ``host-gateway`` is the machine.
        stop_timeout_s: seconds from the stop signal to SIGKILL.
        health: None keeps the image's.
        exposed_ports: ``port/protocol`` for whoever looks.
        runtime: None is ours; else ``runc``, ``crun`` or a path.
        cidfile: a file that gets the container ID; it must not be there.
        line: the command as it was given, for whoever has it explained later; "" for none.
        said: by docker's names, what a client said that changes nothing here: ``Isolation`` and
            ``VolumeDriver``; it reads them again.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    volumes: tuple[VolumeMount, ...] = ()
    volumes_from: tuple[VolumesFrom, ...] = ()
    tmpfs: tuple[TmpfsMount, ...] = ()
    shm_size_bytes: int = 0
    devices: tuple[DeviceMapping, ...] = ()
    network: NetworkMode = NetworkMode.DEFAULT
    network_container: str = ""
    networks: tuple[NetworkChoice, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    publish_all: bool = False
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    userns: str = ""
    cgroupns: str = ""
    hostname: str | None = None
    domainname: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    detach: bool = False
    remove: bool = False
    interactive: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    attach: tuple[str, ...] | None = None
    detach_keys: str = ""
    sig_proxy: bool = True
    kill_at_interrupt: bool = False
    init: bool = False
    privileged: bool = False
    no_new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: SecurityOptions = field(default_factory=SecurityOptions)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: tuple[Ulimit, ...] = ()
    oom_score_adj: int = 0
    resources: ResourceOptions = field(default_factory=ResourceOptions)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    health: HealthOptions | None = None
    log: LogOptions = field(default_factory=LogOptions)
    stop_signal: str | None = None
    stop_timeout_s: float = DEFAULT_STOP_S
    exposed_ports: tuple[str, ...] = ()
    platform: Platform | None = None
    pull: PullPolicy = PullPolicy.MISSING
    runtime: str | None = None
    cidfile: str | None = None
    line: str = field(default="", compare=False, repr=False)


OutputKind: TypeAlias = Literal["local", "tar", "oci", "docker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput:
    """Where else the result of a build goes: ``--output``.

    Attributes:
        kind: its files in a directory (``local``) or as a tar, or the image as an archive.
        path: the directory or the file.
    """

    kind: OutputKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What ``image build`` and ``%%dockerfile`` take.

    Attributes:
        dockerfile: its text; None is the file of that name in the context.
        dockerfile_name: a path in the context, or a URL; and how errors call it.
        context: what COPY and ADD read from: a directory, a git repository or a URL of an
            archive as docker has them, ``-`` for what comes on standard input, None for nothing.
        tags: names for the result, as typed.
        build_args: values for ARG.
        target: the stage to stop at; None builds the last.
        platforms: that the result is for: none is this machine's, several make an index.
        no_cache: run every step anew.
        pull: ask the registry for every base even if it is here.
        secrets: what ``RUN --mount=type=secret`` may ask for, by id.
        ssh: sockets of agents that ``RUN --mount=type=ssh`` may ask for, by id.
        no_cache_of: stages whose steps are run anew.
        annotations: of the manifest.
        extra_hosts: names with their addresses, for RUN.
        shm_size_bytes: of /dev/shm for RUN, 0 for the default.
        ulimits: for RUN.
        network: of RUN that does not say; ``HOST`` also allows ``RUN --network=host``.
        allow: what RUN may ask for that is not safe: ``security.insecure``, ``network.host``.
        outputs: where else the result goes.
        cache_from: caches of other machines, asked in their order for what is not here.
        cache_to: where the steps of this build go, for others.
        contexts: more places of files and bases, by name: directories, repositories, URLs,
            ``docker-image://REFERENCE`` and ``oci-layout://DIRECTORY[:TAG][@DIGEST]``.
        files: more files of the context, by their relative path; they win over the directory's.
        timestamp: seconds since 1970 that nothing in the image is later than, whenever it is
            built: the same Dockerfile, context and base then make the same image everywhere.
        squash: make one layer of all that the last stage adds to its FROM.
        is_sent: the context on standard input is what a client of the API sends: it left out
            what .dockerignore excludes, but for the Dockerfile and the .dockerignore.
    """

    dockerfile: str | None
    dockerfile_name: str = "Dockerfile"
    context: str | None = None
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platforms: tuple[Platform, ...] = ()
    no_cache: bool = False
    pull: bool = False
    network: NetworkMode = NetworkMode.DEFAULT
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, str] = field(default_factory=dict)
    no_cache_of: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    allow: tuple[str, ...] = ()
    outputs: tuple[BuildOutput, ...] = ()
    cache_from: tuple[CacheFrom, ...] = ()
    cache_to: tuple[CacheTo, ...] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    timestamp: int | None = None
    squash: bool = False
    is_sent: bool = False
