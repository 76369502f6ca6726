"""What the runtime did for a container: the role of runc, step by step.

Our own notes all of it, from inside too; for another runtime see ``story_foreign``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.engine.story import NAMESPACE_TYPES, Steps, first, known, own_namespaces
from ocimagic.engine.story_words import capabilities, clone_flags, moment
from ocimagic.model import chapters
from ocimagic.model.explanation import Party, Source, Step
from ocimagic.shim.sources import source_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ocimagic.engine.story import Story
    from ocimagic.engine.timeline import Note
    from ocimagic.model.explanation import Chapter

# Title, phases of ``PHASES``, the one that stands for them, and the spec's chapter.
Groups = tuple[tuple[str, tuple[str, ...], str, "Chapter"], ...]
_GROUPS: Groups = (
    (
        "enter cgroup, namespaces and session",
        ("forbid_imports", "enter_cgroup", "own_ids", "leave_cgroup_view", "new_session"),
        "enter_cgroup",
        chapters.NAMESPACES,
    ),
    (
        "mount the root and all below it",
        ("mount_root", "hold_own_proc", "note_namespaces", "mount_all", "open_terminal",
         "show_console"),
        "mount_all",
        chapters.MOUNTS,
    ),
    (
        "bring up lo, name the host",
        ("raise_loopback", "name_host", "let_creator_prepare", "run_create_hooks",
         "write_sysctls"),
        "name_host",
        chapters.HOSTNAME,
    ),
    (
        "mask and protect paths",
        ("protect_paths", "prepare_working_dir"),
        "protect_paths",
        chapters.MASKED,
    ),
    ("pivot_root into it", ("enter_root", "protect_root"), "enter_root", chapters.ROOT),
    (
        "give up capabilities, become the user",
        ("identify", "own_volumes", "find_program", "await_creator", "connect_stdio",
         "limit_privileges", "limit_resources", "become_user", "check_working_dir",
         "confine_files", "leave_descriptors", "load_asking_filter", "pretend_user"),
        "become_user",
        chapters.PRIVILEGES,
    ),
)  # fmt: skip


def runtime_steps(story: Story) -> Steps:
    """Return what our runtime did until the command waited for its start."""
    steps = [_created(story), _cgroup(story), _cloned(story)]
    return [*(each for each in steps if each), *inside(story, _GROUPS)]


def cgroup_facts(story: Story) -> Iterable[tuple[str, object]]:
    """Say which cgroup of each hierarchy it is in."""
    note = first(story.shim, "cgroup")
    paths: Any = note.detail if note else {}
    for name, path in paths.items():
        yield f"cgroup {name or 'version 2'}", path
    if not paths:
        yield "cgroup", "none: this account may make none here"


def _created(story: Story) -> Step | None:
    asked = first(story.shim, "asked")
    cgroup = first(story.shim, "cgroup")
    if asked is None:
        return None
    return Step(
        party=Party.SHIM,
        to=Party.RUNC,
        title="create: a bundle becomes a process",
        at_s=story.at_s(asked),
        seconds=story.since(cgroup, asked),
        facts=known(
            ("runtime", "ocimagic's own, in the shim's process: nothing is executed for it"),
            ("process of the runtime", story.timeline["shim_pid"]),
            ("bundle", f"{story.directory}/bundle"),
        ),
        chapter=chapters.CREATE,
        source=source_in("create"),
        was_sent=False,
    )


def _cgroup(story: Story) -> Step | None:
    note = first(story.shim, "cgroup")
    if note is None:
        return None
    paths: Any = note.detail or {}
    limits = first(story.shim, "cgroup limits")
    return Step(
        party=Party.RUNC,
        to=Party.RUNC,
        title=_cgroup_title(len(paths)),
        at_s=story.at_s(note),
        facts=known(
            *cgroup_facts(story),
            ("limits written", _ms(story.at_s(limits))),
        ),
        chapter=chapters.CGROUPS,
        source=source_in("cgroup"),
    )


def _cgroup_title(number: int) -> str:
    if not number:
        return "cgroup: none to be had here"
    return "cgroup: 1 made" if number == 1 else f"cgroup: {number} made, one per hierarchy"


def _ms(at_s: float | None) -> str:
    return "" if at_s is None else f"at {at_s * 1000:.2f} ms"


def _cloned(story: Story) -> Step | None:
    note = next(
        (each for each in reversed(story.shim) if each.name == "clone3" and each.detail), None
    )
    if note is None:
        return None
    detail: Any = note.detail
    flags, pid = detail
    born = first(story.init, "born")
    inner = next((each for each in story.init if each.name == "clone3"), None)
    stage: Any = inner.detail if inner else None
    return Step(
        party=Party.RUNC,
        to=Party.PROCESS,
        title=f"clone3: process {story.pid}, {_new_count(story)} new namespaces",
        # Its child is perhaps well under way before the parent gets to note anything.
        at_s=story.at_s(born or note),
        facts=known(
            ("clone3 flags", clone_flags(stage[0] if stage else flags)),
            ("pid", story.pid),
            ("by way of", f"process {pid}, which joined and ended" if stage else None),
            *namespace_facts(story),
        ),
        chapter=chapters.NAMESPACES,
        source=source_in("clone"),
    )


def namespaces(story: Story) -> dict[str, int]:
    """Return the inodes of the namespaces that the process was in, by their names in /proc."""
    note = first(story.init, "namespaces") or first(story.shim, "namespaces")
    found: Any = note.detail if note else ()
    pairs = (text.partition(":") for text in found)  # mnt:[4026532178]
    return {kind: int(inode.strip("[]")) for kind, _, inode in pairs}


def _new_count(story: Story) -> int:
    return sum(not each.get("path") for each in story.linux.get("namespaces", ()))


def namespace_facts(story: Story) -> Iterable[tuple[str, str]]:
    """Say of each namespace which it is and whose."""
    asked = {each["type"]: each.get("path", "") for each in story.linux.get("namespaces", ())}
    mine = own_namespaces()
    for kind, inode in namespaces(story).items():
        name = NAMESPACE_TYPES.get(kind, kind)
        if name in asked and not asked[name]:
            whose = f"new (here: {mine.get(kind, '?')})"
        elif name in asked:
            whose = f"joined: {asked[name]}"
        else:
            same = inode == mine.get(kind)
            whose = "the machine's" if same else f"the launcher's (here: {mine.get(kind, '?')})"
        yield f"{name} namespace", f"{kind}:[{inode}] {whose}"


def inside(story: Story, groups: Groups) -> Steps:
    """Tell what the process did that became the command.

    Args:
        story: what is known.
        groups: its phases, as they are told.
    """
    if not story.init:
        return []
    bounds = _phase_notes(story.init)
    steps: Steps = []
    previous = story.init[0].at_ns
    for title, phases, main, chapter in groups:
        notes = [note for phase in phases for note in bounds.get(phase, ())]
        if not notes:
            continue
        moments = tuple(moment(each, story.began_ns) for each in notes)
        end = notes[-1]
        steps.append(
            Step(
                party=Party.RUNC,
                to=Party.RUNC,
                title=_titled(title, story, notes),
                at_s=story.at_s(end),
                seconds=(end.at_ns - previous) / 1e9,
                facts=known(("in process", story.pid), *_group_facts(main, story, notes)),
                moments=moments,
                chapter=chapter,
                source=source_in(main),
                more=_sources(each for each in phases if each != main),
            )
        )
        previous = end.at_ns
    return steps


def _phase_notes(notes: Iterable[Note]) -> dict[str, list[Note]]:
    """Return what was noted in each phase; its own end is the last of it."""
    found: dict[str, list[Note]] = {}
    pending: list[Note] = []
    for note in notes:
        pending.append(note)
        if note.name.endswith("()"):
            found[note.name.removesuffix("()")] = pending
            pending = []
    return found


def _titled(title: str, story: Story, notes: list[Note]) -> str:
    if title.startswith("mount") and not _has_mounts(story):
        return "the root is a directory: nothing can be mounted here"
    if title.startswith("mount"):
        return f"{sum(each.name == 'mount_all' for each in notes) + 1} mounts, the root first"
    if title.startswith("pivot_root") and not any(each.name == "pivot_root" for each in notes):
        return "change the root"
    if title.startswith("give up"):
        uid = _first_word(story.kernel_said("Uid"))
        return f"{len(_capabilities(story))} capabilities are left, user {uid}"
    return title


def _capabilities(story: Story) -> tuple[str, ...]:
    return capabilities(int(story.kernel_said("CapBnd") or "0", 16))


def _group_facts(main: str, story: Story, notes: list[Note]) -> Iterable[tuple[str, object]]:
    if main == "mount_all":
        mounts = [str(each.detail) for each in notes if each.name == "mount_all"]
        yield "1", f"the root: {_overlay(story)}"
        for number, text in enumerate(mounts, 2):
            yield str(number), text.removeprefix("mount ")
    elif main == "name_host":
        yield "hostname", story.config.get("hostname", "the machine's")
    elif main == "protect_paths":
        yield "masked", ", ".join(story.linux.get("maskedPaths", ()))
        yield "read-only", ", ".join(story.linux.get("readonlyPaths", ()))
    elif main == "become_user":
        yield from kernel_facts(story)


def _has_mounts(story: Story) -> bool:
    return any(each["type"] == "mount" for each in story.linux.get("namespaces", ()))


def _overlay(story: Story) -> str:
    if not _has_mounts(story):
        return "a directory with a copy of the layers"
    layers = len(story.document.layers)
    return f"an overlay of {layers} read-only {'layer' if layers == 1 else 'layers'}, one to write"


def kernel_facts(story: Story) -> Iterable[tuple[str, object]]:
    """Return what the kernel said of the process just after its execve."""
    if not story.timeline.get("status"):
        return
    left = _capabilities(story)
    yield "capabilities", " ".join(left) or "none"
    yield "CapEff, CapBnd", f"{story.kernel_said('CapEff')}, {story.kernel_said('CapBnd')}"
    yield "no_new_privs", story.kernel_said("NoNewPrivs")
    modes = {"0": "off", "1": "strict", "2": "a filter"}
    mode = story.kernel_said("Seccomp")
    yield "seccomp", f"mode {mode}: {modes.get(mode, 'unknown')}"
    yield "user, group", ", ".join(_first_word(story.kernel_said(each)) for each in ("Uid", "Gid"))


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0] if text else "?"


def _sources(phases: Iterable[str]) -> tuple[Source, ...]:
    return tuple(found for each in phases if (found := source_in(each)))
