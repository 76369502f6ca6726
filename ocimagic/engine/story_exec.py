"""A command that was executed in a container beside its first process: who went where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocimagic.engine.processes import Processes
from ocimagic.engine.story import NAMESPACE_TYPES, Steps, before, first, known, own_namespaces
from ocimagic.engine.story_foreign import call_step, lacks, seen
from ocimagic.engine.story_runtime import (
    Groups,
    cgroup_facts,
    inside,
    kernel_facts,
    namespaces,
)
from ocimagic.engine.story_words import clone_flags, moment
from ocimagic.home.source import source_of
from ocimagic.linux import syscalls
from ocimagic.model import chapters
from ocimagic.model.explanation import Explanation, Party, Step
from ocimagic.shim.sources import source_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ocimagic.engine.story import Story
    from ocimagic.engine.timeline import Note
    from ocimagic.model.result import ExitStatus

# As ``story_runtime``'s, of ``runtime.execute.PHASES``.
_GROUPS: Groups = (
    (
        "enter the container's cgroup, a session of its own",
        ("forbid_imports", "enter_cgroup", "set_affinity", "new_session"),
        "enter_cgroup",
        chapters.CGROUPS,
    ),
    (
        "look where it is, find the container's root",
        ("hold_own_proc", "note_namespaces", "find_root", "open_terminal"),
        "find_root",
        chapters.ROOT,
    ),
    (
        "give up capabilities, become the user",
        ("identify", "find_program", "connect_stdio", "limit_privileges", "limit_resources",
         "become_user", "check_working_dir", "confine_files", "leave_descriptors",
         "load_asking_filter"),
        "become_user",
        chapters.PRIVILEGES,
    ),
)  # fmt: skip
_JOINED = {
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "ipc": syscalls.CLONE_NEWIPC,
    "mnt": syscalls.CLONE_NEWNS,
    "net": syscalls.CLONE_NEWNET,
    "pid": syscalls.CLONE_NEWPID,
    "time": syscalls.CLONE_NEWTIME,
    "user": syscalls.CLONE_NEWUSER,
    "uts": syscalls.CLONE_NEWUTS,
}


def tell(
    story: Story, line: str, ended: ExitStatus | None, whose: Mapping[str, int]
) -> Explanation:
    """Return the story of a command.

    Args:
        story: what is known; its timeline is the command's.
        line: the command as docker has it, or "".
        ended: how it ended; None while it runs, or when nobody knows any more.
        whose: the namespaces of the container's first process, as that noted them.
    """
    steps = [*_asked(story), _taken(story), *_made(story, whose), _started(story), _kept(story)]
    if ended is not None:
        steps.append(_over(story, ended))
    return Explanation(
        kind="exec",
        name=story.record.name,
        line=line,
        began=story.began,
        seconds=_lasted_s(story, ended),
        ending=_ending(story, ended),
        steps=tuple(steps),
        lacks=tuple(_lacks(story, ended)),
    )


def asked_of(story: Story) -> Mapping[str, Any]:
    """Return what was asked for, by the names of ``ExecOptions``."""
    note = first(story.engine, "asked")
    found: Any = note.detail if note else None
    return found or {}


def _first_pid(story: Story) -> int:
    return int(story.timeline["first_pid"])


# -- daemon and containerd -------------------------------------------------------


def _asked(story: Story) -> Steps:
    asked, made = asked_of(story), first(story.engine, "process")
    words = [name for name in ("interactive", "tty", "detach", "privileged") if asked.get(name)]
    begun = Step(
        party=Party.DAEMON,
        to=Party.CONTAINERD,
        title=f"one more process in container {story.record.name}",
        at_s=story.at_s(first(story.engine, "asked")),
        facts=known(
            ("container", story.record.container_id),
            ("exec ID", story.timeline["exec_id"]),
            ("command", " ".join(asked.get("command", ()))),
            ("asked for", ", ".join(words)),
        ),
        source=source_of(Processes.exec_attached),
        was_sent=False,
    )
    document = dict(story.timeline["process"])
    process = Step(
        party=Party.CONTAINERD,
        to=Party.BUNDLE,
        title="config.json's process, changed as asked",
        at_s=story.at_s(made),
        seconds=story.since(made, before(story.engine, made)),
        facts=known(*_changes(story, document)),
        documents={"process, of variables only the names": document},
        chapter=chapters.PROCESS,
        source=source_of(Processes._process),  # noqa: SLF001  it is shown, not called
        was_sent=False,
    )
    return [begun, process]


def _changes(story: Story, process: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    """Say what the command has otherwise than the container's own process."""
    own: Mapping[str, Any] = story.config.get("process", {})
    names = {str(each).partition("=")[0] for each in own.get("env", ())}
    yield "args", " ".join(process.get("args", ()))
    yield "instead of", " ".join(own.get("args", ()))
    yield "variables added", " ".join(each for each in process.get("env", ()) if each not in names)
    for name in ("cwd", "terminal"):
        if process.get(name) != own.get(name):
            yield name, process.get(name)
    if asked_of(story).get("user"):
        yield "user", asked_of(story)["user"]
    if process.get("capabilities") != own.get("capabilities"):
        yield "capabilities", "all: --privileged"


def _taken(story: Story) -> Step:
    sent = first(story.engine, "connected")
    shim, holder = story.timeline["shim_pid"], story.timeline["holder_pid"]
    return Step(
        party=Party.CONTAINERD,
        to=Party.SHIM,
        title=f"execute: shim {shim} takes it",
        at_s=story.at_s(sent),
        seconds=story.since(first(story.shim, "asked"), sent),
        facts=known(
            ("engine", f"process {sent.detail}" if sent else None),
            ("shim", f"process {shim}, child of holder {holder}"),
            ("it keeps", f"process {_first_pid(story)}, the container's first"),
        ),
        source=source_in("ask"),
    )


# -- runtime ---------------------------------------------------------------------


def _made(story: Story, whose: Mapping[str, int]) -> Steps:
    if story.runtime:
        return _foreign(story, whose)
    asked = first(story.shim, "asked")
    begun = Step(
        party=Party.SHIM,
        to=Party.RUNC,
        title="exec: a process for a container that runs",
        at_s=story.at_s(asked),
        seconds=story.since(first(story.shim, "cgroup"), asked),
        facts=known(
            ("runtime", "ocimagic's own, in the shim's process: nothing is executed for it"),
            ("process of the runtime", story.timeline["shim_pid"]),
            *cgroup_facts(story),
        ),
        source=source_in("exec"),
        was_sent=False,
    )
    return [begun, _entered(story, whose), *inside(story, _GROUPS)]


def _entered(story: Story, whose: Mapping[str, int]) -> Step:
    """Tell of the clone and of each namespace that the process went into."""
    joined = _joined(story)
    clone = first(story.shim, "clone3")
    detail: Any = clone.detail if clone else None
    calls = [each for each in (*story.shim, *story.init) if each.name in ("setns", "clone3")]
    return Step(
        party=Party.RUNC,
        to=Party.PROCESS,
        title=f"clone3, setns: process {story.pid} enters {len(joined)} namespaces",
        at_s=story.at_s(first(story.init, "born") or clone),
        facts=known(
            ("pid", story.pid),
            ("clone3 flags", clone_flags(detail[0]) or "none: nothing new is made"),
            ("by way of", _stage(story, detail)),
            *_namespace_facts(story, joined, whose),
        )
        if detail
        else (),
        moments=tuple(
            moment(each, story.began_ns) for each in sorted(calls, key=lambda note: note.at_ns)
        ),
        chapter=chapters.NAMESPACES,
        source=source_in("clone"),
    )


def _stage(story: Story, detail: list[int]) -> str | None:
    """Name the process that joined and then made the one that counts, if there was one."""
    return f"process {detail[1]}, which joined and ended" if detail[1] != story.pid else None


def _joined(story: Story) -> set[str]:
    """Return what was entered by setns(2), by names in /proc; of another runtime what differs."""
    if story.runtime:
        mine = own_namespaces()
        return {kind for kind, inode in namespaces(story).items() if inode != mine.get(kind)}
    mask = 0
    for each in (*story.shim, *story.init):
        if each.name == "setns" and isinstance(each.detail, int):
            mask |= each.detail
    return {kind for kind, bit in _JOINED.items() if mask & bit}


def _namespace_facts(
    story: Story, joined: set[str], whose: Mapping[str, int]
) -> Iterable[tuple[str, str]]:
    mine, lead = own_namespaces(), _first_pid(story)
    for kind, inode in namespaces(story).items():
        words = "shared with the shim already"
        if kind in joined:
            words = f"entered (here: {mine.get(kind, '?')})"
        elif inode == mine.get(kind):
            words = "the machine's"
        if kind in whose:
            same = "the one" if whose[kind] == inode else f"not {whose[kind]}, the one"
            words += f", {same} of first process {lead}"
        yield f"{NAMESPACE_TYPES.get(kind, kind)} namespace", f"{kind}:[{inode}] {words}"


def _foreign(story: Story, whose: Mapping[str, int]) -> Steps:
    """Tell what is known of another runtime's ``exec``."""
    made = first(story.shim, "namespaces")
    shown = Step(
        party=Party.RUNC,
        to=Party.PROCESS,
        title=f"process {story.pid} is in {len(_joined(story))} namespaces that are not ours",
        at_s=story.at_s(made),
        facts=known(
            ("pid it wrote", story.pid),
            ("seen", seen(story)),
            *_namespace_facts(story, _joined(story), whose),
            *kernel_facts(story),
        ),
        chapter=chapters.NAMESPACES,
    )
    return [call_step(story, "exec", None, "foreign exec"), shown]


# -- shim ------------------------------------------------------------------------


def _started(story: Story) -> Step:
    start, executed = first(story.shim, "start"), first(story.shim, "executed")
    numbers = story.kernel_said("NSpid").split()
    process: Mapping[str, Any] = story.timeline["process"]
    return Step(
        party=Party.SHIM,
        to=Party.PROCESS,
        title=f"start → execve {' '.join(process.get('args', ()))}",
        at_s=story.at_s(executed),
        seconds=story.since(executed, start),
        facts=known(
            ("argv", " ".join(process.get("args", ()))),
            ("pid outside", story.pid),
            ("pid inside", numbers[-1] if numbers else None),
            ("child of", _parent(story)),
            ("beside", f"process {_first_pid(story)}, the container's first"),
            ("program", story.kernel_said("Name")),
            ("working directory", process.get("cwd")),
        ),
        chapter=chapters.PROCESS,
        source=source_in("execute"),
    )


def _parent(story: Story) -> str:
    parent = story.kernel_said("PPid")
    names = {str(story.timeline["shim_pid"]): "shim", str(story.timeline["holder_pid"]): "holder"}
    return f"{names.get(parent, 'process')} {parent}" if parent else "somebody: it is hidden here"


_ELSEWHERE = ("cgroup", "namespaces", "clone3", "setns")  # told in a step of their own


def _kept(story: Story) -> Step:
    last = first(story.shim, "executed")
    return Step(
        party=Party.SHIM,
        to=Party.SHIM,
        title="keeps its streams, waits for its end",
        at_s=story.at_s(last),
        facts=known(
            ("streams", _streams(story)),
            ("safe with", f"holder {story.timeline['holder_pid']}, should the shim be killed"),
            ("told", "docker's events exec_create, exec_start"),
        ),
        moments=tuple(
            moment(each, story.began_ns) for each in story.shim if each.name not in _ELSEWHERE
        ),
        source=source_in("begin"),
    )


def _streams(story: Story) -> str:
    note = first(story.shim, "streams")
    if note is None:
        return "none: nobody wants its output"
    return "a terminal" if note.detail == ["terminal"] else "pipes"


def _over(story: Story, ended: ExitStatus) -> Step:
    signal = f", signal {ended.signal}" if ended.signal else ""
    return Step(
        party=Party.PROCESS,
        to=Party.SHIM,
        title=f"exit code {ended.code}{signal}",
        at_s=_lasted_s(story, ended),
        facts=known(
            ("exit code", ended.code),
            ("finished", ended.finished.isoformat()),
            ("error", ended.error),
            ("told", "docker's event exec_die, and who is attached"),
            (
                "the container",
                f"goes on: it is its first process, {_first_pid(story)}, that counts",
            ),
        ),
        source=source_in("conclude"),
    )


def _lasted_s(story: Story, ended: ExitStatus | None) -> float | None:
    if ended is None:
        return None
    began: Note = story.engine[0]
    return max(ended.finished.timestamp() - story.wall_ns(began) / 1e9, 0.0)


def _runs(story: Story) -> bool:
    """Say whether its shim knows it still: it does until the container ends or starts again."""
    return story.timeline["exec_id"] in story.state.get("execs", {})


def _ending(story: Story, ended: ExitStatus | None) -> str:
    if ended is not None:
        return f"exit code {ended.code} of the command, container {story.status.value}"
    if _runs(story):
        return f"the command runs in container {story.record.name}"
    return "the command ended when its container did, at the latest"


def _lacks(story: Story, ended: ExitStatus | None) -> list[str]:
    said = lacks(story) if story.runtime else []
    if not story.timeline.get("status"):
        said.append("What the kernel said of the process is not known: /proc did not show it.")
    if ended is None and not _runs(story):
        said.append("How the command ended is not known: its container was started again since.")
    return said
