"""The real docker-compose 1.29 runs a small app on our socket: up, scale, exec, down."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cli_runner import busybox_archive
from dockernet import Docker, namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: networks")

APP = """
version: "3"
services:
  web:
    image: busybox
    command: sh -c 'mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
    depends_on: [store]
    environment: {STORE: store}
  store:
    image: busybox
    command: [nc, -ll, -p, "7", -e, sh, -c, "read a; echo $$a >>/data/kept; cat /data/kept"]
    volumes: ["data:/data"]
volumes: {data: {}}
"""


@pytest.fixture
def compose():
    """Return docker-compose and docker on a socket of ours, in a network namespace."""
    if not shutil.which("docker-compose") or not shutil.which("docker"):
        pytest.skip("docker-compose is not installed")
    with (
        tempfile.TemporaryDirectory(prefix="cmp") as directory,
        namespace(f"ocimagic-cmp-{os.getpid()}") as inside,
    ):
        room, url = Path(directory), f"unix://{directory}/s"
        (room / "docker-compose.yml").write_text(APP)
        with (room / "log").open("wb") as log:
            process = subprocess.Popen(
                [*inside, sys.executable, "-m", "ocimagic", "serve", "-q", "-H", url],
                stdout=subprocess.PIPE, stderr=log,
                env=os.environ | {"OCIMAGIC_ROOT": f"{directory}/root"},
            )  # fmt: skip
        try:
            process.stdout.readline()  # it listens
            subprocess.run(
                ["docker", "-H", url, "load", "-q"], input=busybox_archive(), check=True,
                capture_output=True,
            )  # fmt: skip
            host = {"DOCKER_HOST": url, "COMPOSE_PROJECT_NAME": "app"}
            words = [*inside, "docker-compose", "-f", str(room / "docker-compose.yml")]
            yield Docker("docker-compose", words, host), Docker("docker", ["docker"], host)
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def test_compose_ups_scales_execs_and_downs(compose):
    compose, docker = compose
    compose.call("up", "-d")
    try:
        fetch = "until wget -qO- http://web/; do sleep 0.1; done"
        (web,) = compose.call("ps", "-q", "web").split()
        assert compose.call("exec", "-T", "store", "sh", "-c", fetch) == web[:12]
        said = compose.call("exec", "-T", "web", "sh", "-c", "echo kept | nc $STORE 7")
        assert said == "kept"
        compose.call("up", "-d", "--scale", "web=3")
        assert len(compose.call("ps", "-q", "web").split()) == 3
        assert web in compose.call("ps", "-q", "web")
        compose.call("up", "-d", "--force-recreate", "store")  # as after an edit
        compose.call("restart", "-t", "1", "store")
        again = "until echo more | nc $STORE 7; do sleep 0.1; done"
        assert compose.call("exec", "-T", "web", "sh", "-c", again) == "kept\nmore"
        assert "store_1" in compose.call("ps")
    finally:
        compose.call("down", "-v", "-t", "1")
    assert docker.call("ps", "-aq") == docker.call("volume", "ls", "-q") == ""
    assert "app_default" not in docker.call("network", "ls")
