"""``%%compose`` in a real kernel: a cell is the compose file, and its verbs go on with it."""

import os

import busybox_image
import pytest
from shown import plain

from ocimagic.registry.server import RegistryServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not busybox_image.BUSYBOX.exists(), reason="needs busybox-static"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

CELL = """%%compose -p demo
services:
  web:
    image: HOST/busybox
    init: true
    command: sh -c 'echo "{braces} $$0"; exec sleep 100'
    depends_on: [db]
  db: {image: "HOST/busybox", init: true, command: sleep 100}
"""
WRONG = """

%%compose config
services:
  web:
    imag: x
"""


@pytest.fixture(scope="module")
def host():
    with RegistryServer(busybox_image.source()) as server:
        yield server.host


def test_a_cell_is_the_compose_file_and_its_verbs_go_on_with_it(run_notebook, host):
    up, ps, logs, run, wrong, after, other, down, gone, usage = run_notebook(
        CELL.replace("HOST", host),
        "services = %compose ps\nprint(services.names, services['demo-db-1'].status.value)",
        "import time\nfor _ in range(200):\n    time.sleep(0.05)\n"
        "    logs = %compose_logs --no-log-prefix web\n    if logs.stdout:\n        break\nlogs",
        "%docker compose exec web cat /proc/1/comm",
        WRONG,
        "%compose config --services",
        "%compose -p other ps",
        "%compose down -t 1",
        "%compose_ps -a",
        "%compose",
        allow_errors=True,
        load="%load_ext ocimagic",
    )
    table = next(o for o in reversed(up.outputs) if "data" in o)
    assert "demo: 2 of 2 containers running" in table["data"]["text/html"]
    assert "demo-web-1" in table["data"]["text/plain"]
    assert plain(ps) == "['demo-db-1', 'demo-web-1'] running\n"
    assert "{braces} sh" in plain(logs)  # of the cell nothing is expanded
    assert "exit 0" in plain(run)
    assert "services.web.imag" in plain(wrong)
    assert "cell line 6, column 5" in plain(wrong)  # as the front end counts them
    assert "did you mean image?" in plain(wrong)
    assert "Traceback" not in plain(wrong)
    assert plain(after).split() == ["db", "web"]  # what runs is still the cell before
    assert "demo" not in plain(other)
    assert "Container demo-web-1  Removed" in plain(down)
    assert "demo-" not in plain(gone)
    assert "Usage: docker compose" in plain(usage)


STOP = """
import os, signal, threading, time
from ocimagic import Engine
from ocimagic.errors import OcimagicError

def stop():
    end = time.monotonic() + 60
    with Engine() as engine:
        while time.monotonic() < end:
            try:
                if list(engine.containers.logs("demo-web-1")):
                    break
            except OcimagicError:
                pass
            time.sleep(0.05)
    time.sleep(0.5)  # until it is shown, too
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=stop).start()
"""


def test_the_stop_button_stops_attached_services_gracefully(run_notebook, host):
    _, up, ps, down = run_notebook(
        STOP,
        CELL.replace("HOST", host).replace("-p demo", "-p demo up"),
        "%compose ps -a",
        "%compose down -t 1",
        allow_errors=True,
        load="%load_ext ocimagic",
    )
    assert "demo-web-1  | {braces} sh" in plain(up)
    assert "he services of demo were stopped" in plain(up)
    assert plain(ps).count("Exited") == 2
    assert "Removed" in plain(down)
