"""``container update``: new limits and a new restart policy for a container that is there."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from ocimagic.bundle.checks import check_options
from ocimagic.bundle.directory import CONFIG_NAME
from ocimagic.bundle.machine import find_place
from ocimagic.bundle.resources import linux_resources, resource_warnings
from ocimagic.engine.record import Document
from ocimagic.engine.supervision import restart_request
from ocimagic.home.location import write_atomic
from ocimagic.model.resources import ResourceOptions
from ocimagic.model.state import ALIVE, Status

if TYPE_CHECKING:
    from ocimagic.engine.register import Register
    from ocimagic.model.options import RunOptions
    from ocimagic.model.policy import RestartPolicy
    from ocimagic.model.request import UpdateOptions
    from ocimagic.spec.resources import Resources
    from ocimagic.store.containers import ContainerRecord


def update(register: Register, record: ContainerRecord, asked: UpdateOptions) -> tuple[str, ...]:
    """Change what was asked for and, if the container runs, what holds for it now.

    Returns:
        What this machine cannot keep, a sentence each.

    Raises:
        InvalidOption: limits that make no sense, alone or with those it has.
        HostLacks: this machine cannot set them.
    """
    document = Document.decode(record.document)
    options = _merged(document.options, asked)
    place = find_place(
        options,
        rootless=register.unpacker.rootless,
        hostname=document.hostname,
        files=(),
        container_id=record.container_id,
    )
    check_options(options, place)
    config = register.runtime_config(record)
    resources = linux_resources(options.resources, place, config.resources.devices)
    with register.locked(record):
        # The kernel first: what it refuses is not to be remembered.
        limits = resources if asked.resources != ResourceOptions() else None
        warnings = _apply(register, record, limits, asked.restart)
        path = register.directory(record.container_id) / "bundle" / CONFIG_NAME
        write_atomic(path, replace(config, resources=resources).encode())
        changed = replace(document, options=options)
        register.store.containers.rewrite(record.container_id, changed.encode())
    said = (*resource_warnings(options.resources, place), *warnings)
    return tuple(dict.fromkeys(said))


def _merged(options: RunOptions, asked: UpdateOptions) -> RunOptions:
    """Return what a container was asked to be, with what is asked for now."""
    usual = ResourceOptions()
    given = {
        each.name: getattr(asked.resources, each.name)
        for each in fields(usual)
        if getattr(asked.resources, each.name) != getattr(usual, each.name)
    }
    resources = replace(options.resources, **given)
    return replace(options, resources=resources, restart=asked.restart or options.restart)


def _apply(
    register: Register,
    record: ContainerRecord,
    limits: Resources | None,
    restart: RestartPolicy | None,
) -> tuple[str, ...]:
    """Tell the kernel and the shim; return what they cannot keep."""
    status = register.status(record)[0]
    if status not in ALIVE:
        return ()
    if status is Status.RESTARTING:
        limits = None  # its next start finds them in its bundle
    with register.connect(record) as connection:
        return connection.update(
            None if limits is None else limits.to_json(),
            None if restart is None else restart_request(restart),
        )
