"""Where docker and podman are looked for, in which order, and what each place said.

Spec: docker's DOCKER_HOST, DOCKER_CONTEXT and ``~/.docker/contexts``; podman's CONTAINER_HOST.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ocimagic.errors import InvalidDocument, InvalidOption, NeighbourUnreachable
from ocimagic.spec.codec import decode
from ocimagic.spec.record import dataclass
from ocimagic.transfer.daemon import TCP, UNIX, Daemon
from ocimagic.transfer.podman import Podman

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ocimagic.transfer.neighbour import Check, ImageThere, Neighbour

SYSTEM = Path("/")
_KINDS = ("docker", "podman")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine may be.

    Attributes:
        kind: ``docker`` or ``podman``, "" where only the address is known.
        address: of its socket; or the path of podman's program.
        refusal: why it cannot be asked, if that is known already.
    """

    kind: str
    address: str
    refusal: str = ""

    @property
    def shown(self) -> str:
        """Return what to call it."""
        return f"{self.kind} at {self.address}" if self.kind else self.address


def ask_first(
    source: str | None, environment: Mapping[str, str], check: Check
) -> tuple[Neighbour, list[ImageThere]]:
    """Find the first engine that answers, and what it has.

    Args:
        source: ``docker``, ``podman``, an address; None for whichever is found first.
        environment: says where to look.
        check: called again and again; may raise.

    Raises:
        InvalidOption: ``source`` is none.
        NeighbourUnreachable: none can be asked; says what each place said.
        NeighbourError: the one that was found refuses, or answers nonsense.
    """
    tried: list[tuple[Place, NeighbourUnreachable]] = []
    for place in places(source, environment):
        try:
            neighbour = _at(place, environment, check)
            return neighbour, neighbour.images()
        except NeighbourUnreachable as err:
            tried.append((place, err))
        except InvalidOption as err:
            if source == place.address:
                raise
            tried.append((place, NeighbourUnreachable(err.what, why=err.what, hint=err.hint)))
    raise _nobody(source, tried)


def places(source: str | None, environment: Mapping[str, str]) -> Iterator[Place]:
    """Yield where to look; what a variable names is the only place of its kind.

    Raises:
        InvalidOption: ``source`` is neither a kind nor an address.
    """
    if source and source not in _KINDS:
        if "://" not in source:
            raise InvalidOption(
                f"{source!r} is no engine to adopt from",
                hint="docker, podman, unix:///PATH or tcp://HOST:PORT",
            )
        yield Place("", source)
        return
    if source != "podman":
        yield from _docker_places(environment)
    if source != "docker" and not (source is None and environment.get("DOCKER_HOST")):
        yield from _podman_places(environment)


def _docker_places(environment: Mapping[str, str]) -> Iterator[Place]:
    named = environment.get("DOCKER_HOST")
    if named:
        tls = named.startswith(TCP) and environment.get("DOCKER_TLS_VERIFY")
        yield Place("docker", named, "DOCKER_TLS_VERIFY wants TLS, not spoken here" if tls else "")
        return
    yield from _context(environment)
    yield from _sockets("docker", ("run/docker.sock", "var/run/docker.sock"), environment)


def _podman_places(environment: Mapping[str, str]) -> Iterator[Place]:
    named = environment.get("CONTAINER_HOST")
    if named:
        yield Place("podman", named)
        return
    yield from _sockets("podman", ("run/podman/podman.sock",), environment)
    program = shutil.which("podman", path=environment.get("PATH", ""))
    missing = "there is no such program on PATH"
    yield Place("podman", program) if program else Place("podman", "program", missing)


def _sockets(kind: str, system: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[Place]:
    """Yield the usual sockets; podman of an account comes before that of the machine."""
    own = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    paths = [SYSTEM / each for each in system]
    if kind == "docker":
        paths.append(Path(own, "docker.sock"))
    else:
        paths.insert(0, Path(own, "podman/podman.sock"))
    seen = set()
    for path in paths:
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield Place(kind, f"{UNIX}{path}")


def _context(environment: Mapping[str, str]) -> Iterator[Place]:
    """Yield what docker's current context names; the default one is the usual sockets."""
    home = environment.get("HOME") or str(Path.home())
    config = Path(environment.get("DOCKER_CONFIG") or Path(home, ".docker"))
    name = environment.get("DOCKER_CONTEXT") or _text(config / "config.json", "currentContext")
    if name in {"", "default"}:
        return
    hashed = hashlib.sha256(name.encode()).hexdigest()
    address = _text(config / "contexts/meta" / hashed / "meta.json", "Endpoints", "docker", "Host")
    tls = (config / "contexts/tls" / hashed / "docker").is_dir()
    refusal = f"docker's context {name} wants TLS, not spoken here" if tls else ""
    if address:
        yield Place("docker", address, refusal)
    else:
        yield Place("docker", f"context {name}", "it names no address that could be read")


def _text(path: Path, *keys: str) -> str:
    """Return a text out of a JSON file, "" for none."""
    try:
        fields = decode(path.read_bytes(), what=path.name)
        for key in keys[:-1]:
            fields = fields.child(key)
        return fields.text(keys[-1], "")
    except (OSError, InvalidDocument):
        return ""


def _at(place: Place, environment: Mapping[str, str], check: Check) -> Neighbour:
    if place.refusal:
        raise NeighbourUnreachable(place.refusal, why=place.refusal)
    if place.kind == "podman" and "://" not in place.address:
        return Podman(place.address, environment, check)
    return Daemon(place.shown, place.address, check)


def _nobody(
    source: str | None, tried: list[tuple[Place, NeighbourUnreachable]]
) -> NeighbourUnreachable:
    """Say of each place what was wrong with it."""
    hints = [err.hint for _, err in tried if err.hint]
    usual = "start it, or name another: --from docker, podman, unix:///PATH or tcp://HOST:PORT"
    return NeighbourUnreachable(
        f"{source} cannot be asked for images" if source else "neither docker nor podman is here",
        why="\n".join(f"{place.shown}: {err.why or err.what}" for place, err in tried),
        hint=hints[0] if hints else usual,
    )
