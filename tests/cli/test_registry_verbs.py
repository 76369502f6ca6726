"""``ocimagic registry``: words in, calls on the engine and values out."""

import os
import threading

import pytest
from fake_engine import FakeEngine

from ocimagic.cli.grammar import docker_words, execute, find
from ocimagic.cli.session import Session
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption, InvalidState
from ocimagic.model.event import Notice, Output
from ocimagic.model.registry import RegistryOptions


class Watched(Session):
    """A session that knows what it was told."""

    told: list


@pytest.fixture
def session(tmp_path):
    engine, told = FakeEngine(), []
    session = Watched(
        engine=lambda: engine,
        on_event=told.append,
        cwd=str(tmp_path),
        cancelled=threading.Event(),
        program="ocimagic",
    )
    session.told = told
    return session


def serve(session, line):
    session.cancelled.set()
    execute(["registry", "serve", *line.split()], session)
    return session.engine().system.served


def said(session, kind):
    return [each for each in session.told if isinstance(each, kind)]


def test_serve_prints_the_url_and_ends_when_it_is_interrupted(session):
    served = serve(session, "")
    assert served.options == RegistryOptions()
    assert said(session, Output) == [Output("stdout", b"http://127.0.0.1:5000\n")]
    assert [each.text for each in said(session, Notice)] == [
        "beware",
        "images are kept in /data; ctrl-c ends the registry",
    ]
    assert served.closed


def test_serve_waits_until_then(session):
    ended = threading.Event()

    def work():
        execute(["registry", "serve"], session)
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert not ended.wait(0.1)
    session.cancelled.set()
    assert ended.wait(5)


def test_options_of_serve(session, tmp_path):
    line = (
        "--address 0.0.0.0 --port 0 --data d --read-only --allow-delete --tls-cert c --tls-key k "
        "--htpasswd h --token --anonymous-pull --open --mirror https://registry-1.docker.io"
    )
    assert serve(session, line).options == RegistryOptions(
        address="0.0.0.0",
        port=0,
        data=str(tmp_path / "d"),
        read_only=True,
        may_delete=True,
        tls_cert=str(tmp_path / "c"),
        tls_key=str(tmp_path / "k"),
        htpasswd=str(tmp_path / "h"),
        tokens=True,
        anonymous_pull=True,
        is_open=True,
        mirror="https://registry-1.docker.io",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--port 65536", "no port"),
        ("--port x", "not a valid integer"),
        ("--tls-cert c", "go together"),
        ("--tls-key k", "go together"),
        ("--token", "--htpasswd FILE"),
        ("--htpasswd h --anonymous-pull", "--token"),
        ("more", "unexpected"),
    ],
)
def test_options_that_are_none(session, line, words):
    with pytest.raises(InvalidOption) as caught:
        serve(session, line)
    assert words in str(caught.value)


@pytest.mark.parametrize(("words", "watched"), [("", True), ("-q", False), ("--quiet", False)])
def test_a_line_per_request_where_somebody_looks_on(session, words, watched):
    session.console = object()
    served = serve(session, words)
    assert (served.on_request is not None) == watched
    if watched:
        served.on_request("GET", "/v2/", 200)
        assert session.told[-1] == Notice("200 GET /v2/")
    else:
        assert said(session, Notice) == [Notice("beware")]
    session.console = None
    assert serve(session, "").on_request is None


def test_start_is_for_those_whose_engine_stays(session):
    with pytest.raises(InvalidOption) as caught:
        execute(["registry", "start"], session)
    assert caught.value.hint == "ocimagic registry serve"
    session.stays = True
    served = execute(["registry", "start", "--port", "0"], session)
    assert served is session.engine().system.served
    assert not served.closed


def test_stop(session):
    session.stays = True
    with pytest.raises(InvalidState, match="no registry is served"):
        execute(["registry", "stop"], session)
    served = execute(["registry", "start"], session)
    with pytest.raises(InvalidState, match=r"10\.0\.0\.1:1") as caught:
        execute(["registry", "stop", "10.0.0.1:1"], session)
    assert "127.0.0.1:5000" in caught.value.why
    assert not served.closed
    for name in ("", served.host, served.url):
        served.closed = False
        stopped = execute(["registry", "stop", *name.split()], session)
        assert (stopped, served.closed) == (Names((served.url,)), True)


def test_add_a_user(session, tmp_path):
    system = session.engine().system
    session.stdin = b"secret\n"
    added = execute(["registry", "user", "add", "--password-stdin", "ada"], session)
    assert (added, system.user) == (Names(("/users",)), ("ada", "secret"))
    session.ask_secret = lambda question: "typed"
    words = ["registry", "user", "add", "--htpasswd", "f", "ada"]
    assert execute(words, session) == Names((str(tmp_path / "f"),))
    assert system.user == ("ada", "typed")
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    session.stdin = reading
    execute(["registry", "user", "add", "--password-stdin", "ada"], session)
    os.close(reading)
    assert system.user == ("ada", "piped")
    session.ask_secret = None
    with pytest.raises(InvalidOption) as caught:
        execute(["registry", "user", "add", "ada"], session)
    assert caught.value.hint == "add --password-stdin"


def test_magics_have_these_names():
    words = {name: words for name, words in docker_words().items() if name.startswith("registry")}
    assert set(words) == {
        "registry_ls",
        "registry_serve",
        "registry_start",
        "registry_stop",
        "registry_user_add",
    }
    assert all(find(each) for each in words.values())
