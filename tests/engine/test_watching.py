"""Watching real containers: changes are told at once, and nothing is left of the watch."""

import os
import threading
import time

import pytest

from ocimagic.model.state import Status

LONG_S = 600.0  # what is told before that, the kernel has told
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


class Watch:
    """Keeps what a watch tells, in a thread."""

    def __init__(self, engine, **options):
        self.told = []
        self.stop = threading.Event()
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self.read, args=(engine, options), daemon=True)
        self.thread.start()

    def read(self, engine, options):
        for overview in engine.containers.watch(cancelled=self.stop, **options):
            with self.news:
                self.told.append(overview)
                self.news.notify_all()

    def until(self, is_so, timeout_s=20):
        with self.news:
            assert self.news.wait_for(lambda: self.told and is_so(self.told[-1]), timeout_s), (
                self.told and self.told[-1].containers
            )
            return self.told[-1]

    def end(self):
        self.stop.set()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def watch(shared):
    made = []

    def start(**options):
        made.append(Watch(shared, **options))
        return made[-1]

    yield start
    for each in made:
        each.end()
    for each in shared.containers.list(all=True):
        shared.containers.remove(each.container_id, force=True)


def is_one(name, status):
    return lambda overview: (
        (name, status) in [(each.name, each.status) for each in overview.containers]
    )


def test_a_whole_life_is_told_as_it_goes(shared, watch):
    seen = watch(all=True, interval_s=LONG_S)
    seen.until(lambda overview: not overview.containers)
    shared.containers.run("busybox", SLEEP, name="life", detach=True, network="none")
    seen.until(is_one("life", Status.RUNNING))
    shared.containers.rename("life", "other")
    seen.until(is_one("other", Status.RUNNING))
    shared.containers.stop("other")
    seen.until(is_one("other", Status.EXITED))
    shared.containers.start("other")
    seen.until(is_one("other", Status.RUNNING))
    shared.containers.remove("other", force=True)
    seen.until(lambda overview: not overview.containers)


def test_another_engine_did_it(shared, watch):
    from ocimagic import Engine

    seen = watch(all=True, interval_s=LONG_S)
    seen.until(lambda overview: not overview.containers)
    home = shared.home.data
    with Engine(home, environment={"HOME": str(home.parent)}) as other:
        other.containers.run("busybox", ["true"], name="theirs", detach=True, network="none")
        seen.until(is_one("theirs", Status.EXITED))


def test_figures_come_when_they_are_due(shared, watch):
    shared.containers.run("busybox", SLEEP, name="busy", detach=True, network="none")
    seen = watch(interval_s=0.2)
    overview = seen.until(
        lambda now: now.is_measured and any(each.memory_bytes for each in now.stats.values())
    )
    [stats] = overview.stats.values()
    first = stats.taken
    seen.until(lambda now: any(each.taken > first for each in now.stats.values()))


def test_what_does_not_run_is_left_out_unless_asked_for(shared, watch):
    shared.containers.run("busybox", ["true"], name="over", network="none")
    assert not watch().until(lambda now: True).containers
    assert watch(all=True).until(lambda now: True).containers


def test_nothing_is_left_of_a_watch(shared, watch):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        seen = watch(interval_s=LONG_S)
        seen.until(lambda now: True)
        began = time.monotonic()
        seen.end()
        assert time.monotonic() - began < 5
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [each for each in threading.enumerate() if each.name.startswith("dashboard")]


def test_where_the_kernel_tells_nothing_the_time_does(shared, watch, monkeypatch):
    from ocimagic.linux import watching

    def refuse():
        raise OSError("too many watches")

    monkeypatch.setattr(watching, "Watcher", refuse)
    seen = watch(all=True, interval_s=0.2)
    seen.until(lambda overview: not overview.containers)
    shared.containers.run("busybox", ["true"], name="polled", detach=True, network="none")
    seen.until(is_one("polled", Status.EXITED))
