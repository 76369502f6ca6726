"""How long until the layer explorer of a large image is seen, in a real JupyterLab and Chromium.

    python bench/pages.py [--files 100000] [--runs 7]

The clock starts with Ctrl-Enter and ends when the first row of the tree is on the page.  Beside
it: what of that the kernel computes, and how much goes to the page.  Needs the packages of
``.[test]`` and Chromium; writes ``bench/latest-pages.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebooks"))

import browser

from ocimagic import Engine
from ocimagic.render.display import mimebundle
from ocimagic.widgets.explorer import pack

HERE = Path(__file__).parent
NAME = "pages.ipynb"
# From what is typed to a list that has only what fits; 80 ms of it wait for the next letter.
FILTER = """async () => {
  const marks = [...document.querySelectorAll("[data-ocimagic]")];
  const root = marks.at(-1).parentElement.shadowRoot;
  const [box, said] = [root.querySelector("[type=search]"), root.querySelector("[role=status]")];
  const began = performance.now();
  box.value = "dir00007/";
  box.dispatchEvent(new Event("input"));
  while (!said.textContent.includes("fit")) await new Promise((go) => setTimeout(go));
  return Math.round(performance.now() - began) / 1000;
}"""


def tree(files: int) -> bytes:
    """Return a tar of so many files, a hundred in each directory."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for number in range(files // 100):
            directory = tarfile.TarInfo(f"srv/part{number // 50:03}/dir{number:05}")
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
            for file in range(100):
                entry = tarfile.TarInfo(
                    f"{directory.name}/file-{number * 7919 % 9973}-{file:02}.so"
                )
                entry.size = number % 50
                tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return made.getvalue()


def kernel_part(engine: Engine) -> dict[str, float]:
    """Return the seconds of processor time that the kernel needs, and the bytes it sends."""
    times = [time.thread_time()]
    found = engine.images.explore("many")
    times.append(time.thread_time())
    mimebundle(found, datetime.now(UTC))
    times.append(time.thread_time())
    packed = pack(found)
    times.append(time.thread_time())
    explore_s, twin_s, pack_s = (round(b - a, 3) for a, b in pairwise(times))
    return {
        "explore_cpu_s": explore_s, "twin_cpu_s": twin_s, "pack_cpu_s": pack_s,
        "sent_bytes": len(packed),
    }  # fmt: skip


def opened(engine: Engine, runs: int) -> tuple[list[float], float]:
    """Return the seconds of each run until rows are seen, and of a filter until it has worked."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as room:
        cells = ["%load_ext ocimagic", "%image_explore many"]
        with (
            browser.chromium() as running,
            browser.lab(engine, Path(room), NAME, cells) as address,
            browser.page(running, address, NAME) as page,
        ):
            browser.run_cell(page, 0)
            rows = page.locator(".jp-CodeCell").nth(1).locator("[role=treegrid] .row")
            found: list[float] = []
            before = None
            for _ in range(runs):
                page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
                began = time.monotonic()
                page.keyboard.press("Control+Enter")
                if before:  # the rows of the run before go first
                    page.wait_for_function("n => !n.isConnected", arg=before)
                rows.first.wait_for()
                found.append(round(time.monotonic() - began, 3))
                before = rows.first.element_handle()
            filter_s = page.evaluate(FILTER)
            return found, filter_s


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=7)
    asked = options.parse_args()
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as scratch,
        Engine(Path(scratch) / "root") as engine,
    ):
        made = engine.images.import_(tree(asked.files))
        engine.images.tag(str(made.image_id), "many")
        parts = kernel_part(engine)
        seconds, filter_s = opened(engine, asked.runs)
        engine.images.remove("many", force=True)
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": asked.files,
        "opened_s": statistics.median(seconds),
        "each_s": seconds,
        "filter_s": filter_s,
        **parts,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    text = json.dumps(result, indent=1)
    (HERE / "latest-pages.json").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
