"""Why two images are not the same, down to the file and its attribute."""

import os

import pytest

from ocimagic.engine.engine import Engine
from ocimagic.errors import ImageNotFound
from ocimagic.model.options import BuildOptions
from ocimagic.render.display import as_html, as_text

STAMP = 1_700_000_000


@pytest.fixture
def engine(tmp_path):
    with Engine(root=tmp_path / "root") as engine:
        yield engine


@pytest.fixture
def build(engine, tmp_path):
    context = tmp_path / "context"
    context.mkdir()

    def build(name, text, files):
        for path, content in files.items():
            (context / path).parent.mkdir(exist_ok=True)
            (context / path).write_text(content)
        asked = BuildOptions(dockerfile=text, context=str(context), tags=(name,), timestamp=STAMP)
        return engine.images.build(asked)

    return build


def told(found):
    return {
        file.path: {each.what: (each.old, each.new) for each in file.differences}
        for file in found.files
    }


def test_one_image_under_two_names(engine, build):
    build("a", "FROM scratch\nCOPY f /f\n", {"f": "x"})
    engine.images.tag("a", "b")
    found = engine.images.diff("a", "b")
    assert found.same
    assert (found.exit_code, found.config, found.layers, found.files) == (0, (), (), ())
    assert "are one image" in as_text(found, None)


def test_files_and_their_attributes(engine, build):
    build("a", "FROM scratch\nCOPY d /d\nCOPY f /f\n", {"d/same": "s", "d/gone": "g", "f": "one"})
    text = "FROM scratch\nCOPY --exclude=gone d /d\nCOPY --chmod=600 --chown=7:8 f /f\n"
    text += "COPY f /new\nENV A=1\n"
    build("b", text, {"f": "two"})
    found = engine.images.diff("a", "b")
    files = told(found)
    assert set(files) == {"/d/gone", "/f", "/new"}
    assert files["/d/gone"] == {"only": ("here", "")}
    assert files["/new"] == {"only": ("", "here")}
    assert files["/f"]["mode"] == ("0644", "0600")
    assert files["/f"]["owner"] == ("0:0", "7:8")
    assert files["/f"]["content"][0] != files["/f"]["content"][1]
    assert "size" not in files["/f"]
    config = {each.what: (each.old, each.new) for each in found.config}
    assert config["config.Env"][1].endswith('"A=1"]')
    assert "--ch" in config["history[1].created_by"][1]
    assert config["history[3]"] == ("", "ENV A=1")
    assert [number for number, _, _ in found.layers] == [0, 1, 2]
    assert found.exit_code == 1
    drawn = as_text(found, None)
    assert "/f" in drawn
    assert "mode" in drawn
    assert "a and b differ: " in drawn
    assert "<table" in as_html(found, None)


def test_equal_files_in_other_layers_are_no_difference(engine, build):
    build("a", "FROM scratch\nCOPY f g /\n", {"f": "x", "g": "y"})
    build("b", "FROM scratch\nCOPY f /\nCOPY g /\n", {})
    found = engine.images.diff("a", "b")
    assert found.files == ()
    assert len(found.layers) == 2


def test_a_link_a_kind_and_a_time(engine, build, tmp_path):
    build("a", "FROM scratch\nCOPY f /x\n", {"f": "x"})
    (tmp_path / "context" / "l").symlink_to("f")
    text = "FROM scratch\nCOPY . /\nCOPY f /x/f\n"
    build("b", text, {})
    assert told(engine.images.diff("a", "b"))["/x"]["kind"] == ("file", "dir")


def test_two_times_are_told_once_and_as_times(engine, tmp_path):
    context = tmp_path / "c"
    context.mkdir()
    (context / "f").write_text("x")
    text = "FROM scratch\nCOPY f /f\nENV A=1\n"
    ids = []
    for stamp in (STAMP, STAMP + 60):
        os.utime(context / "f", (stamp, stamp))
        given = BuildOptions(dockerfile=text, context=str(context), timestamp=stamp)
        ids.append(engine.images.build(given).image_id)
    found = engine.images.diff(*ids)
    assert [each.what for each in found.config] == ["created"]
    assert told(found)["/f"] == {"time": ("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z")}
    drawn = as_text(found, None)
    assert f"{ids[0].short} and {ids[1].short} differ" in drawn
    assert str(ids[0]) not in drawn


def test_an_image_that_is_not_there(engine, build):
    build("a", "FROM scratch\nCOPY f /f\n", {"f": "x"})
    with pytest.raises(ImageNotFound):
        engine.images.diff("a", "nope")
