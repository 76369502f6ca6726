"""``explain``: what happened when a command was given, read from what was noted then."""

from __future__ import annotations

import json
import re
import select
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocimagic.engine.exits import exit_status
from ocimagic.engine.heard import Heard
from ocimagic.engine.record import Document
from ocimagic.engine.register import STATE_NAME, read_json
from ocimagic.engine.story import Story, as_now, first
from ocimagic.errors import ContentError, NotFound, OcimagicError
from ocimagic.model.explanation import Asked
from ocimagic.model.state import Status
from ocimagic.shim.client import EXEC_TIMELINES, TIMELINE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.engine.containers import Containers
    from ocimagic.engine.images import Images
    from ocimagic.engine.timeline import Remembered
    from ocimagic.model.explanation import Explanation, HeardRequest
    from ocimagic.store.containers import ContainerRecord
    from ocimagic.store.store import Store

_WRITING_S, _LOOK_S = 0.5, 0.002
_JUST_NOW_S = 1.0


class Explainer:
    """Tells the stories of one data root.

    Args:
        store: of the data root.
        containers: its containers.
        images: its images.
    """

    def __init__(self, store: Store, containers: Containers, images: Images) -> None:
        self._store = store
        self._containers = containers
        self._images = images
        self._heard = Heard()

    def explain(self, name: str = "last", *, line: str = "", newest: bool = False) -> Explanation:
        """Tell what happened when a container was run, or an image pulled or built.

        Args:
            name: of a container or an image, or an ID, of a command that was executed too;
                ``last`` is what came last here.
            line: the command, if the caller knows it.
            newest: of an image, what this engine did last, though it changed nothing.

        Raises:
            NotFound: there is nothing of that name, or nothing at all yet.
        """
        if name == "last":
            name = self._newest()
        story = self._story(name)
        if story is None and (executed := self._executed(name, line)):
            return executed
        if story is None:
            return self._image(name, line, newest=newest)
        from ocimagic.engine.story_container import tell

        told = tell(story, line or story.document.options.line)
        return replace(told, asked=self._asked(story))

    def hear(self, container_id: str, request: HeardRequest) -> None:
        """Keep a request that a client sent about a container.

        Args:
            container_id: whole.
            request: its answer has been given.
        """
        self._heard.put(self._containers.directory(container_id), request)

    def explain_failure(self, line: str, failure: OcimagicError) -> Explanation:
        """Tell how far a command came that failed just now.

        Args:
            line: the command.
            failure: what it raised.
        """
        from ocimagic.engine.story_failure import end_with, nothing_made

        newest = next(iter(self._store.containers.all()), None)
        story = self._story(newest.container_id) if newest else None
        if story is None or story.document.options.line != line:
            return nothing_made(line, failure)
        return end_with(self.explain(story.record.container_id, line=line), failure)

    def _asked(self, story: Story) -> Asked:
        """Return what a container was asked for, without what the engine added."""
        options = story.document.options
        own: tuple[str, ...] = ()
        with suppress(NotFound, ContentError):
            own = self._store.images.documents(story.record.manifest)[1].config.volumes
        kept = tuple(v for v in options.volumes if not (v.anonymous and v.target in own))
        asked = first(story.made, "asked")
        # -p alone has the front rooms choose the bridge, and docker's client nothing.
        is_open = options.line and not re.search(r"\s--net", options.line)
        directory = self._containers.directory(story.record.container_id)
        return Asked(
            heard=tuple(each for each in self._heard.of(directory) if not each.exec_id),
            options=replace(options, volumes=kept),
            container_id=story.record.container_id,
            network="default" if is_open or (asked and asked.detail == "default") else "",
            pulled=story.is_pulled,
            started=bool(story.timeline),
            at_once=story.is_one,
        )

    def _image(self, name: str, line: str, *, newest: bool) -> Explanation:
        from ocimagic.engine.story_image import tell

        try:
            image = self._store.images.find(name)
        except NotFound as err:
            raise NotFound(
                f"no container or image is called {name!r}",
                hint="%container_ls -a and %image_ls list them; %explain alone takes the last one",
            ) from err
        kept = self._store.timelines.get(image.manifest.digest)
        seen = self._images.arrivals.get(str(image.image_id))
        told: Mapping[str, Any] | None = (seen or kept) if newest else (kept or seen)
        if told is None:
            raise NotFound(
                f"how image {name} came here is not known",
                why="it was loaded, or an earlier version brought it",
                hint=f"%image_history {name} shows how it was built",
            )
        shown = image.names[0].reference.familiar if image.names else name
        return replace(tell(told, shown, line), asked=_asked_image(told))

    def _newest(self) -> str:
        """Return the ID of the container or image that came last."""
        found: list[tuple[float, str]] = []
        if one := self._containers.recent.newest():
            found.append((one.record.created, one.record.container_id))
        for record in self._store.containers.all():
            path = self._containers.directory(record.container_id) / TIMELINE_NAME
            began = record.created
            with suppress(OSError):
                began = max(began, path.stat().st_mtime)
            found.append((began, record.container_id))
            found += [(each.stat().st_mtime, str(each)) for each in self._exec_files(record)]
        if told := self._store.timelines.newest():
            found.append((float(str(told["began"])), str(told["image_id"])))
        if not found:
            raise NotFound(
                "there is nothing to explain yet",
                hint="%container_run busybox echo hello, and then %explain",
            )
        newest = max(found)[1]
        executed = read_json(Path(newest)) if newest.endswith(".json") else None
        return str(executed["exec_id"]) if executed else newest

    # -- commands in containers ----------------------------------------------------

    def _exec_files(self, record: ContainerRecord) -> list[Path]:
        """Return where it is told what was executed in a container, in no order."""
        # An older shim knows of nothing to write, one that is gone has written it.
        with suppress(OcimagicError), self._containers.connect(record) as connection:
            connection.write_timelines()
        return list(self._containers.directory(record.container_id).glob(EXEC_TIMELINES))

    def _executed(self, exec_id: str, line: str) -> Explanation | None:
        """Tell how a command was executed; None if nobody knows of it."""
        if not re.fullmatch(r"[0-9a-f]{12,64}", exec_id):
            return None
        for record in self._store.containers.all():
            for path in self._exec_files(record):
                told = read_json(path) or {}
                if str(told.get("exec_id")).startswith(exec_id):
                    return self._tell_executed(record, told, line)
        return None

    def _tell_executed(
        self, record: ContainerRecord, told: Mapping[str, Any], line: str
    ) -> Explanation:
        from ocimagic.engine.story_exec import asked_of, tell
        from ocimagic.engine.story_runtime import namespaces

        container = self._known(record)
        whose = namespaces(container) if container.pid == told["first_pid"] else {}
        # The notes of the container's own making are of another story.
        bare = replace(container.document, made="")
        kept = container.state.get("execs", {}).get(told["exec_id"], {})
        timeline = as_now(told, kept.get("start_ticks"))
        story = replace(container, document=bare, timeline=timeline)
        ended = exit_status(kept["exit"]) if kept.get("exit") else None
        heard = self._heard.of(self._containers.directory(record.container_id))
        asked = Asked(
            heard=tuple(each for each in heard if each.exec_id == told["exec_id"]),
            container_id=record.container_id,
            exec_id=str(told["exec_id"]),
            executed=asked_of(story),
        )
        return replace(tell(story, line, ended, whose), asked=asked)

    # -- containers --------------------------------------------------------------

    def _story(self, name: str) -> Story | None:
        """Return what is known of a container; None if there is none of that name."""
        record: ContainerRecord | None = None
        with suppress(OcimagicError):
            record = self._containers.find(name)
        if record is None:
            one = self._containers.recent.find(name)
            return self._removed(one) if one else None
        return self._known(record)

    def _known(self, record: ContainerRecord) -> Story:
        """Return what is known of a container that is there."""
        directory = self._containers.directory(record.container_id)
        status, ended = self._containers.status(record)
        config = read_json(directory / "bundle" / "config.json") or {}
        remembered = self._containers.recent.find(record.container_id)
        timeline = _written(directory) or (remembered and _told(remembered))
        document = Document.decode(record.document)
        state = read_json(directory / STATE_NAME) or {}
        return Story(
            record=record,
            document=document,
            config=config,
            timeline=as_now(timeline or {}, state.get("start_ticks")),
            state=state,
            status=status,
            ended=ended,
            directory=str(directory),
            is_removed=False,
            arrival=self._arrival(record, document),
            diff_ids=self._diff_ids(record),
        )

    def _removed(self, one: Remembered) -> Story:
        document = Document.decode(one.record.document)
        config: Any = json.loads(one.config)
        return Story(
            record=one.record,
            document=document,
            config=config,
            timeline=_told(one),
            state={},
            status=Status.EXITED,
            ended=one.ended,
            directory=str(self._containers.directory(one.record.container_id)),
            is_removed=True,
            arrival=self._arrival(one.record, document),
            diff_ids=self._diff_ids(one.record),
        )

    def _diff_ids(self, record: ContainerRecord) -> tuple[str, ...]:
        with suppress(NotFound, ContentError):
            return tuple(map(str, self._store.images.documents(record.manifest)[1].diff_ids))
        return ()

    def _arrival(self, record: ContainerRecord, document: Document) -> Mapping[str, Any]:
        told = self._store.timelines.get(record.manifest)
        return told or self._images.arrivals.get(document.image_id) or {}


def _told(one: Remembered) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(one.timeline) if one.timeline else {}
    return found


def _written(directory: Path) -> Mapping[str, Any] | None:
    """Return what a shim wrote of a start; it does so when it has answered who asked for it."""
    end = time.monotonic() + _WRITING_S
    while (told := read_json(directory / TIMELINE_NAME)) is None:
        try:
            age_s = time.time() - (directory / STATE_NAME).stat().st_mtime
        except FileNotFoundError:
            return None
        if age_s > _JUST_NOW_S or time.monotonic() > end:
            return None
        select.select([], [], [], _LOOK_S)
    return told


def _asked_image(told: Mapping[str, Any]) -> Asked:
    if told["kind"] == "pull":
        return Asked(reference=str(told["reference"]))
    return Asked(build=told["asked"], tags=tuple(told["tags"]))
