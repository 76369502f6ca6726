"""A build's steps know which stages they stand on and take from."""

import pytest

from ocimagic.engine.engine import Engine
from ocimagic.model.options import BuildOptions
from ocimagic.render.build_graph import stages
from ocimagic.render.display import as_html, as_text

DOCKERFILE = """\
FROM scratch AS base
COPY f /f
FROM base AS left
COPY f /left
FROM scratch
COPY f /right
FROM base
COPY --from=left /left /a
COPY --from=2 /right /b
COPY --from=base /f /c
"""


@pytest.fixture
def build(tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context/f").write_text("x")
    with Engine(root=tmp_path / "root") as engine:

        def build(text, **more):
            asked = BuildOptions(dockerfile=text, context=str(tmp_path / "context"), **more)
            return engine.images.build(asked)

        yield build


def test_edges_are_those_of_the_file(build):
    result = build(DOCKERFILE, tags=("graph:1",))
    needs = [(each.stage, each.line, each.stands_on, each.takes_from) for each in result.steps]
    assert needs == [
        ("base", 1, "", ()),
        ("base", 2, "", ()),
        ("left", 3, "base", ()),
        ("left", 4, "", ()),
        ("2", 5, "", ()),
        ("2", 6, "", ()),
        ("3", 7, "base", ()),
        ("3", 8, "", ("left",)),
        ("3", 9, "", ("2",)),
        ("3", 10, "", ("base",)),
    ]
    assert [(each.name, each.depth) for each in stages(result)] == [
        ("base", 0), ("left", 1), ("2", 0), ("3", 2),
    ]  # fmt: skip


def test_the_picture_says_what_was_cached_and_why_not(build, tmp_path):
    build(DOCKERFILE, tags=("graph:1",))
    again = build(DOCKERFILE, tags=("graph:1",))
    assert all(each.cached for each in again.steps)
    (tmp_path / "context/f").write_text("y")
    changed = build(DOCKERFILE, tags=("graph:1",))
    drawn = as_html(changed, None)
    assert drawn.count("<img") == 1
    assert "the file f changed" in drawn
    assert "takes files from left, 2, base" in drawn
    assert "STAGE" in as_text(changed, None)


def test_one_stage_is_folded(build):
    drawn = as_html(build("FROM scratch\nCOPY f /f\n"), None)
    assert drawn.index("<table") < drawn.index("The same as a picture") < drawn.index("<img")


def test_stages_of_two_platforms_are_told_apart(build):
    result = build(
        "FROM scratch AS a\nARG TARGETARCH\nCOPY f /$TARGETARCH\nFROM scratch\nCOPY --from=a / /\n",
        platforms=platforms("linux/amd64", "linux/arm64"),
    )
    taken = {each.takes_from for each in result.steps if each.takes_from}
    assert taken == {("linux/amd64 a",), ("linux/arm64 a",)}
    assert {each.stage for each in result.steps} >= {"linux/amd64 a", "linux/arm64 a"}


def platforms(*names):
    from ocimagic.spec.platform import Platform

    return tuple(map(Platform.parse, names))
