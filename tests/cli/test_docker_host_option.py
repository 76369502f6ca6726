"""``ocimagic --docker-host URL``: the shell asks an API."""

import pytest

from ocimagic.api.server import Address, Server
from ocimagic.cli.app import run


@pytest.fixture
def served(shared, tmp_path):
    with Server(shared, Address(path=str(tmp_path / "api.sock"))) as server:
        yield server.url


def test_a_command_is_asked_of_an_api(served, capfdbinary):
    words = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo hi; exit 3"]
    assert run(["--docker-host", served, *words]) == 3
    assert capfdbinary.readouterr().out == b"hi\n"
    assert run([f"--docker-host={served}", "image", "ls", "-q"]) == 0
    assert len(capfdbinary.readouterr().out.split()) >= 1


def test_nobody_answers(tmp_path, capfdbinary):
    assert run(["--docker-host", f"unix://{tmp_path}/none", "ps"]) == 125
    assert b"cannot be reached" in capfdbinary.readouterr().err


def test_one_engine_only(capfdbinary):
    assert run(["--root", "/x", "--docker-host", "unix:///y", "ps"]) == 125
    assert b"name two engines" in capfdbinary.readouterr().err
    assert run(["--docker-host"]) == 125
    assert b"needs a value" in capfdbinary.readouterr().err
