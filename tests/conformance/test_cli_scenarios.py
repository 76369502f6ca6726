"""Docker's own client speaks to us as it spoke to dockerd when recorded/ was made."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from cli_differs import DIFFERS
from cli_runner import RECORDED, Runner, busybox_archive, clients, registries
from cli_scenarios import OF_ACCOUNTS, ROOT_ONLY, SCENARIOS
from dockernet import namespace

CLIENTS = clients()
VERSIONS = sorted(path.stem.removeprefix("docker-") for path in RECORDED.glob("docker-*.json"))


@pytest.fixture(scope="module")
def place():
    """Return a room, and words that run a program in the network of the tests."""
    if not shutil.which("docker-registry"):
        pytest.skip("docker-registry is not installed")
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cli")))
        name = f"ocimagic-cli-{os.getpid()}"
        inside = stack.enter_context(namespace(name)) if os.geteuid() == 0 else []
        yield room, inside


@pytest.fixture(scope="module", params=VERSIONS)
def runner(request, place):
    """One of docker's clients with an engine of its own behind a socket."""
    if request.param not in CLIENTS:
        pytest.skip(f"there is no docker {request.param} here")
    (room, inside), version = place, request.param
    (room / version).mkdir()
    socket = room / f"{version}.sock"
    environment = os.environ | {"OCIMAGIC_ROOT": str(room / f"{version}.root")}
    with registries(room / version, inside) as hosts, (room / f"{version}.log").open("wb") as log:
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", "ocimagic", "serve", "-q", "-H", f"unix://{socket}"],
            stdout=subprocess.PIPE, stderr=log, env=environment,
        )  # fmt: skip
        try:
            process.stdout.readline()  # it listens
            yield Runner(
                version, f"unix://{socket}", room / version, inside, hosts,
                busybox_archive(),
            )  # fmt: skip
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def expected(version, name):
    """Return what dockerd said, with our own words where we differ on purpose."""
    steps = json.loads((RECORDED / f"docker-{version}.json").read_text())[name]
    for each in DIFFERS.get(name, ()):
        step = next(step for step in steps if step["line"] == each.line)
        for key, text in each.says.items():
            step[key] = text.get(version, step[key]) if isinstance(text, dict) else text
    return steps


@pytest.mark.parametrize("name", SCENARIOS)
def test_says_what_dockerd_says(runner, name):
    if os.geteuid() != 0 and name in ROOT_ONLY:
        pytest.skip(f"needs root: {ROOT_ONLY[name]}")
    if os.geteuid() != 0 and not name.startswith(OF_ACCOUNTS):
        pytest.skip("the same in both accounts")
    version = runner.version
    found = runner.run(name)
    assert found == expected(version, name)
