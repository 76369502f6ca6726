"""A JupyterLab and a browser of a test's own; most tests do with those of desk.py."""

import contextlib
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
import uuid

import nbformat
import pytest

from desk import playwright

PATIENCE_MS = 60_000


@contextlib.contextmanager
def chromium():
    """Yield a browser; skips where there is none."""
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not installed")
    with playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def lab(engine, room, name, cells, *more):
    """Run JupyterLab on a directory with one notebook over an engine's data; yield its address."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook.metadata.kernelspec = kernel
    nbformat.write(notebook, room / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--no-browser", f"--port={port}", "--ServerApp.token=", f"--ServerApp.root_dir={room}"]
    words += ["--ServerApp.port_retries=0", *(["--allow-root"] if os.geteuid() == 0 else []), *more]
    data = engine.home.data
    env = os.environ | {"OCIMAGIC_ROOT": str(data), "HOME": str(data.parent)}
    env.pop("XDG_RUNTIME_DIR", None)
    with (room / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words], env=env, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@contextlib.contextmanager
def page(browser, address, name, settings=None):
    """Open a notebook and wait for its kernel.

    Args:
        browser: see ``chromium``.
        address: of JupyterLab, with the path that everything of it begins with.
        name: of the notebook.
        settings: by address, what the user has set of an extension.
    """
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    until(lambda: urllib.request.urlopen(f"{address}/api", timeout=1).status == 200)
    for place, chosen in (settings or {}).items():
        body = {"raw": json.dumps(chosen)}
        answer = context.request.put(place, data=body, headers=_token(context, address))
        assert answer.ok, answer.text()
    # In a workspace of its own: the usual one would bring back the notebooks of pages before it.
    opened.goto(f"{address}/lab/workspaces/{uuid.uuid4().hex}/tree/{name}")
    opened.wait_for_selector(".jp-Notebook .cm-content")
    # Keys are lost while the kernel is not there yet.
    opened.wait_for_function("document.body.textContent.includes('| Idle')")
    yield opened
    context.close()


def _token(context, address):
    """Return the header that a JupyterLab wants of whoever changes something."""
    context.request.get(f"{address}/lab")
    cookies = {each["name"]: each["value"] for each in context.cookies()}
    return {"X-XSRFToken": cookies.get("_xsrf", "")}


def until(is_so):
    """Wait for something that may not be there yet."""
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
