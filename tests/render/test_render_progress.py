"""Progress: events folded into states, and states that tell the truth."""

import samples

from ocimagic.model.event import (
    LayerPhase,
    LayerProgress,
    Notice,
    Output,
    StepDone,
    StepStarted,
    TransferStarted,
)
from ocimagic.render.progress import BuildProgress, PullProgress
from ocimagic.render.side_by_side import Labels

A, B = samples.digest("a"), samples.digest("b")
STARTED = TransferStarted("busybox:latest", samples.digest("m"), ((A, 1000), (B, 500)))


def after(state, *events):
    for event in events:
        state = state.update(event)
    return state


def test_pull():
    state = after(PullProgress(), STARTED, LayerProgress(A, LayerPhase.DOWNLOADING, 500, 1000))
    assert (state.done_bytes, state.total_bytes) == (500, 1500)
    lines = state.text().splitlines()
    assert lines[0] == "busybox:latest: 500B of 1.5kB"
    assert lines[1] == f"{A.short}  downloading     [============            ]  500B of 1kB"
    assert "waiting" in lines[2]
    assert '<progress max="1" value="0.500">50%</progress>' in state.html()
    end = after(
        state,
        LayerProgress(A, LayerPhase.DONE, 1000, 1000),
        LayerProgress(B, LayerPhase.EXISTS, 0, 500),
    )
    assert end.done_bytes == 1500
    assert "downloading" not in end.stopped().text()
    assert "stopped" not in end.stopped().text()


def test_speed():
    moving = after(
        PullProgress(),
        STARTED,
        LayerProgress(A, LayerPhase.DOWNLOADING, 500, 1000, 2_500_000.0),
        LayerProgress(B, LayerPhase.DOWNLOADING, 50, 500, 500_000.0),
    )
    lines = moving.text().splitlines()
    assert lines[0] == "busybox:latest: 550B of 1.5kB, 3MB/s"
    assert lines[1].endswith("500B of 1kB, 2.5MB/s")
    assert "500B of 1kB, 2.5MB/s" in moving.html()
    assert "/s" not in moving.stopped().text(), "a saved notebook does not move"
    done = after(moving, LayerProgress(A, LayerPhase.DONE, 1000, 1000, 1_200_000.0))
    assert done.text().splitlines()[1].endswith("1kB at 1.2MB/s")
    assert done.bytes_per_s == 500_000


def test_update_makes_a_new_state():
    before = PullProgress()
    assert before.update(STARTED) is not before
    assert before == PullProgress()
    assert before.update(Notice("x")) is before
    assert before.text() == before.html() == ""


def test_progress_never_goes_back():
    state = after(
        PullProgress(),
        STARTED,
        LayerProgress(A, LayerPhase.EXTRACTING, 1000, 1000),
        LayerProgress(A, LayerPhase.DOWNLOADING, 900, 1000),
    )
    assert state.layers[0].phase is LayerPhase.EXTRACTING


def test_stopped_pull_says_so():
    state = after(PullProgress(), STARTED, LayerProgress(A, LayerPhase.DOWNLOADING, 5, 1000))
    said = state.stopped()
    assert "stopped before the end" in said.text()
    assert "downloading" not in said.text()
    assert "not finished" in said.html()


def test_build():
    state = after(
        BuildProgress(),
        StepStarted(1, 2, "0", "FROM busybox", 1),
        STARTED,
        StepDone(1, True, 0.0, None, 0, image_id=A),
        StepStarted(2, 2, "0", "RUN make <all>", 2),
        Notice("no USER", line=2),
        Output("stdout", b"compiling \x1b[31mx\n", step=2),
    )
    lines = state.text().splitlines()
    assert lines[0] == f"1/2 cached  FROM busybox  ---> {A.short}"
    assert A.short in state.html()
    assert lines[1] == "2/2 running  RUN make <all>"
    assert "warning: line 2: no USER" in lines
    assert lines[-1] == "    compiling \\x1b[31mx"
    assert "<all>" not in state.html()
    assert "\x1b" not in state.html()
    assert "not finished" in state.stopped().text()
    assert ">Build: 1 of 2 steps done<" in state.stopped().html()
    done = state.update(StepDone(2, False, 1.5, A, 10))
    assert done.text().splitlines()[1] == "2/2 1.50s  RUN make <all>"
    assert done.tail == ()


def test_pull_inside_a_build_is_shown_and_goes_away():
    state = after(BuildProgress(), StepStarted(1, 1, "0", "FROM busybox", 1), STARTED)
    assert "busybox:latest: 0B of 1.5kB" in state.text()
    assert "<progress" in state.html()
    assert "not finished" in state.stopped().html()
    assert state.update(StepDone(1, False, 1.0, None, 0)).pull is None


def test_only_the_last_lines_are_kept():
    state = after(BuildProgress(), *(Output("stdout", b"%d\n" % n, step=1) for n in range(50)))
    assert state.tail == tuple(str(n) for n in range(42, 50))


def test_output_of_steps_side_by_side_says_whose_it_is():
    labels = Labels()
    alone = Output("stdout", b"a\nb\n", 1)
    labels.hear(StepStarted(1, 2, "one", "RUN x", 1))
    assert labels.labelled(alone) == b"a\nb\n"
    labels.hear(StepStarted(2, 2, "two", "RUN y", 2))
    assert labels.labelled(alone) == b"[1] a\n[1] b\n"
    assert labels.labelled(Output("stdout", b"half", 2)) == b"[2] half\n"
    assert labels.labelled(Output("stdout", b"of a container", None)) == b"of a container"
    labels.hear(StepDone(2, cached=False, seconds=1.0, layer=None, size_bytes=0))
    assert labels.labelled(alone) == b"a\nb\n"
