"""The whole way with the real engine: a registry, an image, containers, a build, a kernel."""

import os
import signal
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import busybox_image
import pytest
from jupyter_client.manager import KernelManager
from shown import plain

from ocimagic import Engine
from ocimagic.registry.server import RegistryServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.peer,
    pytest.mark.skipif(not busybox_image.BUSYBOX.exists(), reason="needs busybox-static"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

LOAD = "%load_ext ocimagic"


@pytest.fixture(scope="module")
def registry():
    with RegistryServer(busybox_image.source()) as server:
        yield server.host


@pytest.fixture
def run_real(run_notebook):
    def run(*sources, allow_errors=False):
        cells = run_notebook(*sources, allow_errors=allow_errors, load=LOAD)
        assert run_notebook.notebook.cells[0].outputs[0].text.startswith("ocimagic ")
        return cells

    return run


def test_pull_look_run_and_clean_up(run_real, registry):
    name = f"{registry}/busybox"
    pull, again, ls, run, failed, script, logs, missing, clean = run_real(
        f"docker image pull {name}",
        f"docker image pull {name}:latest",
        "images = %image_ls\nimages",
        "r = %container_run --rm {images[0]} sh -c 'echo out; echo err >&2; exit 3'\nr",
        f"%container_run --rm {name} nosuchword",
        f"%%container_run --name kept {name}\necho from the cell; exit 5\n",
        "%container_logs kept\n%container_ls -a",
        "%container_run --device vendor.com/net=eth0 x",
        f"docker rm kept\ndocker rmi {name}",
        allow_errors=True,
    )

    assert f"{name}:latest: 1 layer" in plain(pull)
    assert "is up to date" in plain(again)
    assert "busybox" in plain(ls)
    assert "out\n" in plain(run)
    assert "err\n" in plain(run)
    assert "exit 3" in plain(run)
    assert "nosuchword" in plain(failed)
    assert failed.outputs[-1].ename == "CommandNotFound"
    assert "exit 5" in plain(script)
    assert "from the cell" in plain(logs)
    assert "kept" in plain(logs)
    assert missing.outputs[-1].ename == "NotBuiltYet"
    assert "Untagged" in plain(clean)


def test_images_as_files(run_real, registry, tmp_path):
    name, archive = f"{registry}/busybox:latest", tmp_path / "images.tar"
    _, save, value, remove, load, again, imported, nothing = run_real(
        f"docker pull {name}",
        f"%image_save -o {archive} {name}",
        f"kept = %image_save --format oci {name}\nlen(kept.data)",
        f"docker rmi {name}",
        f"%image_load -i {archive}",
        f"loaded = %docker load -q -i {archive}\nloaded.images[0].tags",
        f"docker import -c 'CMD [\"x\"]' {archive} odd:1\ndocker rmi {name} odd:1",
        "docker load",
        allow_errors=True,
    )

    assert plain(save).startswith("saved 1 image, ")
    assert int(plain(value)) > 100_000
    assert "Deleted" in plain(remove)
    assert plain(load) == f"Loaded image: {name}", "the result takes the progress' place"
    assert plain(again) == f"('{name}',)"
    assert "sha256:" in plain(imported)
    assert "Untagged: odd:1" in plain(imported)
    assert "stdin is empty" in plain(nothing)


def test_a_dockerfile_cell_builds_and_is_cached(run_real, registry, tmp_path):
    pytest.importorskip("ocimagic.build.solve")
    (tmp_path / "app.txt").write_text("hello from the context\n")
    body = f"FROM {registry}/busybox\nLABEL a=b c=d\nCOPY app.txt /app.txt\nRUN cat /app.txt\n"
    build, again, run, bad, failed = run_real(
        f"%%dockerfile -t demo:1\n{body}",
        f"%%dockerfile -t demo:2\n{body}",
        "%container_run --rm demo:1 cat /app.txt",
        "%%dockerfile -t demo:3\nFROM demo:1\nCOPPY a b",
        "%%dockerfile -t demo:3\nFROM demo:1\n\nRUN echo why; exit 4",
        allow_errors=True,
    )

    assert "demo:1: image" in plain(build)
    assert "4 of 4 steps from the cache" in plain(again)
    assert "hello from the context" in plain(run)
    assert "cell line 3" in plain(bad)
    assert "cell line 4" in plain(failed)
    assert "why" in plain(failed)


def test_what_looks_odd_is_shown_with_the_mistake_below_it(run_real):
    head = "%%dockerfile\nFROM scratch AS x\nMAINTAINER me\n"
    unread, missing, check = run_real(
        f"{head}ENV X\n",
        f"{head}COPY nothing /\n",
        f"{head.replace('dockerfile', 'dockerfile --check')}ENV X\n",
        allow_errors=True,
    )
    for cell in (unread, missing, check):
        assert "line 3: MaintainerDeprecated: " in plain(cell)
        assert "cell line 4" in plain(cell)


@pytest.fixture
def web(tmp_path):
    """Serve a directory; yields it, and its URL."""
    room = tmp_path / "web"
    room.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=room)
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield room, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_context_from_elsewhere(run_real, registry, web):
    room, url = web
    (room / "Dockerfile").write_text(f"FROM {registry}/busybox\nCOPY f /f\n")
    (room / "f").write_text("of the archive\n")
    with tarfile.open(room / "c.tgz", "w:gz") as tar:
        tar.add(room / "Dockerfile", "Dockerfile")
        tar.add(room / "f", "f")
    cell, line, run, wrong = run_real(
        f"%%dockerfile -t away:1 --context {url}/c.tgz\nFROM {registry}/busybox\nCOPY f /g\n",
        f"%image_build -t away:2 {url}/c.tgz",
        "%container_run --rm away:1 cat /g\n%container_run --rm away:2 cat /f",
        f"%image_build --build-context src={url}/none {url}/c.tgz -f nope",
        allow_errors=True,
    )
    assert "away:1: image" in plain(cell)
    assert "away:2: image" in plain(line)
    assert plain(run).count("of the archive") == 2
    assert f"the build context {url}/c.tgz" in plain(wrong)


def test_files_of_the_notebook_go_into_the_context(run_real, registry, tmp_path):
    (tmp_path / "kept.txt").write_text("of the directory\n")
    table = "class Table:\n    columns = ['a']\n    def to_csv(self, index): return 'a\\n1\\n'\n"
    _, build, run, refused = run_real(
        f"{table}code = 'x = \"1; 2\" # three\\n'\nraw = bytes([255, 10])\ntable = Table()",
        "%%dockerfile -t files:1 --file app/a.py={code} --file=t.csv={table} --file raw={raw}\n"
        f"FROM {registry}/busybox\nCOPY . /c\n",
        "%container_run --rm files:1 sh -c 'cat /c/app/a.py /c/t.csv /c/kept.txt; od -x /c/raw'",
        "%%dockerfile --file ../x={code}\nFROM scratch\n",
        allow_errors=True,
    )
    assert "files:1: image" in plain(build)
    said = plain(run)
    assert 'x = "1; 2" # three\na\n1\nof the directory\n' in said
    assert "0aff" in said
    assert "cannot be in the context" in plain(refused)


def test_stop_ends_the_container_and_a_killed_kernel_does_not(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    manager = KernelManager()
    manager.start_kernel(cwd=str(tmp_path), env=dict(os.environ))
    pressed = []

    def execute(client, code, *, stop_at=None):
        texts = []

        def hear(message):
            content = message["content"]
            print(round(time.monotonic(), 2), message["msg_type"], str(content)[:300], pressed)
            texts.append(str(content.get("text", "")) + str(content.get("data", "")))
            if stop_at and stop_at in texts[-1] and not pressed:
                pressed.append(time.monotonic())
                os.killpg(os.getpgid(manager.provisioner.process.pid), signal.SIGINT)

        reply = client.execute_interactive(code, timeout=60, output_hook=hear)["content"]
        return reply, "".join(texts)

    def connect():
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        assert execute(client, LOAD)[0]["status"] == "ok"
        return client

    client = connect()
    try:
        image = f"{registry}/busybox"
        execute(client, f"%container_run -d --name survivor {image} sleep 300")
        reply, _ = execute(
            client,
            f"%container_run --name stopped {image} sh -c 'sleep 0.2; echo ready; sleep 300'",
            stop_at="ready",
        )
        took_s = time.monotonic() - pressed[0]
        assert reply["status"] == "error"
        assert reply["ename"] == "Interrupted"
        assert "stopped" in reply["evalue"]
        assert took_s < 5
        _, running = execute(client, "%docker ps --format '{{.Names}}'")
        assert "survivor" in running
        assert "stopped" not in running
        client.stop_channels()
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
        manager.restart_kernel(now=True)

        client = connect()

        _, running = execute(client, "%docker ps --format '{{.Names}}'")
        assert "survivor" in running
        _, ended = execute(client, "%container_rm -f survivor stopped")
        assert "survivor" in ended
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_what_stop_and_a_kernels_end_do_is_a_setting(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("OCIMAGIC_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    manager = KernelManager()
    manager.start_kernel(cwd=str(tmp_path), env=dict(os.environ))
    client = manager.client()
    client.start_channels()
    pressed = []

    def hear(message):
        if "ready" in str(message["content"].get("text", "")) and not pressed:
            pressed.append(True)
            os.killpg(os.getpgid(manager.provisioner.process.pid), signal.SIGINT)

    def execute(code):
        return client.execute_interactive(code, timeout=60, output_hook=hear)["content"]

    try:
        client.wait_for_ready(timeout=60)
        assert execute(LOAD)["status"] == "ok"
        execute("%config OciMagic.on_interrupt = 'detach'")
        execute("%config OciMagic.on_kernel_exit = 'stop'")
        image = f"{registry}/busybox"
        assert execute(f"%container_run -d --name started {image} sleep 300")["status"] == "ok"
        reply = execute(f"%container_run --name left {image} sh -c 'echo ready; sleep 300'")
        assert "goes on" in reply["evalue"]
        pressed.clear()
        execute("%config OciMagic.on_interrupt = 'kill'")
        script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"
        reply = execute(f'%container_run --name killed {image} sh -c "{script}"')
        assert reply["ename"] == "Interrupted"
        assert "container killed was killed" in reply["evalue"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    with Engine(tmp_path / "root", environment={}) as engine:
        alive = {each.name for each in engine.containers.list()}
        assert engine.containers.wait("killed").code == 137
        wrote = b"".join(data for _, _, data in engine.containers.logs("killed"))
        for each in engine.containers.list(all=True):
            engine.containers.remove(each.container_id, force=True)
    assert alive == {"left"}, "what was let go of is nobody's, what was started was stopped"
    assert wrote == b"ready\n", "nobody asks what is killed"
