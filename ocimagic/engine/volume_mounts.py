"""What a new container has mounted: of other containers, what was asked for, of its image."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ocimagic.engine.record import Document
from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.model.options import VolumeMount
from ocimagic.model.volume import check_volume_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions


def inherited(containers: Register, options: RunOptions) -> RunOptions:
    """Return options with what other containers have mounted, as ``volumes_from`` says.

    Raises:
        ContainerNotFound: there is none of this name.
    """
    own = {each.target for each in options.volumes} | {each.target for each in options.tmpfs}
    found: dict[str, VolumeMount] = {}
    for donor in options.volumes_from:
        record = containers.find(donor.container)
        for each in Document.decode(record.document).options.volumes:
            if each.target not in own:
                read_only = each.read_only or donor.read_only
                found[each.target] = replace(each, read_only=read_only, inherited=True)
    return replace(options, volumes=(*options.volumes, *found.values()))


def check_parts(options: RunOptions) -> None:
    """Refuse what only our own runtime does: parts of volumes, and giving them to a user.

    Raises:
        HostLacks: it would.
    """
    for each in options.volumes:
        if each.own:
            raise HostLacks(
                f"files at {each.target} cannot be given to the container's user (U)",
                why=f"{options.runtime} does not do that",
                hint="leave --runtime out, or U",
            )
        if each.part:
            raise HostLacks(
                f"{each.part} of volume {each.name} cannot be mounted by {options.runtime}",
                why="it would be shown the whole volume, or be led out of it by a link",
                hint="leave --runtime out",
            )


def with_volumes(
    containers: Register, options: RunOptions, image_volumes: Iterable[str]
) -> RunOptions:
    """Return options in which each volume has its name, those of the image among them.

    Raises:
        InvalidOption: a name that no volume can have, or a volume that would cover the root.
    """
    taken = {each.target for each in options.volumes} | {each.target for each in options.tmpfs}
    more = []
    for path in image_volumes:
        if "\0" in path:
            raise InvalidOption(f"the image's VOLUME {path!r} holds a NUL character")
        # As a process inside would understand it, so that nothing leads out.
        target = os.path.normpath("/" + path.lstrip("/"))
        if target == "/":
            raise InvalidOption("the image's VOLUME would cover the root of the container")
        if target not in taken:
            taken.add(target)
            more.append(VolumeMount(target=target, kept=True))
    for each in options.volumes:
        if each.name:
            check_volume_name(each.name)
    mounts = tuple(containers.volumes.named(each) for each in (*options.volumes, *more))
    return replace(options, volumes=mounts)
