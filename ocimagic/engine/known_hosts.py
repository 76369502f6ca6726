"""A running container's hosts and resolv.conf, when it is connected to a network or leaves one.

Both are shown in the container, which may write into them: they are changed where they are, and
what is not of ours there stays.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ocimagic.bundle.hostfiles import (
    hosts_lines,
    is_as_written,
    reached_servers,
    remember,
    rewrite_shown,
)
from ocimagic.engine.addresses import shown_address
from ocimagic.home.disk import storage_errors
from ocimagic.model.options import RunOptions
from ocimagic.network.plan import RESOLVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ocimagic.engine.record import Document
    from ocimagic.model.network import NetworkEndpoint
    from ocimagic.network.plan import Endpoint
    from ocimagic.store.networks import NetworkRecord

_MOST_BYTES = 1 << 20  # a container may have written anything


def enter(directory: Path, document: Document, endpoint: Endpoint) -> None:
    """Write that a container has been connected.

    Args:
        directory: the container's.
        document: the container's.
        endpoint: its place in the network.
    """
    addresses = map(shown_address, endpoint.addresses)
    lines = "".join(hosts_lines(document.hostname, document.options.domainname, addresses))
    with _files_of(directory):
        _change(directory / "hosts", lambda text: f"{text.rstrip()}\n{lines}")
        if endpoint.resolves and is_as_written(directory):
            # What was asked for with --dns-search and its like is in the text already.
            plain = RunOptions(image="")
            _change(directory / "resolv.conf", lambda text: reached_servers(text, plain, RESOLVER))
            remember(directory)


def leave(
    directory: Path, document: Document, places: Iterable[NetworkEndpoint], network: NetworkRecord
) -> None:
    """Write that a container has left a network; it may ask its own name server as before.

    Args:
        directory: the container's.
        document: the container's.
        places: where it was.
        network: which it has left.
    """
    gone = {
        shown_address(address)
        for each in places
        if each.network_id == network.network_id
        for address in each.addresses
    }

    def is_ours(line: str) -> bool:
        words = line.split()
        return bool(words) and words[0] in gone and document.hostname in words[1:]

    def without(text: str) -> str:
        return "".join(each for each in text.splitlines(keepends=True) if not is_ours(each))

    with _files_of(directory):
        _change(directory / "hosts", without)


def tell_links(directory: Path, lines: Mapping[str, Sequence[str]]) -> None:
    """Write where linked containers are now.

    Args:
        directory: of the container that is linked to them.
        lines: by what it calls them; none for one that it is not linked to any more.
    """

    def is_of_them(line: str) -> bool:
        words = line.split()
        return len(words) > 1 and words[1] in lines

    def told(text: str) -> str:
        kept = [each for each in text.splitlines(keepends=True) if not is_of_them(each)]
        more = "".join(line for some in lines.values() for line in some)
        return f"{''.join(kept).rstrip()}\n{more}"

    with _files_of(directory):
        _change(directory / "hosts", told)


@contextlib.contextmanager
def _files_of(directory: Path) -> Iterator[None]:
    """Say in our words what a disk refuses; a container that ended has no files any more."""
    with storage_errors(directory), contextlib.suppress(FileNotFoundError):
        yield


def _change(path: Path, change: Callable[[str], str]) -> None:
    with path.open("rb") as file:
        raw = file.read(_MOST_BYTES + 1)
    if len(raw) <= _MOST_BYTES:
        rewrite_shown(path, change(raw.decode(errors="surrogateescape")))
