"""The shell front: what is printed where, and exit codes."""

import io
import os
import signal
import sys
from types import SimpleNamespace

import pytest
import samples
from fake_engine import FakeEngine

from ocimagic.cli.app import run
from ocimagic.cli.terminal import Terminal
from ocimagic.errors import CommandNotExecutable, CommandNotFound, ImageNotFound, StepFailed
from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    Notice,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.spec.digest import Digest


@pytest.fixture
def shell(monkeypatch):
    """Run a line; the result has code, out, err and the engine."""
    engine = FakeEngine()

    def call(line, *, before=lambda _: None):
        out, err = io.BytesIO(), io.BytesIO()
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=err))
        roots = []

        def make(root):
            roots.append(root)
            before(engine)
            return engine

        code = run(line.split(), make_engine=make)
        return SimpleNamespace(
            code=code, out=out.getvalue(), err=err.getvalue(), engine=engine, roots=roots
        )

    return call


def test_run_gives_output_and_the_containers_code(shell):
    done = shell("run --rm busybox exit 7")
    assert (done.code, done.out) == (7, b"out\n")
    assert done.err.endswith(b"err\n")
    assert done.engine.closed


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("run -d --name web busybox", samples.container("web").container_id),
        ("create --name web busybox", samples.container("web").container_id),
        ("start web", "web"),
        ("stop web", "web"),
        ("wait web", "3"),
        ("rm web", "web"),
        ("tag a b", None),
        ("version --format {{.Client.Version}}", "0.1.0"),
        ("--version", None),
        ("pull -q busybox", "busybox"),
    ],
)
def test_what_is_printed(line, out, shell):
    done = shell(line)
    assert done.code == 0
    if out:
        assert done.out.decode() == f"{out}\n"


def test_logs_go_to_their_streams_as_bytes(shell):
    done = shell("logs web")
    assert (done.out, done.err) == (b"one\n", b"two \x1b[31m\n")


def test_usage_error_is_125_and_makes_no_engine(shell):
    done = shell("run --nmae x busybox")
    assert (done.code, done.roots, done.out) == (125, [], b"")
    assert (
        done.err == b"ocimagic: ocimagic run has no option --nmae\n  try   did you mean --name?\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandNotFound("no such command"), 127),
        (CommandNotExecutable("cannot execute"), 126),
        (StepFailed("step 2 failed", command_exit_code=3, tail=["boom \x1b[0m"]), 1),
    ],
)
def test_errors_carry_their_codes(error, code, shell):
    def fail(engine):
        def raise_it(*_, **__):
            raise error

        engine.containers.run_options = raise_it

    done = shell("run busybox", before=fail)
    assert done.code == code
    assert error.what.encode() in done.err
    assert b"\x1b" not in done.err


def test_hints_for_a_notebook_are_said_in_shell_words(shell):
    def fail(engine):
        def raise_it(*_, **__):
            raise ImageNotFound("no such image: x", hint="%image_pull x")

        engine.images.layers = raise_it

    assert shell("image layers x", before=fail).err.endswith(b"  try   ocimagic image pull x\n")


def test_root(shell):
    assert shell("--root /tmp/x ps").roots == ["/tmp/x"]
    assert shell("--root=/tmp/y ps").roots == ["/tmp/y"]
    assert shell("ps").roots == [None]
    assert shell("--root").code == 125


def test_cancelled_run_is_130(shell):
    assert shell("run busybox cancel").code == 130


def test_control_c_asks_the_engine_to_stop(shell):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(engine):
        inner = engine.containers.run_options

        def interrupted(*args, cancelled, **given):
            os.kill(os.getpid(), signal.SIGINT)
            assert cancelled.wait(5)
            return inner(*args, cancelled=cancelled, **given)

        engine.containers.run_options = interrupted

    assert shell("run busybox", before=interrupt).code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_gone_reader_is_no_traceback(shell, monkeypatch):
    def break_pipe(engine):
        def gone(*_, **__):
            raise BrokenPipeError

        engine.containers.list = gone

    assert shell("ps", before=break_pipe).code == 141


LAYER, OTHER = samples.digest("a"), samples.digest("b")
PULL = (
    TransferStarted("busybox", samples.digest("m"), ((LAYER, 100), (OTHER, 50))),
    LayerProgress(LAYER, LayerPhase.DOWNLOADING, 60, 100),
    LayerProgress(OTHER, LayerPhase.EXISTS, 0, 50),
    LayerProgress(LAYER, LayerPhase.DONE, 100, 100),
)


def heard(*events, redraws):
    out, err = io.BytesIO(), io.BytesIO()
    terminal = Terminal(out, err, redraws=redraws)
    for event in events:
        terminal(event)
    terminal.end()
    return out.getvalue().decode(), err.getvalue().decode()


def test_plain_progress_is_a_line_per_layer():
    out, err = heard(*PULL, redraws=False)
    assert out == ""
    assert err == f"pulling busybox\n{OTHER.short}  already exists\n{LAYER.short}  done\n"


def test_terminal_progress_ends_with_the_truth():
    _, err = heard(*PULL, redraws=True)
    last = err.rpartition("\x1b[J")[2]
    assert last.count("\n") == 2
    assert "downloading" not in last
    assert "done" in last


def test_build_steps_speak_on_stderr_and_hostile_text_is_harmless():
    _, err = heard(
        StepStarted(1, 2, "0", "RUN echo \x1b[2J", 1),
        Output("stdout", b"compiling\n", step=1),
        StepDone(1, False, 0.5, None, 0),
        StepStarted(2, 2, "0", "LABEL a=b", 2),
        StepDone(2, True, 0.0, None, 0, image_id=Digest.of(b"")),
        Notice("MAINTAINER is old", line=2),
        redraws=False,
    )
    assert err.splitlines() == [
        "[1/2] RUN echo \\x1b[2J",
        "compiling",
        "[1] 0.50s",
        "[2/2] LABEL a=b",
        "[2] cached ---> e3b0c44298fc",
        "warning: line 2: MAINTAINER is old",
    ]


def test_a_fault_is_an_exit_code(shell):
    done = shell("image verify web:1")
    assert (done.code, b"the layer is not here" in done.out) == (1, True)
    assert shell("image verify").code == 0
