"""Who waits for a container that is started here gets its streams, however quickly it ends."""

import threading
from types import SimpleNamespace

from ocimagic.api.starts import Starts
from ocimagic.errors import ContainerNotFound
from ocimagic.model.state import Status

MADE = SimpleNamespace(container_id="id", started=None, exit=None, status=Status.CREATED)


class Looked:
    """Containers that are looked at: running at first, then gone."""

    def __init__(self):
        self.times = 0
        self.twice = threading.Event()

    def get(self, name):
        self.times += 1
        if self.times < 2:
            return SimpleNamespace(status=Status.RUNNING)
        self.twice.set()
        raise ContainerNotFound(name)


def test_nobody_runs_ahead_of_a_start_here():
    starts, looked, found = Starts(), Looked(), []
    attachment = SimpleNamespace(close=lambda: None)

    def wait(expected):
        found.append((expected.wait(looked, MADE, threading.Event()), expected.attachment))

    with starts.expecting("id", wants_streams=True) as expected:
        with starts.beginning("id"):
            thread = threading.Thread(target=wait, args=(expected,))
            thread.start()
            assert looked.twice.wait(30)
            assert found == []
            starts.began("id", attachment)
        thread.join()
    assert found == [(True, attachment)]


def test_what_another_process_starts_or_removes_is_seen():
    starts, looked = Starts(), Looked()
    with starts.expecting("id", wants_streams=False) as expected:
        assert expected.wait(looked, MADE, threading.Event())
        assert not expected.wait(looked, MADE, threading.Event())
