"""Live views in a real kernel: what is displayed, what is pushed, and that nothing is left."""

import json
import os
import queue
import time

import pytest
from jupyter_client.manager import KernelManager

pytestmark = pytest.mark.slow

LINKS = """
import os
import queue
def links():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return found
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel with an image in it; calling it runs a cell and returns what it said."""
    room = tmp_path_factory.mktemp("live")
    (room / "f").write_text("content")
    env = dict(os.environ) | {
        "OCIMAGIC_ROOT": str(room / "root"),
        "IPYTHONDIR": str(room / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(room / "runtime"),
        "HOME": str(room),
    }
    manager = KernelManager()
    manager.start_kernel(cwd=str(room), env=env)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)

    def run(code, *, has_page=True, more_s=0.0):
        messages = []
        reply = client.execute_interactive(
            code, timeout=60, output_hook=messages.append, allow_stdin=has_page
        )
        deadline = time.monotonic() + more_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                messages.append(client.get_iopub_msg(timeout=left_s))
            except queue.Empty:
                break
        return reply["content"], messages

    run.manager, run.client = manager, client
    run("%load_ext ocimagic")
    made, _ = run("%%dockerfile -t tiny\nFROM scratch\nCOPY f /f")
    assert made["status"] == "ok"
    run(LINKS)
    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def of(messages, kind):
    return [each["content"] for each in messages if each["msg_type"] == kind]


def states(messages):
    told = [each["data"].get("content", {}) for each in of(messages, "comm_msg")]
    return [each for each in told if each.get("type") == "state"]


def left(kernel):
    _, messages = kernel(
        "import threading; print([each.name for each in threading.enumerate() "
        "if each.name.startswith(('dashboard', 'logs-'))], "
        "sum('inotify' in each for each in links()))"
    )
    return of(messages, "stream")[0]["text"].strip()


def test_an_explorer_grows_on_a_twin_without_a_view(kernel):
    _, messages = kernel("%image_explore tiny")
    [shown] = of(messages, "execute_result")
    assert set(shown["data"]) == {"text/plain", "text/html"}
    assert 'data-ocimagic="' in shown["data"]["text/html"]
    opened = [each for each in of(messages, "comm_open") if "_esm" in each["data"]["state"]]
    [state] = [each["data"]["state"] for each in opened]
    assert state["key"] in shown["data"]["text/html"]
    del state["_esm"]
    assert len(json.dumps(state)) < 1500, "the files are not in what may be saved"


@pytest.mark.parametrize(
    "line", ["%explore tiny", "%image_inspect tiny", "%docker inspect tiny", "%explore document"]
)
def test_a_search_box_grows_on_a_tree_without_a_view(kernel, line):
    kernel("%config OciMagic.display = 'widget'\ndocument = {'tiny:latest': [1]}")
    _, messages = kernel(line)
    kernel("%config OciMagic.display = 'auto'")
    [shown] = of(messages, "execute_result")
    assert set(shown["data"]) == {"text/plain", "text/html"}
    assert "tiny:latest" in shown["data"]["text/plain"]
    opened = [each for each in of(messages, "comm_open") if "_esm" in each["data"]["state"]]
    [state] = [each["data"]["state"] for each in opened]
    assert f'data-ocimagic="{state["key"]}"' in shown["data"]["text/html"]


def test_tools_that_execute_notebooks_get_the_twin_alone(kernel):
    for line in ("%image_explore tiny", "%dashboard", "%explore tiny"):
        _, messages = kernel(line, has_page=False)
        assert not of(messages, "comm_open")
        [shown] = of(messages, "execute_result")
        assert "data-ocimagic" not in shown["data"]["text/html"]


@pytest.mark.parametrize("display", ["text", "html"])
def test_a_setting_says_no(kernel, display):
    kernel(f"%config OciMagic.display = '{display}'")
    _, messages = kernel("%image_explore tiny")
    kernel("%config OciMagic.display = 'auto'")
    assert not of(messages, "comm_open")
    [shown] = of(messages, "execute_result")
    assert ("text/html" in shown["data"]) == (display == "html")


def test_a_dashboard_goes_on_while_cells_run_and_ends_with_the_extension(kernel):
    reply, messages = kernel("%dashboard --every 0.2", more_s=1.0)
    assert reply["status"] == "ok"
    [shown] = of(messages, "display_data")
    assert 'data-ocimagic="' in shown["data"]["text/html"]
    assert states(messages)
    _, busy = kernel("import time; time.sleep(1.5)")
    assert len(states(busy)) >= 3, "it is pushed while a cell runs"

    # Another one takes its place: one is watched at a time.
    kernel("%dashboard --every 0.2", more_s=0.5)
    assert left(kernel) == "['dashboard', 'dashboard-logs'] 1"

    _, messages = kernel("%unload_ext ocimagic", more_s=0.5)
    assert of(messages, "comm_close")
    last = of(messages, "update_display_data")[-1]
    assert "data-ocimagic" not in last["data"]["text/html"]
    assert left(kernel) == "[] 0"
    _, messages = kernel("1", more_s=0.7)
    assert not states(messages)
    kernel("%load_ext ocimagic")


def test_another_root_ends_it(kernel, tmp_path):
    kernel("%dashboard --every 0.2")
    kernel(f"%config OciMagic.root = {str(tmp_path / 'other')!r}")
    assert left(kernel) == "[] 0"
    kernel("%config OciMagic.root = ''")


def test_words_that_are_wrong_and_help(kernel):
    reply, _ = kernel("%dashboard --evry 2")
    assert reply["status"] == "error"
    assert "--every" in "".join(reply["traceback"])
    _, messages = kernel("%dashboard --help")
    assert "--no-stream" in of(messages, "stream")[0]["text"]
    _, messages = kernel("%dashboard --no-stream")
    assert "0 containers running" in of(messages, "execute_result")[0]["data"]["text/plain"]


def test_a_kernel_that_is_restarted_leaves_nothing(kernel):
    kernel("%dashboard --every 0.2")
    pid = kernel.manager.provisioner.process.pid
    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=60)
    assert not os.path.exists(f"/proc/{pid}")
    kernel(LINKS)
    assert left(kernel) == "[] 0"
