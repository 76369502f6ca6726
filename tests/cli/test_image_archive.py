"""``docker save``, ``load`` and ``import``: what reaches the engine, what is said back."""

import io
import os
import pty
import sys
from types import SimpleNamespace

import pytest
import samples
from fake_engine import FakeEngine

from ocimagic.cli.app import run
from ocimagic.cli.grammar import execute, expects, find
from ocimagic.cli.session import Session
from ocimagic.cli.values import TarBytes
from ocimagic.errors import ImageNotFound, InvalidOption, NotBuiltYet
from ocimagic.model.request import ImportOptions
from ocimagic.render.display import as_html, as_text
from ocimagic.spec.platform import Platform


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(engine, tmp_path):
    return Session(engine=lambda: engine, cwd=str(tmp_path), stdin=b"archive")


@pytest.mark.parametrize("word", ["save", "load", "import"])
def test_each_is_a_word_of_its_own_too(word):
    assert find([word]) is find(["image", word])


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("save web:1", ("save", "web:1", "docker")),
        ("image save -o x.tar a b", ("save", "a", "b", "docker")),
        ("save --format=oci a", ("save", "a", "oci")),
        ("load", ("load", b"archive", None)),
        ("image load -qi x.tar", ("load", "{cwd}/x.tar", None)),
        ("load --input=/x.tar", ("load", "/x.tar", None)),
        ("load --platform linux/arm64", ("load", b"archive", Platform("linux", "arm64"))),
        ("import -", ("import", b"archive", ImportOptions())),
        ("import https://x.org/r.tgz", ("import", "https://x.org/r.tgz", ImportOptions())),
        ("import root.tgz web:1", ("import", "{cwd}/root.tgz", ImportOptions(reference="web:1"))),
        (
            "image import -m by_hand -c USER=7 -c CMD=sh --platform arm64 - web",
            (
                "import",
                b"archive",
                ImportOptions(
                    reference="web",
                    message="by_hand",
                    changes=("USER=7", "CMD=sh"),
                    platform=Platform("linux", "arm64"),
                ),
            ),
        ),
    ],
)
def test_calls(line, call, session, engine):
    execute(line.split(), session)
    wanted = [each.format(cwd=session.cwd) if isinstance(each, str) else each for each in call]
    assert engine.calls == [tuple(wanted)]


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("save", InvalidOption, "IMAGE"),
        ("save --format zip a", InvalidOption, "zip"),
        ("save --platform linux/arm64 a", NotBuiltYet, "for this machine"),
        ("save -o no/such/place.tar a", InvalidOption, "No such file"),
        ("load x.tar", InvalidOption, "unexpected"),
        ("import", InvalidOption, "FILE"),
    ],
)
def test_refusals(line, kind, said, session):
    with pytest.raises(kind, match=said):
        execute(line.split(), session)


@pytest.mark.parametrize("line", ["load", "import -"])
def test_nothing_on_standard_input(line, session):
    master, terminal = pty.openpty()
    try:
        for stdin in (None, terminal):
            session.stdin = stdin
            with pytest.raises(InvalidOption, match="from stdin, but stdin is empty"):
                execute(line.split(), session)
    finally:
        os.close(master)
        os.close(terminal)


def test_save_to_a_file_is_whole_or_not_there(session, tmp_path):
    assert execute(["save", "-o", "a.tar", "web"], session) == samples.saved()
    assert (tmp_path / "a.tar").read_bytes() == b"image tar"
    with pytest.raises(ImageNotFound):
        execute(["save", "-o", "b.tar", "missing"], session)
    with pytest.raises(ImageNotFound):
        execute(["save", "-o", "a.tar", "missing"], session)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    assert (tmp_path / "a.tar").read_bytes() == b"image tar"


def test_save_where_there_is_no_output_for_bytes_returns_them(session):
    assert execute(["save", "web"], session) == TarBytes(b"image tar")


def test_progress_unless_quiet(session):
    heard = []
    session.on_event = heard.append
    execute(["load", "-q"], session)
    assert heard == []
    execute(["load"], session)
    assert len(heard) == 2


def test_the_words_are_dockers():
    old = samples.digest("web:1")
    lines = as_text(samples.loaded(), samples.NOW).splitlines()
    assert lines == [
        f"The image web:1 already exists, renaming the old one with ID {old} to empty string",
        "Loaded image: web:1",
        "Loaded image: web:2",
        f"Loaded image ID: {samples.digest('nameless')}",
    ]
    assert "Loaded image: web:2" in as_html(samples.loaded(), samples.NOW)
    assert as_text(samples.imported(), samples.NOW) == samples.digest("web:1")
    assert "2.1MB" in as_html(samples.imported(), samples.NOW)
    assert as_text(samples.saved(), samples.NOW) == "saved 2 images, 67.8MB: web:1, web:2"


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("save -o {tmp}/x.tar web", b""),
        ("save web", b"image tar"),
        ("load -qi {tmp}/x.tar", as_text(samples.loaded(), samples.NOW).encode() + b"\n"),
        ("import {tmp}/r.tar", f"{samples.digest('web:1')}\n".encode()),
    ],
)
def test_what_a_shell_reads(line, out, monkeypatch, tmp_path):
    stdout, stderr = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=stderr))
    words = line.format(tmp=tmp_path).split()
    assert run(words, make_engine=lambda _: FakeEngine()) == 0, stderr.getvalue()
    assert stdout.getvalue() == out


def test_progress_of_a_load_is_for_people(monkeypatch):
    stdout, stderr = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=stderr))
    assert run(["load", "-i", "x.tar"], make_engine=lambda _: FakeEngine()) == 0
    assert stderr.getvalue().decode().splitlines() == [
        "loading web:1",
        f"{samples.digest('layer').short}  done",
    ]
    assert b"loading" not in stdout.getvalue()


def test_a_tar_is_not_for_a_terminal(monkeypatch):
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    stdout, stderr = Terminal(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=stderr))
    assert run(["save", "web"], make_engine=lambda _: FakeEngine()) == 125
    assert b"-o FILE" in stderr.getvalue()
    assert stdout.getvalue() == b""


def test_completion():
    assert (expects(["save"]), expects(["load", "-i"]), expects(["import"])) == (
        "image",
        "path",
        "path",
    )
