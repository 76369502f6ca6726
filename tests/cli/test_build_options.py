"""``docker build``: from words and files to what the engine is asked."""

import socket

import pytest
import samples
from fake_engine import FakeEngine

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption


@pytest.fixture
def session(tmp_path):
    engine = FakeEngine()
    return Session(
        engine=lambda: engine, cwd=str(tmp_path), stdin=b"FROM scratch\n", env={"LANG": "C.UTF-8"}
    )


def asked(argv, session):
    execute(["build", *argv], session)
    return session.engine().calls[-1][1]


def test_directory(session, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    line = "-t web:1 -t web --build-arg A=1 --build-arg LANG --build-arg NOPE --label x=y"
    given = asked([*line.split(), "--target", "last", "--no-cache", "--pull", "."], session)
    assert given.dockerfile == "FROM scratch\n"
    assert given.context == str(tmp_path)
    assert given.tags == ("web:1", "web")
    assert given.build_args == {"A": "1", "LANG": "C.UTF-8"}
    assert (given.target, given.no_cache, given.pull) == ("last", True, True)


def test_dash_has_no_context(session):
    session.stdin = b"FROM scratch\n"
    given = asked(["-"], session)
    assert (given.dockerfile, given.context) == ("FROM scratch\n", None)


def test_file_from_stdin_with_context(session, tmp_path):
    session.stdin = b"FROM scratch\n"
    given = asked(["-f", "-", "."], session)
    assert (given.dockerfile, given.context) == ("FROM scratch\n", str(tmp_path))


def test_file_starts_at_the_current_directory(session, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "my.Dockerfile").write_text("FROM a\n")
    given = asked(["-f", "my.Dockerfile", "sub"], session)
    assert (given.dockerfile, given.dockerfile_name) == ("FROM a\n", "my.Dockerfile")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"#" * ((4 << 20) + 1)])
def test_not_text(raw, session):
    session.stdin = raw
    with pytest.raises(InvalidOption):
        asked(["-"], session)


def test_quiet(session):
    session.stdin = b"FROM scratch\n"
    value = execute(["build", "-q", "--rm", "--progress=plain", "-"], session)
    assert value == Names((str(samples.build_result().image_id),))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("id=a,src=file", b"in a file"),
        ("id=a,source=file,type=file", b"in a file"),
        ("id=a,env=LANG", b"C.UTF-8"),
        ("type=env,id=a,src=LANG", b"C.UTF-8"),
        ("id=file", b"in a file"),
        ("id=LANG", b"C.UTF-8"),
    ],
)
def test_secrets(word, value, session, tmp_path):
    (tmp_path / "file").write_bytes(b"in a file")
    assert list(asked(["--secret", word, "-"], session).secrets.values()) == [value]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a", "not understood"),
        ("src=file", "not understood"),
        ("id=a,what=b", "'what=b'"),
        ("id=a,type=b", "not understood"),
        ("id=a,src=b,env=c", "not understood"),
        ("id=a,src=missing", "No such file"),
        ("id=a,env=MISSING", "no variable MISSING"),
        ("id=a,src=big", "over 512000 bytes"),
    ],
)
def test_secrets_that_are_none(word, said, session, tmp_path):
    (tmp_path / "big").write_bytes(bytes(512001))
    with pytest.raises(InvalidOption) as caught:
        asked(["--secret", word, "-"], session)
    assert said in f"{caught.value} {caught.value.why}"


def test_agents(session, tmp_path):
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "agent"))
        given = asked(["--ssh", "a=agent", "-"], session)
        assert given.ssh == {"a": str(tmp_path / "agent")}
        session.env["SSH_AUTH_SOCK"] = str(tmp_path / "agent")
        assert asked(["--ssh", "default", "-"], session).ssh == {"default": str(tmp_path / "agent")}


@pytest.mark.parametrize("word", ["default", "a=missing", "a=."])
def test_agents_that_are_none(word, session):
    with pytest.raises(InvalidOption, match="--ssh"):
        asked(["--ssh", word, "-"], session)
