"""Streams through our own API and in-process: what is typed, what is written, who lets go."""

import os
import threading
import time

import pytest

from ocimagic.errors import Cancelled
from ocimagic.model.options import NetworkMode, RunOptions
from ocimagic.model.request import ExecOptions

PATIENCE_S = 20


@pytest.fixture(params=["shared", "remote"])
def either(request):
    """Our engine, and the same one over its socket."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def run(either):
    """Run a script in busybox; what is left of it is removed."""
    made = []

    def start(script, **options):
        options = {"detach": True} | options
        done = either.containers.run_options(
            RunOptions(
                image="busybox", command=("sh", "-c", script), network=NetworkMode.NONE, **options
            )
        )
        made.append(done.container_id)
        return done.container_id

    yield start
    for each in made:
        either.containers.remove(each, force=True)


def feeders():
    return [each for each in threading.enumerate() if each.name == "ocimagic-stdin"]


def until(look):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_who_lets_go_reads_no_more_of_what_is_typed(either, run):
    """What is typed afterwards is for somebody else, and the descriptor may be another file."""
    name = run("echo on; exec cat", interactive=True)
    before = len(feeders())
    reader, writer = os.pipe()
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(Cancelled):
        either.containers.attach(name, stdin=reader, sig_proxy=False, cancelled=cancelled)
    assert len(feeders()) == before
    os.write(writer, b"for somebody else")
    assert os.read(reader, 100) == b"for somebody else"
    assert either.containers.get(name).exit is None
    os.close(reader)
    os.close(writer)


def test_nobody_goes_on_sending_to_a_command_that_was_let_go_of(either, run):
    name = run("exec sleep 60")
    before = len(feeders())
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        either.containers.exec(
            name, ExecOptions(command=("sleep", "60"), interactive=True),
            stdin=bytes(64 << 20), cancelled=cancelled,
        )  # fmt: skip
    assert time.monotonic() < began + PATIENCE_S
    assert len(feeders()) == before


def test_input_that_nobody_reads_holds_nobody_up(either, run):
    name = run("echo on; exec sleep 60", interactive=True)
    before = len(feeders())
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        either.containers.attach(name, stdin=bytes(64 << 20), sig_proxy=False, cancelled=cancelled)
    assert time.monotonic() < began + PATIENCE_S
    assert len(feeders()) == before
    assert either.containers.get(name).exit is None


def test_input_alone_arrives_whole(either, run):
    data = os.urandom(1 << 20)
    made = either.containers.run_options(
        RunOptions(
            image="busybox", command=("sh", "-c", "cat >/f; wc -c </f"), network=NetworkMode.NONE,
            attach=("stdin",), interactive=True,
        ),
        stdin=data,
    )  # fmt: skip
    assert either.containers.wait(made.container_id).code == 0
    [line] = either.containers.logs(made.container_id)
    either.containers.remove(made.container_id)
    assert line[2] == b"%d\n" % len(data)


def test_the_last_line_of_a_terminal_needs_no_end(either, run):
    name = run("printf 'one\\ntwo> '", tty=True)
    either.containers.wait(name)
    written = b"".join(each[2] for each in either.containers.logs(name))
    assert written == b"one\r\ntwo> "
