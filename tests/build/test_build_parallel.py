"""Stages that need nothing of each other run side by side, and end together."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ocimagic.build import together
from ocimagic.build.together import Stop, run_together
from ocimagic.engine.engine import Engine
from ocimagic.errors import BuildFailed, Cancelled, StepFailed
from ocimagic.model.event import Notice, Output, StepDone, StepStarted
from ocimagic.model.options import BuildOptions


def only(text):
    """Return an ARG that makes a step new to the session's cache."""
    return f"ARG ONLY={text}{time.time_ns()}\n"


class Stage:
    def __init__(self, index, *needs):
        self.index, self.needs = index, needs


def test_two_run_at_once_and_a_third_after_them():
    both, order = threading.Barrier(2, timeout=10), []

    def work(stage):
        if stage.index < 2:
            both.wait()
        order.append(stage.index)

    run_together([Stage(0), Stage(1), Stage(2, 0, 1), Stage(3, 2)], work, Stop(None))
    assert order[2:] == [2, 3]


def test_a_failure_stops_the_others_and_is_what_is_told():
    stop, began = Stop(None), threading.Event()

    def work(stage):
        if stage.index == 0:
            assert began.wait(10)
            raise BuildFailed("first")
        began.set()
        assert stop.wait(10)
        raise Cancelled("stopped")

    with pytest.raises(BuildFailed, match="first"):
        run_together([Stage(0), Stage(1), Stage(2, 1)], work, stop)


def test_the_users_wish_is_a_reason_to_stop_too():
    asked = threading.Event()
    stop = Stop(asked)
    assert not stop.is_set()
    asked.set()
    assert stop.is_set()


def test_steps_are_numbered_as_they_stand_in_the_file(runs):
    stages = "".join(f"FROM base AS s{each}\n{only(each)}RUN echo {each} > /f\n" for each in "abc")
    copies = "".join(f"COPY --from=s{each} /f /{each}\n" for each in "abc")
    result = runs.build(f"{stages}FROM base\n{copies}")
    assert [step.number for step in result.steps] == list(range(1, 14))
    assert [step.stage for step in result.steps][:3] == ["sa"] * 3
    assert runs.text(result, "a") == "a\n"
    assert {event.number for event in runs.of(StepStarted)} == set(range(1, 14))
    assert {event.number for event in runs.of(StepDone)} == set(range(1, 14))
    again = runs.build(f"{stages}FROM base\n{copies}")
    assert all(step.cached for step in again.steps)
    assert again.image_id == result.image_id


def test_two_stages_wait_for_each_other_through_a_cache_mount(runs):
    """Only stages that really run at once come through this."""
    mount = f"--mount=type=cache,id=meet{time.time_ns()},target=/m"
    loop = "i=0; while [ $i -lt 100 ]; do test -e /m/{0} && exit 0; "
    loop += "sleep 0.1; i=$((i+1)); done; exit 1"
    text = "".join(
        f"FROM base AS {me}\n{only(me)}RUN {mount} touch /m/{me}; {loop.format(other)}\n"
        for me, other in (("a", "b"), ("b", "a"))
    )
    text += "FROM base\nCOPY --from=a /etc/passwd /1\nCOPY --from=b /etc/passwd /2\n"
    runs.build(
        text.replace("$(seq 100)", "$(i=0; while [ $i -lt 100 ]; do echo x; i=$((i+1)); done)")
    )


def test_a_failing_stage_ends_those_beside_it(runs):
    text = f"FROM base AS slow\n{only('s')}RUN echo begun && sleep 100\n"
    text += f"FROM base AS bad\n{only('b')}RUN sleep 0.5; exit 7\n"
    text += "FROM base\nCOPY --from=slow /f /1\nCOPY --from=bad /f /2\n"
    began = time.monotonic()
    with pytest.raises(StepFailed) as caught:
        runs.build(text)
    assert caught.value.command_exit_code == 7
    assert time.monotonic() - began < 50


def test_stopping_ends_all_stages(runs, stop):
    text = "".join(f"FROM base AS {each}\n{only(each)}RUN echo on && sleep 100\n" for each in "ab")
    text += "FROM base\nCOPY --from=a /f /1\nCOPY --from=b /f /2\n"
    heard = set()

    def listen(event):
        if isinstance(event, Output):
            heard.add(event.step)
            if len(heard) == 2:
                stop.set()

    with pytest.raises(Cancelled):
        runs.build(text, cancelled=stop, listen=listen)
    assert len(heard) == 2


def test_nobody_sweeps_while_a_stage_ends_after_a_second_interrupt(runs, monkeypatch):
    text = f"FROM base AS slow\n{only('s')}RUN echo begun && sleep 100\n"
    text += f"FROM base AS bad\n{only('b')}RUN sleep 0.5; exit 7\n"
    text += "FROM base\nCOPY --from=slow /f /1\nCOPY --from=bad /f /2\n"

    def interrupted(*_pool, **_how):
        raise KeyboardInterrupt

    def stop_twice(event):
        if isinstance(event, Output):
            patched.setattr(together, "wait", interrupted)
            patched.setattr(together.ThreadPoolExecutor, "shutdown", interrupted)

    with monkeypatch.context() as patched:
        with pytest.raises(KeyboardInterrupt):
            runs.build(text, listen=stop_twice)
        with runs.engine._store.alone() as held:
            assert runs.leftovers()
            assert not held
    deadline = time.monotonic() + 30
    while runs.leftovers() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_stage_that_is_not_needed_is_not_run(runs):
    text = f"FROM base AS unused\n{only('u')}RUN exit 1\nFROM base AS used\nRUN true\nFROM used\n"
    assert {step.stage for step in runs.build(text).steps} == {"used", "2"}


def test_two_kernels_do_a_step_once(runs):
    """Whoever asks while another does a step gets what that one makes."""
    text = f"FROM base\n{only('shared')}RUN head -c 8 /dev/urandom > /f; sleep 1\n"
    with Engine(root=runs.engine.home.data) as other, ThreadPoolExecutor(2) as pool:

        def build(engine):
            return engine.images.build(BuildOptions(dockerfile=text))

        one, two = pool.map(build, (runs.engine, other))
    assert one.image_id == two.image_id
    assert sorted(each.steps[-1].cached for each in (one, two)) == [False, True]
    assert not list(runs.engine.home.locks.glob("step-*"))


def test_who_waits_for_another_build_can_stop_and_takes_over_when_that_one_fails(runs, stop):
    text = f"FROM base\n{only('failing')}RUN echo begun; sleep 1; test -e /nowhere\n"
    with Engine(root=runs.engine.home.data) as other:
        begun, failures = threading.Event(), []

        def first():
            with pytest.raises(StepFailed) as caught:
                other.images.build(
                    BuildOptions(dockerfile=text),
                    on_event=lambda e: begun.set() if isinstance(e, Output) else None,
                )
            failures.append(caught.value)

        thread = threading.Thread(target=first)
        thread.start()
        assert begun.wait(20)
        with pytest.raises(Cancelled):
            runs.build(
                text,
                context=None,
                cancelled=stop,
                listen=lambda e: stop.set() if isinstance(e, Notice) else None,
            )
        assert "another build does this step just now: waiting for it" in runs.notices()
        with pytest.raises(StepFailed):
            runs.build(text, context=None)
        thread.join()
    assert len(failures) == 1
    assert not list(runs.engine.home.locks.glob("step-*"))
