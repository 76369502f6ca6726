"""``-v``, ``--mount``, ``--tmpfs`` and ``--device``: from words to what is mounted where."""

from __future__ import annotations

import csv
import glob
import os
from typing import TYPE_CHECKING

from ocimagic.cli.quantities import byte_size, truth
from ocimagic.errors import InvalidOption, NotBuiltYet, nearest
from ocimagic.model.options import BindRecursion, TmpfsMount, VolumeMount
from ocimagic.model.resources import DeviceMapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.cli.session import Session

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
}
# Keys that may stand alone for "true".
_FLAGS = ("readonly", "bind-nonrecursive")
_VOLUMES_WHY = "volumes that the engine keeps come with a later version"
_MOUNT_HINT = "write --mount type=bind,src=DIR,dst=DIR or type=tmpfs,dst=DIR"


def volume(session: Session, text: str) -> VolumeMount:
    """Read ``-v SOURCE:TARGET[:MODE]``; a relative source starts at the session's directory."""
    source, *rest = text.split(":")
    hint = "write -v SOURCE:TARGET or -v SOURCE:TARGET:ro"
    if len(rest) not in {1, 2} or not source:
        why = "a volume without a source comes with a later version" if text else None
        raise InvalidOption(f"volume {text!r} cannot be understood", why=why, hint=hint)
    _refuse_nul("volume", text)
    if not source.startswith(("/", ".", "~")):
        raise NotBuiltYet(
            f"named volumes such as {source!r} are not built yet",
            hint=f"for a directory write -v ./{source}:{rest[0]}",
        )
    if not rest[0].startswith("/"):
        raise InvalidOption(f"the target {rest[0]!r} of volume {text!r} is not absolute", hint=hint)
    read_only, relabel, propagation = _mode(rest[1] if len(rest) == 2 else "", text)
    return VolumeMount(
        source=session.path(source),
        target=target_path(rest[0], text),
        read_only=read_only,
        relabel=relabel,
        propagation=propagation,
    )


def _mode(mode: str, text: str) -> tuple[bool, str, str]:
    """Read ``ro,z,rslave``: whether read-only, the relabelling, the propagation."""
    found: dict[str, str] = {}
    for word in mode.split(",") if mode else ():
        kind = _kind_of_mode(word)
        if kind is None or kind in found:
            known = ("ro", "rw", "z", "Z", *PROPAGATIONS)
            near = nearest(word, known)
            raise InvalidOption(
                f"mode {word!r} of volume {text!r} cannot be understood"
                if kind is None
                else f"mode {mode!r} of volume {text!r} contradicts itself",
                hint=f"did you mean {near}?" if near else f"it may be {', '.join(known)}",
            )
        found[kind] = word
    return found.get("access") == "ro", found.get("label", ""), found.get("propagation", "")


def _kind_of_mode(word: str) -> str | None:
    # nocopy is for volumes the engine keeps, and what macOS needs consistency for is not here.
    kinds = {"access": ("ro", "rw"), "label": ("z", "Z"), "propagation": PROPAGATIONS,
             "copy": ("nocopy",), "consistency": _CONSISTENCIES}  # fmt: skip
    return next((kind for kind, words in kinds.items() if word in words), None)


def mount(session: Session, text: str) -> VolumeMount | TmpfsMount:
    """Read ``--mount type=bind,src=…,dst=…,…`` or ``type=tmpfs,dst=…,…``."""
    _refuse_nul("mount", text)
    fields = _mount_fields(text)
    kind = fields.pop("type", "volume").lower()
    if kind in {"volume", "image", "npipe", "cluster"}:
        why = _VOLUMES_WHY if kind == "volume" else None
        raise NotBuiltYet(f"mounts of type {kind!r} are not built yet", why=why, hint=_MOUNT_HINT)
    if kind not in {"bind", "tmpfs"}:
        raise InvalidOption(f"mount type {kind!r} is unknown", hint=_MOUNT_HINT)
    for key in fields:
        if key.startswith(("bind-", "tmpfs-")) and not key.startswith(f"{kind}-"):
            raise InvalidOption(f"{key} in --mount {text!r} does not go with type={kind}")
    target = fields.get("target", "")
    if not target.startswith("/"):
        what = f"target {target!r} is not absolute" if target else "a target is missing"
        raise InvalidOption(f"--mount {text!r}: {what}", hint=_MOUNT_HINT)
    read_only = truth("readonly", fields.get("readonly", "false"))
    if kind == "tmpfs":
        return _tmpfs_mount(fields, text, read_only=read_only)
    return _bind_mount(session, fields, text, read_only=read_only)


def _mount_fields(text: str) -> dict[str, str]:
    """Return the keys in their one spelling; a value may be quoted as in a table file."""
    try:
        (row,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as err:
        raise InvalidOption(f"--mount {text!r} cannot be understood", hint=_MOUNT_HINT) from err
    fields: dict[str, str] = {}
    for field in row:
        key, equals, value = field.partition("=")
        key = key.lower()
        if key.startswith(("volume-", "image-")):
            raise NotBuiltYet(f"{key} in --mount is not built yet", why=_VOLUMES_WHY)
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            hint = f"did you mean {near}?" if near else _MOUNT_HINT
            raise InvalidOption(f"--mount does not know {key!r} in {text!r}", hint=hint)
        name = _KEYS[key]
        if not equals and name not in _FLAGS:
            raise InvalidOption(f"{key} in --mount {text!r} needs a value", hint=f"write {key}=…")
        fields[name] = value if equals else "true"
    return fields


def _tmpfs_mount(fields: dict[str, str], text: str, *, read_only: bool) -> TmpfsMount:
    if "source" in fields:
        raise InvalidOption(f"--mount {text!r}: a tmpfs has no source", hint=_MOUNT_HINT)
    options = ["ro"] if read_only else []
    if mode := fields.get("tmpfs-mode"):
        if not all(digit in "01234567" for digit in mode) or len(mode) > 5:
            raise InvalidOption(f"tmpfs-mode {mode!r} is not octal", hint="write tmpfs-mode=1770")
        options.append(f"mode={int(mode, 8):o}")
    if size := byte_size("tmpfs-size", fields.get("tmpfs-size", "0")):
        options.append(f"size={size}")
    return TmpfsMount(target=target_path(fields["target"], text), options=tuple(options))


def _bind_mount(
    session: Session, fields: dict[str, str], text: str, *, read_only: bool
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
        source=session.path(source),
        target=target_path(fields["target"], text),
        read_only=read_only,
        propagation=propagation,
        recursion=_recursion(fields, read_only=read_only),
    )


def _recursion(fields: dict[str, str], *, read_only: bool) -> BindRecursion:
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


def devices(text: str) -> Iterator[DeviceMapping]:
    """Read ``--device SOURCE[:TARGET][:PERMISSIONS]``; ``/dev/tty*`` is several."""
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
    if not source.endswith("*"):
        yield DeviceMapping(source=source, target=os.path.normpath(target), permissions=permissions)
        return
    if rest:
        raise InvalidOption(f"--device {text!r}: several devices cannot have one target")
    for path in sorted(glob.glob(source)):
        yield DeviceMapping(source=path, target=path, permissions=permissions)


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def target_path(path: str, text: str) -> str:
    """Return a clean path in the container.

    Raises:
        InvalidOption: it is the root itself.
    """
    # Two slashes in front are a third thing to POSIX, and the same to the kernel.
    clean = os.path.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidOption(f"{text!r} would cover the whole root", hint="name a directory in it")
    return clean


def _refuse_nul(what: str, text: str) -> None:
    if "\0" in text:
        raise InvalidOption(f"{what} {text!r} holds a NUL character")
