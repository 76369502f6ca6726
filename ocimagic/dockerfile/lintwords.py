"""Lint rules about what instructions say once their variables have values.

Source: docker's build checks reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.lintvars import in_scope
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.substitute import BadWord
from ocimagic.dockerfile.values import is_git, is_url
from ocimagic.dockerfile.words import expansion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocimagic.dockerfile.ignore import IgnoreRules
    from ocimagic.dockerfile.parse import Dockerfile
    from ocimagic.dockerfile.source import SourceRange

Found = tuple["SourceRange | int", str]


def protocol_casing(dockerfile: Dockerfile) -> Iterator[Found]:
    """Find protocols that are not written in lower case."""
    for source, word in _exposed(dockerfile):
        protocol = word.partition("/")[2]
        if protocol != protocol.lower():
            message = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
            yield source, message


def exposed_mapping(dockerfile: Dockerfile) -> Iterator[Found]:
    """Find ports with something of the host's before them, which only ``run -p`` decides."""
    for source, word in _exposed(dockerfile):
        if ":" in word:
            message = (
                "EXPOSE instruction should not define an IP address or host-port mapping, "
                f"found '{word}'"
            )
            yield source, message


def _exposed(dockerfile: Dockerfile) -> Iterator[tuple[SourceRange, str]]:
    if not _has(dockerfile, ins.Expose):
        return
    for seen in in_scope(dockerfile):
        each = seen.instruction
        if isinstance(each, ins.Expose):
            for text in each.ports:
                try:
                    words = expansion(text, seen.scope.seen, escape=dockerfile.escape).words
                except BadWord:
                    continue  # the build refuses it, with a better message
                for word in words:
                    yield each.source, word


def ignored_copies(dockerfile: Dockerfile, rules: IgnoreRules) -> Iterator[Found]:
    """Find sources that .dockerignore excludes; one with a ``!`` may bring some of them back.

    Args:
        dockerfile: what to check.
        rules: of the build context.
    """
    if not rules.rules or any(rule.brings_back for rule in rules.rules):
        return
    for seen in in_scope(dockerfile):
        each = seen.instruction
        if not isinstance(each, (ins.Copy, ins.Add)):
            continue
        if isinstance(each, ins.Copy) and each.from_stage is not None:
            continue
        for written in each.sources:
            try:
                path = expansion(written, seen.scope.seen, escape=dockerfile.escape).text
            except BadWord:
                continue
            if is_url(path) or is_git(path):
                continue
            if rules.excludes(path) or rules.excludes(path.removeprefix("./").strip("/")):
                message = (
                    f"Attempting to {each.keyword.capitalize()} file {quoted(path)} "
                    "that is excluded by .dockerignore"
                )
                yield each.source, message


def _has(dockerfile: Dockerfile, kind: type[ins.Instruction]) -> bool:
    return any(isinstance(each, kind) for stage in dockerfile.stages for each in stage.instructions)


def definition_description(dockerfile: Dockerfile) -> Iterator[Found]:
    """Find comments on stages and arguments that do not begin with what they are on."""
    for start in (stage.start for stage in dockerfile.stages if stage.name):
        yield from _described(start, [start.name or ""])
    stages = (each for stage in dockerfile.stages for each in stage.instructions)
    for each in (*dockerfile.global_args, *stages):
        if isinstance(each, ins.Arg):
            yield from _described(each, [declared.name for declared in each.args])


def _described(on: ins.Instruction, names: list[str]) -> Iterator[Found]:
    comments = on.source.comments
    # A bare "#" parts a comment from what follows, as an empty line does.
    if not comments or not comments[-1] or comments[-1].split(" ")[0] in names:
        return
    example = names[0] if len(names) == 1 else "<arg_key>"
    message = f"Comment for {on.keyword} should follow the format: `# {example} <description>`"
    yield on.source, message
