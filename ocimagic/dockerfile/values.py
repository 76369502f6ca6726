"""Values that must fit: ports, signals, modes and sources.

A value with a ``$`` in it is judged again once it is expanded; until then it passes.

Source: facts/build.md section 1.2 (EXPOSE, STOPSIGNAL, COPY, ADD).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocimagic.dockerfile.chmod import Chmod
from ocimagic.errors import BadInput
from ocimagic.spec.nearest import nearest

if TYPE_CHECKING:
    from ocimagic.dockerfile.instructions import Add, Copy
    from ocimagic.dockerfile.source import SourceRange

_PROTOCOLS = ("tcp", "udp", "sctp")
_MAX_PORT = 65_535
# signal(7), x86 and arm; the kernel's names, so not the signal module of whatever runs this.
# fmt: off
_SIGNALS = frozenset({
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN",
    "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS",
    "RTMIN", "RTMAX",
})
# fmt: on
_REAL_TIME = re.compile(r"RTMIN\+([1-9]|1[0-5])|RTMAX-([1-9]|1[0-4])", re.ASCII)
_URL = re.compile(r"https?://", re.IGNORECASE)
_GIT = re.compile(r"(git|ssh)://|[\w.-]+@[\w.-]+:", re.IGNORECASE | re.ASCII)


def exposed_ports(word: str, source: SourceRange) -> tuple[str, ...]:
    """Turn one expanded word of EXPOSE into ``port/protocol`` texts, a range into many.

    As in ``docker run -p``, only what follows the last ``:`` is the container's.

    Raises:
        DockerfileError: for an unknown protocol, or ports that are no numbers or no range.
    """
    ports, slash, protocol = word.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise source.error(
            f"Invalid proto: {protocol}", at=word, hint="the protocols are tcp, udp and sctp"
        )
    container = ports.rpartition(":")[2]
    first, dash, last = container.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(re.fullmatch("[0-9]{1,5}", n) and int(n) <= _MAX_PORT for n in numbers):
        raise source.error(
            f"invalid containerPort: {container}",
            at=word,
            hint=f"a port is a number up to {_MAX_PORT}, such as EXPOSE 8080 or EXPOSE 53/udp",
        )
    if int(numbers[1]) < int(numbers[0]):
        raise source.error(
            f"invalid range specified for port: {container}", at=word, hint="the lower port first"
        )
    return tuple(f"{port}/{protocol}" for port in range(int(numbers[0]), int(numbers[1]) + 1))


def check_signal(name: str, source: SourceRange) -> None:
    """Raise DockerfileError unless ``name`` is a signal's name, SIG or not, or a number."""
    bare = name.upper().removeprefix("SIG")
    if bare in _SIGNALS or _REAL_TIME.fullmatch(bare):
        return
    if re.fullmatch("[0-9]{1,3}", name) and int(name) > 0:
        return
    near = nearest(bare, _SIGNALS)
    raise source.error(
        f"Invalid signal: {name}",
        at=name,
        hint=f"did you mean SIG{near}?" if near else "such as SIGTERM, SIGINT or 15",
    )


def check_chmod(mode: str | None, source: SourceRange) -> None:
    """Raise DockerfileError unless ``mode`` is None, octal up to 07777 or symbolic."""
    if mode is None or "$" in mode:
        return
    try:
        Chmod.parse(mode)
    except BadInput as err:
        # Behind a variable, the value itself is not in the line.
        at = mode if mode and mode in source.text else "--chmod"
        raise source.error(err.what, at=at, why=err.why, hint=err.hint) from None


def is_url(source: str) -> bool:
    """Tell whether a source of ADD is fetched by HTTP."""
    return bool(_URL.match(source))


def is_git(source: str) -> bool:
    """Tell whether a source of ADD is cloned by git."""
    remote = source.partition("#")[0].partition("?")[0]
    return bool(_GIT.match(source)) or (is_url(source) and remote.endswith(".git"))


def check_copy(copy: Copy) -> None:
    """Raise DockerfileError if a source is a URL or git reference, which only ADD takes."""
    check_chmod(copy.chmod, copy.source)
    for path in copy.sources:
        kind = "a git ref" if is_git(path) else "a URL" if is_url(path) else None
        if kind:
            raise copy.source.error(
                f"source can't be {kind} for COPY", at=path, hint="use ADD, or RUN curl"
            )


def check_add(add: Add) -> None:
    """Raise DockerfileError if a flag of ADD does not fit its sources."""
    check_chmod(add.chmod, add.source)
    if any("$" in path for path in add.sources):
        return
    if add.checksum is not None:
        if len(add.sources) + len(add.heredocs) > 1:
            raise add.source.error(
                "checksum can't be specified for multiple sources",
                at="--checksum",
                hint="write one ADD for each source",
            )
        if not all(is_url(path) or is_git(path) for path in add.sources):
            raise add.source.error(
                "checksum requires HTTP(S) or Git sources",
                at="--checksum",
                hint="leave --checksum out: a file of the context is not fetched",
            )
