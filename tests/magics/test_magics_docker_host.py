"""``%docker_host``: the same magics, asked of an API: the same values, shown the same."""

import pytest

from ocimagic.api.server import Address, Server
from ocimagic.client import ApiClient
from ocimagic.engine import Engine
from ocimagic.errors import HostLacks, InvalidOption, NeighbourUnreachable
from ocimagic.magics import load, unload
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.render.display import as_text


@pytest.fixture
def served(shared, tmp_path):
    with Server(shared, Address(path=str(tmp_path / "api.sock"))) as server:
        yield server.url


@pytest.fixture
def host(shell, tmp_path):
    """A shell whose own engine is a real, empty one."""
    unload(shell)
    load(shell, make_engine=lambda *_: Engine(tmp_path / "own", environment={}))
    return shell


def run(shell, name, line):
    return shell.run_line_magic(name, line)


def session_of(shell):
    return shell.magics_manager.magics["line"]["docker"].session


def test_it_says_which_engine_is_asked(host, served, tmp_path):
    assert "this notebook's own engine" in run(host, "docker_host", "").lines[0]
    [line] = run(host, "docker_host", served).lines
    assert line.startswith(f"{served}: ocimagic ")
    assert line.endswith("API 1.50")
    assert isinstance(session_of(host).engine(), ApiClient)
    assert run(host, "docker_host", "").lines == (line,)
    for word in ("here", "default"):
        run(host, "docker_host", served)
        assert str(tmp_path / "own") in run(host, "docker_host", word).lines[0]


def test_the_same_magics_give_the_same_values(host, served, shared):
    run(host, "docker_host", served)
    done = run(host, "container_run", "--network none --name same busybox echo hello")
    assert isinstance(done, RunResult)
    assert (done.stdout, done.exit_code) == (b"hello\n", 0)
    made = run(host, "container_run", "-d --network none --name other busybox sleep 60")
    assert isinstance(made, ContainerSummary)
    assert made == shared.containers.get("other")
    rows = run(host, "container_ls", "-a")
    now = made.created
    from ocimagic.cli.rows import ContainerRows

    assert as_text(rows, now) == as_text(ContainerRows(shared.containers.list(all=True)), now)
    assert run(host, "container_inspect", "other --format {{.Name}}").lines == ("/other",)
    assert run(host, "container_exec", "other echo in").stdout == b"in\n"
    assert run(host, "container_logs", "same").stdout == b"hello\n"
    run(host, "container_rm", "-f same other")
    assert shared.containers.list(all=True) == ()
    images = run(host, "image_ls", "")
    assert any(each.name == "busybox:latest" for each in images)


def test_the_setting_does_the_same(host, served):
    session = session_of(host)
    host.run_line_magic("config", f"OciMagic.docker_host = '{served}'")
    assert isinstance(session.engine(), ApiClient)
    host.run_line_magic("config", "OciMagic.docker_host = ''")
    assert isinstance(session.engine(), Engine)


def test_an_address_that_nobody_answers_at_changes_nothing(host, tmp_path):
    magic = host.magics_manager.magics["line"]["docker_host"]
    with pytest.raises(NeighbourUnreachable):
        magic(f"unix://{tmp_path}/none")
    with pytest.raises(InvalidOption):
        magic("what")
    with pytest.raises(InvalidOption):
        magic("--nope")
    assert isinstance(session_of(host).engine(), Engine)


def test_the_environment_counts_only_when_it_is_asked(host, served, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", served)
    assert isinstance(session_of(host).engine(), Engine)
    assert run(host, "docker_host", "env").lines[0].startswith(served)


def test_what_an_api_does_not_tell_is_refused_in_words(host, served):
    run(host, "docker_host", served)
    with pytest.raises(HostLacks) as caught:
        run(host, "image_layers", "busybox")
    assert caught.value.what == "a Docker API does not tell the layers of busybox"
    assert "%docker_host here" in caught.value.hint
