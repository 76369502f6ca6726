"""What a notebook waits for: loading, the layer graph of a class, the first picture, progress."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from peers import measure, measure_clocks

from ocimagic.model.result import LayerInfo, LayerReport
from ocimagic.render.display import mimebundle
from ocimagic.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient

IMAGES, LAYERS, SHARED, BASES = 100, 20, 8, 5
PATIENCE_S = 120
KERNELS = 9
LOAD = """import time
began = time.perf_counter()
%load_ext ocimagic
time.perf_counter() - began"""

Results = dict[str, dict[str, float]]


def picture_times(root: Path, scratch: Path, image: str, runs: int, notes: list[str]) -> Results:
    """Measure loading, pictures and progress.

    Args:
        root: a data root with ``image`` in it.
        scratch: for data roots of its own.
        image: of a registry near by, some 60 MB of it.
        runs: of each.
        notes: gets a line.
    """
    loaded = load_times(root)
    notes.append(f"notebook load_ext: {spread(loaded)}")
    report = class_report()
    drawn = measure({"ocimagic": lambda: draw(report)}, runs)
    first = measure({"ocimagic": lambda: first_picture(root, image)}, max(3, runs // 3))
    return {
        "notebook load_ext": {"ocimagic": statistics.median(loaded)},
        "notebook graph": drawn,
        "notebook first picture": first,
        **shown_pulls(scratch / "shown", image, runs),
    }


def class_report() -> LayerReport:
    """Return 100 images of 20 layers each: 8 from one of five bases, 12 of their own."""
    images = tuple(
        (
            f"team{number}/app:latest",
            tuple(
                _layer(f"base {number % BASES} {each}", from_base=True)
                if each < SHARED
                else _layer(f"image {number} {each}")
                for each in range(LAYERS)
            ),
        )
        for number in range(IMAGES)
    )
    every = [layer for _, layers in images for layer in layers]
    assert len(every) == IMAGES * LAYERS
    return LayerReport(
        images=images,
        total_bytes=sum(each.size_bytes for each in every),
        stored_bytes=sum({each.diff_id: each.size_bytes for each in every}.values()),
    )


def _layer(name: str, *, from_base: bool = False) -> LayerInfo:
    digest = Digest.of(name.encode())
    return LayerInfo(
        diff_id=digest,
        chain_id=digest,
        digest=digest,
        media_type="application/vnd.oci.image.layer.v1.tar",
        size_bytes=100_000 * len(name),
        blob_bytes=50_000 * len(name),
        created_by=f"RUN /bin/sh -c apt-get install --yes {name}",
        from_base=from_base,
        shared_with=(),
    )


def draw(report: LayerReport) -> None:
    """Make all that a cell shows: text, picture, tables."""
    bundle = mimebundle(report, datetime.now(UTC))
    assert bundle["text/html"].count("<table") == IMAGES


def first_picture(root: Path, image: str) -> float:
    """Return the seconds from a cell's start to its picture, in a kernel that just has the magics.

    The engine starts in that time, too, and what ``%load_ext`` has left for later is loaded: it
    is the first command.
    """
    with kernel(root) as client:
        run(client, "%load_ext ocimagic")
        began = time.perf_counter()
        seen = run(client, f"%image_layers {image}")
        assert "<img alt=" in seen["text/html"]
        return time.perf_counter() - began


def load_times(root: Path) -> list[float]:
    """Return the seconds of ``%load_ext ocimagic`` alone in kernels that are fresh, sorted.

    Nothing of ours was imported in them; its byte code is on disk, as after any first use.
    """
    times = []
    for _ in range(KERNELS + 1):
        with kernel(root) as client:
            times.append(float(run(client, LOAD)["text/plain"]))
    return sorted(times[1:])


def spread(times: list[float]) -> str:
    """Say a median and between what figures it lies."""
    middle, low, high = (each * 1000 for each in (statistics.median(times), times[0], times[-1]))
    return f"median {middle:.1f} ms of {len(times)} kernels, from {low:.1f} to {high:.1f} ms"


def shown_pulls(root: Path, image: str, runs: int) -> Results:
    """Pull with bars that move and with none, taking turns in one kernel.

    Returns:
        Seconds from the command to its end, and seconds of a processor that the kernel took.
    """
    with kernel(root) as client:
        run(client, "%load_ext ocimagic\nimport time")

        def pull(progress: str) -> dict[str, float]:
            code = (
                f"%config OciMagic.progress = {progress!r}\n"
                f"began = time.perf_counter(), time.process_time()\nresult = %image_pull {image}\n"
                "ended = time.perf_counter(), time.process_time()\n"
                f"%image_rm -f {image};\n[b - a for a, b in zip(began, ended)]"
            )
            took, of_a_processor = json.loads(run(client, code)["text/plain"])
            return {"pull shown": took, "pull shown, processor": of_a_processor}

        ways = {"ocimagic": lambda: pull("html"), "no progress": lambda: pull("none")}
        return measure_clocks(ways, runs)


@contextmanager
def kernel(root: Path) -> Iterator[BlockingKernelClient]:
    """Run a kernel over a data root."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager()
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]
    manager.start_kernel(env=os.environ | {"OCIMAGIC_ROOT": str(root)})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def run(client: BlockingKernelClient, code: str) -> dict[str, str]:
    """Run a cell; return the last thing that it showed, by media type."""
    shown: dict[str, str] = {}

    def hear(message: dict[str, object]) -> None:
        content = message["content"]
        assert isinstance(content, dict)
        if message["msg_type"] in ("execute_result", "display_data"):
            shown.clear()
            shown.update(content["data"])
        elif message["msg_type"] == "error":
            raise SystemExit("\n".join(content["traceback"]))

    client.execute_interactive(code, timeout=PATIENCE_S, output_hook=hear)
    return shown
