"""The three files of the machine a container sees its own version of."""

from __future__ import annotations

from pathlib import Path

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def write_host_files(
    directory: Path, hostname: str, *, own_network: bool
) -> tuple[tuple[str, str], ...]:
    """Write hosts, hostname and resolv.conf; return where each is shown and its path.

    Args:
        directory: the container's.
        hostname: the container's.
        own_network: without the machine's network its hosts and servers mean nothing.
    """
    contents = {
        "/etc/hosts": _LOCAL if own_network else _read("/etc/hosts", _LOCAL),
        "/etc/hostname": hostname + "\n",
        "/etc/resolv.conf": "" if own_network else _read("/etc/resolv.conf", ""),
    }
    if hostname not in contents["/etc/hosts"].split():
        contents["/etc/hosts"] = contents["/etc/hosts"].rstrip("\n") + f"\n127.0.0.1\t{hostname}\n"
    shown = []
    for target, text in contents.items():
        path = directory / target.rpartition("/")[2]
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        shown.append((target, str(path)))
    return tuple(shown)


def _read(path: str, default: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default
