"""``-it`` in a real JupyterLab in a real browser: keys, colours, size, leaving, what is saved."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest

CELLS = (
    "%load_ext ocimagic",
    "%docker run -it --rm --network none --name seen busybox sh",
    "%docker ps --format '{{.Names}} {{.Status}}'",
)
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(shared, tmp_path_factory):
    """Start JupyterLab on a directory with one notebook; returns its address and the directory."""
    room = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python", "language": "python"}
    nbformat.write(notebook, room / "terminal.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--no-browser", f"--port={port}", "--ServerApp.token=", f"--ServerApp.root_dir={room}"]
    words += ["--ServerApp.port_retries=0", *(["--allow-root"] if os.geteuid() == 0 else [])]
    data = shared.home.data
    env = os.environ | {"OCIMAGIC_ROOT": str(data), "HOME": str(data.parent)}
    env.pop("XDG_RUNTIME_DIR", None)
    with (room / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words], env=env, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}", room
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page(chromium, lab):
    address, _ = lab
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    until(lambda: urllib.request.urlopen(f"{address}/api", timeout=1).status == 200)
    opened.goto(f"{address}/lab/tree/terminal.ipynb")
    opened.wait_for_selector(".jp-Notebook .cm-content")
    # Keys are lost while the kernel is not there yet.
    opened.wait_for_function("document.body.textContent.includes('| Idle')")
    yield opened
    context.close()


def until(is_so):
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except OSError:
            pass
        select.select([], [], [], 0.1)
    raise AssertionError("it did not come to be")


def run_cell(page, number):
    """Execute a cell and wait until it has been."""
    cell = page.locator(".jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    until(lambda: re.search("[0-9]", cell.locator(".jp-InputPrompt").inner_text()))


def shows(page, text):
    page.wait_for_function(
        "text => [...document.querySelectorAll('.xterm-rows')].some("
        "each => each.textContent.includes(text))",
        arg=text,
    )


@pytest.mark.slow
def test_a_shell_in_a_cell(shared, page, lab, tmp_path):
    run_cell(page, 0)
    run_cell(page, 1)
    page.wait_for_selector(".xterm-screen")
    shows(page, "/ #")
    page.click(".xterm-screen")
    page.keyboard.type("echo hello-$((40+2)); stty size\n", delay=5)
    shows(page, "hello-42")
    rows = page.locator(".xterm-rows > div").count()
    shows(page, f"{rows} ")

    # The cell is over while the terminal goes on: others run.
    run_cell(page, 2)
    page.wait_for_function("document.body.textContent.includes('seen Up')")

    page.click(".xterm-screen")
    page.keyboard.type("printf '\\033[32mgreen\\033[0m\\n'\n", delay=5)
    page.wait_for_function(
        "[...document.querySelectorAll('.xterm-rows span')].some("
        "each => each.textContent === 'green' && each.className.includes('xterm-fg-2'))"
    )
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_function("document.querySelector('.xterm-screen').clientWidth < 700")
    page.keyboard.type("stty size | tr ' ' x; exit 3\n", delay=5)

    # What is left is words, and they are saved.
    page.wait_for_selector(".xterm-screen", state="detached")
    page.keyboard.press("Control+s")
    _, room = lab

    def is_saved():
        saved = json.loads((room / "terminal.ipynb").read_text())
        outputs = json.dumps(saved["cells"][1]["outputs"])
        return "hello-42" in outputs and "text/html" in outputs

    until(is_saved)
    assert not [each for each in shared.containers.list(all=True) if each.name == "seen"]
