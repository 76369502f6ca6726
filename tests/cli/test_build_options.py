"""``docker build``: from words and files to what the engine is asked."""

import json
import socket
from dataclasses import replace

import pytest
import samples
from fake_engine import FakeEngine

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.cli.values import Names
from ocimagic.errors import InvalidOption, InvalidPlatform
from ocimagic.model.cache import CacheFrom, CacheTo


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


@pytest.mark.parametrize(
    "verb", [["build"], ["image", "build"], ["builder", "build"], ["buildx", "build"]]
)
def test_names_and_options_of_tutorials(session, verb):
    line = "--force-rm --rm --compress --load --progress plain --provenance=false --sbom false"
    execute([*verb, "-t", "web", *line.split(), "-"], session)
    assert session.engine().calls[-1][1].tags == ("web",)


def test_dash_is_what_standard_input_has(session):
    for line, name in ((["-"], "Dockerfile"), (["-f", "sub/D", "-"], "sub/D")):
        given = asked(line, session)
        assert (given.dockerfile, given.dockerfile_name, given.context) == (None, name, "-")
        assert session.engine().calls[-1][2] == b"FROM scratch\n"


def test_a_dockerfile_on_standard_input_and_no_context(session):
    given = asked(["-f", "-", "-"], session)
    assert (given.dockerfile, given.context) == ("FROM scratch\n", None)
    assert session.engine().calls[-1][2] is None


REMOTE = [
    ("https://host/x.tar.gz", None, "Dockerfile"),
    ("-f sub/D https://host/x.git#v1:dir", None, "sub/D"),
    ("-f - git@host:x.git", "FROM scratch\n", "Dockerfile"),
    ("-f https://host/D github.com/a/b", None, "https://host/D"),
    ("--context ssh://git@host/x.git", None, "Dockerfile"),
]


@pytest.mark.parametrize(("line", "text", "name"), REMOTE)
def test_what_is_elsewhere_is_left_to_the_engine(line, text, name, session):
    given = asked(line.split(), session)
    assert (given.dockerfile, given.dockerfile_name) == (text, name)
    assert given.context == line.split()[-1]


def test_a_dockerfile_from_elsewhere(session, tmp_path):
    (tmp_path / "D").write_text("FROM here\n")
    given = asked(["-f", str(tmp_path / "D"), "https://host/x.git"], session)
    assert (given.dockerfile, given.context) == ("FROM here\n", "https://host/x.git")
    given = asked(["-f", "http://host/D", "."], session)
    assert (given.dockerfile, given.dockerfile_name) == (None, "http://host/D")
    assert given.context == str(tmp_path)


def test_a_directory_is_nearer_than_a_url(session, tmp_path):
    (tmp_path / "github.com" / "a").mkdir(parents=True)
    (tmp_path / "github.com" / "a" / "dockerfile").write_text("FROM lower\n")
    given = asked(["github.com/a"], session)
    assert (given.dockerfile, given.context) == ("FROM lower\n", str(tmp_path / "github.com" / "a"))


def test_an_archive_is_no_directory(session, tmp_path):
    (tmp_path / "c.tar").write_bytes(b"")
    with pytest.raises(InvalidOption) as caught:
        asked(["c.tar"], session)
    assert "build - < c.tar" in caught.value.hint


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
        asked(["-f", "-", "."], session)


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


def test_outputs(session, tmp_path):
    given = asked(["-o", "out", "-o", "type=tar,dest=a.tar", "-"], session)
    assert [(each.kind, each.path) for each in given.outputs] == [
        ("local", str(tmp_path / "out")),
        ("tar", str(tmp_path / "a.tar")),
    ]


def test_what_may_be_allowed(session):
    given = asked(["--allow", "network.host", "--allow", "security.insecure", "-"], session)
    assert given.allow == ("network.host", "security.insecure")


@pytest.mark.parametrize(
    "line",
    [
        "-o type=zip,dest=a",
        "-o type=tar",
        "-o -",
        "-o what=a",
        "--allow everything",
        "--annotation a",
        "--call outline",
        "--push",
    ],
)
def test_options_that_are_none(line, session):
    with pytest.raises(InvalidOption):
        asked([*line.split(), "-"], session)


def test_what_is_passed_on(session):
    line = "--no-cache-filter a,b --annotation manifest:x.y=z --add-host db:10.0.0.1 --shm-size 1m"
    given = asked([*line.split(), "--ulimit", "nofile=5:6", "-"], session)
    assert given.no_cache_of == ("a", "b")
    assert given.annotations == {"x.y": "z"}
    assert given.extra_hosts == (("db", "10.0.0.1"),)
    assert given.shm_size_bytes == 1 << 20
    assert given.ulimits[0].name == "nofile"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", CacheFrom(kind="registry", place="app")),
        ("type=registry,ref=h:5/a:b", CacheFrom(kind="registry", place="h:5/a:b")),
        ("type=local,src=d", CacheFrom(kind="local", place="d")),
        ("src=d,type=local,tag=t", CacheFrom(kind="local", place="d", tag="t")),
        ("type=local,src=d,digest=x", CacheFrom(kind="local", place="d", digest="x")),
    ],
)
def test_cache_from(session, tmp_path, text, expected):
    (given,) = asked(["--cache-from", text, "-"], session).cache_from
    if expected.kind == "local":
        expected = replace(expected, place=str(tmp_path / expected.place))
    assert given == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", CacheTo(kind="registry", place="app")),
        ("type=inline", CacheTo(kind="inline")),
        ("type=inline,mode=min", CacheTo(kind="inline")),
        ("type=registry,ref=a,mode=max", CacheTo(kind="registry", place="a", mode="max")),
        (
            "type=registry,ref=a,compression=uncompressed,ignore-error=true",
            CacheTo(kind="registry", place="a", compression="none", ignores_errors=True),
        ),
        (
            "type=local,dest=d,tag=t,compression=zstd,oci-mediatypes=true,ignore-error=false",
            CacheTo(kind="local", place="d", tag="t", compression="zstd"),
        ),
    ],
)
def test_cache_to(session, tmp_path, text, expected):
    (given,) = asked(["--cache-to", text, "-"], session).cache_to
    if expected.kind == "local":
        expected = replace(expected, place=str(tmp_path / expected.place))
    assert given == expected


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--cache-from", "", "not understood"),
        ("--cache-from", "type=registry", "ref is missing"),
        ("--cache-from", "type=local,dest=d", "dest is not understood"),
        ("--cache-from", "type=local", "src is missing"),
        ("--cache-from", "type=gha", "type=gha is not built"),
        ("--cache-from", "type=inline", "type=inline is not built"),
        ("--cache-from", "ref=a", "it has no type"),
        ("--cache-from", "type=registry,ref=", "'ref=' is not understood"),
        ("--cache-from", "type=registry,ref=a,ref=b", "'ref=b' is not understood"),
        ("--cache-from", "type=registry,ref=a,x", "'x' is not understood"),
        ("--cache-to", "type=s3", "type=s3 is not built"),
        ("--cache-to", "type=local,src=d", "src is not understood"),
        ("--cache-to", "type=registry,ref=a,mode=all", "mode=all is not known"),
        ("--cache-to", "type=inline,mode=max", "only the layers that are its own"),
        ("--cache-to", "type=registry,ref=a,compression=estargz", "is not known"),
        ("--cache-to", "type=registry,ref=a,image-manifest=false", "is not built"),
        ("--cache-to", "type=registry,ref=a,ignore-error=maybe", "is not known"),
    ],
)
def test_caches_that_are_none(session, option, text, words):
    with pytest.raises(InvalidOption) as caught:
        asked([option, text, "-"], session)
    assert words in str(caught.value)
    assert option in str(caught.value)


def test_what_is_written_down(session, tmp_path):
    execute(["build", "--iidfile", "id", "--metadata-file", "meta", "-"], session)
    built = samples.build_result()
    assert (tmp_path / "id").read_text() == str(built.image_id)
    told = json.loads((tmp_path / "meta").read_text())
    assert told["containerimage.config.digest"] == str(built.image_id)
    assert told["image.name"] == ",".join(built.tags)
    with pytest.raises(InvalidOption, match="cannot be written"):
        execute(["build", "--iidfile", "no/id", "-"], session)


def test_push_sends_every_name(session):
    execute(["build", "--push", "-t", "a", "-"], session)
    sent = [call[1] for call in session.engine().calls if call[0] == "push"]
    assert sent == list(samples.build_result().tags)


def test_named_contexts(session, tmp_path):
    (tmp_path / "dir").mkdir()
    digest = "sha256:" + 64 * "a"
    places = {
        "a": "dir",
        "b": "docker-image://x:1",
        "c": "https://host/x.git#main",
        "d": "https://host/x.tar.gz",
        "e": "oci-layout://dir",
        "f": f"oci-layout://dir:v1@{digest}",
        "docker.io/library/alpine:latest": "git@host:x.git",
    }
    words = [word for pair in places.items() for word in ("--build-context", "=".join(pair))]
    directory = str(tmp_path / "dir")
    found = {key: value.replace("//dir", f"//{directory}") for key, value in places.items()}
    assert asked([*words, "-"], session).contexts == found | {"a": directory}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "not NAME=PLACE"),
        ("=a", "not NAME=PLACE"),
        ("a=no", "is not a directory"),
        ("a=oci://x", "oci: is no kind of place"),
        ("a=target:b", "target: is no kind of place"),
        ("a=oci-layout://no", "the OCI layout 'no' is not a directory"),
        ("a=oci-layout://", "names no directory"),
        ("a=oci-layout://.@sha256:1", "digest"),
        ("scratch=.", "a meaning of its own"),
        ("Context=.", "a meaning of its own"),
        ("a b=.", "no name for a context"),
    ],
)
def test_named_contexts_that_are_none(text, said, session):
    with pytest.raises(InvalidOption) as caught:
        asked(["--build-context", text, "-"], session)
    assert said in f"{caught.value} {caught.value.why}"


def test_files_of_a_notebook(session):
    given = asked(["--context-file", "a/b.py=x = 1\n", "-"], session)
    assert given.files == {"a/b.py": b"x = 1\n"}
    for name in ("", "/abs", "../up", "a/../b", "a//b", "."):
        with pytest.raises(InvalidOption, match="cannot be in the context"):
            asked(["--context-file", f"{name}=x", "-"], session)


def test_platforms_of_one_option_and_of_several(session):
    assert asked(["--squash", "-"], session).squash
    given = asked(["--platform", "linux/amd64, arm64", "--platform=linux/arm/v7", "-"], session)
    assert [str(each) for each in given.platforms] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert asked(["-"], session).platforms == ()
    with pytest.raises(InvalidPlatform, match="''"):
        asked(["--platform", "linux/amd64,", "-"], session)


def test_what_is_written_of_several_platforms_is_the_index(session, tmp_path):
    words = ["--platform=linux/amd64,linux/arm64", "-"]
    execute(["build", "--iidfile", "id", "--metadata-file", "meta", *words], session)
    index = str(samples.build_result().digest)
    assert (tmp_path / "id").read_text() == index
    assert json.loads((tmp_path / "meta").read_text()) == {
        "containerimage.digest": index,
        "image.name": "web:1",
    }
    assert execute(["build", "-q", *words], session) == Names((index,))
