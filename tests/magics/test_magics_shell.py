"""The magics in a shell of this process."""

import ast
import inspect

import pytest

from ocimagic.errors import InvalidOption, OcimagicError
from ocimagic.magics import load, unload
from ocimagic.magics.magic import Magic
from ocimagic.model.result import ContainerSummary, RunResult
from ocimagic.render import display


def run(shell, cell):
    """Run a cell; return its value or raise what it raised."""
    result = shell.run_cell(cell, store_history=True)
    if result.error_before_exec or result.error_in_exec:
        raise result.error_before_exec or result.error_in_exec
    return result.result


def engine(shell):
    return shell.magics_manager.magics["line"]["docker"].session.engine()


def hooks(shell):
    """Return everything an extension may put into a shell."""
    formatters = shell.display_formatter
    return {
        "line": dict(shell.magics_manager.magics["line"]),
        "cell": dict(shell.magics_manager.magics["cell"]),
        "cleanup": list(shell.input_transformers_cleanup),
        "ast": list(shell.ast_transformers),
        "matchers": list(shell.Completer.custom_matchers),
        "bundles": dict(formatters.mimebundle_formatter.type_printers),
        "displays": dict(formatters.ipython_display_formatter.type_printers),
        "configurables": list(shell.configurables),
        "errors": hasattr(OcimagicError, "_render_traceback_"),
    }


def test_every_value_that_has_a_picture_shows_it(shell):
    """An image's waste and the doctor's findings once came as Python's own repr."""
    drawn = {kind for kind in (*display._ONE, *display._ROWS) if kind is not dict}
    assert drawn <= set(shell.display_formatter.mimebundle_formatter.type_printers)


def test_a_wrong_option_of_a_cell_is_told_with_its_command(shell):
    with pytest.raises(InvalidOption) as caught:
        run(shell, "%%dockerfile --contxt x\nFROM scratch")
    assert str(caught.value).startswith("docker image build has no option --contxt")
    assert "--context-file" not in (caught.value.hint or "")  # nobody gives that by hand


def test_loading_twice_and_unloading_leave_no_trace(shell, capsys):
    loaded = hooks(shell)
    load(shell)
    assert hooks(shell) == loaded
    used = engine(shell)

    unload(shell)
    clean = hooks(shell)
    unload(shell)

    assert used.closed
    assert hooks(shell) == clean
    assert not clean["errors"]
    assert "image_ls" not in clean["line"]
    assert not [name for name in map(repr, clean["bundles"]) if "ocimagic" in name]
    load(shell)
    assert hooks(shell).keys() == loaded.keys()
    assert len(hooks(shell)["line"]) == len(loaded["line"])
    unload(shell)
    assert hooks(shell) == clean


def test_another_docker_magic_comes_back(shell, capsys):
    def theirs(line):
        return line

    unload(shell)
    shell.register_magic_function(theirs, "line", "docker")
    capsys.readouterr()

    load(shell)

    assert "replaces another %docker" in capsys.readouterr().out
    unload(shell)
    assert shell.magics_manager.magics["line"]["docker"] is theirs


def test_the_greeting_is_one_line_and_starts_nothing(shell, capsys, tmp_path):
    unload(shell)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "index.json").write_text('{"manifests":[{"digest":"a"},{"digest":"a"}]}')
    capsys.readouterr()

    load(shell, make_engine=lambda root: pytest.fail("the engine was made"))

    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert f"{tmp_path / 'root'} · 1 image ·" in said


def test_no_magic_of_ipython_is_taken(shell):
    taken = {
        name
        for name, magic in shell.magics_manager.magics["line"].items()
        if isinstance(magic, Magic)
    }

    assert {"image_pull", "container_run", "system_info", "docker"} <= taken
    assert not taken & {"run", "cp", "history", "load", "rm", "save"}


def test_values_can_be_assigned_and_put_in(shell):
    assert run(shell, "x = %image_ls busybox;") is None
    assert run(shell, "x.names") == ["busybox:latest"]
    result = run(shell, "r = %container_run {x[0]} echo {x[0].tag} '{x}'\nr")
    assert isinstance(result, RunResult)
    assert result.stdout == b"latest {x}\n"
    assert engine(shell).containers.asked[-1].image == "busybox:latest"


def test_names_of_a_function_are_seen(shell):
    run(
        shell,
        "def say(word):\n    return get_ipython().run_line_magic('docker', 'run b echo {word}')",
    )

    assert run(shell, "say('inner')").stdout == b"inner\n"


def test_a_semicolon_is_quiet(shell, capsys):
    run(shell, "%image_ls;")
    run(shell, "%image_ls -a ; # quiet")
    run(shell, "x = %image_ls;")
    assert capsys.readouterr().out == ""
    assert len(run(shell, "x")) == 3
    run(shell, "%image_ls")
    assert "REPOSITORY" in capsys.readouterr().out


def test_values_in_the_middle_are_shown(shell, capsys):
    run(shell, "%image_ls\n%container_ls\nx = 1")

    said = capsys.readouterr().out
    assert "REPOSITORY" in said
    assert "CONTAINER ID" in said


def test_a_list_of_containers_says_what_memory_they_use(shell, capsys):
    listed = run(shell, "x = %container_ls -a\nx")

    first, web, job = capsys.readouterr().out.rstrip().splitlines()[-3:]
    assert first.split()[-1] == "MEMORY"
    assert web.split()[-1] == "2.2MiB"
    assert job.split()[-1] == "job", "what has ended uses none"
    html = shell.display_formatter.format(listed)[0]["text/html"]
    assert ">2.2MiB</td>" in html
    assert [each["memory_bytes"] for each in listed.to_dict()] == [2_306_867, None]
    assert "MEMORY" not in str(run(shell, "%container_ls --format json")), "docker's own fields"


def test_nothing_to_say_shows_nothing(shell, capsys):
    run(shell, "docker image tag web:1 new:1\ndocker image ls nothing --format '{{.ID}}'")

    assert capsys.readouterr().out in {"", "Out[1]: "}  # a terminal writes that before it asks


def test_help_is_printed(shell, capsys):
    assert run(shell, "docker image pull --help") is None
    assert "Usage: docker image pull" in capsys.readouterr().out
    assert run(shell, "%%dockerfile --help\nFROM x") is None
    assert "Usage: docker image build" in capsys.readouterr().out
    assert run(shell, "docker --help") is None
    assert "Usage:" in capsys.readouterr().out


def test_the_help_of_a_magic_is_dockers(shell):
    info = shell.object_inspect("%image_pull")

    assert "Usage: docker image pull" in info["docstring"]
    assert "cell below" in shell.object_inspect("%%dockerfile")["docstring"]


def test_root_can_be_changed(shell):
    before = engine(shell)

    run(shell, "%config OciMagic.root = '/elsewhere'")

    assert before.closed
    assert engine(shell).root == "/elsewhere"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%docker frobnicate", "no command 'frobnicate'"),
        ("docker imgae ls", "did you mean docker image"),
        ("%container_run --nmae x busybox", "did you mean --name"),
        ("%%dockerfile -f other\nFROM x", "the cell is the Dockerfile"),
        ("%%dockerfile -t x /nowhere/at/all\nFROM x", "is not a directory"),
        ("%container_run busybox echo 'open", "never closed"),
        ("%image_sl", "did you mean %image_ls?"),
    ],
)
def test_mistakes_are_said(shell, cell, said):
    with pytest.raises(InvalidOption) as caught:
        run(shell, cell)

    assert said in str(caught.value)


@pytest.mark.parametrize("said", ["--save my.Dockerfile", "--save=my.Dockerfile"])
def test_a_cell_that_was_built_can_be_a_file(shell, tmp_path, said):
    text = "FROM x\nRUN echo $HOME {v}\n"
    run(shell, f"%%dockerfile -t x:1 {said}\n{text}")
    assert (tmp_path / "my.Dockerfile").read_text() == text
    assert sorted(each.name for each in tmp_path.glob("*my.*")) == ["my.Dockerfile"]
    with pytest.raises(InvalidOption, match="--save needs"):
        run(shell, "%%dockerfile -t x:1 --save\nFROM x")
    with pytest.raises(OcimagicError, match="nowhere"):
        run(shell, "%%dockerfile -t x:1 --save /nowhere/at/all\nFROM x")


def test_the_dockerfile_reaches_the_engine_as_it_is(shell, tmp_path):
    asked = []
    engine(shell).images.build = lambda options, **_: asked.append(options)

    run(shell, "v = 'a b'\n")
    run(shell, "%%dockerfile -t x:1 --build-arg K={v}\nFROM x\nRUN echo $HOME {v} ${v} 'it''s'\n")
    run(shell, "%%dockerfile -\nFROM x\n")

    with_context, without = asked
    assert with_context.dockerfile == "FROM x\nRUN echo $HOME {v} ${v} 'it''s'\n"
    assert with_context.context == str(tmp_path)
    assert dict(with_context.build_args) == {"K": "a b"}
    assert without.context is None


@pytest.mark.parametrize(
    ("cell", "entrypoint", "command"),
    [
        ("%%container_run --rm busybox\necho 1\n", ("sh",), ("-e", "-c", "echo 1\n")),
        ("%%container_run busybox cat\necho 1\n", None, ("cat",)),
        ("%%container_run --entrypoint cat busybox\necho 1\n", ("cat",), ()),
        ("%%container_run -d --name s busybox\necho 1\n", ("sh",), ("-e", "-c", "echo 1\n")),
    ],
)
def test_a_cell_is_a_script_only_without_a_command(shell, cell, entrypoint, command):
    run(shell, cell)

    asked = engine(shell).containers.asked[-1]
    assert asked.entrypoint == entrypoint
    assert asked.command == command
    assert asked.interactive == (entrypoint != ("sh",))


def test_detached_containers_are_values(shell):
    summary = run(shell, "c = %container_run -d --name web busybox sleep 1\nc")

    assert isinstance(summary, ContainerSummary)
    assert summary.name == "web"


def test_logs_keep_their_streams(shell, capsys):
    logs = run(shell, "x = %container_logs web\nx")
    assert logs.stderr == b"second\n"
    assert "first" in capsys.readouterr().out

    run(shell, "%container_logs -f web")
    shown = capsys.readouterr()
    assert (shown.out.removesuffix("Out[2]: "), shown.err) == ("first\n", "second\n")


def test_a_cell_that_is_no_notebooks_says_progress_in_lines(shell, capsys):
    run(shell, "%image_pull busybox")

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pulling busybox"
    assert sum(": done" in line for line in lines) == 2
    assert any("busybox: 2 layers" in line for line in lines)


def test_other_code_is_compiled_as_before(shell):
    source = inspect.getsource(load)

    assert ast.dump(ast.parse(shell.transform_cell(source))) == ast.dump(ast.parse(source))
