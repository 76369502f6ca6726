"""What a container copied up: from which layer and how many bytes, against the directory itself."""

import os
from dataclasses import replace

import pytest

from ocimagic.errors import ContainerNotFound, HostLacks
from ocimagic.model.options import BuildOptions
from ocimagic.model.report import ChangeKind
from ocimagic.render.display import as_html, as_text

DOCKERFILE = """\
FROM busybox
COPY data /srv/data
COPY other /srv/other
"""
WORK = (
    "echo more >> /srv/data; chmod 600 /srv/other; rm /bin/cat; "
    "rm /bin/tr; echo new > /bin/tr; echo abc > /srv/new; touch /bin/ls"
)


@pytest.fixture(params=["erofs", "overlay"])
def engine(request, make_engine, registry, tmp_path):
    engine = make_engine(OCIMAGIC_SNAPSHOTTER=request.param)
    try:
        _ = engine.containers.launcher.ids
        _ = engine.containers.unpacker.mounts_images
    except HostLacks:
        pytest.skip("this account cannot mount EROFS images")
    engine.images.pull(f"{registry.host}/busybox")
    engine.images.tag(f"{registry.host}/busybox", "busybox")
    context = tmp_path / "context"
    context.mkdir()
    (context / "data").write_text("0123456789\n")
    (context / "other").write_text("x" * 41)
    asked = BuildOptions(dockerfile=DOCKERFILE, context=str(context), tags=("own:1",))
    engine.images.build(asked)
    return engine


@pytest.fixture
def own(engine):
    engine.containers.run("own:1", ["sh", "-c", WORK], name="web", network="none")
    return engine.containers.layers("web")


def test_what_was_copied_up_and_what_was_not(engine, own):
    found = {each.path: each for each in own.changes}
    # A touch of a link's target is enough: all of busybox was copied for a new time.
    busybox = found["/bin/busybox"].size_bytes
    copied = {"/srv/data": 11, "/srv/other": 41, "/bin/busybox": busybox}
    assert busybox > 100_000
    assert {path: each.copied_bytes for path, each in found.items() if each.copied_bytes} == copied
    # busybox, the file's own layer, the one above that.
    assert [found[path].below for path in ("/bin", "/srv/data", "/srv/other")] == [0, 1, 2]
    assert found["/srv/data"].size_bytes == 11 + len("more\n")
    assert found["/srv/other"].size_bytes == 41
    assert found["/srv/new"] == replace(found["/srv/new"], below=None, size_bytes=4)
    assert found["/srv/new"].kind is ChangeKind.ADDED
    # Another file of the same name is no copy of the one below.
    assert (found["/bin/tr"].kind, found["/bin/tr"].copied_bytes) == (ChangeKind.CHANGED, 0)
    assert (found["/bin/cat"].kind, found["/bin/cat"].below) == (ChangeKind.DELETED, 0)
    assert found["/bin"].is_directory
    assert own.copied_bytes == 52 + busybox
    same = [(each.kind, each.path) for each in engine.containers.diff("web")]
    assert [(each.kind, each.path) for each in own.changes] == same


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_upper_directory_says_the_same(engine, own):
    upper = engine.containers.inspect("web").upper_dir
    seen = 0
    for each in own.changes:
        place = f"{upper}{each.path}"
        if each.kind is ChangeKind.DELETED or not os.path.isfile(place) or os.path.islink(place):
            continue
        seen += 1
        assert os.lstat(place).st_size == each.size_bytes
        assert ("trusted.overlay.origin" in os.listxattr(place)) == bool(each.copied_bytes), each
    assert seen >= 4


def test_the_picture_says_where_it_came_from(own):
    text, drawn = as_text(own, None), as_html(own, None)
    lines = [" ".join(each.split()) for each in text.splitlines()]
    assert "C /srv/data copied up from layer B, 11B; now 16B" in lines
    assert "D /bin/cat hidden by a whiteout, still in layer A" in lines
    assert "C /bin/tr in the place of that in layer A, 4B" in lines
    assert drawn.count("<img") == 1
    assert "copied up from layer C, 41B" in drawn


def test_a_container_that_wrote_nothing(engine):
    engine.containers.run("own:1", ["true"], name="still", network="none")
    own = engine.containers.layers("still")
    assert own.changes == ()
    assert len(own.layers) == 3
    assert "0 changes" in as_text(own, None)
    assert "<img" in as_html(own, None)


def test_no_such_container(engine):
    with pytest.raises(ContainerNotFound):
        engine.containers.layers("nobody")
