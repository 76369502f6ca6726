"""``make bench``: our times beside docker's, podman's and runc's, taken in one run.

Every figure is a ratio of medians measured minutes apart on the same machine with the same
images.  Both sides make the same namespaces, filter system calls and drain the output; peers
that are missing are installed from Debian if this is root, else named and left out.

Writes ``bench/latest.json`` and adds a line to ``bench/history.csv``; one part alone
(``make bench BENCH='--only build'``) writes ``bench/latest-build.json``.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import apis
import builds
import containers
import explain
import images
import made
import memory
import networks
import peers
import pictures
import pulls
import relays
import serving
from peers import measure
from report import Figures, report

from ocimagic import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PARTS = (
    "run",
    "exec",
    "hundred",
    "pull",
    "serve",
    "images",
    "build",
    "network",
    "import",
    "notebook",
    "explain",
    "api",
    "memory",
)


def main() -> int:
    """Measure, print and write down."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=15, help="runs of each short command")
    options.add_argument("--pulls", type=int, default=5, help="pulls of the Debian image")
    options.add_argument("--scratch", default=None, help="a fresh directory on a real disk")
    options.add_argument("--only", choices=PARTS, help="measure one part, into a file of its own")
    asked = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no peer's failure, as ^C is none
    with ExitStack() as stack:
        scratch = Path(asked.scratch or tempfile.mkdtemp(prefix="ocimagic-bench-", dir="/var/tmp"))
        stack.callback(peers.clear, scratch)
        if asked.only == "explain":  # which has no peer to be compared with
            report(explained(scratch, asked.runs))
            return 0
        bench = Bench(scratch, asked.runs, asked.pulls, stack)
        figures = Figures(notes=bench.notes, part=asked.only or "")
        stack.callback(report, figures)  # also of a run that is broken off, which says so
        for results in bench.run(asked.only):
            figures.results |= results
        if asked.only in (None, "memory"):
            figures.memory = bench.memory()
            figures.rises = memory.rises(scratch)
            figures.copies = memory.copies(scratch)
        figures.whole = True
    return 0


def explained(scratch: Path, runs: int) -> Figures:
    """Measure what it costs that things can be explained."""
    results, lines = explain.explain_times(scratch, runs * explain.TURNS_PER_RUN)
    return Figures(results=results, notes=lines, whole=True, part="explain")


class Bench:
    """One run of all measurements; what it starts ends with ``stack``."""

    def __init__(self, scratch: Path, runs: int, pulls: int, stack: ExitStack) -> None:
        self.scratch, self.runs, self.pulls = scratch, runs, pulls
        peers.install()
        self.server = stack.enter_context(peers.registry(scratch))
        self.registry = self.server.host
        self.docker = stack.enter_context(peers.docker(scratch))
        self.podman = peers.podman(scratch)
        self.others = [peer for peer in (self.docker, self.podman) if peer]
        for peer in self.others:
            stack.callback(peer.end_all)
        self.busybox_root = peers.busybox_root(scratch)
        made.of_tar(scratch / "busybox", self.busybox_root)
        self.busybox = self.server.push(scratch / "busybox", "busybox")
        self.notes: list[str] = []
        self.engine = stack.enter_context(Engine(scratch / "ours", environment={}))

    @cached_property
    def debian_root(self) -> bytes:
        """The tar of a minimal Debian, which some parts need and which may take minutes to make."""
        return peers.debian(self.scratch)

    @cached_property
    def layer(self) -> Path:
        """Debian's layer, as it is stored."""
        return made.of_tar(self.scratch / "debian", self.debian_root)

    @cached_property
    def debian(self) -> str:
        """The name of Debian's image in the registry."""
        assert self.layer
        return self.server.push(self.scratch / "debian", "debian")

    def run(self, only: str | None) -> Iterator[dict[str, dict[str, float]]]:
        """Yield seconds, by measurement and by who took them, as they come."""
        parts = {
            "run": lambda: {"run": self.run_times() | containers.yardstick(self.scratch)},
            "exec": lambda: {"exec": self._busy(containers.exec_times, self.runs)},
            "hundred": lambda: {"hundred": self._busy(containers.hundred_times)},
            "pull": self.pull_times,
            "serve": self.serve_times,
            "images": self.image_times,  # before a build stands on Debian and keeps its layer
            "build": self.build_times,
            "network": self.network_times,
            "import": lambda: {"import": self.import_times()},
            "notebook": self.notebook_times,
            "explain": self.explain_times,
        }
        for name, measured in parts.items():
            if only in (None, name):
                yield measured()
        if only in (None, "api"):
            yield from self.api_times()

    def _busy(self, times: Callable[..., dict[str, float]], *more: int) -> dict[str, float]:
        """Measure on the image of busybox, which everybody has."""
        self.engine.images.pull(self.busybox)
        for peer in self.others:
            peer.call("pull", self.busybox)
        return times(self.engine, self.busybox, self.others, *more)

    def image_times(self) -> dict[str, dict[str, float]]:
        """Times of images that travel."""
        here = self.scratch
        self.engine.images.pull(self.debian)
        again = images.again_times(self.engine, self.debian, self.others, self.runs)
        save, load = images.archive_times(self.engine, self.debian, self.others, here, self.pulls)
        push = images.push_times(self.engine, self.registry, self.others, here, self.pulls)
        look = images.look_times(self.scratch)
        return {"pull again": again, "push": push, "save": save, "load": load, "look": look}

    def memory(self) -> dict[str, float]:
        """Weigh what keeps one container, in bytes of PSS."""
        root = self.scratch / "weighed"
        with Engine(root, environment={}) as engine:
            engine.images.pull(self.busybox)
        return containers.keeper_memory(root, self.busybox, self.others)

    def run_times(self) -> dict[str, float]:
        """``run --rm --network none busybox true``, from the call to the exit code."""
        self.engine.images.pull(self.busybox)

        def ours() -> None:
            done = self.engine.containers.run(self.busybox, ["true"], network="none", remove=True)
            assert done.exit_code == 0

        ways = {"ocimagic": ours}
        words = ["run", "--rm", "--network", "none", self.busybox, "true"]
        for peer in self.others:
            peer.call("pull", self.busybox)
            ways[peer.name] = lambda peer=peer: peer.call(*words)
        bundle = peers.runc_bundle(self.scratch)
        if bundle:
            ways["runc"] = lambda: peers.run_bundle(bundle)
        return measure(ways, self.runs)

    def pull_times(self) -> dict[str, dict[str, float]]:
        """Pull images of three shapes into empty stores."""
        work = pulls.Pulls(self.scratch, self.server, self.others, (self.debian, self.layer))
        results = work.one_layer(self.pulls)
        results |= work.many_layers(self.debian_root, max(1, self.pulls - 2))
        results |= work.large(self.busybox_root, max(1, self.pulls - 3))
        self.notes += work.notes
        return results

    def serve_times(self) -> dict[str, dict[str, float]]:
        """Let fifty clients pull at once, from our registry and from Debian's."""
        figures = serving.serving_figures(self.scratch, self.server)
        self.notes += serving.lines(figures)
        return {
            what: {who: each.seconds for who, each in by.items()} for what, by in figures.items()
        }

    def build_times(self) -> dict[str, dict[str, float]]:
        """Build cold, cached, with many files and with many stages."""
        self.engine.images.pull(self.debian)
        work = builds.Builds(self.scratch, self.engine, self.debian, self.others)
        return work.run(self.runs)

    def network_times(self) -> dict[str, dict[str, float]]:
        """Run in networks, and send through them."""
        self.engine.images.pull(self.busybox)
        archive = self.scratch / "busybox.tar"
        with archive.open("wb") as file:
            self.engine.images.save([self.busybox], file.write)
        found = networks.network_times(self.scratch, archive, self.runs)
        return found | relays.relay_times(self.scratch, archive)

    def notebook_times(self) -> dict[str, dict[str, float]]:
        """Load the extension, draw pictures, and pull with progress shown and not."""
        self.engine.images.pull(self.debian)
        root = self.scratch / "ours"
        return pictures.picture_times(root, self.scratch, self.debian, self.runs, self.notes)

    def explain_times(self) -> dict[str, dict[str, float]]:
        """Start and execute with notes and without."""
        figures = explained(self.scratch, self.runs)
        self.notes += figures.notes
        return dict(figures.results)

    def api_times(self) -> Iterator[dict[str, dict[str, float]]]:
        """Ask our API and dockerd by docker's own client."""
        if self.docker:
            self.engine.images.pull(self.busybox)
            self.docker.call("pull", self.busybox)
            yield from apis.api_times(self.scratch, self.docker, self.busybox, self.runs)

    def import_times(self) -> dict[str, float]:
        """Time what ``%load_ext ocimagic`` imports, in a shell that is there already."""
        code = (
            "import IPython, ipykernel.ipkernel, time; from IPython.core.interactiveshell import "
            "InteractiveShell; ip = InteractiveShell.instance(); t = time.perf_counter(); "
            "import ocimagic; ocimagic.load_ipython_extension(ip); "
            "import sys; print(time.perf_counter() - t, file=sys.stderr)"
        )

        def once() -> float:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            return float(done.stderr.split()[-1])

        return measure({"load_ext": once}, 5)


if __name__ == "__main__":
    sys.exit(main())
