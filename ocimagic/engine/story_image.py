"""How an image came here: a pull as its registry answered it, a build step by step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ocimagic.build.cache import StepCache
from ocimagic.build.commit import commit
from ocimagic.build.config_steps import applied
from ocimagic.build.copy import copy_step
from ocimagic.build.run_step import run_step
from ocimagic.build.solve import Builder
from ocimagic.build.stage import StageRun
from ocimagic.build.workdir import workdir_step
from ocimagic.dockerfile.parse import parse
from ocimagic.engine.story import Steps, known
from ocimagic.home.source import source_of
from ocimagic.model import chapters
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.registry.client import RegistryClient
from ocimagic.store.images import Images
from ocimagic.transfer.pull import pull
from ocimagic.transfer.unpack import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def tell(told: Mapping[str, Any], name: str, line: str) -> Explanation:
    """Return the story of an image.

    Args:
        told: what was noted, see ``engine.arrivals``.
        name: what the image is called.
        line: the command as docker has it.
    """
    is_pull = told["kind"] == "pull"
    steps = pull_steps(told) if is_pull else _build_steps(told)
    return Explanation(
        kind=str(told["kind"]),
        name=name,
        line=line,
        began=datetime.fromtimestamp(float(told["began"]), UTC).isoformat(),
        seconds=float(told["seconds"]),
        ending=_pull_ending(told) if is_pull else _build_ending(told),
        steps=tuple(steps),
        lacks=()
        if told.get("requests") or not is_pull
        else ("No request to the registry was noted: it was not asked anything.",),
    )


# -- pull ------------------------------------------------------------------------


def pull_steps(told: Mapping[str, Any], *, offset_s: float = 0.0) -> Steps:
    """Return the steps of a pull.

    Args:
        told: what was noted of it.
        offset_s: when it began, in the story that it is part of.
    """
    digests = tuple(str(each["digest"]) for each in told["layers"])
    blobs = [each for each in told["requests"] if str(each["path"]).endswith(digests)]
    asked = [_request(each, offset_s) for each in told["requests"] if each not in blobs]
    layers = [_layer(n, each, blobs, offset_s) for n, each in enumerate(told["layers"], 1)]
    # Layers come while documents are still asked for.
    came = sorted([*asked, *layers], key=lambda step: step.at_s or 0.0)
    ends_s = [step.at_s for step in layers if step.at_s is not None]
    named = Step(
        party=Party.CONTAINERD,
        to=Party.IMAGES,
        title=f"{told['reference']} is here" if told["up_to_date"] else "name → manifest",
        at_s=offset_s + float(told["seconds"]),
        seconds=float(told["seconds"]) - (max(ends_s) - offset_s) if ends_s else None,
        facts=known(
            ("name", told["reference"]),
            ("target", told["target"]),
            ("manifest", told["manifest"]),
            ("manifest type", told["manifest_type"]),
            ("image ID", told["image_id"]),
            ("downloaded", f"{told['downloaded_bytes']} bytes of layers"),
        ),
        chapter=chapters.MANIFEST,
        source=source_of(Images.add),
        was_sent=False,
    )
    begun = Step(
        party=Party.DAEMON,
        to=Party.CONTAINERD,
        title=f"pull {told['reference']}",
        at_s=offset_s,
        facts=known(("registry", told["registry"])),
        source=source_of(pull),
        was_sent=False,
    )
    return [begun, *came, named]


def _request(asked: Mapping[str, Any], offset_s: float) -> Step:
    is_blob = "/blobs/" in str(asked["path"])
    asks: Callable[..., object] = RegistryClient.manifest
    why = "the document of that digest"
    if asked["method"] == "HEAD":
        asks, why = RegistryClient.resolve, "which digest has this name?"
    elif is_blob:
        asks, why = RegistryClient.open_blob, "the image's config"
    return Step(
        party=Party.CONTAINERD,
        to=Party.REGISTRY,
        title=f"{asked['method']} {_short_path(str(asked['path']))} → {asked['status']}",
        at_s=offset_s + float(asked["at_s"]),
        seconds=float(asked["seconds"]),
        facts=known(
            ("registry", asked["host"]),
            ("request", f"{asked['method']} {asked['path']}"),
            ("answer", asked["status"]),
            ("why", why),
        ),
        chapter=chapters.PULL_BLOB if is_blob else chapters.PULL_MANIFEST,
        source=source_of(asks),
    )


def _short_path(path: str) -> str:
    """Return a path with its digest shortened to twelve digits."""
    head, colon, digits = path.partition("sha256:")
    return f"{head}{colon}{digits[:12]}…" if colon else path


def _layer(number: int, layer: Mapping[str, Any], blobs: list[Any], offset_s: float) -> Step:
    digest = str(layer["digest"])
    own = [each for each in blobs if str(each["path"]).endswith(digest)]
    began_s = min((float(each["at_s"]) for each in own), default=None)
    ended_s = layer.get("ended_s")
    took = float(ended_s) - began_s if ended_s is not None and began_s is not None else None
    how = str(layer.get("how", "not finished"))
    verb = "GET" if own else how
    return Step(
        party=Party.CONTAINERD,
        to=Party.REGISTRY if own else Party.IMAGES,
        title=f"layer {number}: {verb} {digest[:19]}…, {layer['bytes']} bytes",
        at_s=offset_s + float(ended_s) if ended_s is not None else None,
        seconds=took,
        facts=known(
            ("digest", digest),
            ("bytes", layer["bytes"]),
            ("requests", len(own)),
            ("begun at", _at(began_s, offset_s)),
            ("all of it here at", _at(layer.get("fetched_s"), offset_s)),
            ("unpacked at", _at(ended_s, offset_s) if own else None),
            ("it was", how),
        ),
        chapter=chapters.PULL_BLOB if own else chapters.LAYERS,
        source=source_of(RegistryClient.open_blob),
        more=(source_of(Unpacker.unpacking),),
    )


def _at(at_s: object, offset_s: float) -> str | None:
    return None if at_s is None else f"{(float(str(at_s)) + offset_s) * 1000:.1f} ms"


def _pull_ending(told: Mapping[str, Any]) -> str:
    if told["up_to_date"]:
        return "up to date: the registry's digest is the one that is here"
    fetched = sum(each.get("how") == "done" for each in told["layers"])
    return f"{fetched} of {len(told['layers'])} layers fetched, {told['downloaded_bytes']} bytes"


# -- build -----------------------------------------------------------------------

# Instructions that make files: whom they concern, and what does them.
_WORKERS: dict[str, tuple[Party, Callable[..., object]]] = {
    "FROM": (Party.IMAGES, StageRun.state),
    "RUN": (Party.RUNC, run_step),
    "COPY": (Party.IMAGES, copy_step),
    "ADD": (Party.IMAGES, copy_step),
    "WORKDIR": (Party.IMAGES, workdir_step),
}


def _build_steps(told: Mapping[str, Any]) -> Steps:
    begun = Step(
        party=Party.DAEMON,
        to=Party.CONTAINERD,
        title="parse the Dockerfile, plan its steps",
        at_s=0.0,
        facts=known(("steps", len(told["steps"])), ("tags", ", ".join(told["tags"]))),
        source=source_of(parse),
        more=(source_of(Builder.build),),
        was_sent=False,
    )
    steps = [_build_step(each) for each in told["steps"]]
    done = Step(
        party=Party.CONTAINERD,
        to=Party.IMAGES,
        title="config, manifest, name",
        at_s=float(told["seconds"]),
        facts=known(
            ("image ID", told["image_id"]),
            ("digest", told["digest"]),
            ("size", f"{told['size_bytes']} bytes of files"),
        ),
        chapter=chapters.MANIFEST,
        source=source_of(commit),
        was_sent=False,
    )
    return [begun, *steps, done]


def _build_step(step: Mapping[str, Any]) -> Step:
    word = str(step["text"]).split(maxsplit=1)[0].upper()
    cached = bool(step["cached"])
    whom, worker = _WORKERS.get(word, (Party.CONTAINERD, applied))
    to = Party.IMAGES if cached else whom
    made = "from the cache" if cached else f"made in {float(step['seconds']):.2f} s"
    return Step(
        party=Party.CONTAINERD,
        to=to,
        title=f"{step['number']} {step['text']}{' (cached)' if cached else ''}",
        seconds=float(step["seconds"]),
        facts=known(
            ("line", step["line"]),
            ("stage", step["stage"]),
            ("it was", made),
            ("why not cached", step["why"]),
            ("layer", step["layer"]),
            ("bytes of its tar", step["bytes"] if step["layer"] else None),
            ("step result", step["image_id"]),
        ),
        chapter=chapters.LAYERS if step["layer"] else chapters.CONFIG,
        source=source_of(StepCache.find if cached else worker),
        was_sent=to is not Party.IMAGES,
    )


def _build_ending(told: Mapping[str, Any]) -> str:
    cached = sum(bool(each["cached"]) for each in told["steps"])
    return f"{cached} of {len(told['steps'])} steps from the cache"
