"""What a learner does with hands and eyes: Tab, help, stop, restart, a pull that moves."""

import io
import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Notebook, until, write_notebook
from rootfs import MadeImage, tar_of

from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource

pytestmark = pytest.mark.slow

SOON_S = 1.0  # after which a pressed stop button would be pressed again
TRIES = 3  # on a machine that does other things too


@contextmanager
def opened(desk, lab, name, *cells):
    write_notebook(desk.room / f"{name}.ipynb", cells)
    notebook = Notebook.open(lab, f"{name}.ipynb")
    yield notebook
    notebook.close()


def typed(notebook, number, text):
    """Type at the end of a cell."""
    notebook.editor(number).click()
    notebook.page.keyboard.press("Control+End")
    notebook.page.keyboard.type(text)


def source(notebook, number):
    return notebook.page.evaluate(
        "([path, number]) => window.panels[path].content.widgets[number].model.sharedModel.source",
        [notebook.path, number],
    )


# -- Tab and Shift-Tab ---------------------------------------------------------


def choose(notebook, number, text):
    """Press Tab at the end of a cell and take one of what is offered."""
    notebook.page.keyboard.press("Tab")
    popup = notebook.page.locator(".jp-Completer:not(.lm-mod-hidden)")
    item = popup.locator(".jp-Completer-item", has=notebook.page.get_by_text(text, exact=True))
    item.wait_for()
    offered = popup.locator(".jp-Completer-match").all_inner_texts()
    for _ in range(offered.index(text)):
        notebook.page.keyboard.press("ArrowDown")
    kinds = popup.locator(".jp-Completer-typeExtended").all_inner_texts()
    notebook.page.keyboard.press("Enter")
    until(lambda: text in source(notebook, number))
    return list(zip(offered, kinds, strict=True))


def test_tab_offers_what_is_here(desk, lab):
    dockerfile = "%%dockerfile -t x\nFROM busybox AS built\n"
    with opened(desk, lab, "tab", "%container_run --rm bus", dockerfile) as notebook:
        typed(notebook, 0, "")
        assert choose(notebook, 0, "busybox:latest") == [("busybox:latest", "image")]
        typed(notebook, 1, "CO")
        choose(notebook, 1, "COPY")
        typed(notebook, 1, " --")
        offered = choose(notebook, 1, "--from=")
        assert ("--chown=", "option") in offered
        typed(notebook, 1, "bui")
        choose(notebook, 1, "--from=built")
        assert source(notebook, 0) == "%container_run --rm busybox:latest"
        assert source(notebook, 1) == f"{dockerfile}COPY --from=built"


HELPED = ("%container_run -p", "%%dockerfile -t helped -\nFROM busybox\nRUN echo hi > /hi\n")


def look_up(notebook):
    """Press Shift-Tab on an option, and on an instruction that was built."""
    keyboard, tooltip = notebook.page.keyboard, notebook.page.locator(".jp-Tooltip")
    typed(notebook, 0, "")
    keyboard.press("Shift+Tab")
    option = tooltip.locator("strong", has_text="--publish")  # the HTML of our answer, not its text
    option.wait_for()
    assert tooltip.bounding_box()["y"] > notebook.editor(0).bounding_box()["y"]
    keyboard.press("Escape")
    tooltip.wait_for(state="detached")

    if os.geteuid() == 0:
        notebook.run(1)
        notebook.editor(1).locator(".cm-line").nth(2).click()
        keyboard.press("Shift+Tab")
        tooltip.get_by_text("In the last build").first.wait_for()
        assert "layer" in tooltip.inner_text()
        keyboard.press("Escape")


def test_shift_tab_tells_of_options_and_instructions(desk, lab):
    with opened(desk, lab, "help", *HELPED) as notebook:
        look_up(notebook)


def test_notebook_completes_and_tells_as_lab_does(desk):
    write_notebook(desk.room / "help-7.ipynb", [*HELPED, "%container_run --rm bus"])
    with desk.page("/notebooks/help-7.ipynb") as page:
        notebook = Notebook.here(page)
        look_up(notebook)
        typed(notebook, 2, "")
        assert choose(notebook, 2, "busybox:latest") == [("busybox:latest", "image")]


# -- the kernel ----------------------------------------------------------------


def test_the_launcher_offers_our_kernel(lab):
    lab.evaluate("window.jupyterapp.commands.execute('launcher:create').then(() => true)")
    card = lab.locator('.jp-LauncherCard[title*="OCI (ocimagic)"]:visible').first
    card.wait_for()
    logo = card.locator("img").first
    until(lambda: logo.evaluate("each => each.complete && each.naturalWidth > 0"))
    assert "kernelspecs/ocimagic/logo-svg.svg" in logo.get_attribute("src")


# -- the stop button -----------------------------------------------------------


# By the cell's own mark: a new kernel is sometimes called idle while its first cell runs.
_TIME = """prompt => {
    window.took = null;
    document.addEventListener("mousedown", () => {
        const pressed = performance.now();
        const look = setInterval(() => {
            if (!/[0-9]/.test(prompt.textContent)) return;
            clearInterval(look);
            window.took = (performance.now() - pressed) / 1000;
        }, 5);
    }, {capture: true, once: true});
}"""


def stopped_in_s(notebook, number, word):
    """Run a cell, press stop when it says a word; return how long it then went on."""
    page = notebook.page
    notebook.run(number, wait=False)
    notebook.outputs(number).get_by_text(word).first.wait_for()
    prompt = notebook.cell(number).locator(".jp-InputPrompt").first
    assert "*" in prompt.inner_text()
    prompt.evaluate(_TIME)
    notebook.panel.locator('[data-command="notebook:interrupt-kernel"]').click()
    page.wait_for_function("window.took !== null")
    return page.evaluate("window.took")


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        (
            "%container_run --rm --name pressed --network none busybox "
            "sh -c 'trap \"exit 0\" TERM; echo ready; while :; do sleep 0.1; done'",
            "ready",
        ),
        ("%%dockerfile -t never -\nFROM busybox\nRUN echo ready; sleep 60", "ready"),
    ],
    ids=["run", "build"],
)
def test_the_stop_button(desk, lab, cell, word):
    with opened(desk, lab, "stop", cell, "6 * 7") as notebook:
        took_s = []
        while not took_s or (took_s[-1] >= SOON_S and len(took_s) < TRIES):
            took_s.append(stopped_in_s(notebook, 0, word))
        assert took_s[-1] < SOON_S, took_s
        assert "stopped by you" in "".join(notebook.outputs(0).all_inner_texts()).lower()
        # The container goes as its command said, and the kernel is the same.
        until(lambda: "pressed" not in [each.name for each in everything(desk)])
        notebook.run(1)
        until(lambda: notebook.outputs(1).all_inner_texts() == ["42"])


def everything(desk):
    return desk.engine.containers.list(all=True)


# -- what outlives a kernel ----------------------------------------------------


def test_a_container_outlives_a_restarted_kernel(desk, lab):
    cells = (
        "%container_run -d --name outlives --network none busybox sleep 600",
        "%container_ls",
    )
    with opened(desk, lab, "restart", *cells) as notebook:
        notebook.run(0)
        [before] = [each for each in everything(desk) if each.name == "outlives"]
        notebook.page.evaluate(
            "path => window.panels[path].sessionContext.session.kernel.restart()", notebook.path
        )
        notebook.run(1)
        row = notebook.outputs(1).get_by_text("outlives")
        row.wait_for()
        [after] = [each for each in everything(desk) if each.name == "outlives"]
        assert (after.container_id, after.pid) == (before.container_id, before.pid)
        assert after.status.value == "running"
    desk.engine.containers.remove("outlives", force=True)


# -- a pull --------------------------------------------------------------------


class SlowFile(io.BytesIO):
    """Reads at the pace of a class's WiFi."""

    def read(self, size=-1):
        time.sleep(0.03)
        return super().read(min(size, 256 << 10) if size > 0 else size)


class SlowSource(MemorySource):
    def open_blob(self, repository, digest):
        found = super().open_blob(repository, digest)
        return found and (found[0], SlowFile(found[1].read()))


@pytest.fixture
def slow_image():
    layers = [tar_of((f"file-{n}", os.urandom(6_000_000 + n))) for n in range(3)]
    source = SlowSource()
    MadeImage(layers).serve(source, "slow", "latest")
    with RegistryServer(source) as server:
        yield f"{server.host}/slow"


_WATCH = """path => {
    const seen = window.seen = {};
    const look = () => {
        for (const bar of window.panels[path].node.querySelectorAll(".jp-OutputArea progress")) {
            const row = bar.closest("tr").querySelector("th").textContent;
            (seen[row] ??= []).push(bar.value);
        }
    };
    new MutationObserver(look).observe(
        window.panels[path].node, {childList: true, subtree: true});
}"""


def test_a_pull_moves_one_way_and_leaves_what_is_true(desk, lab, slow_image):
    with opened(desk, lab, "pull", f"%image_pull {slow_image}") as notebook:
        lab.evaluate(_WATCH, notebook.path)
        notebook.run(0)
        seen = lab.evaluate("window.seen")
        assert len(seen) == 3
        for values in seen.values():
            assert values == sorted(values)
        assert max(len(set(values)) for values in seen.values()) >= 4, seen
        notebook.save()
        [cell] = nbformat.read(desk.room / notebook.path, 4).cells
        assert len(cell.outputs) == 1
        saved = str(cell.outputs)
        assert "3 layers" in saved
        assert not re.search("pulling|downloading", saved, re.IGNORECASE)
        assert set(re.findall(r'<progress[^>]*value="([\d.]+)"', saved)) <= {"1.000"}
    desk.engine.images.remove(slow_image)
