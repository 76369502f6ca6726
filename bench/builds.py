"""Builds beside the peers': docker's two builders, podman, buildah; one base, one run.

Cold means that every step is done anew on a base that is there; cached, that nothing changed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

import peers
from peers import measure

from ocimagic.model.options import BuildOptions, NetworkMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from peers import Peer

    from ocimagic import Engine

Results = dict[str, dict[str, float]]
STEPS, FILES, STAGES = 5, 10_000, 30
MIXED = """FROM {base}
WORKDIR /srv
COPY files /srv/files
RUN ls /srv/files | wc -l
ENV MODE=fast
RUN touch /srv/made
"""


class Builds:
    """Measures builds; everybody takes turns.

    Args:
        scratch: a directory on a real disk.
        engine: ours.
        base: the base's name, which everybody has pulled.
        others: docker and podman, as they run containers.
    """

    def __init__(self, scratch: Path, engine: Engine, base: str, others: list[Peer]) -> None:
        self._scratch, self._engine, self._base = scratch, engine, base
        self._peers = _builders(others, base)

    def run(self, runs: int) -> Results:
        """Measure all there is."""
        few = max(3, runs // 3)
        true = "".join(f"RUN true {number}\n" for number in range(STEPS))
        results = {
            "build 5 RUN": self._cold(f"FROM {self._base}\n{true}", self._files(20), few),
            "build mixed": self._cold(MIXED.format(base=self._base), self._files(20), few),
            "build cached": self._cached(MIXED.format(base=self._base), self._files(20), runs),
            f"build COPY {FILES}": self._cold(
                f"FROM {self._base}\nCOPY files /files\n", self._files(FILES), 3
            ),
            f"build {STAGES} stages": self._cold(
                self._stages(), self._files(1), 3, ("docker", "buildkit")
            ),
        }
        for peer in self._peers.values():
            peer.call("image", "prune", "-f") if peer.name != "buildah" else None
        return results

    def _files(self, count: int) -> Path:
        """Make a context of small files."""
        context = self._scratch / f"context-{count}"
        if not context.exists():
            (context / "files").mkdir(parents=True)
            for number in range(count):
                (context / "files" / f"{number}.txt").write_bytes(os.urandom(400))
        return context

    def _stages(self) -> str:
        """Return stages that need nothing of each other, and one that needs them all."""
        names = [f"s{number}" for number in range(STAGES - 1)]
        made = (f"FROM {self._base} AS {each}\nRUN echo {each} > /{each}\n" for each in names)
        text = "".join(made)
        copies = "".join(f"COPY --from={name} /{name} /\n" for name in names)
        return f"{text}FROM {self._base}\n{copies}"

    def _cold(
        self, text: str, context: Path, runs: int, beside: tuple[str, ...] = ()
    ) -> dict[str, float]:
        """Build anew; beside those named, or everybody: a minute each is too long for podman."""
        ways = self._ways(text, context, no_cache=True)
        chosen = {name for name in ways if name in ("ocimagic", *beside)} if beside else set(ways)
        return measure({name: ways[name] for name in ways if name in chosen}, runs)

    def _cached(self, text: str, context: Path, runs: int) -> dict[str, float]:
        ways = self._ways(text, context, no_cache=False)
        for way in ways.values():
            way()
        return measure(ways, runs)

    def _ways(self, text: str, context: Path, *, no_cache: bool) -> dict[str, Callable[[], object]]:
        (context / "Dockerfile").write_text(text)
        asked = BuildOptions(
            dockerfile=text,
            context=str(context),
            tags=("bench:1",),
            no_cache=no_cache,
            network=NetworkMode.HOST,
        )
        ways: dict[str, Callable[[], object]] = {
            "ocimagic": lambda: self._engine.images.build(asked)
        }
        more = ["--no-cache"] if no_cache else []
        for name, peer in self._peers.items():
            words = [*_words(peer), "-q", *more, "-t", "bench:1", str(context)]
            ways[name] = lambda peer=peer, words=words: peer.call("build", *words)
        return ways


def _builders(others: list[Peer], base: str) -> dict[str, Peer]:
    """Return the peers that build, docker with both of its builders, and give them the base."""
    found: dict[str, Peer] = {}
    for peer in others:
        peer.call("pull", base)
        found[peer.name] = peer
        if peer.name == "docker":
            # Newer clients want a plugin for it; Debian's has it built in.
            for program in (peer.prefix[0], "/usr/bin/docker"):
                modern = replace(
                    peer,
                    prefix=[program, *peer.prefix[1:]],
                    environment=peer.environment | {"DOCKER_BUILDKIT": "1"},
                )
                if _builds(modern, base):
                    found["buildkit"] = modern
                    break
        if peer.name == "podman" and (program := peers.find("buildah")):
            at = peer.prefix.index("--root")
            prefix = [program, *peer.prefix[at : at + 4], "--storage-driver", "overlay"]
            buildah = replace(peer, name="buildah", prefix=prefix)
            if _builds(buildah, base):
                found["buildah"] = buildah
    return found


def _words(peer: Peer) -> list[str]:
    """Return what has everybody's RUN in the machine's own network, and keeps all steps."""
    words = ["--network", "host"]
    words += ["--layers"] if peer.name in ("podman", "buildah") else []
    return words + (["--runtime", "runc"] if peer.name == "buildah" else [])


def _builds(peer: Peer, base: str) -> bool:
    """Say whether a builder works here at all."""
    with tempfile.TemporaryDirectory() as room:
        with open(f"{room}/Dockerfile", "w", encoding="utf-8") as file:
            file.write(f"FROM {base}\nRUN true\n")
        try:
            peer.call("build", *_words(peer), "-q", room)
        except SystemExit:
            return False
    return True
