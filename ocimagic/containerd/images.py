"""Services of images, and of the content they are made of."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ocimagic.containerd import messages
from ocimagic.containerd.convert import methods, paths, time_of
from ocimagic.containerd.door import TALKS, TELLS, Method
from ocimagic.containerd.filters import chosen, fields_of
from ocimagic.engine.crud.images import Target
from ocimagic.engine.crud.room import OutOfRange
from ocimagic.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.containerd.door import Caller, Message
    from ocimagic.engine.crud.content import Blob, Ingest, Writer
    from ocimagic.engine.crud.crud import Crud
    from ocimagic.engine.crud.images import NamedImage

_LISTED = 100  # blobs in one message
STAT, WRITE, COMMIT = 0, 1, 2


class Images:
    """Images and content.

    Args:
        crud: what is offered.
    """

    def __init__(self, crud: Crud) -> None:
        self._crud = crud

    def services(self) -> Mapping[str, Mapping[str, Method]]:
        """Return the methods by service."""
        return {
            "containerd.services.images.v1.Images": methods(
                messages.images,
                {
                    "Get": ("GetImageRequest", "GetImageResponse", self._get),
                    "List": ("ListImagesRequest", "ListImagesResponse", self._list),
                    "Create": ("CreateImageRequest", "CreateImageResponse", self._create),
                    "Update": ("UpdateImageRequest", "UpdateImageResponse", self._update),
                    "Delete": ("DeleteImageRequest", "", self._delete),
                },
            ),
            "containerd.services.content.v1.Content": self._of_content(),
        }

    def _of_content(self) -> Mapping[str, Method]:
        content = messages.content
        return {
            **methods(
                content,
                {
                    "Info": ("InfoRequest", "InfoResponse", self._info),
                    "Update": ("UpdateRequest", "UpdateResponse", self._relabel),
                    "Delete": ("DeleteContentRequest", "", self._remove),
                    "Status": ("StatusRequest", "StatusResponse", self._status),
                    "ListStatuses": (
                        "ListStatusesRequest",
                        "ListStatusesResponse",
                        self._statuses,
                    ),
                    "Abort": ("AbortRequest", "", self._abort),
                },
            ),
            "List": Method(
                content.ListContentRequest, content.ListContentResponse, self._blobs, TELLS
            ),
            "Read": Method(
                content.ReadContentRequest, content.ReadContentResponse, self._read, TELLS
            ),
            "Write": Method(
                content.WriteContentRequest, content.WriteContentResponse, self._write, TALKS
            ),
        }

    # -- images ----------------------------------------------------------------------

    def _get(self, request: Message, caller: Caller) -> Message:
        found = self._crud.images.get(caller.namespace, request.name)
        return messages.images.GetImageResponse(image=_image(found))

    def _list(self, request: Message, caller: Caller) -> Message:
        found = chosen(
            self._crud.images.list(caller.namespace),
            request.filters,
            lambda each: fields_of(dict(each.labels), name=each.name),
        )
        return messages.images.ListImagesResponse(images=map(_image, found))

    def _create(self, request: Message, caller: Caller) -> Message:
        wanted = request.image
        made = self._crud.images.create(
            caller.namespace, wanted.name, _target(wanted.target), dict(wanted.labels)
        )
        return messages.images.CreateImageResponse(image=_image(made))

    def _update(self, request: Message, caller: Caller) -> Message:
        wanted = request.image
        changed = self._crud.images.update(
            caller.namespace,
            wanted.name,
            _target(wanted.target),
            dict(wanted.labels),
            paths(request),
        )
        return messages.images.UpdateImageResponse(image=_image(changed))

    def _delete(self, request: Message, caller: Caller) -> None:
        self._crud.images.delete(caller.namespace, request.name)

    # -- content ---------------------------------------------------------------------

    def _info(self, request: Message, caller: Caller) -> Message:
        found = self._crud.content.info(caller.namespace, request.digest)
        return messages.content.InfoResponse(info=_blob(found))

    def _relabel(self, request: Message, caller: Caller) -> Message:
        wanted = request.info
        found = self._crud.content.update(
            caller.namespace, wanted.digest, dict(wanted.labels), paths(request)
        )
        return messages.content.UpdateResponse(info=_blob(found))

    def _remove(self, request: Message, caller: Caller) -> None:
        self._crud.content.delete(caller.namespace, request.digest)

    def _blobs(self, request: Message, caller: Caller) -> Iterator[Any]:
        found = chosen(
            self._crud.content.list(caller.namespace),
            request.filters,
            lambda each: fields_of(dict(each.labels), digest=each.digest, size=str(each.size)),
        )
        for first in range(0, len(found), _LISTED):
            some = map(_blob, found[first : first + _LISTED])
            yield messages.content.ListContentResponse(info=some)

    def _read(self, request: Message, caller: Caller) -> Iterator[Any]:
        offset = request.offset
        content = self._crud.content
        for data in content.read(caller.namespace, request.digest, offset, request.size):
            yield messages.content.ReadContentResponse(offset=offset, data=data)
            offset += len(data)

    def _status(self, request: Message, caller: Caller) -> Message:
        found = self._crud.content.status(caller.namespace, request.ref)
        return messages.content.StatusResponse(status=_ingest(found))

    def _statuses(self, request: Message, caller: Caller) -> Message:
        found = chosen(
            self._crud.content.ingests(caller.namespace),
            request.filters,
            lambda each: fields_of({}, ref=each.ref),
        )
        return messages.content.ListStatusesResponse(statuses=map(_ingest, found))

    def _abort(self, request: Message, caller: Caller) -> None:
        self._crud.content.abort(caller.namespace, request.ref)

    def _write(self, requests: Iterator[Any], caller: Caller) -> Iterator[Any]:
        """Take a blob, a message at a time; each is answered with how far it is."""
        with ExitStack() as stack:
            writer: Writer | None = None
            for request in requests:
                if writer is None:
                    if not request.ref:
                        raise BadInput("first message must have a reference")
                    writer = stack.enter_context(
                        self._crud.content.writer(
                            caller.namespace,
                            request.ref,
                            total=request.total,
                            expected=request.expected,
                            lease=caller.lease,
                        )
                    )
                status = self._crud.content.status(caller.namespace, writer.ref)
                if request.action != STAT:
                    _take(writer, request)
                answer = messages.content.WriteContentResponse(
                    action=request.action,
                    started_at=time_of(status.started),
                    updated_at=time_of(status.updated),
                    offset=writer.offset,
                    total=writer.total,
                    digest=writer.digest,
                )
                if request.action == COMMIT:
                    labels = dict(request.labels)
                    answer.digest = writer.commit(request.total, request.expected, labels)
                yield answer
                if request.action == COMMIT:
                    return


def _take(writer: Writer, request: Message) -> None:
    if request.action not in (WRITE, COMMIT):
        raise BadInput(f"there is no action {request.action}")
    if request.offset > 0 and request.offset != writer.offset:
        raise OutOfRange(f"write @{request.offset} must occur at current offset {writer.offset}")
    if request.offset < 0:
        raise BadInput("an offset is not negative")
    if request.offset == 0 and writer.offset > 0:
        writer.restart()
    if request.data:
        writer.write(request.data)


def _target(descriptor: Message) -> Target:
    return Target(
        descriptor.media_type, descriptor.digest, descriptor.size, dict(descriptor.annotations)
    )


def _image(found: NamedImage) -> Message:
    target = found.target
    return messages.images.Image(
        name=found.name,
        labels=found.labels,
        target=messages.types.Descriptor(
            media_type=target.media_type,
            digest=target.digest,
            size=target.size,
            annotations=target.annotations,
        ),
        created_at=time_of(found.created),
        updated_at=time_of(found.updated),
    )


def _blob(found: Blob) -> Message:
    return messages.content.Info(
        digest=found.digest,
        size=found.size,
        created_at=time_of(found.created),
        updated_at=time_of(found.updated),
        labels=found.labels,
    )


def _ingest(found: Ingest) -> Message:
    return messages.content.Status(
        started_at=time_of(found.started),
        updated_at=time_of(found.updated),
        ref=found.ref,
        offset=found.offset,
        total=found.total,
        expected=found.expected,
    )
