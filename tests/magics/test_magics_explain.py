"""``%explain`` over the real engine: the last command, told at once."""

import pytest

from ocimagic.errors import CommandNotFound, NotFound, OcimagicError
from ocimagic.magics import load, unload
from ocimagic.model.explanation import Explanation, Party


class Kept:
    """The engine of this file, which no shell closes."""

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def close(self):
        pass


@pytest.fixture
def real(shared, tmp_path, monkeypatch):
    """Return what runs a cell in a shell over the real engine, and gives its value."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    monkeypatch.setattr(InteractiveShell, "_instance", shell)
    load(shell, make_engine=lambda *_: Kept(shared))

    def run(cell):
        result = shell.run_cell(cell, store_history=True)
        if result.error_before_exec or result.error_in_exec:
            raise result.error_before_exec or result.error_in_exec
        return result.result

    run.shell = shell
    yield run
    unload(shell)


def titles(told):
    return [each.title for each in told.steps]


def test_a_container_that_ended_and_one_that_removed_itself(real, shared):
    done = real("%container_run --network none busybox echo hello")
    told = real("%explain")
    assert isinstance(told, Explanation)
    assert told.name == done.name
    line = "docker container run --network none busybox echo hello"
    assert titles(told)[0] == told.line == line
    assert "POST /containers/create" in titles(told)
    assert "start → execve echo hello" in titles(told)
    shared.containers.remove(done.name)
    gone = real("%docker run --rm --network none busybox echo bye")
    told = real("%docker explain")
    assert told.name == gone.name
    assert told.ending == "exit code 0, container removed"
    [create] = [each for each in told.steps if each.title == "POST /containers/create"]
    body = create.documents["body"]
    assert (body["Image"], body["Cmd"]) == ("busybox", ["echo", "bye"])
    assert (body["HostConfig"]["NetworkMode"], body["HostConfig"]["AutoRemove"]) == ("none", True)
    assert "no: the engine is in this process" in dict(create.facts)["really sent"]
    attach = next(each for each in told.steps if each.title.endswith("/attach"))
    assert gone.container_id in dict(attach.facts)["request"]


def test_other_commands_leave_the_last_one_as_it_was(real):
    gone = real("%container_run --rm --network none busybox true")
    real("%image_ls")
    with pytest.raises(NotFound):
        real("%explain nowhere")
    assert real("%explain").name == gone.name
    assert real("%explain last").name == gone.name


def test_another_shell_knows_the_line_of_a_container_that_is_there(real, shared):
    made = real("%container_run -d --network none --name kept busybox sleep 100")
    real("%container_run --rm --network none busybox true")
    session = real.shell.magics_manager.magics["line"]["docker"].session
    session.last = None
    told = real("%explain kept")
    assert told.line == "docker container run -d --network none --name kept busybox sleep 100"
    assert made.container_id in dict(told.steps[-2].facts).get("id", made.container_id)
    create = next(each for each in told.steps if each.title == "POST /containers/create")
    assert dict(create.facts)["request"] == "POST /v1.41/containers/create?name=kept"
    shared.containers.remove("kept", force=True)


def test_a_build_and_a_pull(real, registry):
    real("%%dockerfile -t told:1\nFROM busybox\nRUN echo a > /a\n")
    told = real("%explain")
    assert (told.kind, told.name) == ("build", "told:1")
    assert [each.to for each in told.steps if "RUN" in each.title] == [Party.RUNC]
    real(f"%image_pull {registry.host}/busybox")
    told = real("%explain")
    assert told.kind == "pull"
    assert told.ending.startswith("up to date")
    assert titles(told)[0] == f"docker image pull {registry.host}/busybox"
    real("%image_rm told:1")


def test_it_is_shown_as_text_and_as_a_page(real):
    real("%container_run --rm --network none busybox true")
    told = real("%explain")
    data, _ = real.shell.display_formatter.format(told)
    assert "pivot_root" in data["text/plain"]
    assert '<img alt="Sequence of what happened.' in data["text/html"]
    assert len(data["text/html"]) < 100_000
    real("%config OciMagic.display = 'text'")
    data, _ = real.shell.display_formatter.format(told)
    assert set(data) == {"text/plain"}


def test_a_command_that_failed_is_told_to_where_it_failed(real, shared):
    with pytest.raises(CommandNotFound):
        real("%container_run --network none --name none busybox nowhere")
    told = real("%explain")
    assert told.name == "none"
    assert told.ending.startswith("failed with exit code 127: ")
    assert "find image busybox" in titles(told)
    last = told.steps[-1]
    assert dict(last.facts)["phase"] == "find_program"
    assert last.source.name == "find_program"
    shared.containers.remove("none")
    with pytest.raises(OcimagicError):
        real("%container_run localhost:1/nothing:1")
    told = real("%explain")
    assert told.kind == "failure"
    assert titles(told)[0] == "docker container run localhost:1/nothing:1"
    assert titles(told)[-1].startswith("error: ")
    data, _ = real.shell.display_formatter.format(told)
    assert "<img" in data["text/html"]


def test_a_container_that_is_started_again(real, shared):
    real("%container_create --network none --name later busybox true")
    assert real("%explain").lacks
    real("%container_start later")
    told = real("%explain")
    assert told.line == "docker container start later"
    assert any("execve true" in each for each in titles(told))
    shared.containers.wait("later")
    shared.containers.remove("later")


def test_help_and_completion(real, capsys):
    assert real("%explain --help") is None
    assert "[last|CONTAINER|EXEC|IMAGE|PROJECT]" in capsys.readouterr().out
    assert "explain" in real.shell.magics_manager.magics["line"]


def test_a_command_in_a_container(real, shared):
    real("%container_run -d --network none --name busy busybox sleep 100")
    done = real("%container_exec busy echo hello")
    told = real("%explain")
    assert told.kind == "exec"
    assert titles(told)[0] == told.line == "docker container exec busy echo hello"
    assert [dict(each.facts)["request"].split()[0] for each in told.steps
            if "request" in dict(each.facts)] == ["GET", "POST", "POST", "GET"]  # fmt: skip
    assert real(f"%explain {done.exec_id}").name == "busy"
    data, _ = real.shell.display_formatter.format(told)
    assert "setns(2)" in data["text/plain"]
    assert '<img alt="Sequence of what happened.' in data["text/html"]
    real("%container_exec -d busy sleep 99")
    told = real("%explain")
    assert "start → execve sleep 99" in titles(told)
    assert told.line == "docker container exec -d busy sleep 99"
    shared.containers.remove("busy", force=True)


def test_a_project(real):
    real("%%compose -p told up -d\nservices:\n  a: {image: busybox, network_mode: none,"
         " command: [sleep, '100']}\n")  # fmt: skip
    told = real("%explain")
    assert (told.kind, told.name) == ("compose", "told")
    assert "create container told-a-1" in titles(told)
    data, _ = real.shell.display_formatter.format(told)
    assert "%explain told-a-1" in data["text/html"]
    assert real("%explain told-a-1").kind == "container"
    real("%docker compose -p told down -t 0")
