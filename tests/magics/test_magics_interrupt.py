"""The stop button: SIGINT to a real kernel while a command runs."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import HERE, LOAD
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    manager = KernelManager()
    manager.start_kernel(cwd=str(tmp_path), env=dict(os.environ))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    paths = [str(HERE), str(Path(HERE).parent / "render")]
    assert execute(client, LOAD.format(paths=paths))["status"] == "ok"
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def execute(client, code, *, on_output=None):
    """Run a cell; return its reply and everything it showed."""
    shown = []

    def hear(message):
        shown.append((message["msg_type"], message["content"]))
        if on_output:
            on_output(message["msg_type"], message["content"])

    reply = client.execute_interactive(code, timeout=60, output_hook=hear)
    return {**reply["content"], "shown": shown}


def stop_at(manager, word):
    """Return a listener that presses stop when a word appears."""
    pressed = []

    def hear(_kind, content):
        text = str(content.get("text", "")) + str(content.get("data", ""))
        if word in text and not pressed:
            pressed.append(time.monotonic())
            os.killpg(os.getpgid(manager.provisioner.process.pid), signal.SIGINT)

    hear.pressed = pressed
    return hear


@pytest.mark.parametrize(
    ("cell", "word", "said"),
    [
        (
            "%container_run --rm busybox sh -c 'echo ready; exec sleep 60'",
            "ready",
            "Stopped by you after",
        ),
        ("%image_pull slow", "progress", "Stopped by you after"),
        ("docker wait web\nprint('never')", "", "Stopped by you after"),
    ],
)
def test_stop_ends_the_command_and_not_the_kernel(kernel, cell, word, said):
    manager, client = kernel
    stop = stop_at(manager, word)
    if not word:
        timer = threading.Timer(
            1.0, lambda: os.kill(manager.provisioner.process.pid, signal.SIGINT)
        )
        stop.pressed.append(time.monotonic() + 1.0)
        timer.start()

    reply = execute(client, cell, on_output=stop)

    assert reply["status"] == "error"
    assert reply["ename"] == "Interrupted"
    assert said in reply["evalue"]
    assert not any("Traceback" in line for line in reply["traceback"])
    if "wait" not in cell:  # the stand-in's wait hears nothing
        assert time.monotonic() - stop.pressed[0] < 5
    assert execute(client, "1 + 1")["status"] == "ok"
    assert execute(client, "%image_ls")["status"] == "ok"


def test_a_broken_off_pull_does_not_stay_downloading(kernel):
    manager, client = kernel

    reply = execute(client, "%image_pull slow", on_output=stop_at(manager, "progress"))

    drawn = [content["data"] for kind, content in reply["shown"] if "data" in content]
    assert "downloading" not in drawn[-1]["text/plain"]
    assert "not finished" in drawn[-1]["text/plain"]


def test_a_kernel_that_is_killed_in_a_pull_leaves_what_is_true(kernel):
    manager, client = kernel
    client.execute("%image_pull slow")
    drawn = {}
    while "downloading" not in drawn.get("text/html", ""):
        drawn = client.get_iopub_msg(timeout=60)["content"].get("data", {})
    os.kill(manager.provisioner.process.pid, signal.SIGKILL)

    for kind in ("text/plain", "text/html"):
        assert "downloading" in drawn[kind]
        assert re.search(r"This is how far it was at 20[0-9-]+ [0-9:]+ UTC", drawn[kind])
        assert "Without one its kernel ended first: run the cell again." in drawn[kind]


def test_a_pull_that_ended_says_no_more_how_far_it_was(kernel):
    _, client = kernel

    reply = execute(client, "%image_pull busybox")

    drawn = [content["data"] for _, content in reply["shown"] if "data" in content]
    assert "how far it was" in drawn[0]["text/plain"]
    assert "how far it was" not in drawn[-1]["text/plain"] + drawn[-1]["text/html"]


def test_what_a_thread_says_goes_to_the_cell_that_asked(kernel):
    _, client = kernel

    reply = execute(client, "%container_run busybox sh -c 'for i in 1 2 3; do echo $i; done'")

    text = "".join(content["text"] for kind, content in reply["shown"] if kind == "stream")
    assert text == "1\n2\n3\n"


def test_output_appears_while_it_happens(kernel):
    _, client = kernel
    seen = []

    def hear(kind, content):
        if kind == "stream":
            seen.append((time.monotonic(), content["text"]))

    execute(client, "%container_run busybox sh -c 'echo a; sleep 1.5; echo b'", on_output=hear)

    assert "".join(text for _, text in seen) == "a\nb\n"
    assert seen[-1][0] - seen[0][0] > 1
