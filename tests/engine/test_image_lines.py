"""What each line of an image's history made, of images built here and of foreign ones."""

import pytest

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.engine.engine import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.registry.server import RegistryServer
from ocimagic.registry.source import MemorySource
from ocimagic.render.display import as_html
from ocimagic.spec import mediatype
from ocimagic.spec.config import ImageConfig
from ocimagic.spec.descriptor import Descriptor
from ocimagic.spec.digest import Digest
from ocimagic.spec.manifest import Manifest
from ocimagic.spec.platform import host_platform

DOCKERFILE = """\
FROM scratch
COPY a b /srv/
LABEL maintainer=khaja@qt.com
COPY b /srv/a
"""


@pytest.fixture
def engine(tmp_path):
    with Engine(root=tmp_path / "root") as engine:
        yield engine


@pytest.fixture
def built(engine, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_text("a")
    (context / "b").write_text("bb")
    asked = BuildOptions(dockerfile=DOCKERFILE, context=str(context), tags=("lines:1",))
    engine.images.build(asked)
    return engine


def test_each_line_its_layer_and_its_files(built):
    lines = built.images.layers("lines:1").lines
    assert [(each.number, each.layer, each.size_bytes) for each in lines] == [
        (1, 0, 3), (2, None, 0), (3, 1, 2),
    ]  # fmt: skip
    assert lines[0].account.added == ("srv", "srv/a", "srv/b")
    assert (lines[2].account.added, lines[2].account.changed) == ((), ("srv/a",))
    assert lines[1].account is None


def test_of_several_images_no_lines_are_looked_for(built):
    built.images.tag("lines:1", "lines:2")
    assert built.images.layers("lines:1", "lines:2").lines == ()


def test_a_history_draws_its_own_image_only(built):
    def history(*words):
        return execute(["image", "history", *words], Session(engine=lambda: built))

    rows = history("lines:1")
    assert rows.to_html(None if not rows else rows[0].created).count("<img") == 1
    asked = BuildOptions(dockerfile="FROM scratch\nENV A=1\n", context="/dev/null", tags=("x",))
    built.images.build(asked)
    built.images.remove("lines:1")
    built.images.tag("x", "lines:1")
    # The name is another image's now: the rows are still true, a picture would not be.
    assert rows.to_html(rows[0].created).count("<img") == 0
    built.images.remove("lines:1")
    assert rows.to_html(rows[0].created).count("<table") == 1
    assert history("--format", "json", "x").to_html(rows[0].created) is None


def test_an_image_that_does_not_say_how_it_was_made(engine):
    tar = b"\0" * 10240
    config = ImageConfig(platform=host_platform(), diff_ids=(Digest.of(tar),)).encoded()
    source = MemorySource()
    manifest = Manifest.build(
        Descriptor(mediatype.OCI_CONFIG, source.add_blob(config.raw), len(config.raw)),
        [Descriptor(mediatype.OCI_LAYER, source.add_blob(tar), len(tar))],
    )
    source.add_manifest("silent", manifest.raw, mediatype.OCI_MANIFEST, tags=("latest",))
    with RegistryServer(source) as server:
        name = f"{server.host}/silent"
        engine.images.pull(name)
        report = engine.images.layers(name)
        assert report.lines == ()
        assert len(report.images[0][1]) == 1
        assert as_html(report, None).count("<img") == 1
