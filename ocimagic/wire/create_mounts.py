"""``Binds``, ``Mounts``, ``Volumes``, ``Tmpfs`` and ``VolumesFrom`` of a request to create.

Spec: Docker Engine API v1.41, ``HostConfig`` and ``Mount``; newer fields of API 1.50 too.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from ocimagic.errors import InvalidOption
from ocimagic.model.mount_words import (
    mount_of,
    target_path,
    tmpfs,
    volume,
    volumes_from,
)
from ocimagic.model.options import TmpfsMount, VolumeMount
from ocimagic.model.volume import check_volume_driver
from ocimagic.wire.host_config import RECURSION_KEYS

if TYPE_CHECKING:
    from ocimagic.wire.reading import Asked


def mounts(config: Asked, host: Asked) -> dict[str, Any]:
    """Return what ``RunOptions`` takes of volumes and directories.

    Of two for one target that of ``Mounts`` wins, then that of ``Binds``, as in docker.

    Raises:
        InvalidOption: one that cannot be understood.
        NotBuiltYet: a type of mount that docker has and this version has not.
    """
    asked = [_mount(each) for each in host.children("Mounts")]
    bound = [volume(_absolute, text) for text in host.texts("Binds")]
    memory = [
        tmpfs(f"{target}:{words}" if words else target)
        for target, words in host.text_map("Tmpfs").items()
    ]
    taken = {each.target for each in (*asked, *bound, *memory)}
    nameless = [
        VolumeMount(target=target, kept=True)
        for target in (_volume_target(text) for text in config.objects("Volumes"))
        if target not in taken
    ]
    if nameless or any(not each.source.startswith("/") for each in bound):
        check_volume_driver(host.text("VolumeDriver", "") or config.text("VolumeDriver", ""))
    return {
        "volumes": (
            *bound,
            *(each for each in asked if isinstance(each, VolumeMount)),
            *nameless,
        ),
        "volumes_from": tuple(volumes_from(text) for text in host.texts("VolumesFrom")),
        "tmpfs": (*memory, *(each for each in asked if isinstance(each, TmpfsMount))),
    }


def _absolute(path: str) -> str:
    """Refuse a path that starts at a directory which only the client knows."""
    if not path.startswith("/"):
        raise InvalidOption(
            f"invalid mount source: {path!r} is not absolute",
            hint="if you intended to pass a host directory, use absolute path",
        )
    return posixpath.normpath("/" + path.lstrip("/"))


def _volume_target(text: str) -> str:
    if not text.startswith("/"):
        raise InvalidOption(f"invalid volume: the path {text!r} is not absolute")
    return target_path(text, text)


def _mount(asked: Asked) -> VolumeMount | TmpfsMount:
    fields = {"type": asked.text("Type", ""), "target": asked.text("Target", "")}
    if source := asked.text("Source", ""):
        fields["source"] = source
    if asked.flag("ReadOnly"):
        fields["readonly"] = "true"
    several: dict[str, dict[str, str]] = {}
    if "BindOptions" in asked:
        fields |= _bind_options(asked.child("BindOptions"))
    if "VolumeOptions" in asked:
        wishes = asked.child("VolumeOptions")
        fields |= _volume_options(wishes)
        driver = wishes.child("DriverConfig")
        several = {
            "volume-label": wishes.text_map("Labels"),
            "volume-opt": driver.text_map("Options"),
        }
    if "TmpfsOptions" in asked:
        fields |= _tmpfs_options(asked.child("TmpfsOptions"))
    text = ",".join(f"{key}={value}" for key, value in fields.items())
    return mount_of(_absolute, fields, several, text)


def _bind_options(asked: Asked) -> dict[str, str]:
    found = {}
    if propagation := asked.text("Propagation", ""):
        found["bind-propagation"] = propagation
    for recursion, key in RECURSION_KEYS.items():
        if asked.flag(key):
            found["bind-recursive"] = recursion.value
    # A directory that is not there is made either way; it is read so that its type is checked.
    asked.flag("CreateMountpoint")
    return found


def _volume_options(asked: Asked) -> dict[str, str]:
    found = {"volume-nocopy": "true"} if asked.flag("NoCopy") else {}
    words = {
        "volume-subpath": asked.text("Subpath", ""),
        "volume-driver": asked.child("DriverConfig").text("Name", ""),
    }
    return found | {key: word for key, word in words.items() if word}


def _tmpfs_options(asked: Asked) -> dict[str, str]:
    found = {}
    if size := asked.size("SizeBytes"):
        found["tmpfs-size"] = str(size)
    if mode := asked.size("Mode"):
        found["tmpfs-mode"] = f"{mode:o}"
    return found
