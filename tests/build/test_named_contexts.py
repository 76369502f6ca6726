"""``--build-context NAME=PLACE``: directories, images, layouts, repositories and URLs by name."""

import json
import shutil
import subprocess

import pytest
from gitserver import GitServer, Repository
from test_remote_contexts import said, tarred
from webserver import Page, WebServer

from ocimagic.errors import (
    BadInput,
    BuildFailed,
    DigestMismatch,
    DockerfileError,
    ImageNotFound,
    OcimagicError,
)

COPY = "FROM scratch\nCOPY --from=src f /g\n"


@pytest.fixture
def web():
    with WebServer() as server:
        server.pages["/c.tgz"] = Page(tarred({"f": "of the web", "sub/f": "below"}))
        server.pages["/file"] = Page(b"one file")
        yield server


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "f").write_text("of a directory")
    return str(tmp_path / "named")


# -- what a name wins over -------------------------------------------------------------


WINS = [
    ("src", "FROM scratch AS src\nCOPY nothing /\nFROM scratch\nCOPY --from=src f /g\n"),
    ("src", "FROM scratch AS Src\nCOPY nothing /\nFROM scratch\nCOPY --from=SRC f /g\n"),
    ("src", "FROM scratch AS src\nCOPY nothing /\nFROM scratch\nCOPY --from=0 f /g\n"),
    ("src", "FROM scratch AS src\nCOPY nothing /\nFROM src\nCOPY --from=src f /g\n"),
    ("src", "FROM src\nCOPY --from=src f /g\n"),
    ("alpine", "FROM scratch\nCOPY --from=alpine:latest f /g\n"),
    ("alpine:latest", "FROM scratch\nCOPY --from=alpine f /g\n"),
    ("docker.io/library/alpine", "FROM scratch\nCOPY --from=alpine f /g\n"),
    ("alpine:3.20", "FROM scratch\nCOPY --from=docker.io/library/alpine:3.20 f /g\n"),
    ("r.invalid/a/b", "ARG BASE=r.invalid/a/b\nFROM $BASE\nCOPY --from=r.invalid/a/b f /g\n"),
]


@pytest.mark.parametrize(("name", "text"), WINS)
def test_a_name_wins_over_stages_and_images(place, directory, name, text):
    result = place.build(text, contexts={name: directory})
    assert place.text(result, "g") == "of a directory"


def test_other_tags_are_other_names(place, directory):
    with pytest.raises(OcimagicError) as err:
        place.build(
            "FROM scratch\nCOPY --from=r.invalid/a:2 f /g\n", contexts={"r.invalid/a": directory}
        )
    assert "r.invalid/a:2" in said(err)


def test_a_name_stands_for_what_a_stage_comes_to(place, directory):
    text = "FROM scratch AS src\nCOPY nothing /\nLABEL a=b\n"
    result = place.build(text, contexts={"src": directory}, target="src")
    assert set(place.listing(result)) == {"f"}
    assert not place.config(result).labels


def test_a_stage_that_stands_on_files(runs, directory, web):
    runs.build("FROM base\nRUN true\n")
    text = (
        "FROM scratch AS bin\nCOPY --from=base / /\nFROM src\nCOPY --from=bin / /\n"
        "RUN cat f context 2>/dev/null >/g || true\n"
    )
    for place_of, content in ((directory, "of a directory"), (f"{web.url}/file", "one file")):
        result = runs.build(text, contexts={"src": place_of})
        assert runs.text(result, "g") == content
    again = runs.build(text, contexts={"src": f"{web.url}/file"})
    assert again.image_id == result.image_id
    lines = runs.engine.images.history(str(result.image_id))
    assert "FROM src" in [each.created_by for each in lines]


def test_scratch_and_the_context_keep_their_meaning(place, directory):
    for name in ("scratch", "context", "A B"):
        with pytest.raises(BadInput):
            place.build("FROM scratch\nLABEL a=b\n", contexts={name: directory})


def test_the_empty_image(place):
    text = "FROM src\nLABEL a=b\n"
    result = place.build(text, contexts={"src": "docker-image://scratch"})
    assert place.config(result).labels == {"a": "b"}


# -- places that are fetched -----------------------------------------------------------


def test_an_archive_stays_one(runs, web):
    """As in BuildKit, which unpacks the build's own context only."""
    address = f"{web.url}/c.tgz"
    text = (
        "FROM base\nCOPY --from=src context /c.tar\n"
        "RUN --mount=from=src,target=/m cat /m/* | wc -c >/g\n"
    )
    result = runs.build(text, contexts={"src": address})
    raw = web.pages["/c.tgz"].body
    assert runs.files(result).read("c.tar", max_bytes=1 << 20) == raw
    assert runs.text(result, "g").strip() == str(len(raw))
    [notice] = [text for text in runs.notices() if "src" in text]
    assert "is one file called context" in notice
    assert "ADD --unpack=true" in notice
    web.gets()
    assert all(step.cached for step in runs.build(text, contexts={"src": address}).steps)
    assert web.gets() == []
    web.pages["/c.tgz"] = Page(tarred({"f": "of the web", "sub/f": "changed"}))
    steps = runs.build(text, contexts={"src": address}).steps
    assert [step.cached for step in steps] == [True, False, False]


def test_the_same_archive_is_unpacked_where_it_is_the_context(place, web):
    address = f"{web.url}/c.tgz"
    text = "FROM scratch\nCOPY f /f\nCOPY --from=src . /n/\n"
    for _ in range(2):
        result = place.build(text, context=address, contexts={"src": address})
        assert set(place.listing(result)) == {"f", "n", "n/context"}


def test_a_local_archive_is_no_context(place, directory):
    (directory_file := place.context / "a.tar").write_bytes(tarred({"f": "f"}))
    with pytest.raises(BuildFailed):
        place.build(COPY, contexts={"src": str(directory_file)})


def test_one_file(place, web):
    result = place.build(COPY.replace(" f ", " context "), contexts={"src": f"{web.url}/file"})
    assert place.text(result, "g") == "one file"


def test_what_nobody_names_is_not_fetched(place, web):
    text = f"{COPY}FROM scratch\nLABEL a=b\n"
    place.build(text, contexts={"src": f"{web.url}/c.tgz", "other": f"{web.url}/none"})
    assert web.asked == []


def test_what_is_not_there(place, web):
    with pytest.raises(BuildFailed) as err:
        place.build(COPY, contexts={"src": f"{web.url}/none"})
    assert err.value.where == f"--build-context src {web.url}/none"
    with pytest.raises(DockerfileError) as err:
        place.build(COPY.replace(" f ", " contexd "), contexts={"src": f"{web.url}/c.tgz"})
    assert "no such file in src" in said(err)
    assert "did you mean context?" in said(err)


def test_two_stages_share_what_is_fetched(fresh, web):
    text = "FROM scratch AS a\nCOPY --from=src context /a\n"
    text += "FROM scratch AS b\nCOPY --from=src context /b\n"
    text += "FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    fresh.build(text, contexts={"src": f"{web.url}/c.tgz"})
    assert web.gets() == ["/c.tgz"]


@pytest.mark.skipif(not shutil.which("git"), reason="no git on this machine")
@pytest.mark.parametrize("ref", ["", "#main:sub", "?ref=v1&subdir=sub"])
def test_a_repository(place, tmp_path, ref):
    with GitServer(tmp_path / "git") as server:
        repository = Repository(server.root, "r.git")
        repository.commit({"f": "top", "sub/f": "below"}, "v1")
        result = place.build(COPY, contexts={"src": f"{server.url}/r.git{ref}"})
        assert place.text(result, "g") == ("below" if ref else "top")
        with pytest.raises(BuildFailed, match="does not contain ref nope") as err:
            place.build(COPY, contexts={"src": f"{server.url}/r.git#nope"})
    assert err.value.where == f"--build-context src {server.url}/r.git"


# -- layouts ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layout(tmp_path_factory, engine):
    """An OCI layout with two images, ``v1`` and ``latest``, written by skopeo."""
    from conftest import Workplace

    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    room = tmp_path_factory.mktemp("layout")
    (room / "context").mkdir()
    made = Workplace(engine, room / "context")
    for tag, text in (("v1", "one"), ("latest", "two")):
        made.write("f", text)
        made.build(f"FROM scratch\nCOPY f /f\nENV TAG={tag}\n", f"for-layout:{tag}")
        source = f"oci:{engine.home.data}:docker.io/library/for-layout:{tag}"
        target = f"oci:{room / 'oci'}:{tag}"
        subprocess.run(["skopeo", "copy", "-q", source, target], check=True)
    return room / "oci"


def index(layout):
    return json.loads((layout / "index.json").read_text())["manifests"]


def digest_of(layout, tag):
    names = {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"]
             for each in index(layout)}  # fmt: skip
    return names[tag]


@pytest.mark.parametrize(("said", "tag"), [("", "latest"), (":v1", "v1"), (":latest", "latest")])
def test_an_image_of_a_layout_by_its_tag(fresh, layout, said, tag):
    place = f"oci-layout://{layout}{said}"
    result = fresh.build("FROM src\nCOPY --from=src f /g\n", contexts={"src": place})
    assert fresh.text(result, "g") == {"v1": "one", "latest": "two"}[tag]
    assert f"TAG={tag}" in fresh.config(result).env, "a layout's image has a configuration"


@pytest.mark.parametrize("said", ["@DIGEST", ":latest@DIGEST", ":other@DIGEST"])
def test_a_digest_says_it_all(fresh, layout, said):
    place = f"oci-layout://{layout}{said.replace('DIGEST', digest_of(layout, 'v1'))}"
    assert fresh.text(fresh.build(COPY, contexts={"src": place}), "g") == "one"


def test_a_mount_of_a_layout(runs, layout):
    text = "FROM base\nRUN --mount=from=src,target=/m cat /m/f >/g\n"
    result = runs.build(text, contexts={"src": f"oci-layout://{layout}:v1"})
    assert runs.text(result, "g") == "one"


def test_the_only_image_needs_no_tag(fresh, layout, tmp_path):
    shutil.copytree(layout, tmp_path / "one")
    document = json.loads((layout / "index.json").read_text())
    document["manifests"] = [
        each for each in index(layout) if each["digest"] == digest_of(layout, "v1")
    ]
    (tmp_path / "one" / "index.json").write_text(json.dumps(document))
    result = fresh.build(COPY, contexts={"src": f"oci-layout://{tmp_path / 'one'}"})
    assert fresh.text(result, "g") == "one"


def test_only_what_is_asked_for_is_read_and_once(fresh, layout, tmp_path):
    shutil.copytree(layout, tmp_path / "oci")
    for blob in blobs_of(layout, "latest") - blobs_of(layout, "v1"):
        (tmp_path / "oci" / "blobs" / "sha256" / blob).write_bytes(b"damaged")
    contexts = {"src": f"oci-layout://{tmp_path / 'oci'}:v1"}
    first = fresh.build(COPY, contexts=contexts)
    for layer in layers_of(layout, "v1"):
        (tmp_path / "oci" / "blobs" / "sha256" / layer).unlink()
    assert fresh.build(COPY, contexts=contexts).image_id == first.image_id
    with pytest.raises(DigestMismatch):
        fresh.build(COPY, contexts={"src": f"oci-layout://{tmp_path / 'oci'}"})


def blobs_of(layout, tag):
    manifest = digest_of(layout, tag).partition(":")[2]
    document = json.loads((layout / "blobs" / "sha256" / manifest).read_text())
    config = document["config"]["digest"].partition(":")[2]
    return {manifest, config, *layers_of(layout, tag)}


def layers_of(layout, tag):
    manifest = layout / "blobs" / "sha256" / digest_of(layout, tag).partition(":")[2]
    found = json.loads(manifest.read_text())["layers"]
    return {each["digest"].partition(":")[2] for each in found}


def test_what_a_layout_has_not(place, layout, tmp_path):
    def failure(context):
        with pytest.raises(OcimagicError) as err:
            place.build(COPY, contexts={"src": context})
        assert "COPY --from=src f /g" in err.value.where
        return err

    err = failure(f"oci-layout://{layout}:v3")
    assert isinstance(err.value, ImageNotFound)
    assert "it has latest, v1" in said(err)
    err = failure(f"oci-layout://{layout}@sha256:{64 * '0'}")
    assert "there is no such file" in said(err)
    err = failure(f"oci-layout://{tmp_path}")
    assert "no OCI layout" in said(err)
