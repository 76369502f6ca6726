"""Words about registries in, calls on the engine and values out."""

import json
import pickle
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import remote_samples as remote
import samples
from fake_engine import FakeEngine

from ocimagic.cli.grammar import docker_words, execute
from ocimagic.cli.session import Session
from ocimagic.errors import ImageNotFound, InvalidOption, InvalidPlatform, NotBuiltYet
from ocimagic.model.distribution import PlatformChange
from ocimagic.render.display import as_html, as_text
from ocimagic.spec.platform import Platform


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(engine, tmp_path):
    return Session(engine=lambda: engine, cwd=str(tmp_path), cancelled=threading.Event())


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("image copy a b", ("copy", "a", "b", False, None)),
        ("image copy --all a b", ("copy", "a", "b", True, None)),
        ("image copy --platform arm64 a b", ("copy", "a", "b", False, Platform("linux", "arm64"))),
        ("registry ls quay.io", ("registry ls", "quay.io")),
        ("registry list quay.io/team", ("registry ls", "quay.io/team")),
        ("search nginx", ("search", "nginx", 25)),
        ("image search --limit 100 quay.io/nginx", ("search", "quay.io/nginx", 100)),
        ("image referrers web", ("referrers", "web", "", None)),
        (
            "image referrers --artifact-type a/b --platform arm64 web",
            ("referrers", "web", "a/b", Platform("linux", "arm64")),
        ),
        ("manifest inspect web", ("manifest inspect", "web", None)),
        ("manifest inspect -v web", ("manifest details", "web", None)),
        ("manifest inspect list web", ("manifest details", "web", "list")),
        ("manifest create list a b", ("manifest create", "list", "a", "b", False)),
        ("manifest create --amend list a", ("manifest create", "list", "a", True)),
        (
            "manifest annotate list a --os linux --arch arm --variant v7",
            ("manifest annotate", "list", "a", PlatformChange(os="linux", architecture="arm",
                                                              variant="v7")),
        ),
        (
            "manifest annotate --os-version=10 --os-features a,b --os-features c list a",
            ("manifest annotate", "list", "a", PlatformChange(os_version="10",
                                                              os_features=("a", "b", "c"))),
        ),
        ("manifest push list", ("manifest push", "list", False, "gzip")),
        ("manifest push -p --compression zstd list", ("manifest push", "list", True, "zstd")),
        ("manifest rm a b", ("manifest rm", "a", "b")),
    ],
)  # fmt: skip
def test_calls(line, call, session, engine):
    execute(line.split(), session)
    assert engine.calls == [call]


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("image copy a", InvalidOption, "TARGET"),
        ("image copy --all --platform arm64 a b", InvalidOption, "exclude each other"),
        ("image copy --platform a/b/c/d a b", InvalidPlatform, "a/b/c/d"),
        ("search", InvalidOption, "TERM"),
        ("search --limit few a", InvalidOption, "few"),
        ("search --filter is-official=perhaps a", InvalidOption, "true or false"),
        ("search --filter stars=many a", InvalidOption, "stars=10"),
        ("search --filter start=1 a", InvalidOption, "did you mean stars=?"),
        ("registry ls", InvalidOption, "HOST"),
        ("manifest inspect a b c", InvalidOption, "unexpected"),
        ("manifest inspect", InvalidOption, "MANIFEST"),
        ("manifest inspect missing", ImageNotFound, "missing"),
        ("manifest inspect --insecure a", NotBuiltYet, "OCIMAGIC_INSECURE_REGISTRIES"),
        ("manifest create list", InvalidOption, "MANIFEST"),
        ("manifest anotate", InvalidOption, "did you mean docker manifest annotate?"),
    ],
)
def test_refusals(line, kind, said, session):
    with pytest.raises(kind) as caught:
        execute(line.split(), session)
    assert said in str(caught.value)


FOUND = """\
NAME        DESCRIPTION                                    STARS    OFFICIAL
nginx       Official build of Nginx, and much more than …  20000    [OK]
team/nginx  two lines                                      3"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("image copy a quay.io/b:1", f"quay.io/b:1: digest: {samples.digest('index')}"),
        (
            "image copy a quay.io/b:1",
            "3 manifests, 4 blobs (1 there already, 2 mounted from another repository), 2.16MB",
        ),
        ("image copy -q a quay.io/b:1", "quay.io/b:1"),
        ("manifest create list a", "Created manifest list list"),
        ("manifest push list", str(samples.digest("index"))),
        ("manifest rm a b", "a\nb"),
        ("manifest inspect web", '   "schemaVersion": 2,'),
        ("registry ls quay.io/team", "TAG\n1\nlatest"),
        ("registry ls -q quay.io/team", "1\nlatest"),
        ("search a", FOUND),
        ("search --no-trunc a", "forty-five characters"),
        ("search --filter stars=4 --format {{.Name}}:{{.IsOfficial}} a", "nginx:[OK]"),
        ("search --filter is-official=false --format json a", '"IsOfficial":"false"'),
        ("search --format json a", '"StarCount":"20000"'),
        ("image referrers web", "application/vnd.example.signature"),
        ("image referrers web", "2 weeks ago"),
        ("image referrers -q web", f"{samples.digest('sbom')}\n{samples.digest('signature')}"),
    ],
)  # fmt: skip
def test_text(line, said, session):
    assert said in as_text(execute(line.split(), session), samples.NOW)


def test_the_document_is_the_registry_s_own(session):
    value = execute(["manifest", "inspect", "web"], session)
    assert value.raw == remote.index_raw()
    assert json.loads(as_text(value, samples.NOW)) == json.loads(value.raw)
    drawn = as_html(value, samples.NOW)
    for words in (
        "linux/arm/v7",
        f"attestation of {samples.digest('amd')}",
        "artifact application/vnd.example.sbom",
        "in its registry: 4 manifests",
    ):
        assert words in drawn


def test_details_are_a_list_for_a_list(session):
    for line, is_list in (("-v web", True), ("-v one", False), ("list one", False)):
        value = execute(["manifest", "inspect", *line.split()], session)
        shown = json.loads(as_text(value, samples.NOW))
        assert isinstance(shown, list) == is_list
        one = shown[0] if is_list else shown
        assert list(one) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
        assert one["Descriptor"]["platform"] == {
            "architecture": "arm", "os": "linux", "variant": "v7",
        }  # fmt: skip
        assert one["OCIManifest"]["config"]["size"] == 7
        assert as_html(value, samples.NOW)


def test_filters_are_looked_at_before_anybody_is_asked(session, engine):
    with pytest.raises(InvalidOption):
        execute(["search", "--filter", "stars=x", "a"], session)
    assert engine.calls == []


def test_referrers_that_are_none_or_under_a_tag():
    none = remote.referrers(referrers=())
    assert as_text(none, samples.NOW) == (
        f"quay.io/team/web:1, {samples.digest('index')}: 0 referrers"
    )
    drawn = as_html(remote.referrers(is_listed=False), samples.NOW)
    assert "kept under a tag" in drawn


def test_a_tree(session, engine):
    kept = [replace(samples.image(), digest=each.digest) for each in remote.trees()]
    engine.images.list = lambda name, **_: tuple(kept)
    rows = execute(["image", "ls", "--tree"], session)
    text = as_text(rows, samples.NOW)
    assert [line[:31].rstrip() for line in text.splitlines()] == [
        "IMAGE",
        "web:1",
        "├─ linux/amd64",
        "├─ linux/arm/v7",
        "└─ attestation of linux/amd64",
        "built:1",
        "└─ linux/amd64",
    ]
    for digest in ("index", "amd", "arm", "said", "web:1"):
        assert samples.digest(digest).short in text
    assert text.splitlines()[1].split()[2:] == ["67.8MB", "27MB", "in", "use"]
    assert text.splitlines()[3].split()[-4:] == ["-", "-", "not", "here"]
    drawn = as_html(rows, samples.NOW)
    assert "<ul><li>linux/amd64 <code>" in drawn
    assert "not here</li>" in drawn
    whole = execute(["image", "ls", "--tree", "--no-trunc"], session)
    assert samples.digest("arm") in as_text(whole, samples.NOW)
    assert pickle.loads(pickle.dumps(whole)).no_trunc
    assert as_text(remote.trees(), samples.NOW) == text
    kept.clear()
    assert execute(["image", "ls", "--tree"], session) == ()


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("reference=busybox", ["busybox"]),
        ("reference=*:lat*", ["busybox"]),
        ("reference=*", ["web", "busybox"]),
        ("reference=*/*", []),
        ("dangling=true", ["<none>"]),
        ("dangling=false", ["web", "busybox"]),
        ("label=tier", ["web"]),
        ("label=tier=db", []),
        ("before=web:1", ["busybox"]),
        ("since=web:1", ["<none>"]),
        ("until=2026-03-02T00:00:00Z", ["busybox"]),
    ],
)
def test_filters_of_images(session, engine, condition, kept):
    born = samples.image_details().config.created
    images = (
        replace(samples.image(), labels={"tier": "web"}, created=born),
        replace(samples.image("busybox", "latest"), created=born - timedelta(days=30)),
        replace(samples.image("<none>", "<none>"), created=born + timedelta(seconds=1)),
    )
    engine.images.list = lambda name, **_: images
    rows = execute(["images", "--filter", condition], session)
    assert [each.repository for each in rows] == kept


def test_there_is_a_magic_for_each():
    words = docker_words()
    assert words["image_copy"] == ("image", "copy")
    assert words["image_search"] == ("image", "search")
    assert words["registry_ls"] == ("registry", "ls")
    assert {name for name in words if name.startswith("manifest")} == {
        "manifest_annotate", "manifest_create", "manifest_inspect", "manifest_push", "manifest_rm",
    }  # fmt: skip
