"""The three files of the machine a container sees its own version of."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ocimagic.model.options import RunOptions

HOST_GATEWAY = "host-gateway"
NAMES = ("hosts", "hostname", "resolv.conf")
# Where nothing can be mounted: what is the engine's in a root it has copied.
PLACED = ("dev", *(f"etc/{name}" for name in NAMES))
# And what a tracer puts where it shows something of the machine.
SHOWN = ("proc", "sys")
_WRITTEN = "resolv.conf.sha256"  # beside it: its text as the engine wrote it
_PUBLIC = ("8.8.8.8", "8.8.4.4")  # docker's, where the machine has none that answers
_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def write_host_files(
    directory: Path,
    hostname: str,
    *,
    own_network: bool,
    options: RunOptions | None = None,
    addresses: Sequence[str] = (),
    resolver: str = "",
) -> tuple[tuple[str, str], ...]:
    """Write hosts, hostname and resolv.conf; return where each is shown and its path.

    Args:
        directory: the container's.
        hostname: the container's.
        own_network: without the machine's network its hosts and servers mean nothing.
        options: more hosts, and other name servers.
        addresses: the container's own, of networks that others can reach it by.
        resolver: address of the name server of its networks; "" for those of the machine.

    Raises:
        InvalidOption: ``host-gateway`` without a way to the machine.
    """
    hosts = _LOCAL if own_network else _read("/etc/hosts", _LOCAL)
    alone = own_network and not addresses
    servers = "" if alone else _read("/etc/resolv.conf", "")
    if addresses and options:
        servers = reached_servers(servers, options, resolver)
        options = replace(options, dns=(), dns_search=(), dns_options=())
    domain = options.domainname if options else ""
    contents = {
        "hosts": hosts_text(hosts, hostname, domain, addresses)
        + "".join(_extra_hosts(options, own_network=own_network)),
        "hostname": hostname + "\n",
        "resolv.conf": resolv_text(servers, options) if options else servers,
    }
    for name, text in contents.items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    remember(directory)
    return host_files(directory)


def remember(directory: Path) -> None:
    """Note what resolv.conf says now, as ``is_as_written`` asks."""
    said = hashlib.sha256((directory / "resolv.conf").read_bytes()).hexdigest()
    (directory / _WRITTEN).write_text(said, encoding="utf-8")


def is_as_written(directory: Path) -> bool:
    """Say whether a container's resolv.conf is as it was written: nobody in it changed it."""
    with (directory / "resolv.conf").open("rb") as file:
        said = hashlib.file_digest(file, "sha256").hexdigest()
    return said == _read(str(directory / _WRITTEN), "")


def rewrite_shown(path: Path, text: str) -> None:
    """Give a file another text where it is shown in a container: the file has to stay."""
    raw = text.encode(errors="surrogateescape")
    with path.open("r+b", buffering=0) as file:  # never empty meanwhile
        file.write(raw)
        file.truncate(len(raw))


def host_files(directory: Path) -> tuple[tuple[str, str], ...]:
    """Return where each file that a container's directory holds is shown, and its path."""
    return tuple((f"/etc/{name}", str(directory / name)) for name in NAMES)


def hosts_text(base: str, hostname: str, domain: str = "", addresses: Sequence[str] = ()) -> str:
    """Return /etc/hosts with the container's own name in it."""
    if hostname in base.split():
        return base
    lines = hosts_lines(hostname, domain, addresses or ("127.0.0.1",))
    return base.rstrip("\n") + "\n" + "".join(lines)


def hosts_lines(hostname: str, domain: str, addresses: Iterable[str]) -> list[str]:
    """Return what /etc/hosts says of a container's own addresses."""
    names = f"{hostname}.{domain} {hostname}" if domain else hostname
    return [f"{each}\t{names}\n" for each in addresses]


def _extra_hosts(options: RunOptions | None, *, own_network: bool) -> list[str]:
    lines = []
    for name, address in options.extra_hosts if options else ():
        if address == HOST_GATEWAY and own_network:
            raise InvalidOption(
                f"--add-host {name}:{HOST_GATEWAY} leads nowhere",
                why="a container with --network none has no way to this machine",
                hint="leave --network none out",
            )
        # On the machine's own network the machine is where localhost is.
        lines.append(f"{'127.0.0.1' if address == HOST_GATEWAY else address}\t{name}\n")
    return lines


def resolv_text(base: str, options: RunOptions) -> str:
    """Return resolv.conf: each kind of line as asked for, or as the machine has it."""
    if not (options.dns or options.dns_search or options.dns_options):
        return base
    said: dict[str, list[str]] = {"search": [], "nameserver": [], "options": []}
    for line in base.splitlines():
        word, *rest = line.split() or [""]
        word = "search" if word == "domain" else word
        if word in said:
            # Of several searches the last counts, of name servers and options each.
            said[word] = rest if word == "search" else said[word] + rest
    asked = {
        "search": options.dns_search,
        "nameserver": options.dns,
        "options": options.dns_options,
    }
    for word, given in asked.items():
        if given:
            said[word] = [each for each in given if word != "search" or each != "."]
    lines = [f"nameserver {each}" for each in said["nameserver"]]
    lines += [f"{word} {' '.join(said[word])}" for word in ("search", "options") if said[word]]
    return "".join(f"{line}\n" for line in lines)


def machine_servers(options: RunOptions) -> tuple[str, ...]:
    """Return the name servers that answer what containers do not know."""
    lines = [each.split() for each in _read("/etc/resolv.conf", "").splitlines()]
    found = tuple(each[1] for each in lines if len(each) > 1 and each[0] == "nameserver")
    return options.dns or found or _PUBLIC


def reached_servers(base: str, options: RunOptions, resolver: str) -> str:
    """Return resolv.conf of a container with a network of its own.

    What the machine has on its loopback does not answer there; docker's default stands in.
    """
    text = resolv_text(base, options)
    kept = [each for each in text.splitlines() if not each.startswith(("nameserver", "options"))]
    options_line = [each for each in text.splitlines() if each.startswith("options")]
    if resolver:
        servers: tuple[str, ...] = (resolver,)
        options_line = options_line or ["options ndots:0"]
    else:
        local = ("127.", "::1")
        servers = tuple(each for each in machine_servers(options) if not each.startswith(local))
    lines = [f"nameserver {each}" for each in servers or _PUBLIC]
    return "".join(f"{each}\n" for each in (*lines, *kept, *options_line) if each.strip())


def _read(path: str, default: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default
