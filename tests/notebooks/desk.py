"""One JupyterLab and one browser for all tests that need them."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest

CLONE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BASE = "/user/me"
PATIENCE_MS = 60_000
# Of what does not depend on who runs containers one account's word is enough.
once = pytest.mark.skipif(os.geteuid() != 0, reason="it is the same in both accounts: root's")
SETTINGS = {
    # Cells that are off the screen are part of the page, too.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false", "checkForUpdates": False,
    },
}  # fmt: skip
# What JupyterLab and Notebook say of themselves with no extension of ours, and nothing else:
# on the console, a beginning; of errors, a text and where in their code it comes from.
OWN_WORDS = (
    # a kernel that is ended right after its notebook was opened
    "Could not restore the debugger state: Canceled future for debug_request",
)
OWN_ERRORS = (
    # Notebook 7.6: whenever it starts
    ("Cannot read properties of undefined (reading 'schema')", "/static/notebook/notebook_core."),
)
# What every page of nbconvert asks for, with outputs of ours or without: formulas and diagrams.
NBCONVERT_ASKS_FOR = ("https://cdnjs.cloudflare.com/ajax/libs/",)
STARTUP = """
import os, pathlib
named = pathlib.Path("root.txt")
if named.exists():
    os.environ["OCIMAGIC_ROOT"] = named.read_text()
"""


def write_notebook(path, cells, kernel="ocimagic"):
    """Write a notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    name = {"ocimagic": "OCI (ocimagic)", "python3": "Python 3"}[kernel]
    notebook.metadata.kernelspec = {"name": kernel, "display_name": name, "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@contextlib.contextmanager
def island():
    """Make a network for the browser; yield the pid that is in it, a port and its socket."""
    ours, theirs = socket.socketpair()
    unshare = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else [])]
    words = [*unshare, sys.executable, str(HERE / "island.py"), str(theirs.fileno())]
    keeper = subprocess.Popen(words, pass_fds=[theirs.fileno()])
    theirs.close()
    with ours:
        told, [listening], _, _ = socket.recv_fds(ours, 4096, 1)
        found = json.loads(told)
        try:
            yield found["pid"], found["port"], listening
        finally:
            os.close(listening)
            ours.close()
            keeper.wait(10)


@contextlib.contextmanager
def server(room, listening, environment):
    """Run JupyterLab over a directory on a socket."""
    config = room.parent / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    startup = room.parent / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "root.py").write_text(STARTUP)
    env = os.environ | environment | {
        "HOME": str(room.parent), "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(room.parent / "data"),
        "JUPYTER_RUNTIME_DIR": str(room.parent / "runtime"),
        "JUPYTER_PATH": str(CLONE / "share" / "jupyter"),
        "IPYTHONDIR": str(room.parent / "ipython"),
    }  # fmt: skip
    env.pop("XDG_RUNTIME_DIR", None)
    words = ["--no-browser", "--ServerApp.token=", f"--ServerApp.root_dir={room}",
             f"--ServerApp.base_url={BASE}/", "--LabApp.expose_app_in_browser=True",
             "--JupyterNotebookApp.expose_app_in_browser=True",
             *(["--allow-root"] if os.geteuid() == 0 else [])]  # fmt: skip
    with (room.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "serve.py"), str(listening), *words],
            env=env, stdout=log, stderr=log, pass_fds=[listening],
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


_running = []


@contextlib.contextmanager
def playwright():
    """Yield Playwright, of which a thread can have one only."""
    if _running:
        yield _running[0]
        return
    module = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with module.sync_playwright() as running:
        _running.append(running)
        try:
            yield running
        finally:
            _running.clear()


@contextlib.contextmanager
def chromium(pid, room):
    """Run a browser in the network of a process."""
    program = shutil.which("chromium")
    if not program:
        pytest.skip("chromium is not installed")
    enter = ["nsenter", f"--target={pid}", "--net"]
    if os.geteuid():
        enter += ["--user", "--preserve-credentials"]
    wrapper = room / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([*enter, program])} "$@"\n')
    wrapper.chmod(0o755)
    with playwright() as running:
        browser = running.chromium.launch(executable_path=str(wrapper), args=["--no-sandbox"])
        yield browser
        browser.close()


class Desk:
    """A browser with JupyterLab before it.

    Attributes:
        engine: what kernels work with, unless a file root.txt beside the notebook says else.
        room: the directory that JupyterLab shows.
        address: of the server, with the path that everything of it begins with.
        complaints: what pages said that they should not: errors, and requests to elsewhere.
    """

    def __init__(self, browser, room, address, engine):
        self.browser = browser
        self.engine = engine
        self.room = room
        self.address = address
        self.complaints = []

    @contextlib.contextmanager
    def page(self, place, **settings):
        """Open a page of the server; yield it when its application is there."""
        context = self.browser.new_context(viewport={"width": 1100, "height": 900}, **settings)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        self.listen(page)
        page.goto(f"{self.address}{place}")
        page.wait_for_function("window.jupyterapp?.restored ?? false")
        page.evaluate("window.jupyterapp.restored.then(() => true)")
        try:
            yield page
        finally:
            context.close()

    def listen(self, page, *, also=()):
        """Note what a page complains of.

        Args:
            page: a new one.
            also: beginnings of addresses that may be asked for besides the server's.
        """
        allowed = (self.address, self.address.replace("http:", "ws:"), "data:", "blob:", *also)

        def asked(request):
            if not request.url.startswith(allowed):
                self.complaints.append(f"asked for {request.url}")

        def said(message):
            # A request that we do not allow is told above; one that fails is told by its name.
            is_told = message.text.startswith(("Failed to load resource: net::", *OWN_WORDS))
            if message.type == "error" and not is_told:
                self.complaints.append(f"console: {message.text}")

        def failed_to_load(request):
            if not request.url.startswith(tuple(also)) and "ERR_ABORTED" not in request.failure:
                self.complaints.append(f"could not load {request.url}: {request.failure}")

        page.on("request", asked)
        page.on("requestfailed", failed_to_load)
        page.on("websocket", asked)
        page.on("console", said)
        def failed(error):
            if (error.message, True) not in [(text, at in error.stack) for text, at in OWN_ERRORS]:
                self.complaints.append(f"page error: {error.stack}")

        page.on("pageerror", failed)


_OPEN = """async (path) => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute("docmanager:open", {path, factory: "Notebook"});
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    panel.node.dataset.path = path;
    (window.panels ??= {})[path] = panel;
}"""
_HERE = """async () => {
    const app = window.jupyterapp;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    const path = panel.context.path;
    panel.node.dataset.path = path;
    (window.panels ??= {})[path] = panel;
    return path;
}"""
_RUN_ALL = """(path) => {
    const here = {semanticWidget: window.panels[path].id, activate: false};
    window.jupyterapp.commands.execute("notebook:run-all-cells", here);
}"""
# The command ends at the first error, also at one on purpose, while the kernel goes on.
_STANDING = """(path) => {
    const panel = window.panels[path];
    const cells = panel.content.widgets.filter(
        (each) => each.model.type === "code" && each.model.sharedModel.getSource().trim());
    const broken = cells.filter((each) =>
        !(each.model.getMetadata("tags") ?? []).includes("raises-exception")
        && each.model.sharedModel.outputs.some((output) => output.output_type === "error"));
    return {
        kernel: panel.sessionContext.session.kernel.status,
        waiting: cells.filter((each) => !each.model.executionCount).length,
        errors: broken.map((each) => each.node.innerText),
    };
}"""
_SAVE = "async (path) => { await window.panels[path].context.save(); }"
_CLOSE = """async (path) => {
    const panel = window.panels[path];
    const session = panel.sessionContext.session;
    if (session) await session.shutdown();
    panel.context.model.dirty = false;
    panel.dispose();
}"""


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, page, path):
        self.page = page
        self.path = path
        self.panel = page.locator(f'[data-path="{path}"]')

    @classmethod
    def open(cls, page, path):
        """Open a notebook in JupyterLab, by its path below the room."""
        page.evaluate(_OPEN, path)
        return cls(page, path)

    @classmethod
    def here(cls, page):
        """Return the one that the page was opened for."""
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", state="attached")
        return cls(page, page.evaluate(_HERE))

    def cell(self, number):
        return self.panel.locator(".jp-CodeCell").nth(number)

    def editor(self, number):
        return self.cell(number).locator(".cm-content")

    def outputs(self, number):
        return self.cell(number).locator(".jp-OutputArea-output")

    def show(self):
        self.page.evaluate(
            "path => window.jupyterapp.shell.activateById(window.panels[path].id)", self.path
        )

    def run_all(self):
        """Begin to run all cells."""
        self.page.evaluate(_RUN_ALL, self.path)

    def wait(self):
        """Wait until all cells have run."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        done = {"kernel": "idle", "waiting": 0, "errors": []}
        while (found := self.page.evaluate(_STANDING, self.path)) != done:
            assert not found["errors"], found["errors"]
            assert time.monotonic() < deadline, found
            self.page.wait_for_timeout(50)

    def run(self, number, *, wait=True):
        """Run one cell."""
        prompt = self.cell(number).locator(".jp-InputPrompt").first
        self.editor(number).click()
        self.page.keyboard.press("Control+Enter")
        if wait:
            until(lambda: any(each.isdigit() for each in prompt.inner_text()))

    def save(self):
        """Save it; return what the file holds then."""
        self.page.evaluate(_SAVE, self.path)

    def close(self):
        """Close it and end its kernel."""
        self.page.evaluate(_CLOSE, self.path)


def until(is_so, patience_s=PATIENCE_MS / 1000):
    """Wait for something that may not be there yet."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


@contextlib.contextmanager
def opened(room, engine):
    """Start a server over a directory and a browser; yield them as a Desk."""
    shown = room / "room"
    shown.mkdir()
    environment = {"OCIMAGIC_ROOT": str(engine.home.data)}
    with (
        island() as (pid, port, listening),
        server(shown, listening, environment),
        chromium(pid, room) as browser,
    ):
        yield Desk(browser, shown, f"http://127.0.0.1:{port}{quote(BASE)}", engine)
