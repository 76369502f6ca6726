"""A container from outside: its namespaces, cgroups and processes, and its bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.html import paragraph, table_html
from ocimagic.render.inspect_tree import tree_html, tree_text
from ocimagic.render.table import Table
from ocimagic.render.text import table_text

if TYPE_CHECKING:
    from ocimagic.model.insides import BundleView, ContainerNamespaces, NamespaceView

_MEANS = {
    "mnt": "which files there are",
    "pid": "which processes there are",
    "net": "network interfaces, addresses, ports",
    "uts": "host name",
    "ipc": "shared memory, message queues",
    "user": "what user numbers mean",
    "cgroup": "where cgroups begin",
    "time": "what the clocks since boot say",
}
_WHOLE = "version 2"


def namespaces_text(found: ContainerNamespaces) -> str:
    """Draw all of it as tables, one below another."""
    return "\n\n".join(f"{each.caption}\n{table_text(each)}" for each in _tables(found))


def namespaces_html(found: ContainerNamespaces) -> str:
    """Draw all of it as tables."""
    return "".join(table_html(each) for each in _tables(found))


def _tables(found: ContainerNamespaces) -> tuple[Table, ...]:
    named = f"{found.name}, process {found.pid}"
    return (
        Table(
            f"Namespaces of {named}; {found.mounts} mounts",
            ("NAMESPACE", "INODE", "DECIDES", "SHARED WITH"),
            tuple(
                (each.kind, str(each.inode or "?"), _MEANS.get(each.kind, ""), _shared(each))
                for each in found.namespaces
            ),
            frozenset({"INODE"}),
        ),
        Table(
            "Control groups",
            ("CONTROLLERS", "PATH"),
            tuple((", ".join(names), path) for path, names in _by_path(found).items()),
        ),
        Table(
            "Processes",
            ("PID HERE", "PID INSIDE", "COMMAND"),
            tuple((str(each.pid), str(each.pid_inside), each.command) for each in found.processes),
            frozenset({"PID HERE", "PID INSIDE"}),
        ),
    )


def _by_path(found: ContainerNamespaces) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for name, path in found.cgroups.items():
        paths.setdefault(path, []).append(name or _WHOLE)
    return paths


def _shared(each: NamespaceView) -> str:
    if each.inode is None:
        return "the kernel does not say"
    others = ([] if each.is_own else ["this machine"]) + list(each.containers)
    return ", ".join(others) or "nobody: its own"


def bundle_text(found: BundleView) -> str:
    """Say where the bundle is, and draw its config.json as a tree."""
    return f"{_place(found)}\n{tree_text(found.config)}"


def bundle_html(found: BundleView) -> str:
    """Draw the same with a tree that folds."""
    return paragraph(_place(found), lines=True) + tree_html(found.config)


def _place(found: BundleView) -> str:
    return f"OCI bundle of {found.name}: {found.path}\nin it: {', '.join(found.files)}"
