"""Services about the server itself, its namespaces and leases."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from ocimagic.containerd import messages
from ocimagic.containerd.convert import methods, paths, time_of
from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.engine.crud.snapshots import NAME as SNAPSHOTTER
from ocimagic.spec.platform import host_platform
from ocimagic.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.containerd.door import Caller, Message, Method
    from ocimagic.engine.crud.crud import Crud
    from ocimagic.store.objects import Object

# Type and ID as containerd names them, and what does it here.
_PLUGINS = (
    ("io.containerd.content.v1", "content"),
    ("io.containerd.snapshotter.v1", SNAPSHOTTER),
    ("io.containerd.differ.v1", "walking"),
    ("io.containerd.runtime.v2", "task"),
    *(
        (f"io.containerd.{kind}.v1", f"{name}{suffix}")
        for kind, suffix in (("service", "-service"), ("grpc", ""))
        for name in ("containers", "content", "diff", "images", "leases", "namespaces")
    ),
    ("io.containerd.service.v1", "introspection-service"),
    ("io.containerd.service.v1", "snapshots-service"),
    ("io.containerd.service.v1", "tasks-service"),
    ("io.containerd.grpc.v1", "events"),
    ("io.containerd.grpc.v1", "introspection"),
    ("io.containerd.grpc.v1", "snapshots"),
    ("io.containerd.grpc.v1", "tasks"),
    ("io.containerd.grpc.v1", "version"),
)


class About:
    """Version, introspection, namespaces and leases.

    Args:
        crud: what is offered.
    """

    def __init__(self, crud: Crud) -> None:
        self._crud = crud
        self._uuid = str(uuid.uuid4())

    def services(self) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods by service."""
        return {
            "containerd.services.version.v1.Version": methods(
                messages.version, {"Version": ("", "VersionResponse", self._version)}
            ),
            "containerd.services.introspection.v1.Introspection": methods(
                messages.introspection,
                {
                    "Plugins": ("PluginsRequest", "PluginsResponse", self._plugins),
                    "Server": ("", "ServerResponse", self._server),
                },
            ),
            "containerd.services.namespaces.v1.Namespaces": methods(
                messages.namespaces,
                {
                    "Get": ("GetNamespaceRequest", "GetNamespaceResponse", self._get),
                    "List": ("ListNamespacesRequest", "ListNamespacesResponse", self._list),
                    "Create": ("CreateNamespaceRequest", "CreateNamespaceResponse", self._create),
                    "Update": ("UpdateNamespaceRequest", "UpdateNamespaceResponse", self._update),
                    "Delete": ("DeleteNamespaceRequest", "", self._delete),
                },
            ),
            "containerd.services.leases.v1.Leases": methods(
                messages.leases,
                {
                    "Create": ("CreateRequest", "CreateResponse", self._lease),
                    "Delete": ("DeleteRequest", "", self._release),
                    "List": ("ListRequest", "ListResponse", self._leases),
                    "AddResource": ("AddResourceRequest", "", self._add_resource),
                    "DeleteResource": ("DeleteResourceRequest", "", self._delete_resource),
                    "ListResources": (
                        "ListResourcesRequest",
                        "ListResourcesResponse",
                        self._resources,
                    ),
                },
            ),
        }

    # -- the server ------------------------------------------------------------------

    def _version(self, _request: Message, _caller: Caller) -> Message:
        return messages.version.VersionResponse(version=f"ocimagic {VERSION}", revision="")

    def _server(self, _request: Message, _caller: Caller) -> Message:
        return messages.introspection.ServerResponse(
            uuid=self._uuid, pid=os.getpid(), pidns=os.stat("/proc/self/ns/pid").st_ino
        )

    def _plugins(self, request: Message, _caller: Caller) -> Message:
        here = host_platform()
        platform = messages.types.Platform(
            os=here.os, architecture=here.architecture, variant=here.variant or ""
        )
        found = [
            messages.introspection.Plugin(
                type=kind,
                id=name,
                platforms=[] if kind.startswith("io.containerd.grpc") else [platform],
                exports={"root": self._crud.root} if name == SNAPSHOTTER else {},
            )
            for kind, name in _PLUGINS
        ]
        kept = chosen(
            found, request.filters, lambda each: fields_of({}, type=each.type, id=each.id)
        )
        return messages.introspection.PluginsResponse(plugins=kept)

    # -- namespaces ------------------------------------------------------------------

    def _namespace(self, name: str) -> Message:
        labels = self._crud.namespaces.labels(name)
        return messages.namespaces.Namespace(name=name, labels=labels)

    def _get(self, request: Message, _caller: Caller) -> Message:
        found = self._namespace(request.name)
        return messages.namespaces.GetNamespaceResponse(namespace=found)

    def _list(self, _request: Message, _caller: Caller) -> Message:
        found = map(self._namespace, self._crud.namespaces.names())
        return messages.namespaces.ListNamespacesResponse(namespaces=found)

    def _create(self, request: Message, _caller: Caller) -> Message:
        wanted = request.namespace
        self._crud.namespaces.create(wanted.name, dict(wanted.labels))
        return messages.namespaces.CreateNamespaceResponse(namespace=wanted)

    def _update(self, request: Message, _caller: Caller) -> Message:
        wanted = request.namespace
        self._crud.namespaces.update(wanted.name, dict(wanted.labels), paths(request))
        found = self._namespace(wanted.name)
        return messages.namespaces.UpdateNamespaceResponse(namespace=found)

    def _delete(self, request: Message, _caller: Caller) -> None:
        self._crud.namespaces.delete(request.name)

    # -- leases ----------------------------------------------------------------------

    def _lease(self, request: Message, caller: Caller) -> Message:
        made = self._crud.leases.create(caller.namespace, request.id, dict(request.labels))
        return messages.leases.CreateResponse(lease=_lease_message(made))

    def _release(self, request: Message, caller: Caller) -> None:
        self._crud.leases.delete(caller.namespace, request.id)

    def _leases(self, request: Message, caller: Caller) -> Message:
        found = chosen(
            self._crud.leases.list(caller.namespace),
            request.filters,
            lambda each: fields_of(each.labels, id=each.name),
        )
        return messages.leases.ListResponse(leases=map(_lease_message, found))

    def _add_resource(self, request: Message, caller: Caller) -> None:
        what = request.resource
        self._crud.leases.add_resource(caller.namespace, request.id, what.type, what.id)

    def _delete_resource(self, request: Message, caller: Caller) -> None:
        what = request.resource
        self._crud.leases.delete_resource(caller.namespace, request.id, what.type, what.id)

    def _resources(self, request: Message, caller: Caller) -> Message:
        found = self._crud.leases.resources(caller.namespace, request.id)
        listed = [
            messages.leases.Resource(id=each.document["id"], type=each.document["type"])
            for each in found
        ]
        return messages.leases.ListResourcesResponse(resources=listed)


def _lease_message(lease: Object) -> Message:
    return messages.leases.Lease(
        id=lease.name, created_at=time_of(lease.created), labels=lease.labels
    )
