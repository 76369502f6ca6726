"""How well a machine lets containers be set apart: the ladder, best first, and what was found.

A mode is chosen from what was tried, never from a product's name.
"""

from __future__ import annotations

from enum import Enum

from ocimagic.spec.record import dataclass


class Mode(Enum):
    """One rung of the ladder."""

    FULL = "full"
    ROOTLESS = "rootless"
    ROOTLESS_1 = "rootless-1"
    NESTED = "nested"
    CHROOT = "chroot"
    TRACED = "traced"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A mode in plain words.

    Attributes:
        isolated: what a container cannot see or touch.
        shared: what it shares with the machine, or cannot do.
        more: what would give a better mode.
        is_built: this version runs containers in this mode.
    """

    isolated: str
    shared: str
    more: str
    is_built: bool = True


MEANINGS: dict[Mode, Meaning] = {
    Mode.FULL: Meaning(
        "files, processes, users, host name, network and shared memory are its own; limits hold",
        "the kernel, and the clock",
        "nothing is missing",
    ),
    Mode.ROOTLESS: Meaning(
        "files, processes, host name and shared memory are its own; its root is no root outside",
        "the kernel; limits only where cgroups are delegated to this account",
        "run as root for device nodes, and for limits that always hold",
    ),
    Mode.ROOTLESS_1: Meaning(
        "files, processes, host name and shared memory are its own; its root is this account",
        "one user id: builds record who else owns a file, but a container runs as root only",
        "install uidmap and give this account a range in /etc/subuid and /etc/subgid",
    ),
    Mode.NESTED: Meaning(
        "files, host name and shared memory are its own",
        "/proc shows the processes of the container around it",
        "start the outer container with an unmasked /proc (docker: systempaths=unconfined)",
    ),
    Mode.CHROOT: Meaning(
        "its files only: Landlock, where the kernel has it, keeps it to them",
        "processes, network, users and the kernel are the machine's: this is no isolation; "
        "no /proc, no volumes, no limits, and each container is a copy of its image",
        "allow user namespaces, or start the outer container with --privileged",
    ),
    Mode.TRACED: Meaning(
        "it sees its own files, by a tracer that rewrites each path (proot)",
        "processes, network, users and the kernel are the machine's: this is no isolation; "
        "no volumes, no limits, and each container is a copy of its image",
        "allow user namespaces, or be root",
    ),
    Mode.LOOK: Meaning(
        "no container runs; pulling, building without RUN, inspecting and layers all work",
        "nothing runs",
        "allow user namespaces (sysctl user.max_user_namespaces, "
        "kernel.unprivileged_userns_clone), run as root, or install proot",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a child process was allowed when it tried.

    Attributes:
        mount_namespace: unshare(CLONE_NEWNS) without a user namespace.
        user_namespace: unshare(CLONE_NEWUSER), and its maps could be written.
        ids: user ids a namespace may map; 0 when there is none to be had.
        fresh_proc: procfs can be mounted in namespaces of one's own.
        chroot: chroot(2) works.
        trace: ptrace(2) works.
        proot: path of a proot program that works, "" for none.
        overlay: directories tried, and why overlayfs cannot write there, "" if it can.
        cgroups: controllers whose limits can be set.
        seccomp: a filter can be loaded.
        landlock: version of the kernel's Landlock, 0 for none.
        tun: /dev/net/tun can be opened.
    """

    uid: int
    mount_namespace: bool
    user_namespace: bool
    ids: int
    fresh_proc: bool
    chroot: bool
    trace: bool
    proot: str
    overlay: dict[str, str]
    cgroups: tuple[str, ...]
    seccomp: bool
    landlock: int
    tun: bool


def choose(probe: Probe) -> Mode:
    """Choose the best mode that what was found allows."""
    rungs = (
        (Mode.FULL, probe.uid == 0 and probe.mount_namespace and probe.fresh_proc),
        (Mode.NESTED, (probe.mount_namespace or probe.user_namespace) and not probe.fresh_proc),
        (Mode.ROOTLESS, probe.user_namespace and probe.ids > 1),
        (Mode.ROOTLESS_1, probe.user_namespace),
        (Mode.CHROOT, probe.uid == 0 and probe.chroot),
        (Mode.TRACED, probe.uid != 0 and bool(probe.proot)),
    )
    return next((mode for mode, possible in rungs if possible), Mode.LOOK)


class Grade(Enum):
    """How good one finding is."""

    GOOD = "ok"
    PARTLY = "partly"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried.

    Attributes:
        advice: what would mend it, "" when all is well.
    """

    subject: str
    grade: Grade
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What ``ocimagic doctor`` shows."""

    mode: Mode
    findings: tuple[Finding, ...]

    @property
    def meaning(self) -> Meaning:
        """Return the mode in plain words."""
        return MEANINGS[self.mode]


def findings(probe: Probe) -> tuple[Finding, ...]:
    """Say of each thing that was tried how it went and what would mend it."""
    return (
        _namespaces(probe),
        _ids(probe),
        _proc(probe),
        *(_overlay(directory, why, probe) for directory, why in probe.overlay.items()),
        *_changed_root(probe),
        _cgroups(probe),
        _yes("system call filter", probe.seccomp, "seccomp(2) is refused", "a newer kernel"),
        _yes("Landlock", probe.landlock > 0, "the kernel has none", "Linux 5.13 or newer"),
        _yes(
            "tun device",
            probe.tun,
            "/dev/net/tun cannot be opened",
            "chmod 0666 /dev/net/tun, for networks of one's own without root",
        ),
    )


def _namespaces(probe: Probe) -> Finding:
    if probe.mount_namespace:
        return Finding("namespaces", Grade.GOOD, "this account may make all of them")
    if probe.user_namespace:
        return Finding("namespaces", Grade.GOOD, "inside a user namespace")
    return Finding("namespaces", Grade.MISSING, "unshare(2) is refused", _advice(probe))


def _advice(probe: Probe) -> str:
    """Say what would give namespaces; root cannot be told to run as root."""
    return MEANINGS[Mode.LOOK if probe.uid else Mode.CHROOT].more


def _has_none(probe: Probe) -> bool:
    return not (probe.mount_namespace or probe.user_namespace)


def _changed_root(probe: Probe) -> tuple[Finding, ...]:
    """Say whether that is to be had; of interest only where nothing better is."""
    if not _has_none(probe):
        return ()
    subject = "change of the root"
    if probe.uid == 0 and probe.chroot:
        return (Finding(subject, Grade.GOOD, "chroot(2) and device nodes are allowed"),)
    refused = "chroot(2), or a device node, is refused"
    return (Finding(subject, Grade.MISSING, refused, _advice(probe)),)


def _ids(probe: Probe) -> Finding:
    if probe.uid == 0 and probe.mount_namespace:
        return Finding("user ids", Grade.GOOD, "all of the machine's")
    if probe.ids > 1:
        return Finding("user ids", Grade.GOOD, f"{probe.ids} (/etc/subuid, newuidmap)")
    if probe.ids == 1:
        advice = MEANINGS[Mode.ROOTLESS_1].more
        return Finding("user ids", Grade.PARTLY, "only this account's own", advice)
    return Finding("user ids", Grade.MISSING, "no user namespace", _advice(probe))


def _proc(probe: Probe) -> Finding:
    if probe.fresh_proc:
        return Finding("processes", Grade.GOOD, "a container sees its own only")
    if _has_none(probe):
        return Finding("processes", Grade.MISSING, "no namespaces", _advice(probe))
    advice = MEANINGS[Mode.NESTED].more
    return Finding("processes", Grade.PARTLY, "a /proc of its own is refused", advice)


def _overlay(directory: str, why: str, probe: Probe) -> Finding:
    subject = f"overlayfs in {directory}"
    if not why:
        return Finding(subject, Grade.GOOD, "layers can be stacked here")
    if _has_none(probe):
        return Finding(subject, Grade.MISSING, why, _advice(probe))
    advice = "set OCIMAGIC_ROOT to a directory on ext4, xfs, btrfs or tmpfs"
    return Finding(subject, Grade.MISSING, why, advice)


def _cgroups(probe: Probe) -> Finding:
    if probe.cgroups:
        return Finding("limits (cgroups)", Grade.GOOD, ", ".join(probe.cgroups))
    advice = "start the outer container with cgroups that it may write"
    if probe.uid:
        advice = "run as root, or have systemd delegate cgroups to this account "
        advice += "(loginctl enable-linger)"
    return Finding("limits (cgroups)", Grade.MISSING, "none can be set", advice)


def _yes(subject: str, found: bool, why: str, advice: str) -> Finding:
    if found:
        return Finding(subject, Grade.GOOD, "yes")
    return Finding(subject, Grade.PARTLY, why, advice)
