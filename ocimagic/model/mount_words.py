"""``-v``, ``--mount``, ``--tmpfs`` and ``--device`` as words: what is mounted where.

What a relative source starts from is the caller's: ``path`` makes it absolute.
"""

from __future__ import annotations

import csv
import posixpath
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption, NotBuiltYet
from ocimagic.model.options import BindRecursion, TmpfsMount, VolumeMount, VolumesFrom
from ocimagic.model.quantities import byte_size, truth
from ocimagic.model.resources import DeviceMapping
from ocimagic.model.volume import check_driver_options, check_volume_driver, check_volume_name
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCIES = ("consistent", "cached", "delegated", "default")
_KEYS = {
    "type": "type",
    **dict.fromkeys(("source", "src"), "source"),
    **dict.fromkeys(("target", "dst", "destination"), "target"),
    **dict.fromkeys(("readonly", "ro"), "readonly"),
    "consistency": "consistency",
    "bind-propagation": "bind-propagation",
    "bind-nonrecursive": "bind-nonrecursive",
    "bind-recursive": "bind-recursive",
    "tmpfs-size": "tmpfs-size",
    "tmpfs-mode": "tmpfs-mode",
    "volume-nocopy": "volume-nocopy",
    "volume-label": "volume-label",
    "volume-subpath": "volume-subpath",
    "volume-driver": "volume-driver",
    **dict.fromkeys(("u", "chown"), "chown"),
    "volume-opt": "volume-opt",
}
# Keys that may stand alone for "true".
_FLAGS = ("readonly", "bind-nonrecursive", "volume-nocopy", "chown")
_KINDS = ("bind", "tmpfs", "volume")
_MOUNT_HINT = (
    "write --mount type=bind,src=DIR,dst=DIR, type=volume,src=NAME,dst=DIR or type=tmpfs,dst=DIR"
)


def volume(path: Callable[[str], str], text: str) -> VolumeMount:
    """Read ``-v [SOURCE:]TARGET[:MODE]``.

    A source that is no path names a volume, and none is one that the engine names.
    """
    parts = text.split(":")
    source, *rest = parts if len(parts) > 1 else ("", *parts)
    hint = "write -v NAME:TARGET, -v ./DIRECTORY:TARGET or -v TARGET, and :ro if it is to be so"
    if len(rest) > 2 or not all(parts):
        raise InvalidOption(f"volume {text!r} cannot be understood", hint=hint)
    _refuse_nul("volume", text)
    if not rest[0].startswith("/"):
        raise InvalidOption(f"the target {rest[0]!r} of volume {text!r} is not absolute", hint=hint)
    kept = not source.startswith(("/", ".", "~"))
    if kept and source:
        check_volume_name(source)
    words = _mode(rest[1] if len(rest) == 2 else "", text)
    if kept and "propagation" in words:
        raise InvalidOption(f"volume {text!r}: {words['propagation']} is for directories only")
    return VolumeMount(
        source="" if kept else path(source),
        target=target_path(rest[0], text),
        read_only=words.get("access") == "ro",
        relabel=words.get("label", ""),
        propagation=words.get("propagation", ""),
        kept=kept,
        name=source if kept else "",
        no_copy=kept and "copy" in words,
        own="own" in words,
    )


def volumes_from(text: str) -> VolumesFrom:
    """Read ``--volumes-from CONTAINER[:ro|rw]``."""
    container, colon, mode = text.partition(":")
    if not container or (colon and mode not in {"ro", "rw"}):
        raise InvalidOption(
            f"--volumes-from {text!r} cannot be understood", hint="write CONTAINER or CONTAINER:ro"
        )
    return VolumesFrom(container=container, read_only=mode == "ro")


def _mode(mode: str, text: str) -> dict[str, str]:
    """Read ``ro,z,rslave``: by kind, the access, the relabelling, the propagation."""
    found: dict[str, str] = {}
    for word in mode.split(",") if mode else ():
        kind = _kind_of_mode(word)
        if kind is None or kind in found:
            known = ("ro", "rw", "z", "Z", "U", "nocopy", *PROPAGATIONS)
            near = nearest(word, known)
            raise InvalidOption(
                f"mode {word!r} of volume {text!r} cannot be understood"
                if kind is None
                else f"mode {mode!r} of volume {text!r} contradicts itself",
                hint=f"did you mean {near}?" if near else f"it may be {', '.join(known)}",
            )
        found[kind] = word
    return found


def _kind_of_mode(word: str) -> str | None:
    # What macOS needs consistency for is not here.
    kinds = {"access": ("ro", "rw"), "label": ("z", "Z"), "propagation": PROPAGATIONS,
             "copy": ("nocopy",), "own": ("U",), "consistency": _CONSISTENCIES}  # fmt: skip
    return next((kind for kind, words in kinds.items() if word in words), None)


def mount(path: Callable[[str], str], text: str) -> VolumeMount | TmpfsMount:
    """Read ``--mount type=bind,src=…,dst=…,…``, or ``type=volume`` or ``type=tmpfs``."""
    _refuse_nul("mount", text)
    pairs = _mount_fields(text)
    several = {
        name: dict(value.partition("=")[::2] for key, value in pairs if key == name)
        for name in ("volume-label", "volume-opt")
    }
    return mount_of(path, dict(pairs), several, text)


def mount_of(
    path: Callable[[str], str],
    fields: Mapping[str, str],
    several: Mapping[str, Mapping[str, str]],
    text: str,
) -> VolumeMount | TmpfsMount:
    """Return what the keys of a ``--mount`` mean.

    Args:
        path: makes a source absolute.
        fields: ``type``, ``source``, ``target``, ``readonly`` and what docker's flag has beside
            them, each as text.
        several: ``volume-label`` and ``volume-opt``.
        text: all of it, for errors.

    Raises:
        InvalidOption: what cannot be understood, or does not go together.
        NotBuiltYet: a type that docker has and this version has not.
    """
    kind = fields.get("type", "volume").lower()
    if kind in {"image", "npipe", "cluster"}:
        raise NotBuiltYet(f"mounts of type {kind!r} are not built yet", hint=_MOUNT_HINT)
    if kind not in _KINDS:
        raise InvalidOption(f"mount type {kind!r} is unknown", hint=_MOUNT_HINT)
    for key in fields:
        if key.startswith(tuple(f"{each}-" for each in _KINDS if each != kind)):
            raise InvalidOption(f"{key} in --mount {text!r} does not go with type={kind}")
    target = fields.get("target", "")
    if not target.startswith("/"):
        what = f"target {target!r} is not absolute" if target else "a target is missing"
        raise InvalidOption(f"--mount {text!r}: {what}", hint=_MOUNT_HINT)
    read_only = truth("readonly", fields.get("readonly", "false"))
    if kind == "tmpfs":
        return _tmpfs_mount(fields, text, read_only=read_only)
    if kind == "volume":
        return _volume_mount(fields, several, text, read_only=read_only)
    return _bind_mount(path, fields, text, read_only=read_only)


def _mount_fields(text: str) -> list[tuple[str, str]]:
    """Return the keys in their one spelling; a value may be quoted as in a table file."""
    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as err:
        raise InvalidOption(f"--mount {text!r} cannot be understood", hint=_MOUNT_HINT) from err
    fields: list[tuple[str, str]] = []
    for field in row:
        key, equals, value = field.partition("=")
        key = key.lower()
        if key.startswith("image-"):
            raise NotBuiltYet(f"{key} in --mount is not built yet")
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            hint = f"did you mean {near}?" if near else _MOUNT_HINT
            raise InvalidOption(f"--mount does not know {key!r} in {text!r}", hint=hint)
        name = _KEYS[key]
        if not equals and name not in _FLAGS:
            raise InvalidOption(f"{key} in --mount {text!r} needs a value", hint=f"write {key}=…")
        fields.append((name, value if equals else "true"))
    return fields


def _volume_mount(
    fields: Mapping[str, str],
    several: Mapping[str, Mapping[str, str]],
    text: str,
    *,
    read_only: bool,
) -> VolumeMount:
    check_volume_driver(fields.get("volume-driver", ""))
    name = fields.get("source", "")
    return VolumeMount(
        target=target_path(fields["target"], text),
        read_only=read_only,
        kept=True,
        name=check_volume_name(name) if name else "",
        no_copy=truth("volume-nocopy", fields.get("volume-nocopy", "false")),
        part=fields.get("volume-subpath", ""),
        labels=several.get("volume-label", {}),
        own=truth("chown", fields.get("chown", "false")),
        options=check_driver_options(several.get("volume-opt", {})),
    )


def _tmpfs_mount(fields: Mapping[str, str], text: str, *, read_only: bool) -> TmpfsMount:
    if "source" in fields:
        raise InvalidOption(f"--mount {text!r}: a tmpfs has no source", hint=_MOUNT_HINT)
    if "chown" in fields:
        raise InvalidOption(f"chown in --mount {text!r} does not go with type=tmpfs")
    options = ["ro"] if read_only else []
    if mode := fields.get("tmpfs-mode"):
        if not all(digit in "01234567" for digit in mode) or len(mode) > 5:
            raise InvalidOption(f"tmpfs-mode {mode!r} is not octal", hint="write tmpfs-mode=1770")
        options.append(f"mode={int(mode, 8):o}")
    if size := byte_size("tmpfs-size", fields.get("tmpfs-size", "0")):
        options.append(f"size={size}")
    return TmpfsMount(target=target_path(fields["target"], text), options=tuple(options))


def _bind_mount(
    path: Callable[[str], str], fields: Mapping[str, str], text: str, *, read_only: bool
) -> VolumeMount:
    source, propagation = fields.get("source", ""), fields.get("bind-propagation", "").lower()
    if not source.startswith(("/", ".", "~")):
        what = f"source {source!r} is not absolute" if source else "a source is missing"
        raise InvalidOption(f"--mount {text!r}: {what}", hint=_MOUNT_HINT)
    if propagation and propagation not in PROPAGATIONS:
        raise InvalidOption(
            f"bind-propagation {propagation!r} is unknown", hint=f"it is {', '.join(PROPAGATIONS)}"
        )
    return VolumeMount(
        source=path(source),
        target=target_path(fields["target"], text),
        read_only=read_only,
        propagation=propagation,
        recursion=_recursion(fields, read_only=read_only),
        own=truth("chown", fields.get("chown", "false")),
    )


def _recursion(fields: Mapping[str, str], *, read_only: bool) -> BindRecursion:
    """Read ``bind-recursive`` and its older form; docker's rules on what goes with it."""
    if "bind-recursive" not in fields:
        alone = truth("bind-nonrecursive", fields.get("bind-nonrecursive", "false"))
        return BindRecursion.DISABLED if alone else BindRecursion.ENABLED
    words = [each.value for each in BindRecursion]
    word = fields["bind-recursive"]
    if word not in words:
        raise InvalidOption(f"bind-recursive {word!r} is unknown", hint=f"it is {', '.join(words)}")
    recursion = BindRecursion(word)
    if recursion in {BindRecursion.WRITABLE, BindRecursion.READONLY} and not read_only:
        raise InvalidOption(f"bind-recursive={word} needs readonly too")
    if recursion is BindRecursion.READONLY and fields.get("bind-propagation") != "rprivate":
        raise InvalidOption(f"bind-recursive={word} needs bind-propagation=rprivate too")
    return recursion


def tmpfs(text: str) -> TmpfsMount:
    """Read ``--tmpfs TARGET[:OPTION,…]``; the engine checks the options."""
    _refuse_nul("tmpfs", text)
    target, _, options = text.partition(":")
    if not target.startswith("/"):
        raise InvalidOption(
            f"--tmpfs {text!r} is not absolute", hint="write --tmpfs /run or --tmpfs /run:size=64m"
        )
    words = tuple(word for word in options.split(",") if word)
    return TmpfsMount(target=target_path(target, text), options=words)


def device(text: str) -> DeviceMapping:
    """Read ``--device SOURCE[:TARGET][:PERMISSIONS]``; a source that ends in ``*`` is several."""
    _refuse_nul("device", text)
    source, *rest = text.split(":")
    hint = "write --device /dev/NAME, and :TARGET and :rwm if it is to be other there"
    if "=" in source and not source.startswith("/"):
        raise NotBuiltYet(f"--device {text}: devices by CDI name are not built yet", hint=hint)
    if len(rest) > 2 or not source:
        raise InvalidOption(f"--device {text!r} cannot be understood", hint=hint)
    permissions = rest.pop() if rest and (len(rest) == 2 or _are_permissions(rest[-1])) else "rwm"
    if not _are_permissions(permissions):
        raise InvalidOption(f"--device {text!r}: {permissions!r} is not of r, w, m", hint=hint)
    target = rest[0] if rest else source
    for path in (source, target):
        if not path.startswith("/"):
            raise InvalidOption(f"--device {text!r}: {path!r} is not absolute", hint=hint)
    if rest and source.endswith("*"):
        raise InvalidOption(f"--device {text!r}: several devices cannot have one target")
    clean = posixpath.normpath(target)
    return DeviceMapping(source=source, target=clean, permissions=permissions)


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def target_path(path: str, text: str) -> str:
    """Return a clean path in the container.

    Raises:
        InvalidOption: it is the root itself.
    """
    # Two slashes in front are a third thing to POSIX, and the same to the kernel.
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidOption(f"{text!r} would cover the whole root", hint="name a directory in it")
    return clean


def _refuse_nul(what: str, text: str) -> None:
    if "\0" in text:
        raise InvalidOption(f"{what} {text!r} holds a NUL character")
