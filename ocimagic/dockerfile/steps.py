"""RUN, COPY and ADD: the instructions that make layers and take heredocs.

Source: Dockerfile reference; facts/build.md section 1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocimagic.dockerfile import instructions as ins
from ocimagic.dockerfile.lex import parse_heredoc
from ocimagic.dockerfile.mounts import parse_mount
from ocimagic.dockerfile.source import quoted
from ocimagic.dockerfile.values import check_add, check_copy

if TYPE_CHECKING:
    from ocimagic.dockerfile.arguments import Arguments

_SCRIPT_DIRECTORY = "/dev/pipes/"  # where docker mounts a heredoc that starts with #!


def read_run(args: Arguments) -> ins.Run:
    """Read a RUN; its heredocs become part of the command.

    Raises:
        DockerfileError: for flags or arguments that do not fit.
    """
    network = args.text.get("network", "default").lower()
    if network not in {"default", "none", "host"}:
        args.fail(
            f"invalid network mode {quoted(network)}",
            at=f"--network={args.text['network']}",
            hint="it is one of default, none and host",
        )
    security = args.text.get("security", "sandbox").lower()
    if security not in {"sandbox", "insecure"}:
        args.fail(
            f"security {quoted(security)} is not valid",
            at=f"--security={args.text['security']}",
            hint="it is sandbox or insecure",
        )
    mounts = args.flags.lists.get("mount", ())
    return ins.Run(
        source=args.source,
        command=_run_command(args),
        mounts=tuple(parse_mount(raw, args.source) for raw in mounts),
        network=network,  # type: ignore[arg-type]  # mypy does not narrow str by a set
        security=security,  # type: ignore[arg-type]  # as above
        devices=args.flags.lists.get("device", ()),
    )


def _run_command(args: Arguments) -> ins.Command | ins.Script:
    command = args.command(args.rest)
    if not args.rest or command == ins.ExecForm(()):
        args.fail("RUN requires at least one argument", hint="write RUN command")
    heredocs = args.line.heredocs
    if not heredocs or isinstance(command, ins.ExecForm):
        return command
    if parse_heredoc(args.rest) is None:
        # There is a command as well: the shell in the container reads the heredocs itself.
        bodies = (f"\n{each.body}{each.name}" for each in heredocs)
        return ins.ShellForm(args.rest + "".join(bodies))
    only = heredocs[0]
    if only.body.startswith("#!"):
        return ins.Script(path=_SCRIPT_DIRECTORY + only.name, text=only.content)
    return ins.ShellForm(only.content)


def _paths(args: Arguments) -> tuple[tuple[str, ...], str]:
    """Split the arguments of COPY or ADD into sources, without heredocs, and destination."""
    words = args.json_or_blank_separated()
    if len(words) < 2:
        args.fail(
            f"{args.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
            if words
            else f"{args.keyword} requires at least two arguments",
            hint=f"write {args.keyword} source destination, such as {args.keyword} . /app",
        )
    *sources, destination = words
    if parse_heredoc(destination):
        args.fail(
            f"{args.keyword} cannot accept a heredoc as a destination",
            at=destination,
            hint=f"write {args.keyword} {destination} /path/of/the/file",
        )
    if not args.line.heredocs:
        return tuple(sources), destination
    return tuple(word for word in sources if not parse_heredoc(word)), destination


def read_copy(args: Arguments) -> ins.Copy:
    """Read a COPY.

    Raises:
        DockerfileError: for flags or arguments that do not fit.
    """
    sources, destination = _paths(args)
    from_stage = args.text.get("from")
    if from_stage and "$" in from_stage:
        args.fail(
            "variable expansion is not supported for --from, define a new stage with FROM "
            "using ARG from global scope as a workaround",
            at=f"--from={from_stage}",
            hint=f"write FROM {from_stage} AS files above, and COPY --from=files here",
        )
    copy = ins.Copy(
        source=args.source,
        sources=sources,
        destination=destination,
        heredocs=args.line.heredocs,
        from_stage=from_stage,
        chown=args.text.get("chown"),
        chmod=args.text.get("chmod"),
        link=args.flags.switches.get("link", False),
        parents=args.flags.switches.get("parents", False),
        exclude=args.flags.lists.get("exclude", ()),
    )
    check_copy(copy)
    return copy


def read_add(args: Arguments) -> ins.Add:
    """Read an ADD.

    Raises:
        DockerfileError: for flags or arguments that do not fit.
    """
    sources, destination = _paths(args)
    add = ins.Add(
        source=args.source,
        sources=sources,
        destination=destination,
        heredocs=args.line.heredocs,
        chown=args.text.get("chown"),
        chmod=args.text.get("chmod"),
        checksum=args.text.get("checksum"),
        link=args.flags.switches.get("link", False),
        keep_git_dir=args.flags.switches.get("keep-git-dir"),
        unpack=args.flags.switches.get("unpack"),
        exclude=args.flags.lists.get("exclude", ()),
    )
    check_add(add)
    return add
