"""Another runtime's work, as far as it can be known: its calls from outside, the kernel's word."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ocimagic.engine.story import Steps, first, known
from ocimagic.engine.story_runtime import cgroup_facts, kernel_facts, namespace_facts
from ocimagic.model import chapters
from ocimagic.model.explanation import Party, Step
from ocimagic.shim.sources import source_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.engine.story import Story
    from ocimagic.model.explanation import Chapter


def create_steps(story: Story) -> Steps:
    """Return what another runtime did until the command waited for its start."""
    called = replace(
        call_step(story, "create", chapters.CREATE, "foreign"),
        documents={"config.json for it": _config(story)},
    )
    steps = [called, _kept(story), _waits(story)]
    return [each for each in steps if each]


def start_steps(story: Story) -> Steps:
    """Return the call that lets the command begin."""
    return [call_step(story, "start", chapters.START, "foreign start")]


def call_step(story: Story, verb: str, chapter: Chapter | None, source: str) -> Step:
    """Return one call of another runtime: its words, which process it was, what that used.

    Args:
        story: what is known.
        verb: ``create``.
        chapter: where the specification says what it has to do.
        source: where we call it, see ``source_in``.
    """
    name = os.path.basename(story.runtime)
    called, ended = first(story.shim, f"calls {name} {verb}"), first(story.shim, f"{name} {verb}")
    said: Any = ended.detail if ended else None
    words: Any = called.detail if called else None
    return Step(
        party=Party.SHIM,
        to=Party.RUNC,
        title=f"{name} {verb}",
        at_s=story.at_s(called or ended),
        seconds=story.since(ended, called),
        facts=known(
            ("runtime", story.runtime),
            ("command line", " ".join(words) if words else None),
            ("pid of the runtime", said[0] if said else None),
            ("its exit code", said[1] if said else None),
            ("its processor time", f"{said[2] * 1000:.1f} ms" if said and said[2:] else None),
            ("its memory at most", f"{said[3]} KiB" if said and said[3:] else None),
            ("returned at", _ms(story.at_s(ended))),
            ("what it did inside", "it does not tell: see below what the kernel showed then"),
        ),
        chapter=chapter,
        source=source_in(source),
    )


def _ms(at_s: float | None) -> str | None:
    return None if at_s is None else f"{at_s * 1000:.2f} ms"


def _kept(story: Story) -> Step | None:
    """Tell what the runtime wrote down for itself: the one thing it says."""
    note = first(story.shim, "runtime's own file")
    if note is None:
        return None
    said: Any = note.detail
    cgroups = said.get("cgroup_paths")
    shown = {key: value for key, value in said.items() if key not in ("path", "cgroup_paths")}
    return Step(
        party=Party.RUNC,
        to=Party.RUNC,
        title=f"writes {os.path.basename(said['path'])}: what it says itself",
        at_s=_created_s(story, str(said.get("created", ""))) or story.at_s(note),
        facts=known(
            ("file", said["path"]),
            *((key, json.dumps(value).strip('"')) for key, value in shown.items()),
            ("cgroup_paths", f"{len(cgroups)}, one per hierarchy" if cgroups else None),
            ("the time", "of this step is its own word, by the clock on the wall"),
        ),
        chapter=chapters.STATE,
    )


def _created_s(story: Story, text: str) -> float | None:
    """Return when the runtime says that it made the container, since the beginning."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return told.timestamp() - datetime.fromisoformat(story.began).timestamp()


def _waits(story: Story) -> Step | None:
    """Tell what the kernel showed of the process that another runtime made, while it waited."""
    note, spaces = first(story.shim, "waits"), first(story.shim, "namespaces")
    said: Mapping[str, str] = note.detail if note else {}  # type: ignore[assignment]
    return Step(
        party=Party.RUNC,
        to=Party.PROCESS,
        title=f"process {story.pid} waits as {said.get('Name', 'something else')}",
        at_s=story.at_s(note or spaces),
        facts=known(
            ("its words", said.get("cmdline")),
            ("its parent", _parent(story, said.get("PPid", ""))),
            ("born", _born(said)),
            *_becomes(story, said),
            ("seen", seen(story)),
            *namespace_facts(story),
            *cgroup_facts(story),
            *((str(number), text) for number, text in enumerate(_mounts(story), 1)),
            *kernel_facts(story),
        ),
        chapter=chapters.NAMESPACES,
    )


def _parent(story: Story, parent: str) -> str | None:
    if not parent:
        return None
    is_shim = parent == str(story.timeline["shim_pid"])
    return f"shim {parent}: the runtime, which made it, is gone" if is_shim else parent


def _born(said: Mapping[str, str]) -> str | None:
    ticks = said.get("start_ticks")
    if not ticks:
        return None
    return f"{int(ticks) / os.sysconf('SC_CLK_TCK'):.2f} s after the machine's start"


def _becomes(story: Story, said: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Say what of a process was otherwise after its execve: done between, in an order unknown."""
    for name in ("Name", "Threads", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"):
        before, after = said.get(name), story.kernel_said(name)
        if before and after and before != after:
            yield f"{name} before and after start", f"{before} → {after}"


def seen(story: Story) -> str:
    """Say when the kernel said what is told of the process: ``start`` returns before execve."""
    if story.timeline.get("is_now"):
        return "now: the process runs"
    return "when the runtime's call had returned, perhaps just before its execve"


def _mounts(story: Story) -> list[str]:
    """Return the mounts that another runtime made, in the kernel's order."""
    note = first(story.shim, "mounts")
    found: Any = note.detail if note else []
    return list(found)


def _config(story: Story) -> object:
    """Return what that runtime was given, or where it was if it is gone."""
    path = os.path.join(str(story.state.get("run_directory", "")), "runtime", "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {"gone": "the runtime's own bundle was removed with the container's end"}


def lacks(story: Story) -> list[str]:
    """Say in words what another runtime does not tell."""
    name = os.path.basename(story.runtime)
    told = (
        f"{story.runtime} is another program, which tells nothing of what it does: its phases, "
        "system calls and their order are its own. Known are its calls with their times and what "
        "they used, its own file, and what /proc shows of the process while it waits and after."
    )
    when = (
        f"When {name} made each namespace and mount between its call and its return, and when it "
        "gave up capabilities and loaded its filter, nobody can say: there is before and after."
    )
    return [told, when]
