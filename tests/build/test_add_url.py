"""ADD of URLs from a real web server on this machine."""

import gzip
import hashlib
import io
import shutil
import tarfile
import threading

import pytest
from webserver import Page, WebServer

from ocimagic.build import fetched, spooled
from ocimagic.errors import BuildFailed, Cancelled, DiskFull, DockerfileError

DATE, DATE_NS = "Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_480 * 10**9


@pytest.fixture
def web():
    with WebServer() as server:
        server.pages["/dir/file.txt"] = Page(b"text", headers={"Last-Modified": DATE})
        yield server


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tarred(name="inside", text=b"in the tar"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return raw.getvalue()


def add(place, web, words, head="FROM scratch\n", **options):
    return place.build(f"{head}ADD {words.replace('WEB', web.url)}\n", **options)


def test_a_file_of_the_web(place, web):
    result = add(place, web, "WEB/dir/file.txt /x/")
    assert place.listing(result) == {
        "x": ("d", 0o755, (0, 0)),
        "x/file.txt": ("f", 0o600, (0, 0)),
    }
    assert place.files(result).find("x/file.txt").mtime_ns == DATE_NS
    assert place.text(result, "x/file.txt") == "text"


NAMES = [
    ("WEB/dir/file.txt /name", {"name"}),
    ("WEB/dir/file.txt?a=/b#c/d /", {"file.txt"}),
    ("WEB/dir/ /", {"dir"}),
    ("WEB/ /name", {"name"}),
    ("WEB/a%20b%2Fc /x/", {"x", "x/c"}),
    ("WEB/sent /x/", {"x", "x/sent"}),
    ('["WEB/a b", "/x/"]', {"x", "x/a b"}),
    ("WEB/dir/file.txt .", {"file.txt"}),
    ("WEB/dir/file.txt WEB/sent /x/", {"x", "x/file.txt", "x/sent"}),
    ("WEB/dir/file.txt own /x/", {"x", "x/file.txt", "x/own"}),
    ("--link WEB/dir/file.txt /x/", {"x", "x/file.txt"}),
]


@pytest.mark.parametrize(("words", "expected"), NAMES)
def test_names(place, web, words, expected):
    place.write("own", "of the context")
    header = {"Content-Disposition": 'attachment; filename="../../evil"'}
    for path in ("/dir/", "/", "/a%20b%2Fc", "/a%20b"):
        web.pages[path] = Page(b"1")
    web.pages["/sent"] = Page(b"1", headers=header)
    assert set(place.listing(add(place, web, words))) == expected


def test_no_context_is_needed(place, web):
    assert set(place.listing(add(place, web, "WEB/dir/file.txt /x", context=None))) == {"x"}


def test_chmod_chown_and_a_file_without_time(place, web):
    web.pages["/bare"] = Page(b"")
    result = add(place, web, "--chmod=u+x,go=r --chown=3:4 WEB/bare /x")
    assert place.listing(result)["x"] == ("f", 0o744, (3, 4))
    assert place.files(result).find("x").mtime_ns == 0


def test_an_archive_is_unpacked_when_asked_for(place, web):
    web.pages["/a.tgz"] = Page(gzip.compress(tarred()))
    assert set(place.listing(add(place, web, "WEB/a.tgz /x/"))) == {"x", "x/a.tgz"}
    assert set(place.listing(add(place, web, "--unpack=false WEB/a.tgz /x/"))) == {"x", "x/a.tgz"}
    result = add(place, web, "--unpack=true WEB/a.tgz /x/")
    assert set(place.listing(result)) == {"x", "x/inside"}
    web.pages["/evil.tar"] = Page(tarred("../out"))
    with pytest.raises(DockerfileError, match=r"cannot put evil\.tar into a layer"):
        add(place, web, "--unpack WEB/evil.tar /x/")


# -- what is fetched, and when ---------------------------------------------------


@pytest.mark.parametrize("has_etag", [True, False])
def test_an_unchanged_file_is_not_fetched_again(fresh, web, has_etag):
    web.pages["/dir/file.txt"].has_etag = has_etag
    add(fresh, web, "WEB/dir/file.txt /x")
    assert web.gets() == ["/dir/file.txt"]
    assert add(fresh, web, "WEB/dir/file.txt /x").steps[-1].cached
    assert web.gets() == []
    # Another step with the same file: the layer is new, so the bytes are needed.
    assert not add(fresh, web, "WEB/dir/file.txt /y").steps[-1].cached
    assert web.gets() == ["/dir/file.txt"]
    assert not add(fresh, web, "WEB/dir/file.txt /x", no_cache=True).steps[-1].cached
    assert web.gets() == ["/dir/file.txt"]


def test_a_changed_file_is_fetched(fresh, web):
    add(fresh, web, "WEB/dir/file.txt /x")
    web.pages["/dir/file.txt"].body = b"TEXT"
    web.pages["/dir/file.txt"].headers = {}
    result = add(fresh, web, "WEB/dir/file.txt /x")
    assert not result.steps[-1].cached
    assert fresh.text(result, "x") == "TEXT"


def test_a_server_that_tells_nothing_is_asked_for_all(fresh, web):
    web.pages["/f"] = Page(b"1", has_etag=False)
    add(fresh, web, "WEB/f /x")
    web.gets()
    assert add(fresh, web, "WEB/f /x").steps[-1].cached
    assert web.gets() == ["/f"]


def test_a_server_without_head(fresh, web):
    web.pages["/f"] = Page(b"1", no_head=True)
    add(fresh, web, "WEB/f /x")
    assert add(fresh, web, "WEB/f /x").steps[-1].cached
    assert web.gets() == ["/f", "/f"]


def test_a_young_file_is_not_known_by_its_time(fresh, web):
    """Within a minute of its Last-Modified a file may change and keep it."""
    from email.utils import formatdate

    web.pages["/f"] = Page(b"1", has_etag=False, headers={"Last-Modified": formatdate(usegmt=True)})
    add(fresh, web, "WEB/f /x")
    web.pages["/f"].body = b"2"
    assert fresh.text(add(fresh, web, "WEB/f /x"), "x") == "2"


def test_checksum(fresh, web):
    words = f"--checksum={sha256(b'text')} WEB/dir/file.txt /x"
    add(fresh, web, words)
    web.asked.clear()
    assert add(fresh, web, words).steps[-1].cached
    assert web.asked == []
    arg = f"FROM scratch\nARG SUM={sha256(b'text')}\n"
    assert add(fresh, web, "--checksum=$SUM WEB/dir/file.txt /y", arg).steps


def test_a_wrong_checksum_leaves_nothing(fresh, web):
    wrong = sha256(b"other")
    with pytest.raises(DockerfileError, match="digest mismatch for http") as caught:
        add(fresh, web, f"--checksum={wrong} WEB/dir/file.txt /x")
    assert sha256(b"text") in caught.value.why
    assert (caught.value.line, caught.value.column) == (2, 16)
    with pytest.raises(DockerfileError):
        add(fresh, web, f"--checksum={wrong} WEB/dir/file.txt /x")


def test_a_file_that_changes_under_the_build(fresh, web):
    """The server says it is the same, and gives another."""
    add(fresh, web, "WEB/dir/file.txt /x")
    page = web.pages["/dir/file.txt"]
    old, page.has_etag = page.etag, False
    page.headers["ETag"], page.body = old, b"TEXT"
    with pytest.raises(BuildFailed, match="changed"):
        add(fresh, web, "WEB/dir/file.txt /y")


# -- what servers do -------------------------------------------------------------


def test_redirects(place, web):
    web.pages["/old"] = Page(status=302, headers={"Location": "/dir/file.txt"})
    assert set(place.listing(result := add(place, web, "WEB/old /x/"))) == {"x", "x/old"}
    assert place.text(result, "x/old") == "text"


def test_a_conditional_request_follows_redirects(fresh, web):
    web.pages["/old"] = Page(status=307, headers={"Location": "/dir/file.txt"})
    add(fresh, web, "WEB/old /x")
    web.gets()
    assert add(fresh, web, "WEB/old /x").steps[-1].cached
    assert web.gets() == []


BROKEN = {
    "404": (Page(status=404), DockerfileError, "there is no http"),
    "403": (Page(status=403), BuildFailed, "does not give"),
    "in circles": (Page(status=301, headers={"Location": "/f"}), BuildFailed, "in circles"),
    "to a file": (
        Page(status=301, headers={"Location": "file:///etc/passwd"}),
        BuildFailed,
        "address",
    ),
    "truncated": (Page(b"half", claimed=8), BuildFailed, "broke"),
    "204": (Page(status=204), BuildFailed, "does not give"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_answers(place, web, name):
    web.pages["/f"], kind, words = BROKEN[name]
    with pytest.raises(kind, match=words) as caught:
        add(place, web, "WEB/f /x")
    assert "line 2, column 5" in str(caught.value)


def test_nobody_there(place):
    with WebServer() as server:
        url = server.url
    with pytest.raises(BuildFailed, match="no connection") as caught:
        place.build(f"FROM scratch\nADD {url}/f /x\n")
    assert "line 2, column 5" in caught.value.where


def test_an_endless_body_stops_before_the_disk_is_full(place, web, monkeypatch):
    """The fault: all but 50 MB of the disk is wanted by others."""
    usage = shutil.disk_usage(place.engine.home.data)
    monkeypatch.setattr(fetched, "SPARE_BYTES", usage.free - 50_000_000)
    start, seen = usage.free, []

    def free(_):
        seen.append(web.sent)
        return usage._replace(free=start - web.sent)

    monkeypatch.setattr(spooled.shutil, "disk_usage", free)
    web.pages["/f"] = Page(is_endless=True)
    with pytest.raises(DiskFull, match="does not fit"):
        add(place, web, "WEB/f /x")
    assert len(seen) > 1
    assert web.sent < 200_000_000


def test_a_length_that_cannot_fit(place, web):
    web.pages["/f"] = Page(b"1", claimed=1 << 60)
    with pytest.raises(DiskFull):
        add(place, web, "WEB/f /x")


def test_stop(place, web):
    stop = threading.Event()
    web.pages["/f"] = Page(is_endless=True)

    def listen(event):
        if type(event).__name__ == "LayerProgress":
            stop.set()

    with pytest.raises(Cancelled):
        add(place, web, "WEB/f /x", cancelled=stop, listen=listen)


MISTAKES = [
    ("http://h/ /x/", "cannot tell the file's name", 5),
    ("http://h/a/.. /x/", "cannot tell the file's name", 5),
    ("http://h/%2e%2e /x/", "cannot tell the file's name", 5),
    ("http://h/a%00b /x/", "cannot tell the file's name", 5),
    ("--checksum=sha256:12 http://h/a /x", "invalid checksum: sha256:12", 16),
    ("--checksum=md5:12 http://h/a /x", "invalid checksum: md5:12", 16),
    ("--checksum= http://h/a /x", "missing a value on flag", 5),
]


@pytest.mark.parametrize(("words", "what", "column"), MISTAKES)
def test_mistakes(place, words, what, column):
    with pytest.raises(DockerfileError) as caught:
        place.build(f"FROM scratch\nADD {words}\n")
    assert what in caught.value.what
    assert (2, column) == (caught.value.line, caught.value.column)


@pytest.mark.parametrize("url", ["http://", "http://[::1/x", "http://h:99999/x", "http://a b/x"])
def test_addresses_that_are_none(place, url):
    with pytest.raises((BuildFailed, DockerfileError)):
        place.build(f'FROM scratch\nADD ["{url}", "/x"]\n')


def test_why_it_is_fetched_again(fresh, web):
    add(fresh, web, "WEB/dir/file.txt /x")
    web.pages["/dir/file.txt"].body = b"TEXT"
    web.pages["/dir/file.txt"].headers = {}
    step = add(fresh, web, "WEB/dir/file.txt /x").steps[-1]
    assert "what it fetches changed" in step.why
