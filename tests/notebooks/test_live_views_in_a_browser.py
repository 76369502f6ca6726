"""The layer explorer, the dashboard and the search box of documents in a real JupyterLab: used, saved, opened without them.

One browser, one JupyterLab, one notebook for all; each test runs its own cells.
"""

import contextlib
import json
import sys
import tarfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import axe
import browser
from browser import run_cell, until

from ocimagic.model.options import BuildOptions
from ocimagic.model.state import Status

NAME = "live.ipynb"
FILES = 100_000
CELLS = (
    "%load_ext ocimagic",
    "%image_explore many",
    "%image_explore wasteful",
    "%dashboard --every 0.5",
    "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)",
    "%unload_ext ocimagic",
    "%explore wasteful",
)
WASTEFUL = """\
FROM busybox
RUN mkdir /pkg && head -c 300000 /dev/zero >/pkg/big
RUN rm -r /pkg
COPY app /srv/app
"""
EXPOSED = "--LabApp.expose_app_in_browser=True"  # so that a test can choose the theme
# The least contrast of text in a live view, by WCAG's formula; a canvas knows every colour.
CONTRAST = """root => {
  const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const over = (colours) => {
    paint.clearRect(0, 0, 1, 1);
    for (const each of colours) { paint.fillStyle = each; paint.fillRect(0, 0, 1, 1); }
    return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  let least = [99, ""];
  for (const node of root.querySelectorAll("*")) {
    const text = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
    if (!text || !node.checkVisibility() || node.matches(":disabled")) continue;
    const grounds = [];
    for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
      grounds.unshift(getComputedStyle(at).backgroundColor);
    }
    const ground = light(over(grounds));
    const ink = light(over([...grounds, getComputedStyle(node).color]));
    const ratio = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    if (ratio < least[0]) least = [ratio, `${node.className}: ${node.textContent.slice(0, 40)}`];
  }
  return least;
}"""
GROUND = "node => getComputedStyle(node).backgroundColor"
LOUD = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done"


def many_files():
    """Return a tar of 100,000 empty files in 1,000 directories; tarfile takes seconds for it."""

    def header(kind, mode):
        info = tarfile.TarInfo()
        info.type, info.mode = kind, mode
        return bytearray(info.tobuf(tarfile.GNU_FORMAT))

    def put(blank, name):
        block = bytearray(blank)
        block[:100] = name.ljust(100, b"\0")
        block[148:156] = b" " * 8  # the checksum is taken so
        block[148:156] = b"%06o\0 " % sum(block)
        made.append(block)

    made = []
    directory, file = header(tarfile.DIRTYPE, 0o755), header(tarfile.REGTYPE, 0o644)
    for number in range(FILES // 100):
        top = b"srv/part%02d/dir%03d" % (number // 50, number)
        put(directory, top)
        for at in range(100):
            put(file, b"%s/file-%02d.txt" % (top, at))
    return b"".join(made) + bytes(1024)


@pytest.fixture(scope="module")
def room(shared, tmp_path_factory):
    """Make the images; return the directory of the notebook."""
    context = tmp_path_factory.mktemp("context")
    (context / "many.tar").write_bytes(many_files())
    (context / "app").write_bytes(b"x" * 5000)
    for name, text in (("many", "FROM scratch\nADD many.tar /\n"), ("wasteful", WASTEFUL)):
        shared.images.build(BuildOptions(dockerfile=text, context=str(context), tags=(name,)))
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(shared, room):
    # Cells that one would have to scroll to stay in the page, and nobody is asked about news.
    settings = shared.home.data.parent / ".jupyter/lab/user-settings/@jupyterlab"
    for name, value in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),
        ("apputils-extension/notification", {"fetchNews": "false"}),
    ):
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    with (
        browser.chromium() as running,
        browser.lab(shared, room, NAME, CELLS, EXPOSED) as address,
    ):
        yield running, address


@contextlib.contextmanager
def busy(page, room):
    """Run a cell that ends when this does, and not before."""
    waiting = page.locator(".jp-CodeCell").nth(4)
    waiting.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    prompt = waiting.locator(".jp-InputPrompt")
    until(lambda: prompt.inner_text() == "[*]:")
    yield
    assert prompt.inner_text() == "[*]:"
    (room / "go").touch()
    until(lambda: prompt.inner_text() not in ("[*]:", "[ ]:"))
    (room / "go").unlink()


@pytest.fixture(scope="module")
def page(lab):
    with browser.page(*lab, NAME) as opened:
        watch(opened, lab[1])
        run_cell(opened, 0)
        yield opened
        assert opened.wrong == []


def watch(page, address):
    """Keep what a page should not do: errors, and requests to anybody but this JupyterLab."""
    page.wrong = []
    # As the settings below: nothing is so far down that it is not in the page.
    page.set_viewport_size({"width": 1100, "height": 3000})

    def request(asked):
        if not asked.url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            page.wrong.append(asked.url)

    def said(message):
        # Chromium lets requests fail whenever any container's link on this machine comes or goes.
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            page.wrong.append(message.text)

    page.on("request", request)
    page.on("pageerror", lambda error: page.wrong.append(f"{error} {error.stack}"))
    page.on("console", said)


def cell(page, number):
    return page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea")


def live(page, number):
    return cell(page, number).locator(".live")


def themes(page):
    """Yield each of JupyterLab's themes when the page has it."""
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        is_light = str(theme.endswith("Light")).lower()
        page.wait_for_selector(f"body[data-jp-theme-light={is_light}]", state="attached")
        # JupyterLab fails when it shows this twice at a time.
        page.wait_for_selector("#jupyterlab-splash", state="detached")
        yield theme


def check_contrast(page, number):
    """Assert that words can be read in both themes."""
    for theme in themes(page):
        ratio, where = live(page, number).evaluate(CONTRAST)
        assert 4.5 <= ratio < 22, (theme, ratio, where)


@pytest.mark.slow
def test_a_hundred_thousand_files(page, record_property):
    began = time.monotonic()
    run_cell(page, 1)
    grid = cell(page, 1).get_by_role("treegrid")
    grid.locator(".row").first.wait_for()
    record_property("seconds until 100,000 files are seen", round(time.monotonic() - began, 2))
    assert "100,000 files" in live(page, 1).locator("p").first.inner_text()
    drawn = grid.locator(".row")
    assert drawn.count() < 60, "only what is seen is drawn"

    # Keys: into the first part, down to its end.
    grid.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowRight", "End"):
        page.keyboard.press(key)
    active = grid.locator(".row.active")
    assert active.get_attribute("aria-level") == "2"
    assert active.locator(".path").inner_text().strip().endswith("part19/")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert active.get_attribute("aria-expanded") == "true"
    assert grid.get_attribute("aria-activedescendant") == active.get_attribute("id")

    # Filters: text, glob, regex, and one that is none.
    said = cell(page, 1).get_by_role("status")
    box = cell(page, 1).get_by_label("filter paths", exact=True)
    how = cell(page, 1).get_by_label("how the filter is read")
    for kind, text, hits in (
        ("text", "DIR999/file-0", 10),
        ("glob", "/srv/part*/dir007/file-?5.txt", 10),
        ("glob", "file-99.txt", 1000),
        ("regex", r"dir(001|002)/file-1\d", 20),
    ):
        how.select_option(kind)
        box.fill(text)
        page.wait_for_function(
            "([node, hits]) => node.textContent.startsWith(hits)",
            arg=[said.element_handle(), f"{hits:,} of 101,0"],
        )
    box.fill("[")
    page.wait_for_function("n => n.getAttribute('aria-invalid') === 'true'", arg=box.element_handle())
    cell(page, 1).get_by_role("button", name="Show all").click()
    page.wait_for_function("n => n.textContent === '101,021 paths'", arg=said.element_handle())


@pytest.mark.slow
def test_from_a_file_to_its_line_and_back(page):
    run_cell(page, 2)
    output = cell(page, 2)
    grid = output.get_by_role("treegrid")
    grid.wait_for()
    lines = output.get_by_role("listbox")

    # What is wasted, and the two lines that caused it.
    output.get_by_label("wasted").check()
    row = grid.get_by_role("row").filter(has_text="big")
    row.click()
    about = output.locator(".about")
    assert "300kB wasted: shipped by layer 1: RUN mkdir /pkg" in about.inner_text()
    assert "and hidden by layer 2: RUN rm -r /pkg" in about.inner_text()
    assert row.locator("del").count() == 1

    check_contrast(page, 2)
    row.click()

    # Enter goes to the line, Enter there shows what it did, Escape comes back to the file.
    page.keyboard.press("Enter")
    assert lines.locator(".active").inner_text().split("\n")[1].startswith("RUN rm -r /pkg")
    output.get_by_label("wasted").uncheck()
    lines.focus()
    page.keyboard.press("Enter")
    assert lines.locator("[aria-selected=true]").count() == 1
    assert "of what layer 2 did" in output.get_by_role("status").inner_text()
    assert [each.strip() for each in grid.locator(".row .path").all_inner_texts()] == [
        "▾pkg/", "big"
    ]  # fmt: skip
    page.keyboard.press("Escape")
    assert grid.locator(".row.active").get_attribute("id") == row.get_attribute("id")
    page.keyboard.press("Escape")
    assert output.get_by_role("status").inner_text().endswith(" paths")


@pytest.mark.slow
def test_a_dashboard_that_is_used(shared, room, page):
    quiet = {"network": "none", "detach": True}
    made = shared.containers.run("busybox", ["sh", "-c", LOUD], name="web", **quiet)
    run_cell(page, 3)
    output = cell(page, 3)
    row = output.locator("tr[data-name=web]")
    row.wait_for()
    page.wait_for_function("row => row.textContent.includes('iB')", arg=row.element_handle())
    row.get_by_role("button", name="Logs of web").click()
    log = output.get_by_role("log")
    until(lambda: "line 5" in log.inner_text())

    check_contrast(page, 3)

    def button(name, sure=None):
        row.get_by_role("button", name=f"{name} web", exact=True).click()
        if sure:
            row.get_by_role("button", name=sure, exact=True).click()

    # No comes back, yes does it; figures, logs, rows and buttons work while another cell runs.
    button("Stop", "No")
    assert shared.containers.get("web").status is Status.RUNNING
    with busy(page, room):
        seen = log.inner_text()
        until(lambda: log.inner_text() != seen)
        button("Stop", "Yes, stop")
        output.locator("tr[data-name=web][data-status=exited]").wait_for()
        assert shared.containers.get("web").exit is not None
        button("Start")
        output.locator("tr[data-name=web][data-status=running]").wait_for()
    button("Restart", "Yes, restart")
    # None between its end and its start
    until(lambda: (shared.containers.get("web").started or made.started) > made.started)

    output.locator("tr[data-name=web][data-status=running]").wait_for()
    button("Remove", "Yes, remove")
    row.wait_for(state="detached")
    assert not shared.containers.list(all=True)


@pytest.mark.slow
def test_a_document_that_is_searched(room, page):
    run_cell(page, 6)
    output = cell(page, 6)
    box = output.get_by_role("searchbox", name="search keys and values")
    box.wait_for()
    assert output.get_by_text("RootFS", exact=True).is_visible(), "the tree is below it"

    box.fill("CONFIG path=")
    said = output.get_by_role("status")
    until(lambda: said.inner_text() == "1 hit for CONFIG path=")
    check_contrast(page, 6)

    # By keys from the box to the hit, and to its place, which is in what was folded.
    fold = output.locator("details").filter(has_text="Env").last
    fold.evaluate("node => { node.open = false; }")
    box.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    place = page.locator("li:focus")
    place.wait_for()
    assert "PATH=/" in place.inner_text()
    assert place.evaluate("node => node.style.outline")
    assert fold.get_attribute("open") is not None

    with busy(page, room):
        box.fill("no such thing")
        until(lambda: said.inner_text() == "0 hits for no such thing")
    box.press("Escape")
    until(lambda: said.inner_text() == "")
    assert output.get_by_role("button").count() == 0


@pytest.mark.slow
def test_a_live_view_has_the_ground_of_its_page(page):
    """In the dark it was a lighter box."""
    run_cell(page, 6)
    cell(page, 6).get_by_role("searchbox").wait_for()
    for theme in themes(page):
        ground = page.locator(".jp-Notebook").first.evaluate(GROUND)
        assert cell(page, 6).locator(".live").first.evaluate(GROUND) == ground, theme


@pytest.mark.slow
def test_a_screen_reader_is_told_everything(page, shared):
    quiet = {"network": "none", "detach": True}
    shared.containers.run("busybox", ["sh", "-c", LOUD], name="heard", **quiet)
    for number in (2, 3, 6):
        run_cell(page, number)
    grid = cell(page, 2).get_by_role("treegrid")
    grid.locator(".row").first.click()
    cell(page, 3).get_by_role("button", name="Logs of heard").click()
    until(lambda: "line 2" in cell(page, 3).get_by_role("log").inner_text())
    cell(page, 6).get_by_role("searchbox").fill("config")
    cell(page, 6).get_by_role("button").first.wait_for()
    found = {theme: read_whole(page) for theme in themes(page)}
    shared.containers.remove("heard", force=True)
    for theme, each in found.items():
        assert not each["wrong"], "\n".join([theme, *each["wrong"]])
        assert {"label", "button-name"} <= set(each["passed"]), each["open"]


def read_whole(page):
    """Return what axe-core finds once nothing that JupyterLab shows for a while covers the page."""
    found = {}

    def is_whole():
        found.update(axe.read(page, ".jp-OutputArea-output"))
        return "color-contrast" in found["passed"]

    until(is_whole)
    return found


@pytest.mark.slow
def test_saved_and_opened_again_it_is_the_twin(lab, page, room, shared):
    quiet = {"network": "none", "detach": True}
    shared.containers.run("busybox", ["sh", "-c", LOUD], name="last", **quiet)
    cell(page, 3).locator("tr[data-name=last]").wait_for()
    cell(page, 3).get_by_role("button", name="End dashboard").click()
    cell(page, 3).get_by_role("cell", name="busybox").wait_for()
    assert not cell(page, 3).get_by_role("button").count()
    run_cell(page, 5)
    # The views are over: what was below them is to be seen.
    for number in (1, 2, 3):
        cell(page, number).locator("table").first.wait_for()
        assert cell(page, number).get_by_role("treegrid").count() == 0
    cell(page, 6).get_by_role("searchbox").wait_for(state="detached")
    assert cell(page, 6).get_by_text("RootFS", exact=True).is_visible()
    assert "last" in cell(page, 3).inner_text()
    page.keyboard.press("Control+s")

    def saved():
        try:
            return json.loads((room / NAME).read_text())
        except ValueError:  # it is being written
            return {"cells": []}

    until(lambda: saved()["cells"] and "last" in json.dumps(saved()["cells"][3]["outputs"]))
    found = saved()
    assert "widgets" not in found["metadata"]
    for number in (1, 2, 3, 6):
        [output] = found["cells"][number]["outputs"]
        assert set(output["data"]) == {"text/plain", "text/html"}
        assert len(json.dumps(output)) < 40_000
    shared.containers.remove("last", force=True)

    # A kernel that knows nothing of it; trusted, then a file that nobody vouches for.
    running, address = lab
    for name, change in (("trusted.ipynb", False), ("stranger.ipynb", True)):
        if change:
            found["cells"][0]["source"] = "pass"
            found["cells"][1]["id"] = "stranger"
        (room / name).write_text(json.dumps(found))
        with browser.page(running, address, name) as opened:
            watch(opened, address)
            for number, words in ((1, "100,000 files"), (2, "RUN rm -r /pkg"), (3, "last")):
                output = cell(opened, number)
                output.locator("table").first.wait_for()
                assert words in output.inner_text()
                assert output.get_by_role("treegrid").count() == 0
            assert cell(opened, 6).get_by_text("RootFS", exact=True).is_visible()
            assert cell(opened, 6).get_by_role("searchbox").count() == 0
            assert opened.wrong == []


@pytest.mark.slow
def test_opened_again_it_lives_as_long_as_its_kernel(lab, page):
    for number in (0, 1, 2, 3, 6):
        run_cell(page, number)
    cell(page, 3).get_by_role("button", name="End dashboard").wait_for()
    page.keyboard.press("Control+s")
    with browser.page(*lab, NAME) as again:
        for number in (1, 2):
            cell(again, number).get_by_role("treegrid").wait_for()
        cell(again, 3).get_by_role("button", name="End dashboard").wait_for()
        cell(again, 6).get_by_role("searchbox").fill("rootfs")
        cell(again, 6).get_by_role("button", name="RootFS", exact=True).wait_for()
        assert page.wrong == []
        page.evaluate(
            "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
        )
        for each in (again, page):
            cell(each, 3).locator("table").first.wait_for()
            cell(each, 3).get_by_role("button", name="End dashboard").wait_for(state="detached")
            cell(each, 6).get_by_role("searchbox").wait_for(state="detached")
            # All of an explorer is in the page: it needs its kernel no more.
            assert cell(each, 2).get_by_role("treegrid").count() == 1
    # Of what was on its way when the kernel went, JupyterLab says that it knows no comm of it.
    page.wrong[:] = [each for each in page.wrong if "Comm not found" not in each]
