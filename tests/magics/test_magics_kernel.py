"""The magics in a real kernel: what a saved notebook holds."""

import pytest

pytestmark = pytest.mark.slow


def bundles(cell):
    return [output["data"] for output in cell.outputs if "data" in output]


def stream(cell, name="stdout"):
    return "".join(output.text for output in cell.outputs if output.get("name") == name)


def errors(cell):
    return [output for output in cell.outputs if output.output_type == "error"]


def test_the_class_notes_paste_unchanged(run_notebook):
    pull, ls, inspect, assigned = run_notebook(
        "docker image pull tomcat:8\ndocker image pull redis:latest",
        "docker image ls",
        "%image_inspect web:1",
        "images = %image_ls\nprint(images.names, images['busybox'].tag)\nimages",
    )

    summaries = [bundle["text/plain"] for bundle in bundles(pull)]
    assert len(summaries) == 2
    assert summaries[0].startswith("tomcat:8: 2 layers")
    assert "DOWNLOADING" not in str(pull.outputs).upper()
    [table] = bundles(ls)
    assert "REPOSITORY" in table["text/plain"]
    assert "<table" in table["text/html"]
    assert ls.outputs[0].output_type == "execute_result"
    assert "maintainer" in bundles(inspect)[0]["text/html"]
    assert stream(assigned) == "['web:1', 'busybox:latest', 'debian:bookworm'] latest\n"
    assert "<table" in bundles(assigned)[-1]["text/html"]


def test_output_streams_and_the_badge_follows(run_notebook):
    cell, quiet, loop = run_notebook(
        "%container_run busybox sh -c 'echo out; echo err >&2; printf \"\\303\\244\"; exit 3'",
        "r = %container_run busybox echo kept;\nr.stdout, r.exit_code",
        "for n in range(2):\n    %container_run busybox echo {n}",
    )

    assert "out\n" in stream(cell)
    assert "ä" in stream(cell)
    assert stream(cell, "stderr") == "err\n"
    assert bundles(cell)[0]["text/plain"].startswith("exit 3")
    assert errors(cell) == []
    assert bundles(quiet)[-1]["text/plain"] == "(b'kept\\n', 0)"
    assert stream(loop) == "0\n1\n"
    assert len(bundles(loop)) == 2


def test_a_dockerfile_cell_is_built_and_errors_count_the_cells_lines(run_notebook):
    good, bad, failed, comment = run_notebook(
        "%%dockerfile -t web:2\nFROM busybox\n\nRUN echo $HOME {x}",
        "%%dockerfile -t web:3\nFROM busybox\n  BAD {HOME}",
        "\n\n%%dockerfile -t web:3\nFROM busybox\nRUN false",
        "# my image\n%%dockerfile -t web:3\nFROM busybox",
        allow_errors=True,
    )

    [summary] = bundles(good)
    assert summary["text/plain"].rstrip().splitlines()[-1].startswith("web:2: image")
    [error] = errors(bad)
    assert error.ename == "DockerfileError"
    assert "cell line 3, column 3:   BAD {HOME}" in "\n".join(error.traceback)
    frame = [line for line in error.traceback if "BAD" in line or "^" in line][-2:]
    assert frame[1].index("^") == frame[0].index("BAD")
    assert "Traceback" not in "\n".join(error.traceback)
    [error] = errors(failed)
    assert "cell line 5: RUN false" in "\n".join(error.traceback)
    assert "last words" in "\n".join(error.traceback)
    assert "not finished" in bundles(failed)[0]["text/plain"]
    # What the step wrote is there once: in the error, which every tool shows.
    assert "doing RUN false" not in bundles(failed)[0]["text/plain"]
    assert "doing RUN false</pre>" not in bundles(failed)[0]["text/html"]
    [error] = errors(comment)
    assert "%%dockerfile must be the first line of its cell" in error.evalue


def test_a_failing_cell_fails_the_notebook(run_notebook):
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="did you mean web:1"):
        run_notebook("%image_inspect wbe:1")


def test_full_errors_keep_the_traceback(run_notebook):
    (cell,) = run_notebook(
        "%config OciMagic.errors = 'full'\n%image_inspect wbe:1", allow_errors=True
    )

    [error] = errors(cell)
    assert "Traceback" in "\n".join(error.traceback)
    assert error.traceback[-1].startswith("  try")


def test_check_makes_a_failing_container_an_error(run_notebook):
    (cell,) = run_notebook(
        "%config OciMagic.check = True\n%container_run busybox false", allow_errors=True
    )

    [error] = errors(cell)
    assert error.ename == "ContainerExit"


def test_cells_are_scripts_or_input(run_notebook):
    script, given, docker = run_notebook(
        "%%container_run --rm busybox\necho $((1+1))\nfalse\necho never",
        "%%container_run busybox tr a-z A-Z\nhello {x}\n",
        "%%docker run -i busybox cat\nfrom the cell\n",
    )

    assert stream(script) == "2\n"
    assert bundles(script)[0]["text/plain"].startswith("exit 1")
    assert stream(given) == "HELLO {X}\n"
    assert stream(docker) == "from the cell\n"


@pytest.mark.parametrize("kind", ["html", "widget", "none", "text"])
def test_every_kind_of_progress_ends_as_the_summary(run_notebook, kind):
    (cell,) = run_notebook(f"%config OciMagic.progress = {kind!r}\n%image_pull busybox")

    final = bundles(cell)[-1]
    assert final["text/plain"].startswith("busybox: 2 layers")
    assert "application/vnd.jupyter.widget-view+json" not in final
    assert len(bundles(cell)) == 1


def test_the_summary_is_shown_once_and_still_the_value(run_notebook):
    pull, again = run_notebook("%image_pull busybox", "_.reference, _")

    assert len(bundles(pull)) == 1
    assert "'busybox'" in bundles(again)[0]["text/plain"]


def test_display_can_be_text_or_widget(run_notebook):
    text, widget, explore = run_notebook(
        "%config OciMagic.display = 'text'\n%image_ls",
        "%config OciMagic.display = 'widget'\n%image_inspect web:1",
        "%explore web:1",
    )

    assert set(bundles(text)[0]) == {"text/plain"}
    for cell in (widget, explore):
        bundle = bundles(cell)[-1]
        assert set(bundle) == {"text/plain", "text/html"}
        assert "<details" in bundle["text/html"]
        assert "data-ocimagic" not in bundle["text/html"], "nobody can search in a file"
        assert "maintainer" in bundle["text/plain"]


def test_an_exported_notebook_has_tables_and_pictures(run_notebook):
    from nbconvert import HTMLExporter

    run_notebook("%image_ls", "%image_layers web:1 web:2", "%explore web:1")
    notebook = run_notebook.notebook

    page, _ = HTMLExporter().from_notebook_node(notebook)

    assert "REPOSITORY" in page
    assert '<img alt="' in page
    assert "data:image/svg+xml;base64," in page
    assert "maintainer" in page


def test_unload_takes_everything_back(run_notebook):
    cells = run_notebook(
        "from ocimagic.errors import OcimagicError\n%unload_ext ocimagic\n"
        "from ocimagic.magics import unload\nunload(get_ipython())\n"
        "print(hasattr(OcimagicError, '_render_traceback_'))",
        "%image_ls",
        "docker image ls",
        allow_errors=True,
    )

    assert "False" in stream(cells[0])
    assert "image_ls" in stream(cells[1], "stderr") + str(cells[1].outputs)
    assert errors(cells[2])[0].ename == "SyntaxError"
