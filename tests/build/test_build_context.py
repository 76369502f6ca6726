"""The build context: what is read, what is not, and what is said about it."""

import os
import socket

import pytest

from ocimagic.build.bench import check
from ocimagic.build.content import HashCache
from ocimagic.build.context import Context
from ocimagic.errors import BadInput, BuildFailed, Cancelled, DockerfileError

ALL = "FROM scratch\nCOPY . /\n"


def build_all(place):
    return set(place.listing(place.build(ALL)))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", {"a.log", "b.txt", "d", "d/a.log", "d/keep", "d/sub", "d/sub/x"}),
        ("*.log", {"b.txt", "d", "d/a.log", "d/keep", "d/sub", "d/sub/x"}),
        ("**/*.log", {"b.txt", "d", "d/keep", "d/sub", "d/sub/x"}),
        ("d", {"a.log", "b.txt"}),
        ("d\n!d/keep", {"a.log", "b.txt", "d", "d/keep"}),
        ("d\n!d/sub/x", {"a.log", "b.txt", "d", "d/sub", "d/sub/x"}),
        ("d\n!d/nothing", {"a.log", "b.txt"}),
        ("*\n!b.txt", {"b.txt"}),
        ("# d\n/b.txt", {"a.log", "d", "d/a.log", "d/keep", "d/sub", "d/sub/x"}),
    ],
)
def test_dockerignore(place, rules, expected):
    for name in ("a.log", "b.txt", "d/a.log", "d/keep", "d/sub/x"):
        place.write(name, name)
    place.write(".dockerignore", rules + "\n.dockerignore\n")
    assert expected == build_all(place)


def test_named_dockerignore_wins(place):
    place.write("a", "a")
    place.write("b", "b")
    place.write(".dockerignore", "a\n")
    place.write("My.dockerignore", "*\n!a\n")
    result = place.build(ALL, dockerfile_name="My")
    assert {"a"} == set(place.listing(result))


def test_ignored_file_says_which_line(place):
    place.write("secret.env", "x")
    place.write(".dockerignore", "# no secrets\n*.env\n")
    with pytest.raises(DockerfileError, match="not found") as caught:
        place.build("FROM scratch\nCOPY secret.env /\n")
    assert "*.env (line 2)" in caught.value.why
    assert ".dockerignore" in caught.value.hint


def test_dockerignore_that_is_a_link_out_is_not_read(place):
    (place.context.parent / "outside").write_text("*\n")
    os.symlink("../outside", place.context / ".dockerignore")
    place.write("f", "f")
    assert {"f", ".dockerignore"} == build_all(place)


def test_cancelled_while_files_are_read(place, stop):
    place.write("f", str(os.urandom(8)))
    stop.set()
    cache = HashCache(place.context.parent / "h", lambda: check(stop))
    context = Context(str(place.context), "Dockerfile", cache)
    with pytest.raises(Cancelled):
        context.digests([context.find("f")])


def test_bad_dockerignore(place):
    place.write(".dockerignore", "ok\n!\n")
    with pytest.raises(BadInput, match="illegal exclusion pattern"):
        place.build(ALL)


def test_missing_file_says_where_and_what_is_near(place):
    place.write("src/requirements.txt")
    with pytest.raises(DockerfileError) as caught:
        place.build("FROM scratch\nCOPY src/requirement.txt /\n")
    assert str(place.context) in caught.value.why
    assert caught.value.hint == "did you mean src/requirements.txt?"
    with pytest.raises(DockerfileError) as caught:
        place.build("FROM scratch\nCOPY src/zzz /\n")
    assert caught.value.hint == "src/ has requirements.txt"
    with pytest.raises(DockerfileError):
        place.build("FROM scratch\nCOPY srcc/requirements.txt /\n")


def test_no_context(place):
    with pytest.raises(DockerfileError, match="no context"):
        place.build("FROM scratch\nCOPY f /\n", context=None)
    place.build("FROM scratch\nCOPY <<EOF /f\nx\nEOF\n", context=None)


def test_context_is_no_directory(place):
    file = place.write("f")
    with pytest.raises(BuildFailed, match="not a directory"):
        place.build(ALL, context=str(file))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../etc/passwd", "../outside"])
def test_links_do_not_lead_out(place, target):
    (place.context.parent / "outside").write_text("host")
    os.symlink(target, place.context / "link")
    with pytest.raises(DockerfileError, match="not found") as caught:
        place.build("FROM scratch\nCOPY link /x\n")
    assert "link" in caught.value.why
    assert "not in the context" in caught.value.why


def test_linked_directories_do_not_lead_out(place):
    (place.context.parent / "outside").mkdir()
    (place.context.parent / "outside" / "f").write_text("host")
    os.symlink("../outside", place.context / "link")
    for text in ("COPY link /x", "COPY link/f /x", "COPY link/* /x/", "COPY l*/f /x/"):
        try:
            result = place.build(f"FROM scratch\n{text}\n")
        except DockerfileError:
            continue
        assert place.listing(result) == {}


def test_absolute_links_mean_the_context(place):
    place.write("etc/passwd", "mine")
    os.symlink("/etc/passwd", place.context / "link")
    result = place.build("FROM scratch\nCOPY link /x\n")
    assert place.text(result, "x") == "mine"


def test_link_loop(place):
    os.symlink("b", place.context / "a")
    os.symlink("a", place.context / "b")
    with pytest.raises(DockerfileError, match="not found"):
        place.build("FROM scratch\nCOPY a /x\n")


def bound(path):
    """Make a socket; its whole path may be too long for the kernel."""
    with socket.socket(socket.AF_UNIX) as door:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            door.bind(path.name)
        finally:
            os.chdir(here)


def test_a_socket_becomes_an_empty_file(place):
    place.write("d/file", "x")
    bound(place.context / "d" / "sock")
    (place.context / "d" / "sock").chmod(0o640)
    for text in ("COPY d /d", "COPY d/sock /d/", "ADD d/s* /d/", "COPY --parents d/sock /"):
        result = place.build(f"FROM scratch\n{text}\n")
        assert place.listing(result)["d/sock"] == ("f", 0o640, (0, 0))
        assert place.text(result, "d/sock") == ""


def test_a_named_pipe_stays_one_and_is_never_opened(place):
    """Opening it would wait for a writer."""
    (place.context / "d").mkdir()
    os.mkfifo(place.context / "d" / "fifo", 0o600)
    for text in ("COPY --chmod=a+r d /d", "ADD --chmod=644 d/fifo /d/"):
        result = place.build(f"FROM scratch AS a\n{text}\nFROM scratch\nCOPY --from=a /d /x\n")
        assert place.listing(result)["x/fifo"] == ("p", 0o644, (0, 0))
    place.write(".dockerignore", "d/fifo\n.dockerignore")
    assert {"d"} == build_all(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_refused(place):
    os.mknod(place.context / "null", 0o20666, os.makedev(1, 3))
    with pytest.raises(DockerfileError, match="a character device: null") as caught:
        place.build(ALL)
    assert caught.value.line == 2


def test_a_named_pipe_in_a_container(runs):
    os.mkfifo(runs.context / "fifo")
    runs.build("FROM base\nCOPY fifo /\nRUN test -p /fifo\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable(place):
    place.write("f", "x", mode=0)
    with pytest.raises(BuildFailed, match="cannot read f"):
        place.build(ALL)


def test_whiteout_names_are_refused(place):
    place.write("d/.wh.x")
    with pytest.raises(DockerfileError, match=r"cannot put d/\.wh\.x into a layer"):
        place.build(ALL)


def test_file_that_grows_while_it_is_read(place):
    path = place.write("f", "x" * 10)
    context = Context(str(place.context), "Dockerfile", HashCache(place.context.parent / "h"))
    file = context.find("f")
    path.unlink()
    place.write("other")
    place.write("f", "y")
    if os.stat(path).st_ino != file.identity[1]:
        with pytest.raises(BuildFailed, match="changed while"):
            list(next(iter(context.contents([file]))).chunks)


def test_nothing_is_read_that_is_not_referenced(place):
    place.write("f", "f")
    (place.context / "huge").mkdir()
    for number in range(20):
        place.write(f"huge/{number}")
    listed = []
    original = os.listdir
    try:
        os.listdir = lambda path: listed.append(path) or original(path)
        place.build("FROM scratch\nCOPY f /\n")
    finally:
        os.listdir = original
    assert listed == []


def test_files_that_are_in_no_directory(place):
    place.write("app/old", "old\n")
    place.write("app/main.py", "of the directory\n")
    place.write(".dockerignore", "app/hidden\n")
    files = {"app/main.py": b"of the notebook\n", "data/x.csv": b"\xff\x00", "app/hidden": b"h"}
    text = "FROM scratch\nCOPY app /app\nCOPY data/*.csv /\n"
    result = place.build(text, files=files)
    assert place.text(result, "app/main.py") == "of the notebook\n"
    assert place.text(result, "app/old") == "old\n"
    assert place.files(result).read("x.csv", max_bytes=9) == b"\xff\x00"
    assert "app/hidden" not in place.listing(result)
    assert place.listing(result)["app/main.py"] == ("f", 0o644, (0, 0))
    assert all(step.cached for step in place.build(text, files=files).steps)
    assert (place.context / "app" / "main.py").read_text() == "of the directory\n"
    result = place.build("FROM scratch\nCOPY . /\n", context=None, files={"only": b"x"})
    assert set(place.listing(result)) == {"only"}
    assert not list(place.engine.home.own.glob("tmp-context-*"))
