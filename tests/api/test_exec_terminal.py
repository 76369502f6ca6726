"""A terminal that is sized before its command has begun, as docker's client does it."""

import threading
from types import SimpleNamespace

import pytest

from ocimagic.api import commands
from ocimagic.api.execs import Execs
from ocimagic.errors import InvalidState, StartFailed
from ocimagic.model.request import ExecOptions
from ocimagic.wire.reading import Query


def made():
    execs = Execs()
    found = execs.make("c" * 64, ExecOptions(command=("sh",), tty=True), ("stdout",))
    execs.begin(found)
    return execs, found


def exchange():
    return SimpleNamespace(query=Query({"h": ["50"], "w": ["120"]}), container_id="", exec_id="")


def beginning(execs, outcome):
    """Return a service whose commands begin when the event is set."""
    go = threading.Event()

    def exec_attached(*_args, **_named):
        assert go.wait(30)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    containers = SimpleNamespace(exec_attached=exec_attached)
    return SimpleNamespace(execs=execs, engine=SimpleNamespace(containers=containers)), go


def test_it_waits_until_the_command_has_begun():
    execs, found = made()
    sizes = []
    attachment = SimpleNamespace(pid=7, resize=lambda *size: sizes.append(size))
    service, go = beginning(execs, attachment)
    begins = threading.Thread(target=commands._begun, args=(service, found, found.options))
    sized = threading.Thread(target=commands.resize, args=(service, exchange(), found.exec_id))
    begins.start()
    sized.start()
    sized.join(0.2)
    assert sized.is_alive()
    assert not sizes
    go.set()
    sized.join(30)
    begins.join(30)
    assert sizes == [(50, 120)]


def test_one_that_cannot_begin_is_told_so_at_once():
    execs, found = made()
    service, go = beginning(execs, StartFailed("no"))
    go.set()
    with pytest.raises(StartFailed):
        commands._begun(service, found, found.options)
    with pytest.raises(InvalidState, match="not running"):
        commands.resize(service, exchange(), found.exec_id)
