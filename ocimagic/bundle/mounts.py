"""What is mounted in a container, in order: the usual, then what was asked for.

Spec: runtime-spec config.md, "Mounts"; config-linux.md, "Default Filesystems"; mount(8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.bundle.devices import device_mounts
from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.model.namespace import Share, namespace_choice
from ocimagic.model.options import DEFAULT_SHM_BYTES, BindRecursion
from ocimagic.model.volume import is_bind
from ocimagic.spec.nearest import nearest
from ocimagic.spec.runtime import PART, Mount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ocimagic.bundle.place import Place
    from ocimagic.model.options import RunOptions, TmpfsMount, VolumeMount

_QUIET = ("nosuid", "noexec", "nodev")
_RECURSIVE_READ_ONLY = (5, 12)  # mount_setattr(2)
_PROPAGATIONS = ("private", "shared", "slave")
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_TMPFS_SWITCHES = ("exec", "suid", "dev", "sync", "atime", "diratime", "relatime", "strictatime")
_TMPFS_KEYS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol")
_TMPFS_WORDS = {
    "ro": "write",
    "rw": "write",
    "defaults": "",
    **{word: word for word in _TMPFS_SWITCHES},
    **{f"no{word}": word for word in _TMPFS_SWITCHES},
}
SHM, DEV = "/dev/shm", "/dev"  # noqa: S108  the container's own


def mounts(options: RunOptions, place: Place, namespaces: Mapping[str, str]) -> tuple[Mount, ...]:
    """Return every mount; what was asked for replaces the usual one at the same place.

    Raises:
        InvalidOption: two mounts at one place, or an option that no tmpfs has.
        HostLacks: the kernel cannot do it.
    """
    if place.bare:
        return ()
    asked = _asked(options, place)
    targets = [mount.destination for mount in asked]
    for target in targets:
        if targets.count(target) > 1:
            raise InvalidOption(f"two mounts at {target}", hint="leave one of them out")
    covered = {*targets, *(each for each in (SHM, "/dev/pts", "/dev/mqueue") if DEV in targets)}
    files = (
        Mount(destination=target, type="bind", source=source, options=("rbind", "rprivate"))
        for target, source in place.files
    )
    usual = (
        *default_mounts(options, place, namespaces),
        *device_mounts(options, place),
        *files,
    )
    return (*(each for each in usual if each.destination not in covered), *asked)


def default_mounts(
    options: RunOptions, place: Place, namespaces: Mapping[str, str]
) -> tuple[Mount, ...]:
    """List what is mounted in every container, in order."""
    terminals = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    found = [
        _proc(place, namespaces),
        Mount(
            destination=DEV,
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", *terminals),
        ),
        _sysfs(options, place, namespaces),
    ]
    # An ordinary user may mount the one hierarchy of its own cgroup namespace only.
    if not place.rootless or (place.cgroup_v2 and "cgroup" in namespaces):
        found.append(_cgroup(options))
    # Nor another namespace's message queues.
    if not place.rootless or "ipc" in namespaces:
        found.append(
            Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_QUIET)
        )
    return (*found, *_shm(options, place))


def _proc(place: Place, namespaces: Mapping[str, str]) -> Mount:
    if place.rootless and "pid" not in namespaces:
        # An ordinary user may show the machine's processes, but not mount a procfs for them.
        return Mount(
            destination="/proc", type="none", source="/proc", options=("rbind", "rprivate", *_QUIET)
        )
    return Mount(destination="/proc", type="proc", source="proc", options=_QUIET)


def _sysfs(options: RunOptions, place: Place, namespaces: Mapping[str, str]) -> Mount:
    if place.rootless and "network" not in namespaces:
        # The same goes for a sysfs of a network namespace that is not its own.
        access = () if options.privileged else ("ro", *_recursive(place))
        words = ("rbind", "rprivate", *_QUIET, *access)
        return Mount(destination="/sys", type="none", source="/sys", options=words)
    words = _QUIET if options.privileged else (*_QUIET, "ro")
    return Mount(destination="/sys", type="sysfs", source="sysfs", options=words)


def _recursive(place: Place) -> tuple[str, ...]:
    """Return the word that makes all mounts below read-only too, where the kernel knows it."""
    return ("rro",) if place.kernel >= _RECURSIVE_READ_ONLY else ()


def _cgroup(options: RunOptions) -> Mount:
    writable = options.privileged or options.security.writable_cgroups
    return Mount(
        destination="/sys/fs/cgroup",
        type="cgroup",
        source="cgroup",
        options=_QUIET if writable else (*_QUIET, "ro"),
    )


def _shm(options: RunOptions, place: Place) -> tuple[Mount, ...]:
    """Return /dev/shm: memory of its own, or a directory that several containers share."""
    share = namespace_choice("ipc", options.ipc).share
    if share is Share.NONE:
        return ()
    source = SHM if share is Share.HOST else place.shm_path
    if source:
        words = ("rbind", "rprivate", *_QUIET)
        return (Mount(destination=SHM, type="bind", source=source, options=words),)
    size = options.shm_size_bytes or DEFAULT_SHM_BYTES
    words = (*_QUIET, "mode=1777", f"size={size}")
    return (Mount(destination=SHM, type="tmpfs", source="shm", options=words),)


def _asked(options: RunOptions, place: Place) -> list[Mount]:
    """Order what was asked for so that one mount inside another is not hidden by it."""
    found = [_volume(each, place) for each in options.volumes]
    found += [_tmpfs(each) for each in options.tmpfs]
    return sorted(found, key=lambda mount: mount.destination.rstrip("/").count("/"))


def _volume(volume: VolumeMount, place: Place) -> Mount:
    _check_volume(volume)
    if volume.options and not is_bind(volume.options):
        return _driven(volume)
    kind = "bind" if volume.recursion is BindRecursion.DISABLED else "rbind"
    words = [kind, volume.propagation or "rprivate", "ro" if volume.read_only else "rw"]
    if volume.read_only and volume.recursion in {BindRecursion.ENABLED, BindRecursion.READONLY}:
        words += _recursive(place)
        if volume.recursion is BindRecursion.READONLY and not _recursive(place):
            raise HostLacks(
                f"{volume.source} cannot be made read-only with all that is mounted below it",
                why="only Linux 5.12 and later can",
                hint="leave bind-recursive=readonly out",
            )
    words += [f"{PART}{volume.part}"] if volume.part else []
    source = volume.options.get("device", volume.source)
    return Mount(destination=volume.target, type="bind", source=source, options=tuple(words))


def _driven(volume: VolumeMount) -> Mount:
    """Return what a volume's driver mounts: in each container by itself, as the kernel allows."""
    if volume.part:
        raise InvalidOption(
            f"{volume.part} of volume {volume.name} cannot be mounted alone",
            why=f"its driver mounts all of {volume.options['device']}",
        )
    words = [each for each in volume.options.get("o", "").split(",") if each]
    words += ["ro"] if volume.read_only else []
    kind, device = volume.options["type"], volume.options["device"]
    return Mount(destination=volume.target, type=kind, source=device, options=tuple(words))


def _check_volume(volume: VolumeMount) -> None:
    for what, path in (("source", volume.source), ("target", volume.target)):
        if not path.startswith("/"):
            raise InvalidOption(f"the {what} {path!r} of a volume is not absolute")
    if volume.part.startswith("/") or "\0" in volume.part or ".." in volume.part.split("/"):
        raise InvalidOption(f"the part {volume.part!r} of a volume is not a path in it")
    if not volume.target.strip("/"):
        raise InvalidOption("a volume cannot cover the root of the container")
    if volume.own and volume.read_only:
        raise InvalidOption(
            f"the volume at {volume.target} cannot be read-only and be given to a user (U)",
            why="to give files is to write",
        )
    if volume.propagation and volume.propagation.removeprefix("r") not in _PROPAGATIONS:
        raise InvalidOption(f"a volume cannot have the propagation {volume.propagation!r}")


def _tmpfs(mount: TmpfsMount) -> Mount:
    if not mount.target.startswith("/") or not mount.target.strip("/"):
        raise InvalidOption(f"a tmpfs cannot be mounted at {mount.target!r}")
    return Mount(
        destination=mount.target,
        type="tmpfs",
        source="tmpfs",
        options=tmpfs_options(mount.options),
    )


def tmpfs_options(asked: Sequence[str]) -> tuple[str, ...]:
    """Combine docker's defaults with what was asked for: of two opposites the last holds.

    Raises:
        InvalidOption: a word or a key that no tmpfs has.
    """
    found: dict[str, str] = {}
    for word in (*_TMPFS_DEFAULTS, *asked):
        key, equals, value = word.partition("=")
        if equals and key in _TMPFS_KEYS and value and "\0" not in value:
            found[key] = word
        elif not equals and word in _TMPFS_WORDS:
            found.pop(_TMPFS_WORDS[word], None)
            found[_TMPFS_WORDS[word]] = word
        else:
            near = nearest(key, (*_TMPFS_WORDS, *_TMPFS_KEYS))
            hint = f"did you mean {near}?" if near else "for example size=64m, mode=1770 or exec"
            raise InvalidOption(f"a tmpfs has no option {word!r}", hint=hint)
    return tuple(word for word in found.values() if word != "defaults")
