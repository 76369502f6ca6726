"""Contexts from elsewhere: archives and files of a web server, git, standard input."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import threading

import pytest
import zstandard
from gitserver import GitServer, Repository, git
from webserver import Page, WebServer

from ocimagic.errors import BuildFailed, Cancelled, DockerfileError, InvalidOption
from ocimagic.model.options import BuildOptions

PACKERS = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
TEXT = "FROM scratch\nCOPY a sub /c/\n"
FILES = {"Dockerfile": TEXT, "a": "A", "sub/b": "B", "sub/D": "FROM scratch\nCOPY sub/b /\n"}
LINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE


def tarred(files, **more):
    """Return a tar; a value is a text, or (type, linkname)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, value in (files | more).items():
            info = tarfile.TarInfo(name)
            info.uid, info.gid, info.mode, info.mtime = 1000, 1001, 0o664, 1_500_000_000
            content = b""
            if isinstance(value, tuple):
                info.type, info.linkname = value
                info.devmajor = int(info.type == DEVICE)  # 0:0 would be a whiteout
            else:
                content = value if isinstance(value, bytes) else value.encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture
def web():
    with WebServer() as server:
        server.pages["/c.tar"] = Page(tarred(FILES))
        yield server


def build(place, context, **options):
    text = options.pop("text", None)
    result = place.build(text, context=context, **options)
    assert [each for each in place.engine.home.own.iterdir() if each.name.startswith("tmp")] == []
    return result


def said(err):
    return f"{err.value}\n{err.value.why}\n{err.value.hint}\n{err.value.where}"


# -- archives ------------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_of_the_web(place, web, packer):
    web.pages["/c"] = Page(PACKERS[packer](tarred(FILES)))
    result = build(place, f"{web.url}/c")
    # BuildKit keeps the archive's owners, and so do we; what COPY makes is root's.
    assert place.listing(result) == {
        "c": ("d", 0o755, (0, 0)),
        "c/a": ("f", 0o664, (1000, 1001)),
        "c/b": ("f", 0o664, (1000, 1001)),
        "c/D": ("f", 0o664, (1000, 1001)),
    }


def test_it_is_fetched_once_and_asked_for_later(fresh, web):
    first = build(fresh, f"{web.url}/c.tar")
    assert web.gets() == ["/c.tar"]
    second = build(fresh, f"{web.url}/c.tar")
    assert web.gets() == []
    assert first.image_id == second.image_id
    assert all(step.cached for step in second.steps)
    web.pages["/c.tar"] = Page(tarred(FILES, a="other"))
    third = build(fresh, f"{web.url}/c.tar")
    assert web.gets() == ["/c.tar"]
    assert fresh.text(third, "c/a") == "other"


def test_the_dockerfile_inside(place, web):
    result = build(place, f"{web.url}/c.tar", dockerfile_name="sub/D")
    assert set(place.listing(result)) == {"b"}
    web.pages["/l"] = Page(tarred({"dockerfile": "FROM scratch\nCOPY x /\n", "x": "x"}))
    assert set(place.listing(build(place, f"{web.url}/l"))) == {"x"}
    web.pages["/k"] = Page(
        tarred({"Dockerfile": (LINK, "sub/D")} | {"sub/D": FILES["sub/D"], "sub/b": ""})
    )
    assert set(place.listing(build(place, f"{web.url}/k"))) == {"b"}


def test_a_dockerfile_from_elsewhere(place, web):
    web.pages["/D"] = Page(b"FROM scratch\nCOPY sub/b /from-a-url\n")
    result = build(place, f"{web.url}/c.tar", dockerfile_name=f"{web.url}/D")
    assert set(place.listing(result)) == {"from-a-url"}
    place.write("own", "own")
    web.pages["/D"] = Page(b"FROM scratch\nCOPY own /\n")
    result = place.build(None, dockerfile_name=f"{web.url}/D")
    assert set(place.listing(result)) == {"own"}
    result = build(place, f"{web.url}/c.tar", text="FROM scratch\nCOPY a /given\n")
    assert set(place.listing(result)) == {"given"}


def test_nobody_fetches_what_is_not_read(place, web):
    build(place, f"{web.url}/c.tar", text="FROM scratch\nCOPY <<E /f\nx\nE\nLABEL a=b\n")
    assert web.asked == []


def test_what_is_not_there(place, web):
    with pytest.raises(BuildFailed) as err:
        build(place, f"{web.url}/c.tar", dockerfile_name="Dockerfle")
    assert "open Dockerfle: no such file" in said(err)
    assert "did you mean -f Dockerfile?" in said(err)
    with pytest.raises(DockerfileError) as err:
        build(place, f"{web.url}/c.tar", text="FROM scratch\nCOPY sbu/b /\n")
    assert f"no such file in the build context {web.url}/c.tar" in said(err)
    assert "did you mean sub?" in said(err)
    with pytest.raises(BuildFailed) as err:
        build(place, f"{web.url}/none")
    assert f"there is no {web.url}/none" in said(err)
    assert err.value.where == f"the build context {web.url}/none"
    with pytest.raises(BuildFailed) as err:
        build(place, "http://127.0.0.1:1/c.tar")
    assert err.value.where == "the build context http://127.0.0.1:1/c.tar"


def test_its_ignore_file_does_not_count_and_that_is_said(place, web):
    web.pages["/i"] = Page(tarred(FILES, **{".dockerignore": "a\n"}))
    result = build(place, f"{web.url}/i")
    assert "c/a" in place.listing(result)
    assert [each for each in place.notices() if "for local directories" in each]


def test_a_mount_of_it(runs, web):
    web.pages["/m"] = Page(
        tarred({"Dockerfile": "FROM base\nRUN --mount=target=/m cat /m/a /m/d/x > /f\n",
                "a": "A", "d/x": "X"})
    )  # fmt: skip
    assert runs.text(build(runs, f"{web.url}/m"), "f") == "AX"


def test_files_of_a_notebook_win(place, web):
    result = build(place, f"{web.url}/c.tar", files={"sub/b": b"mine", "a": b"too"})
    assert place.text(result, "c/b") == "mine"
    assert place.text(result, "c/a") == "too"
    assert "c/D" in place.listing(result)


def test_equal_archives_make_equal_images(place, fresh, web):
    ids = {
        build(each, f"{web.url}/c.tar", timestamp=1_600_000_000).image_id for each in (place, fresh)
    }
    assert len(ids) == 1


def test_a_check_alone(place, web):
    web.pages["/lint"] = Page(tarred({"Dockerfile": "FROM scratch\nMAINTAINER me\n"}))
    options = BuildOptions(dockerfile=None, context=f"{web.url}/lint")
    found = place.engine.images.check(options)
    assert [each.rule for each in found.warnings] == ["MaintainerDeprecated"]


# -- one file ------------------------------------------------------------------------


def test_a_text_is_the_dockerfile(place, web):
    web.pages["/D"] = Page(b"FROM scratch\nCOPY context /copied\n")
    result = build(place, f"{web.url}/D")
    # BuildKit calls the file so, and it is all there is.
    assert place.listing(result) == {"copied": ("f", 0o600, (0, 0))}
    assert build(place, f"{web.url}/D").image_id == result.image_id


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><p>", "is a web page, not a Dockerfile"),
        (gzip.compress(b"no tar"), "neither an archive nor a Dockerfile"),
        (gzip.compress(tarred(FILES))[:200], "cannot be a build context"),
        (b"FROM scratch\0", "neither an archive nor a Dockerfile"),
        (b"FROM scratch # \xff\n", "not UTF-8"),
        (b"#" * ((4 << 20) + 1), "too large"),
        (b"", "cannot be empty"),
    ],
)
@pytest.mark.parametrize("stdin", [False, True])
def test_what_is_neither(place, web, body, words, stdin):
    web.pages["/x"] = Page(body)
    with pytest.raises((BuildFailed, DockerfileError), match=words):
        build(place, "-" if stdin else f"{web.url}/x", stdin=body if stdin else None)


# -- hostile archives ------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"../evil": "x"},
        {"/../evil": "x"},
        {"x/.wh.y": "x"},
        {"h": (HARD, "../../etc/passwd")},
        {"h": (HARD, "later"), "later": "x"},
        {"l": (LINK, "/etc"), "l/passwd": "x"},
    ],
)
def test_hostile_archives_write_nowhere(place, web, files):
    web.pages["/h"] = Page(tarred({"Dockerfile": "FROM scratch\nCOPY . /c/\n"} | files))
    before = os.stat("/etc/passwd")
    try:
        result = build(place, f"{web.url}/h")
    except BuildFailed as err:
        assert err.where == f"the build context {web.url}/h"  # noqa: PT017
    else:
        assert all(name == "c" or name.startswith("c/") for name in place.listing(result))
    assert os.stat("/etc/passwd") == before


def test_a_link_leads_nowhere_but_inside(place, web):
    files = {"Dockerfile": (LINK, "/etc/passwd"), "etc/passwd": "FROM scratch\nCOPY l /\n"}
    web.pages["/h"] = Page(tarred(files, l=(LINK, "../../etc/passwd")))
    result = build(place, f"{web.url}/h")
    assert place.text(result, "l") == files["etc/passwd"]


def test_a_device_is_not_copied(place, web):
    files = {"Dockerfile": "FROM scratch\nCOPY . /\n", "null": (DEVICE, "")}
    web.pages["/h"] = Page(tarred(files))
    with pytest.raises(DockerfileError, match="character device"):
        build(place, f"{web.url}/h")


def test_a_bomb(place, web, monkeypatch):
    monkeypatch.setattr("ocimagic.build.remote._LEAST_LIMIT", 1 << 20)
    web.pages["/b"] = Page(gzip.compress(tarred({"Dockerfile": bytes(200 << 20)})))
    with pytest.raises(BuildFailed, match="cannot be a build context") as err:
        build(place, f"{web.url}/b")
    assert "unpacks to more than" in said(err)


def test_a_password_is_sent_and_not_shown(fresh, web):
    web.pages["/c.tar"].login = "me:se cret"
    with pytest.raises(BuildFailed, match="does not give"):
        build(fresh, f"{web.url}/c.tar")
    address = web.url.replace("http://", "http://me:se%20cret@")
    result = build(fresh, f"{address}/c.tar")
    assert all(step.cached for step in build(fresh, f"{address}/c.tar").steps)
    history = fresh.engine._store.images.load(result.digest).config.history
    shown = [str(history), str(fresh.events)]
    for place, text in ((f"{address}/none.tar", None), (f"{address}/c.tar", "COPY nothing /\n")):
        with pytest.raises((BuildFailed, DockerfileError)) as err:
            build(fresh, place, text=text and f"FROM scratch\n{text}")
        shown += [said(err), str(fresh.events)]
    assert "cret" not in "".join(shown)
    kept = [path for path in fresh.engine.home.data.rglob("*") if path.is_file()]
    assert [path for path in kept if b"cret" in path.read_bytes()] == []


def test_a_stop_while_it_is_fetched(place, web):
    web.pages["/endless"] = Page(is_endless=True)
    stop = threading.Event()
    with pytest.raises(Cancelled):
        build(place, f"{web.url}/endless", cancelled=stop, listen=lambda _: stop.set())


# -- standard input ----------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_on_standard_input(place, packer):
    result = build(place, "-", stdin=PACKERS[packer](tarred(FILES)), dockerfile_name="sub/D")
    assert set(place.listing(result)) == {"b"}


def test_a_pipe(place, tmp_path):
    path = tmp_path / "c.tar"
    path.write_bytes(tarred(FILES))
    with path.open("rb") as file:
        result = build(place, "-", stdin=file.fileno())
    assert set(place.listing(result)) == {"c", "c/a", "c/b", "c/D"}
    assert build(place, "-", stdin=path.read_bytes()).image_id == result.image_id


def test_a_dockerfile_on_standard_input_has_no_context(place):
    assert place.config(build(place, "-", stdin=b"FROM scratch\nLABEL a=b\n")).labels == {"a": "b"}
    with pytest.raises(DockerfileError, match="no context to copy from"):
        build(place, "-", stdin=b"FROM scratch\nCOPY a /\n")
    with pytest.raises(InvalidOption, match="ambiguous Dockerfile source"):
        build(place, "-", stdin=b"FROM scratch\n", dockerfile_name="D")
    with pytest.raises(InvalidOption, match="there is none"):
        build(place, "-")


@pytest.mark.peer
def test_docker_makes_the_same_of_it(place, tmp_path):
    """Owners and all: that is where BuildKit and the builder before it differ."""
    from built import differences
    from dockerbuild import start_docker
    from test_corpus import Ours

    text = "FROM scratch\nCOPY . /c/\nCOPY --chown=5:6 a l /d/\n"
    more = {"Dockerfile": text, ".dockerignore": "a", "l": (LINK, "a"), "n/.x": ""}
    raw = gzip.compress(tarred(FILES | more))
    with start_docker(tmp_path) as docker:
        theirs = docker.build_input("given", raw)
    found = Ours(place.engine, tmp_path).read(build(place, "-", stdin=raw))
    assert differences(found, theirs) == {}


# -- git -----------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    if not shutil.which("git"):
        pytest.skip("no git on this machine")
    with GitServer(tmp_path / "git") as found:
        found.repository = Repository(found.root, "r.git")
        found.repository.commit(FILES, "v1")
        found.old = git(found.repository.path, "rev-parse", "HEAD")
        found.repository.commit({"a": "new"})
        found.repository.commit({"a": "side"}, branch="side")
        git(found.repository.path, "checkout", "-q", "main")
        found.remote = f"{found.url}/r.git"
        yield found


REFS = [
    ("", "new"),
    ("#main", "new"),
    ("#v1", "A"),
    ("#side", "side"),
    ("#OLD", "A"),
    ("?ref=side", "side"),
    ("?branch=side", "side"),
    ("?tag=v1", "A"),
    ("?tag=v1&commit=OLD", "A"),
    ("?commit=OLD", "A"),
    ("?ref=v1#:", "A"),
]


@pytest.mark.parametrize(("ref", "content"), REFS)
def test_refs_of_a_repository(place, server, ref, content):
    result = build(place, server.remote + ref.replace("OLD", server.old))
    assert place.listing(result)["c/a"] == ("f", 0o644, (0, 0))
    assert place.text(result, "c/a") == content


@pytest.mark.parametrize("ref", ["#v3:dir", "#:dir/", "?subdir=dir", "?ref=main&subdir=dir"])
def test_a_directory_of_a_repository(fresh, server, ref):
    files = {"dir/Dockerfile": "FROM scratch\nCOPY . /\n", "dir/x": "x", "y": "y"}
    server.repository.commit(files, "v3")
    result = build(fresh, server.remote + ref)
    assert set(fresh.listing(result)) == {"Dockerfile", "x"}
    result = build(fresh, server.remote + ref, dockerfile_name="../Dockerfile")
    assert set(fresh.listing(result)) == {"Dockerfile", "x"}


def test_a_commit_is_fetched_once(fresh, server):
    build(fresh, f"{server.remote}#main")
    assert server.packs() > 1
    assert all(step.cached for step in build(fresh, f"{server.remote}#main").steps)
    assert server.packs() == 1, "it was only asked where main is"
    server.repository.commit({"a": "newer"})
    assert fresh.text(build(fresh, f"{server.remote}#main"), "c/a") == "newer"


def test_git_s_own_files(place, server):
    text = "FROM scratch\nCOPY . /\n"
    assert ".git" not in place.listing(build(place, server.remote, text=text))
    keep = {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}
    assert ".git/HEAD" in place.listing(build(place, server.remote, text=text, build_args=keep))


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("#nope", "does not contain ref nope"),
        ("#main:nope", "no such directory"),
        ("#main:../..", "outside of the repository"),
        ("#-x", "no branch, tag or commit"),
        ("?what=x", "unexpected query"),
        ("?tag=a&branch=b", "branch conflicts with tag"),
        ("?tag=v1&commit=0123", "expected checksum to match"),
    ],
)
def test_what_a_repository_has_not(place, server, ref, words):
    with pytest.raises(BuildFailed, match=words) as err:
        build(place, server.remote + ref)
    assert err.value.where.startswith("the build context http")


def test_no_password_of_git_is_shown(place, server):
    address = server.remote.replace("http://", "http://me:secret@")
    result = build(place, address)
    history = place.engine._store.images.load(result.digest).config.history
    assert "secret" not in str(history) + str(place.events)
    with pytest.raises(BuildFailed) as err:
        build(place, address.replace("r.git", "none.git"))
    assert "secret" not in said(err)
