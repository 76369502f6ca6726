"""Where the links to published ports lead in a kernel."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ocimagic.cli.rows import PortRows
from ocimagic.magics.drawing import draw
from ocimagic.magics.server import proxy_way
from ocimagic.model.report import PortBinding

ROWS = PortRows((PortBinding(container_port="80/tcp", host_ip="0.0.0.0", host_port=8080),))


@pytest.fixture
def runtime_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    for name in ("JPY_PARENT_PID", "JUPYTERHUB_SERVICE_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def proxy_installed(monkeypatch):
    """Return what says whether jupyter-server-proxy is installed beside the kernel."""
    find = importlib.util.find_spec

    def set_to(there):
        def found(name, *rest):
            return there if name == "jupyter_server_proxy" else find(name, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", found)

    set_to(None)
    return set_to


@pytest.fixture
def answering():
    """Return what serves every page with one status; the paths asked for."""
    servers = []

    def serve(status):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def note(runtime_dir, url, base="/user/me/"):
    document = {"url": f"{url}{base}", "base_url": base, "pid": 77}
    (runtime_dir / "jpserver-77.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("status", "way"), [(404, ""), (302, "/user/me/proxy/{port}/"), (403, "/user/me/proxy/{port}/")]
)
def test_the_server_is_asked(runtime_dir, proxy_installed, answering, status, way):
    url, asked = answering(status)
    note(runtime_dir, url)
    proxy_installed(not way)  # what the kernel has tells nothing of the server
    assert proxy_way({"JPY_PARENT_PID": "77"}) == way
    assert asked == ["/user/me/server-proxy/servers-info"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http+unix://%2Frun%2Fsocket"])
def test_a_server_that_cannot_be_asked(runtime_dir, proxy_installed, url):
    note(runtime_dir, url)
    assert proxy_way({"JPY_PARENT_PID": "77"}) == ""
    proxy_installed(True)
    assert proxy_way({"JPY_PARENT_PID": "77"}) == "/user/me/proxy/{port}/"


def test_no_server_and_one_that_only_its_hub_knows(runtime_dir, proxy_installed):
    proxy_installed(True)
    assert proxy_way({}) == ""
    assert proxy_way({"JPY_PARENT_PID": "78"}) == ""
    hub = {"JUPYTERHUB_SERVICE_PREFIX": "/user/you/"}
    assert proxy_way(hub) == "/user/you/proxy/{port}/"
    (runtime_dir / "jpserver-78.json").write_text("[]")
    assert proxy_way(hub | {"JPY_PARENT_PID": "78"}) == "/user/you/proxy/{port}/"


def test_the_users_own_way(runtime_dir, shell):
    config = shell.magics_manager.magics["line"]["docker"].session.config
    assert 'href="http://localhost:8080/"' in draw(ROWS, config)["text/html"]
    config.ports = "https://example.org/{port}?a&b"
    assert 'href="https://example.org/8080?a&amp;b"' in draw(ROWS, config)["text/html"]
    assert draw(ROWS, config)["text/plain"] == "80/tcp -> 0.0.0.0:8080"
