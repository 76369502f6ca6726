"""Shift-Tab: what is said of options, Dockerfile instructions and compose keys."""

import pytest

from ocimagic.magics.completer import Completer
from ocimagic.magics.inspector import Inspector
from ocimagic.magics.last_build import LastBuild
from ocimagic.model.event import StepDone, StepStarted
from ocimagic.render.explained import explained_html, explained_text
from ocimagic.spec.digest import Digest


@pytest.fixture
def session(shell):
    return shell.magics_manager.magics["line"]["docker"].session


@pytest.fixture
def explain(session):
    """Explain what is at the ``|`` of a cell."""
    inspector = Inspector(session, Completer(session))

    def explain(cell):
        before, _, after = cell.partition("|")
        return inspector.at(before + after, len(before))

    return explain


@pytest.mark.parametrize(
    ("cell", "title", "text"),
    [
        ("%container_run -p|", "--publish", "lead"),
        ("%container_run --pub|lish 80:80", "--publish", "lead"),
        ("%container_run --publish=80|:80 x", "--publish", "lead"),
        ("%container_run -itd|", "--detach", ""),
        ("x = %container_run --rm| web", "--rm", "Remove"),
        ("docker container run --netwo|rk net web", "--network", ""),
        ("%%dockerfile --no-ca|che\nFROM x", "--no-cache", ""),
        ("%container_run we|b", "docker container run", "Usage"),
        ("docker image pu|ll x", "docker image pull", "Usage"),
        ("%%dockerfile\nFR|OM x", "FROM", "Begins a stage"),
        ("%%dockerfile\nFROM x\nrun apt-get inst|all x", "RUN", "becomes a layer"),
        ("%%dockerfile\nCOPY --cho|wn=a b c", "COPY --chown=…", "Owner of the files"),
        ("%%dockerfile\nCOPY --li|nk b c", "COPY --link", "A layer of its own"),
        ("%%dockerfile\nENV A=1 \\\n    B=|2", "ENV", "variables"),
        ("%%dockerfile\nONBUILD RUN tr|ue", "RUN", "becomes a layer"),
        ("%%compose\nservices:\n  web:\n    depends|_on: [db]", "services.web.depends_on", ""),
    ],
)
def test_what_is_said(explain, cell, title, text):
    found = explain(cell)
    assert title in found.title
    assert text in found.text
    assert found.text


@pytest.mark.parametrize(
    "cell",
    ["x = pri|nt(1)", "%time x|", "%%dockerfile\n# FR|OM", "%%dockerfile\nNONSENSE x|",
     "%%dockerfile\nRUN <<EOF\nFRO|M\nEOF", "%%bash\nRUN x|", "%%compose\nservices:\n  we|b:"],
)  # fmt: skip
def test_python_and_what_nobody_knows_are_left_alone(explain, cell):
    assert explain(cell) is None


def test_what_this_line_did_in_the_last_build(explain, session):
    layer = Digest.of(b"layer")
    build = session.last_build = LastBuild()
    build.see(StepStarted(1, 3, "0", "FROM busybox", 2))
    build.see(StepDone(1, True, 0.0, None, 0))
    build.see(StepStarted(2, 3, "0", "RUN echo one > /file", 3))
    build.see(StepDone(2, False, 1.25, layer, 1536, "the instruction changed"))
    build.see(StepStarted(3, 3, "0", "RUN false", 5))
    cell = "%%dockerfile -t x\nFROM busybox\nRUN echo one \\\n  > /file\nRUN false"

    def facts(word):
        at = cell.index(word)
        return explain(f"{cell[:at]}|{cell[at:]}").facts

    assert facts("busybox") == (
        "In the last build: step 1 of 3, stage 0: taken from the cache; it made no layer.",
    )
    done, why = facts("> /file")
    assert "step 2 of 3" in done
    assert str(layer)[:19] in done
    assert "1.54kB" in done
    assert why == "It was not taken from the cache: the instruction changed."
    assert "did not come to its end" in facts("false")[0]
    cell = cell.replace("one", "two")
    assert facts("> /file") == (), "it is another line now"


def test_text_and_html_say_the_same(explain):
    found = explain("%%dockerfile\nCO|PY a b")
    text, html = explained_text(found), explained_html(found)
    for said in (found.title.replace("\n", " "), "--chown", found.example):
        assert said in text
    assert "--chown" in html
    assert "<style" not in html
    assert " class=" not in html


@pytest.mark.slow
def test_a_real_kernel_answers_and_lets_go(run_notebook):
    asked = (
        "kernel = get_ipython().kernel\n"
        "def ask(code, at): return kernel.do_inspect(code, at)\n"
        "r = ask('%container_run -p', 16)\n"
        "print(r['found'], sorted(r['data']), '--publish' in r['data']['text/plain'])\n"
        "r = ask('len', 3)\n"
        "print(r['found'], 'Return the number' in r['data']['text/plain'])\n"
    )
    built = "%%dockerfile -t seen:1\nFROM busybox\nRUN true"
    line = "print(kernel.do_inspect('%%dockerfile\\nRUN true', 15)['data']['text/plain'])"
    gone = (
        "%unload_ext ocimagic\n"
        "from ocimagic.magics import unload\nunload(get_ipython())\n"
        "found = kernel.do_inspect('%container_run -p', 16)['found']\n"
        "print('do_inspect' in kernel.__dict__, found)"
    )
    first, _, build, last = run_notebook(asked, built, line, gone)
    said = ["".join(each.get("text", "") for each in cell.outputs) for cell in (first, build, last)]
    assert "True ['text/html', 'text/plain'] True\nTrue True" in said[0]
    assert "In the last build: step 2 of 2" in said[1]
    assert said[2].endswith("False False\n")
