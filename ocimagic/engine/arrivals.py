"""How images come here, noted while they do: what a registry was asked, and each layer's way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ocimagic.model.event import ENDED, LayerPhase, LayerProgress, TransferStarted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocimagic.model.built import BuildResult
    from ocimagic.model.event import Event, OnEvent
    from ocimagic.model.options import BuildOptions
    from ocimagic.transfer.pull import Pulled

PULLED, BUILT = "pull", "build"


class Arrival:
    """One pull, as its events and its registry's answers tell it.

    Args:
        reference: what was asked for.
        on_event: hears all events, too.
    """

    def __init__(self, reference: str, on_event: OnEvent) -> None:
        self._reference = reference
        self._on_event = on_event
        self._lock = threading.Lock()
        self._clock_ns, self._began = time.monotonic_ns(), time.time()
        self._requests: list[dict[str, object]] = []
        self._layers: dict[str, dict[str, object]] = {}
        self._known_s: float | None = None

    def __call__(self, event: Event) -> None:
        """Note an event and pass it on."""
        if isinstance(event, TransferStarted):
            self._known_s = self._now_s()
            for digest, size in event.layers:
                self._layers[str(digest)] = {"digest": str(digest), "bytes": size}
        elif isinstance(event, LayerProgress):
            self._move(event)
        self._on_event(event)

    def answered(self, method: str, url: str, status: int, seconds: float) -> None:
        """Note an answer of a registry; from any thread."""
        where = urlsplit(url)
        asked = {
            "at_s": self._now_s() - seconds,
            "seconds": seconds,
            "method": method,
            "host": where.netloc,
            "path": where.path,
            "status": status,
        }
        with self._lock:
            self._requests.append(asked)

    def document(self, done: Pulled) -> dict[str, object]:
        """Return all of it, the pull being done."""
        manifest = done.image.manifest
        return {
            "kind": PULLED,
            "began": self._began,
            "seconds": self._now_s(),
            "reference": self._reference,
            "registry": done.registry,
            "target": str(done.target),
            "manifest": str(manifest.digest),
            "manifest_type": manifest.media_type,
            "image_id": str(done.image.image_id),
            "up_to_date": done.up_to_date,
            "downloaded_bytes": done.downloaded_bytes,
            "known_s": self._known_s,
            "requests": sorted(self._requests, key=lambda each: float(str(each["at_s"]))),
            "layers": list(self._layers.values()),
        }

    def _now_s(self) -> float:
        return (time.monotonic_ns() - self._clock_ns) / 1e9

    def _move(self, event: LayerProgress) -> None:
        with self._lock:
            layer = self._layers.get(str(event.digest))
            if layer is None:
                return
            now_s = self._now_s()
            if event.phase is LayerPhase.EXTRACTING:
                layer["fetched_s"] = now_s
            elif event.phase in ENDED:
                layer["ended_s"], layer["how"] = now_s, event.phase.value
            layer["bytes_per_s"] = event.bytes_per_s


def built(result: BuildResult, options: BuildOptions, began: float) -> Mapping[str, object]:
    """Return how an image was built.

    Args:
        result: of the build.
        options: what was asked for; values of build arguments are not kept, they may be secrets.
        began: seconds since 1970.
    """
    return {
        "kind": BUILT,
        "began": began,
        "seconds": result.seconds,
        "tags": list(result.tags),
        "asked": {
            "dockerfile": options.dockerfile_name if options.dockerfile is None else "",
            "target": options.target or "",
            "buildargs": dict.fromkeys(options.build_args, "…"),
            "labels": dict(options.labels),
            "nocache": options.no_cache,
            "pull": options.pull,
            "platform": ",".join(map(str, options.platforms)),
            "squash": options.squash,
        },
        "image_id": str(result.image_id),
        "digest": str(result.digest),
        "size_bytes": result.size_bytes,
        "steps": [
            {
                "number": step.number,
                "stage": step.stage,
                "text": step.text,
                "line": step.line,
                "cached": step.cached,
                "seconds": step.seconds,
                "layer": str(step.layer) if step.layer else None,
                "bytes": step.size_bytes,
                "why": step.why,
                "image_id": str(step.image_id) if step.image_id else None,
            }
            for step in result.steps
        ],
    }
