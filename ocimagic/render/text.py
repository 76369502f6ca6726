"""Model to plain text: what a terminal, a git diff and a screen reader get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.render.escape import visible
from ocimagic.render.table import build_table, info_table, layer_tables
from ocimagic.render.units import count, human_age, human_seconds, human_size

if TYPE_CHECKING:
    from datetime import datetime

    from ocimagic.model.built import BuildChecked, BuildResult
    from ocimagic.model.result import (
        ExitStatus,
        LayerReport,
        LoggedIn,
        LoggedOut,
        PullResult,
        PullsLeft,
        PushResult,
        Removed,
        RunResult,
        SystemInfo,
    )
    from ocimagic.render.table import Table


def table_text(table: Table) -> str:
    """Draw a table: heads and rows in aligned columns, no lines."""
    from tabulate import tabulate

    cells = [[visible(cell) for cell in row] for row in table.rows]
    # disable_numparse: a tag "1e5" or an ID of digits is not a number to be rounded.
    drawn = tabulate(cells, table.heads, tablefmt="plain", disable_numparse=True)
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def pull_sentence(result: PullResult) -> str:
    """Say what a pull did."""
    if result.up_to_date:
        said = f"{result.reference} is up to date"
    else:
        said = (
            f"{result.reference}: {count(result.layers, 'layer')}, "
            f"{human_size(result.downloaded_bytes)} downloaded, "
            f"{human_size(result.size_bytes)} unpacked"
        )
    said += f", digest {result.digest.algorithm}:{result.digest.short}, "
    said += human_seconds(result.seconds)
    if result.pulls_left is not None:
        said += f"; {_pulls_left(result.pulls_left)}"
    return visible(said)


def _pulls_left(said: PullsLeft) -> str:
    """Say what a registry still gives: ``7 of 10 anonymous pulls left here``."""
    if said.is_anonymous is None:
        kind, whose = "pulls", ""
    elif said.is_anonymous:
        # Everybody behind one address shares them: a whole class, perhaps.
        kind, whose = "anonymous pulls", " here"
    else:
        kind, whose = "pulls", " for this login"
    window = f" in {said.window_s / 3600:g} hours" if said.window_s else ""
    return f"{said.left} of {said.limit} {kind}{window} left{whose}"


def push_sentence(result: PushResult) -> str:
    """Say what a push did, in docker's words and a few more."""
    said = f"{result.reference}: digest: {result.digest} size: {result.manifest_bytes}"
    taken = [f"{result.there} there already"] if result.there else []
    taken += [f"{result.mounted} mounted from another repository"] if result.mounted else []
    more = f" ({', '.join(taken)})" if taken else ""
    return visible(
        f"{said}\n{count(result.layers, 'layer')}{more}, "
        f"{human_size(result.sent_bytes)} uploaded, {human_seconds(result.seconds)}",
        lines=True,
    )


def login_text(result: LoggedIn) -> str:
    """Say that a login worked and where it is kept now."""
    kept = f"the password is kept in {result.kept_in}"
    if result.is_readable:
        kept += ", unencrypted: a credential helper (credsStore) would keep it safe"
    return visible(f"Login Succeeded\n{kept}", lines=True)


def logout_text(result: LoggedOut) -> str:
    """Say what became of a login."""
    if result.was_there:
        return visible(f"Removing login credentials for {result.registry}")
    return visible(f"Not logged in to {result.registry}")


def build_text(result: BuildResult) -> str:
    """Draw the steps of a build, then say what it made."""
    warnings = [f"warning: {visible(text)}" for text in result.warnings]
    return "\n".join([table_text(build_table(result)), *warnings, build_sentence(result)])


def checked_text(checked: BuildChecked) -> str:
    """Say what a build check found, docker's way."""
    if not checked.warnings:
        return "Check complete, no warnings found."
    lines = [f"Check complete, {count(len(checked.warnings), 'warning')} found:"]
    for each in checked.warnings:
        address = f" - {each.url}" if each.url else ""
        lines += ["", f"line {each.line}: {each.rule}{address}", f"  {each.message}"]
    return visible("\n".join(lines), lines=True)


def build_sentence(result: BuildResult) -> str:
    """Say what a build made."""
    cached = sum(step.cached for step in result.steps)
    name = " ".join(result.tags) or ((result.platforms and result.digest) or result.image_id).short
    what = f"image {result.image_id.short}"
    if result.platforms:
        images = (f"{each.platform} {each.image_id.short}" for each in result.platforms)
        what = f"index of {', '.join(images)}"
    return visible(
        f"{name}: {what}, {human_size(result.size_bytes)}, "
        f"{cached} of {count(len(result.steps), 'step')} from the cache, "
        f"{human_seconds(result.seconds)}"
    )


def run_sentence(result: RunResult) -> str:
    """Say how a container ended; its output is ``stdout`` and ``stderr``."""
    kept = "removed" if result.removed else f"kept as {result.name}"
    isolation = "" if result.isolated else "not isolated, "
    return visible(
        f"exit {result.exit_code}{_signal_words(result.exit_code)}, "
        f"{human_seconds(result.duration_s)}, network {result.network}, {isolation}container {kept}"
    )


def exit_sentence(status: ExitStatus, now: datetime) -> str:
    """Say how and when a container ended."""
    signal = f", killed by signal {status.signal}" if status.signal else ""
    return f"exit {status.code}{signal}, {human_age(status.finished, now)}"


def removed_text(removed: Removed) -> str:
    """List what is gone in docker's words, then what that freed."""
    lines = [f"Untagged: {visible(name)}" for name in removed.untagged]
    lines += [f"Deleted: {digest}" for digest in removed.deleted]
    lines.append(removed_sentence(removed))
    return "\n".join(lines)


def removed_sentence(removed: Removed) -> str:
    """Say how much was removed."""
    names, things = len(removed.untagged), len(removed.deleted)
    said = f"{count(names, 'name')} untagged, {count(things, 'object')} deleted"
    freed = removed.freed_bytes
    return said if freed is None else f"{said}, {human_size(freed)} freed"


def layers_text(report: LayerReport) -> str:
    """Draw one table per image, then what sharing saves."""
    parts = [f"{visible(table.caption)}\n{table_text(table)}" for table in layer_tables(report)]
    return "\n\n".join([*parts, saving_sentence(report)])


def saving_sentence(report: LayerReport) -> str:
    """Say what sharing layers saves on disk."""
    saved = report.total_bytes - report.stored_bytes
    said = f"{human_size(report.stored_bytes)} stored"
    if saved <= 0:
        return f"{said}; these images share no layers" if len(report.images) > 1 else said
    said += f", {human_size(report.total_bytes)} if nothing were shared"
    return f"{said}: {human_size(saved)} saved"


def info_text(info: SystemInfo) -> str:
    """List what this machine and this version can do."""
    return "\n".join(f"{name}: {visible(value)}" for name, value in info_table(info).rows)


def _signal_words(code: int) -> str:
    """Explain docker's 128+n, which says that signal n ended the container."""
    names = {130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM", 139: "SIGSEGV", 134: "SIGABRT"}
    return f" ({names[code]})" if code in names else ""
