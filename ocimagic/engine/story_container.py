"""A container's story from the engine's side: what daemon, containerd and shim did for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.bundle.convert import runtime_config
from ocimagic.bundle.directory import write_bundle
from ocimagic.engine import run as running
from ocimagic.engine.exchange import Exchange
from ocimagic.engine.lifecycle import Lifecycle
from ocimagic.engine.story import Steps, before, first, known, parent_of
from ocimagic.engine.story_foreign import create_steps, lacks, start_steps
from ocimagic.engine.story_image import pull_steps
from ocimagic.engine.story_runtime import runtime_steps
from ocimagic.home.source import source_of
from ocimagic.model import chapters
from ocimagic.model.explanation import Explanation, Moment, Party, Step
from ocimagic.model.state import ALIVE
from ocimagic.shim.client import Launcher
from ocimagic.shim.sources import source_in
from ocimagic.store.containers import Containers as Rows
from ocimagic.transfer.unpack import Unpacker

if TYPE_CHECKING:
    from ocimagic.engine.story import Story
    from ocimagic.engine.timeline import Note


def tell(story: Story, line: str) -> Explanation:
    """Return the story of a container.

    Args:
        story: what is known.
        line: the command as docker has it.
    """
    steps = [*_engine_steps(story), *_shim_steps(story)]
    ended = _ended_s(story)
    return Explanation(
        kind="container",
        name=story.record.name,
        line=line,
        began=story.began,
        seconds=ended,
        ending=_ending(story),
        steps=tuple(steps),
        lacks=tuple(_lacks(story)),
    )


# -- daemon and containerd -------------------------------------------------------


def _engine_steps(story: Story) -> Steps:
    made = story.made
    steps = [
        Step(
            party=Party.DAEMON,
            to=Party.CONTAINERD,
            title=f"create container {story.record.name}",
            at_s=story.at_s(first(made, "asked")),
            facts=known(
                ("id", story.record.container_id),
                ("name", story.record.name),
                ("image", story.document.options.image),
                ("command", " ".join(story.document.command)),
                ("network", story.document.network),
                ("kept", "until its end" if story.document.options.remove else "until rm"),
            ),
            chapter=chapters.LIFECYCLE,
            source=source_of(Lifecycle.run_options),
            more=(source_of(running.create), source_of(Rows.add)),
            was_sent=False,
        ),
    ]
    return [*steps, *_image_steps(story), *_bundle_steps(story)]


def _image_steps(story: Story) -> Steps:
    found, layers = first(story.made, "image"), first(story.made, "layers")
    took = story.since(found, before(story.made, found))
    pulled = _pulled_meanwhile(story)
    looked = Step(
        party=Party.CONTAINERD,
        to=Party.IMAGES,
        title=f"find image {story.document.options.image}",
        at_s=story.at_s(before(story.made, found)) if pulled else story.at_s(found),
        seconds=None if pulled else took,
        facts=known(
            ("image ID", story.document.image_id),
            ("manifest", story.record.manifest),
            ("it was", "pulled by this command" if pulled else "here already"),
        ),
        chapter=chapters.MANIFEST,
        source=source_of(Exchange.obtain),
        was_sent=False,
    )
    ready = Step(
        party=Party.CONTAINERD,
        to=Party.IMAGES,
        title=f"snapshots: {_layers(story)} ready to be stacked",
        at_s=story.at_s(layers),
        seconds=story.since(layers, found),
        facts=known(
            *((f"layer {n}", key) for n, key in enumerate(story.diff_ids, 1)),
            ("snapshots", " ".join(story.document.layers)),
        ),
        chapter=chapters.LAYERS,
        source=source_of(Unpacker.ensure),
        was_sent=False,
    )
    return [looked, *pulled, ready]


def _layers(story: Story) -> str:
    number = len(story.document.layers)
    return f"{number} layer" if number == 1 else f"{number} layers"


def _pulled_meanwhile(story: Story) -> Steps:
    """Return the pull that this command needed, if it did."""
    if not story.is_pulled:
        return []
    began = float(story.arrival["began"])
    return pull_steps(story.arrival, offset_s=began - story.wall_ns(story.made[0]) / 1e9)


def _bundle_steps(story: Story) -> Steps:
    made = story.made
    done, files = first(made, "bundle"), first(made, "host files")
    return [
        Step(
            party=Party.CONTAINERD,
            to=Party.BUNDLE,
            title="image config + request become config.json",
            at_s=story.at_s(done),
            seconds=story.since(done, before(made, files)),
            facts=known(
                ("bundle", f"{story.directory}/bundle"),
                ("root", "overlay, mounted by the container's first process"),
                ("args", " ".join(story.config.get("process", {}).get("args", ()))),
                ("removed", "with the container" if story.is_removed else None),
            ),
            moments=_moments(story, made, ("host files", "config", "snapshot", "bundle")),
            documents={"config.json": dict(story.config)} if story.config else {},
            chapter=chapters.CONVERSION,
            source=source_of(runtime_config),
            more=(source_of(write_bundle),),
            was_sent=False,
        ),
    ]


def _moments(story: Story, notes: tuple[Note, ...], names: tuple[str, ...]) -> tuple[Moment, ...]:
    return tuple(
        Moment(at_s=story.at_s(each), name=each.name) for each in notes if each.name in names
    )


# -- shim ------------------------------------------------------------------------


def _shim_steps(story: Story) -> Steps:
    if not story.timeline:
        return []
    return [
        _launched(story),
        *(create_steps(story) if story.runtime else runtime_steps(story)),
        *_made(story),
        *(start_steps(story) if story.runtime else ()),
        _started(story),
        _runtime_gone(story),
        *_over(story),
    ]


def _launched(story: Story) -> Step:
    timeline = story.timeline
    launch: Any = first(story.engine, "launch")
    asked: Any = first(story.engine, "asked")
    shim, holder, above = (timeline[k] for k in ("shim_pid", "holder_pid", "holder_parent"))
    return Step(
        party=Party.CONTAINERD,
        to=Party.SHIM,
        title=f"start: shim {shim} takes it",
        at_s=story.at_s(launch),
        seconds=story.since(first(story.shim, "asked"), launch),
        facts=known(
            ("engine", f"process {asked.detail}" if asked else None),
            ("launcher", f"process {launch.detail}, the engine's child" if launch else None),
            ("holder", f"process {holder}, child of {_who(above, launch)}"),
            ("shim", f"process {shim}, child of holder {holder}"),
            ("first process", f"{story.pid}, child of {_init_parent(story)}"),
        ),
        moments=tuple(
            Moment(at_s=story.at_s(each), name=each.name, detail=str(each.detail or ""))
            for each in story.engine
        ),
        source=source_of(Launcher.launch),
        more=tuple(each for each in (source_in("pair"), source_in("make")) if each),
    )


def _who(pid: int, launch: Note | None) -> str:
    return f"launcher {pid}" if launch and launch.detail == pid else f"process {pid}"


def _init_parent(story: Story) -> str:
    parent = story.kernel_said("PPid")
    names = {str(story.timeline["shim_pid"]): "shim", str(story.timeline["holder_pid"]): "holder"}
    return f"{names.get(parent, 'process')} {parent}" if parent else "somebody: it is hidden here"


def _made(story: Story) -> Steps:
    """Tell that the container is created, and what the shim did before it let it run."""
    ready = first(story.shim, "heard ready") or first(story.shim, "made")
    networks, made = first(story.shim, "networks"), first(story.shim, "made")
    steps = [
        Step(
            party=Party.RUNC,
            to=Party.SHIM,
            title="ready: created, its command waits",
            at_s=story.at_s(ready),
            moments=_shim_moments(story),
            chapter=chapters.CREATE,
            source=source_in("departure") or source_in("wait_for_start"),
        )
    ]
    if story.document.options.networks and networks:
        steps.append(
            Step(
                party=Party.SHIM,
                to=Party.SHIM,
                title=f"networks: {', '.join(e.network for e in story.document.options.networks)}",
                at_s=story.at_s(networks),
                seconds=story.since(networks, made),
                facts=known(*_places(story)),
                source=source_in("networks"),
            )
        )
    return steps


_ELSEWHERE = ("cgroup", "namespaces", "mounts")  # told in a step of their own


def _shim_moments(story: Story) -> tuple[Moment, ...]:
    from ocimagic.engine.story_words import moment

    return tuple(moment(each, story.began_ns) for each in story.shim if each.name not in _ELSEWHERE)


def _places(story: Story) -> list[tuple[str, object]]:
    """Say where the container is in its networks, as long as its shim knows."""
    found: list[tuple[str, object]] = []
    for each in story.state.get("endpoints", ()):
        addresses = each.get("addresses") or ()
        found.append((str(each.get("network", "network")), " ".join(map(str, addresses))))
    return found


def _started(story: Story) -> Step:
    start, executed = first(story.shim, "start"), first(story.shim, "executed")
    inside = story.kernel_said("NSpid").split()
    process = story.config.get("process", {})
    return Step(
        party=Party.SHIM,
        to=Party.PROCESS,
        title=f"start → execve {' '.join(process.get('args', ()))}",
        at_s=story.at_s(executed),
        seconds=story.since(executed, start),
        facts=known(
            ("argv", " ".join(process.get("args", ()))),
            ("pid outside", story.pid),
            ("pid inside", inside[-1] if inside else None),
            ("program", story.kernel_said("Name")),
            ("working directory", process.get("cwd")),
            (
                "seccomp filter loaded",
                {"2": "just before execve"}.get(story.kernel_said("Seccomp")),
            ),
        ),
        chapter=chapters.START,
        source=source_in("execute"),
        more=tuple(each for each in (source_in("start"), source_in("seccomp")) if each),
    )


def _runtime_gone(story: Story) -> Step:
    """Prove that nothing of the runtime is left."""
    shim_pid, now = story.timeline["shim_pid"], story.state.get("shim_pid")
    facts: list[tuple[str, object]] = []
    if story.runtime:
        calls: list[Any] = [n for n in story.shim if n.name.endswith((" create", " start"))]
        facts += [
            (n.name, f"process {n.detail[0]}, exit code {n.detail[1]}")
            for n in calls
            if not n.name.startswith("calls ")
        ]
        facts.append(("seen by", f"shim {shim_pid}, which waited for it"))
    else:
        name = story.kernel_said("Name")
        facts.append(("inside", f"process {story.pid} is {name or 'the command'} since execve"))
        facts.append(("outside", f"ran in shim {shim_pid}; it left no process of its own"))
    if story.status in ALIVE:
        facts.append(("parent now", _parent_now(story)))
        if now and now != shim_pid:
            facts.append(("shim now", f"process {now}: {shim_pid} ended when all was quiet"))
    return Step(
        party=Party.RUNC,
        to=Party.RUNC,
        title="exits: nothing of the runtime is left",
        at_s=story.at_s(first(story.shim, "executed")),
        facts=known(*facts),
        chapter=chapters.LIFECYCLE,
        source=source_in("renew"),
    )


def _parent_now(story: Story) -> str:
    parent = parent_of(story.pid)
    names = {story.state.get("shim_pid"): "shim", story.state.get("holder_pid"): "holder"}
    return f"{names.get(parent, 'process')} {parent}" if parent is not None else "not to be seen"


def _over(story: Story) -> Steps:
    if story.ended is None:
        return []
    signal = f", signal {story.ended.signal}" if story.ended.signal else ""
    return [
        Step(
            party=Party.PROCESS,
            to=Party.SHIM,
            title=f"exit code {story.ended.code}{signal}",
            at_s=_ended_s(story),
            facts=known(
                ("exit code", story.ended.code),
                ("finished", story.ended.finished.isoformat()),
                ("error", story.ended.error),
            ),
            chapter=chapters.LIFECYCLE,
            source=source_in("end"),
        )
    ]


def _ended_s(story: Story) -> float | None:
    """Return the seconds from the beginning to the end of the process."""
    if story.ended is None or not story.timeline:
        return None
    began_s = story.wall_ns(story.shim[0]) / 1e9 - (story.shim[0].at_ns - story.began_ns) / 1e9
    return max(story.ended.finished.timestamp() - began_s, 0.0)


# -- around ----------------------------------------------------------------------


def _ending(story: Story) -> str:
    if story.ended is not None:
        kept = "removed" if story.is_removed else "kept"
        return f"exit code {story.ended.code}, container {kept}"
    if story.is_removed:
        return "removed at its end, which this engine did not see"
    return f"container {story.status.value}"


def _lacks(story: Story) -> list[str]:
    said = []
    if not story.made:
        said.append("How it was made is not known: an earlier version made it, and noted nothing.")
    if not story.timeline:
        said.append(
            "How it was started is not known: it never was, or it was started by an earlier "
            "version or by a shim that was killed meanwhile."
        )
    elif not story.is_one and story.made:
        said.append(
            "It was made by one command and started by another: the times of the making count "
            "from the first, all others from the second."
        )
    if story.runtime:
        said += lacks(story)
    elif story.timeline and not story.init:
        said.append("What its first process did inside is not known: it was not noted.")
    if story.timeline and not story.timeline.get("status"):
        said.append("What the kernel said of the process is not known: /proc did not show it.")
    if not story.config:
        said.append("Its config.json is gone.")
    return said
