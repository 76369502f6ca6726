"""SOURCE_DATE_EPOCH: a number, or the time of what is built; for a build, or by the Dockerfile."""

import io
import os
import shutil
import tarfile
from datetime import UTC, datetime

import pytest
from gitserver import WHEN_NS, GitServer, Repository
from webserver import Page, WebServer

from ocimagic.errors import DockerfileError, InvalidOption, NotBuiltYet

TEXT = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL e=x$SOURCE_DATE_EPOCH\nCOPY a /a\n"
ASKED = {"SOURCE_DATE_EPOCH": "context"}
NEWEST, CHANGED = 1_700_000_302, "Wed, 15 Nov 2023 00:00:01 GMT"
CHANGED_S = 1_700_006_401


def tarred(text=TEXT, **times):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in {"Dockerfile": text, "a": "A"}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), times.get(name, 1_600_000_000)
            tar.addfile(info, io.BytesIO(content.encode()))
    return raw.getvalue()


@pytest.fixture
def web():
    with WebServer() as server:
        yield server


@pytest.fixture
def repository(tmp_path):
    if not shutil.which("git"):
        pytest.skip("no git on this machine")
    with GitServer(tmp_path / "git") as server:
        found = Repository(server.root, "r.git")
        found.commit({"Dockerfile": TEXT, "sub/Dockerfile": TEXT, "a": "A", "sub/a": "B"})
        found.remote = f"{server.url}/r.git"
        yield found


def image(place, context=True, text=None, stdin=None, **options):
    result = place.build(text, context=context, stdin=stdin, **options)
    return place.engine._store.images.load(result.digest).config


def is_of(config, seconds):
    """Say whether an image is of a time, and says so to what is in it."""
    when = datetime.fromtimestamp(seconds, UTC)
    said = {config.config.labels["e"]} if "e" in config.config.labels else set()
    return {config.created, *(each.created for each in config.history)} == {when} and said <= {
        f"x{seconds}"
    }


@pytest.mark.parametrize("place_in_it", ["", "#:sub"])
def test_of_a_commit(place, repository, place_in_it):
    where = repository.remote + place_in_it
    first = image(place, where, build_args=ASKED)
    assert is_of(first, WHEN_NS // 10**9)
    assert image(place, where, build_args=ASKED).image_id == first.image_id
    # The Dockerfile given, so that nothing else would fetch the context before.
    assert image(place, where, TEXT, build_args=ASKED).image_id == first.image_id


def test_of_what_a_server_says(place, web):
    web.pages["/c.tar"] = Page(tarred(a=NEWEST), headers={"Last-Modified": CHANGED})
    for _ in range(2):
        assert is_of(image(place, f"{web.url}/c.tar", build_args=ASKED), CHANGED_S)


def test_of_the_newest_file_of_an_archive(place, web):
    web.pages["/c.tar"] = Page(tarred(a=NEWEST))
    assert is_of(image(place, f"{web.url}/c.tar", build_args=ASKED), NEWEST)
    came = image(place, "-", stdin=io.BytesIO(tarred(a=NEWEST)), build_args=ASKED)
    assert is_of(came, NEWEST)


def test_of_a_dockerfile_on_the_web(place, web):
    web.pages["/d"] = Page(TEXT.replace("COPY a", "COPY context").encode())
    web.pages["/e"] = Page(web.pages["/d"].body, headers={"Last-Modified": CHANGED})
    assert image(place, f"{web.url}/d", build_args=ASKED).config.labels == {"e": "x"}
    assert is_of(image(place, f"{web.url}/e", build_args=ASKED), CHANGED_S)


def test_a_directory_has_no_time(place):
    os.utime(place.write("a", "A"), (1000, 1000))
    config = image(place, text=TEXT, build_args=ASKED)
    assert config.config.labels == {"e": "x"}
    assert config.created.year > 2024
    told = image(place, text=TEXT, build_args=ASKED, timestamp=5)
    assert is_of(told, 5)


def test_a_dockerfile_that_says_it(place, repository, web):
    text = f"ARG SOURCE_DATE_EPOCH=context\n{TEXT}"
    assert is_of(image(place, repository.remote, text), WHEN_NS // 10**9)
    web.pages["/c.tar"] = Page(tarred(text, a=NEWEST))
    assert is_of(image(place, f"{web.url}/c.tar"), NEWEST)
    place.write("a", "A")
    assert image(place, text=text).config.labels == {"e": "x"}
    numbered = f"ARG SOURCE_DATE_EPOCH=1234567890\n{TEXT}"
    assert is_of(image(place, text=numbered), 1234567890)
    assert is_of(image(place, text=numbered, build_args={"SOURCE_DATE_EPOCH": "77"}), 77)
    assert image(place, text=numbered, build_args={"SOURCE_DATE_EPOCH": ""}).created.year > 2024


def test_times_that_are_none(place):
    place.write("a", "A")
    with pytest.raises(DockerfileError, match="'soon' is not a time") as caught:
        place.build(f"# it\nARG SOURCE_DATE_EPOCH=soon\n{TEXT}")
    assert (caught.value.line, caught.value.column) == (2, 5)
    with pytest.raises(InvalidOption, match="'Soon' is not a time"):
        place.build(TEXT, build_args={"SOURCE_DATE_EPOCH": "Soon"})
    with pytest.raises(NotBuiltYet, match="the time of a stage"):
        place.build(f"FROM scratch AS s\n{TEXT}", build_args={"SOURCE_DATE_EPOCH": "s"})
