"""The service of containers, and that of what happens."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from ocimagic.containerd import messages
from ocimagic.containerd.convert import any_of, kept_any, methods, paths, time_of
from ocimagic.containerd.door import TELLS, Method
from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.engine.crud.room import DEFAULT
from ocimagic.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ocimagic.containerd.door import Caller, Message
    from ocimagic.engine.crud.crud import Crud
    from ocimagic.model.system_event import SystemEvent
    from ocimagic.store.objects import Object

_TICK_S = 0.2
_TOPICS = {
    "/images/create": "ImageCreate",
    "/images/update": "ImageUpdate",
    "/images/delete": "ImageDelete",
    "/namespaces/create": "NamespaceCreate",
    "/namespaces/delete": "NamespaceDelete",
    "/containers/create": "ContainerCreate",
    "/containers/delete": "ContainerDelete",
    "/snapshot/prepare": "SnapshotPrepare",
    "/snapshot/commit": "SnapshotCommit",
    "/snapshot/remove": "SnapshotRemove",
    "/content/delete": "ContentDelete",
    "/tasks/create": "TaskCreate",
    "/tasks/start": "TaskStart",
    "/tasks/exit": "TaskExit",
    "/tasks/delete": "TaskDelete",
    "/tasks/exec-added": "TaskExecAdded",
    "/tasks/exec-started": "TaskExecStarted",
    "/tasks/paused": "TaskPaused",
    "/tasks/resumed": "TaskResumed",
}
# What the engine tells as docker does, and what containerd would tell.
_OF_ENGINE = {
    ("container", "create"): "/containers/create",
    ("container", "destroy"): "/containers/delete",
    ("container", "start"): "/tasks/start",
    ("container", "die"): "/tasks/exit",
    ("container", "pause"): "/tasks/paused",
    ("container", "unpause"): "/tasks/resumed",
    ("image", "tag"): "/images/create",
    ("image", "untag"): "/images/delete",
}


class Containers:
    """Containers and events.

    Args:
        crud: what is offered.
        over: set when the server closes.
    """

    def __init__(self, crud: Crud, over: threading.Event) -> None:
        self._crud = crud
        self._over = over

    def services(self) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods by service."""
        package = messages.containers
        return {
            "containerd.services.containers.v1.Containers": {
                **methods(
                    package,
                    {
                        "Get": ("GetContainerRequest", "GetContainerResponse", self._get),
                        "List": ("ListContainersRequest", "ListContainersResponse", self._list),
                        "Create": (
                            "CreateContainerRequest",
                            "CreateContainerResponse",
                            self._create,
                        ),
                        "Update": (
                            "UpdateContainerRequest",
                            "UpdateContainerResponse",
                            self._update,
                        ),
                        "Delete": ("DeleteContainerRequest", "", self._delete),
                    },
                ),
                "ListStream": Method(
                    package.ListContainersRequest, package.ListContainerMessage, self._tell, TELLS
                ),
            },
            "containerd.services.events.v1.Events": self._of_events(),
        }

    def _of_events(self) -> Mapping[str, Method]:
        return {
            **methods(
                messages.events,
                {
                    "Publish": ("PublishRequest", "", self._publish),
                    "Forward": ("ForwardRequest", "", self._forward),
                },
            ),
            "Subscribe": Method(
                messages.events.SubscribeRequest,
                messages.events.Envelope,
                self._subscribe,
                TELLS,
            ),
        }

    # -- containers --------------------------------------------------------------------

    def _get(self, request: Message, caller: Caller) -> Message:
        found = self._crud.containers.get(caller.namespace, request.id)
        return messages.containers.GetContainerResponse(container=_container(found))

    def _chosen(self, request: Message, caller: Caller) -> list[Object]:
        return chosen(
            self._crud.containers.list(caller.namespace),
            request.filters,
            lambda each: fields_of(
                each.labels,
                id=each.name,
                image=str(each.document["image"]),
                runtime=str(each.document["runtime"]["name"]),
            ),
        )

    def _list(self, request: Message, caller: Caller) -> Message:
        found = map(_container, self._chosen(request, caller))
        return messages.containers.ListContainersResponse(containers=found)

    def _tell(self, request: Message, caller: Caller) -> Iterator[Any]:
        for each in self._chosen(request, caller):
            yield messages.containers.ListContainerMessage(container=_container(each))

    def _create(self, request: Message, caller: Caller) -> Message:
        wanted = request.container
        made = self._crud.containers.create(caller.namespace, wanted.id, _document(wanted))
        return messages.containers.CreateContainerResponse(container=_container(made))

    def _update(self, request: Message, caller: Caller) -> Message:
        wanted = request.container
        made = self._crud.containers.update(
            caller.namespace, wanted.id, _document(wanted), paths(request)
        )
        return messages.containers.UpdateContainerResponse(container=_container(made))

    def _delete(self, request: Message, caller: Caller) -> None:
        self._crud.containers.delete(caller.namespace, request.id)

    # -- events ------------------------------------------------------------------------

    def _publish(self, request: Message, caller: Caller) -> None:
        """Let others hear what a client tells."""
        kept = kept_any(request.event) or {}
        self._crud.containers.tell(caller.namespace, request.topic, **kept)

    def _forward(self, request: Message, _caller: Caller) -> None:
        told = request.envelope
        kept = kept_any(told.event) or {}
        self._crud.containers.tell(told.namespace, told.topic, **kept)

    def _subscribe(self, request: Message, caller: Caller) -> Iterator[Any]:
        """Tell what happens in all namespaces, as containerd does, until nobody listens."""
        heard: queue.Queue[Any] = queue.Queue()
        gone = threading.Event()
        sources: tuple[tuple[Callable[..., Iterator[SystemEvent]], Callable[..., Any]], ...] = (
            (self._crud.events, _envelope),
            (self._crud.engine_events, _envelope_of_engine),
        )

        def listen(source: Callable[..., Iterator[SystemEvent]], read: Callable[..., Any]) -> None:
            for event in source(gone):
                heard.put(read(event))

        for source, read in sources:
            threading.Thread(
                target=listen, args=(source, read), name="ocimagic-events", daemon=True
            ).start()
        try:
            while caller.is_there and not self._over.is_set():
                try:
                    envelope = heard.get(timeout=_TICK_S)
                except queue.Empty:
                    continue
                if envelope is not None:
                    yield from chosen([envelope], request.filters, _look)
        finally:
            gone.set()


def _look(envelope: Message) -> Message:
    return fields_of({}, topic=envelope.topic, namespace=envelope.namespace)


def _envelope(event: SystemEvent) -> Message:
    if "type_url" in event.attributes:
        content = any_of(event.attributes)
    else:
        content = _content(event.action, event.attributes)
    return messages.events.Envelope(
        timestamp=time_of(event.time_ns / 1e9),
        namespace=event.kind,
        topic=event.action,
        event=content,
    )


def _envelope_of_engine(event: SystemEvent) -> Message:
    topic = _OF_ENGINE.get((event.kind, event.action))
    if topic is None:
        return None
    said = event.attributes
    fields = {
        "id": event.actor,
        "container_id": event.actor,
        "image": said.get("image", ""),
        "name": str(Reference.parse(said["name"])) if event.kind == "image" else "",
        "exited_at": str(event.time_ns / 1e9),
        "exit_status": said.get("exitCode", "0"),
    }
    return messages.events.Envelope(
        timestamp=time_of(event.time_ns / 1e9),
        namespace=DEFAULT,
        topic=topic,
        event=_content(topic, fields),
    )


def _content(topic: str, said: Mapping[str, str]) -> Message:
    package = messages.images if topic.startswith("/images/") else messages.event_types
    kind = getattr(package, _TOPICS.get(topic, ""), None)
    if kind is None:
        return messages.well_known.Any()
    message = kind()
    for name, value in said.items():
        field = kind.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            continue
        if field.message_type is not None:
            getattr(message, name).CopyFrom(time_of(float(value)))
        else:
            setattr(message, name, int(value) if field.type == field.TYPE_UINT32 else value)
    return messages.well_known.Any(
        type_url=kind.DESCRIPTOR.full_name, value=message.SerializeToString()
    )


def _document(container: Message) -> dict[str, Any]:
    return {
        "image": container.image,
        "labels": dict(container.labels),
        "runtime": {
            "name": container.runtime.name,
            "options": kept_any(container.runtime.options),
        },
        "spec": kept_any(container.spec),
        "snapshotter": container.snapshotter,
        "snapshot_key": container.snapshot_key,
        "extensions": {name: kept_any(each) for name, each in container.extensions.items()},
        "sandbox": container.sandbox,
    }


def _container(found: Object) -> Message:
    document = found.document
    runtime = document["runtime"]
    message = messages.containers.Container(
        id=found.name,
        labels=found.labels,
        image=document["image"],
        runtime=messages.containers.Runtime(
            name=runtime["name"],
            options=any_of(runtime["options"]) if runtime["options"] else None,
        ),
        spec=any_of(document["spec"]) if document["spec"] else None,
        snapshotter=document["snapshotter"],
        snapshot_key=document["snapshot_key"],
        created_at=time_of(found.created),
        updated_at=time_of(found.updated),
        sandbox=document["sandbox"],
    )
    for name, each in document["extensions"].items():
        message.extensions[name].CopyFrom(any_of(each))
    return message
