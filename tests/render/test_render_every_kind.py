"""Every kind a command gives back: as text, as HTML, sanitised, in colours, as data."""

import base64
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import every_kind
import jupyterlab_rules
import pytest
import svg_reader
from samples import HOSTILE, NOW, network_map
from test_render_html import Checker

from ocimagic.errors import HostLacks, InvalidOption
from ocimagic.render import display, values
from ocimagic.render.display import as_html, as_text
from ocimagic.render.svg import in_theme


def name_of(value):
    return type(value).__name__


class KindChecker(Checker):
    """A checker that knows links to ports and lists of terms, too."""

    allowed = Checker.allowed | {"a", "b", "del", "dl", "dt", "dd"}
    attributes = Checker.attributes | {"href", "target", "rel", "title"}


def pictures(value):
    drawn = as_html(value, NOW)
    alts = [each["alt"] for each in KindChecker(drawn).images]
    return list(zip(alts, pictures_of(drawn), strict=True))


def pictures_of(drawn):
    sources = (each["src"] for each in KindChecker(drawn).images)
    return [base64.b64decode(each.partition(",")[2]).decode() for each in sources]


DRAWN = [each for each in every_kind.VALUES if "<img" in (as_html(each, NOW) or "")]
STEP = every_kind.samples.stages_result().steps[8]
LARGE = [
    replace(
        every_kind.own_layer(),
        layers=every_kind.layers() * 20,
        changes=every_kind.own_layer().changes * 150,
    ),
    replace(every_kind.one_image(), lines=every_kind.one_image().lines * 40),
    replace(
        every_kind.samples.stages_result(),
        steps=tuple(
            replace(
                STEP,
                number=number,
                stage=f"s{number}",
                takes_from=(f"s{number - 1}", f"s{number - 3}"),
            )
            for number in range(12)
        ),
    ),
]
HOSTILES = [
    every_kind.one_image(HOSTILE, HOSTILE),
    every_kind.own_layer(HOSTILE, f"/{HOSTILE}"),
    network_map(HOSTILE),
]


def test_no_kind_is_forgotten():
    assert set(display._ONE) == {type(each) for each in every_kind.VALUES}


@pytest.mark.parametrize("value", every_kind.VALUES, ids=name_of)
def test_text_is_full_and_html_is_of_known_parts(value):
    assert as_text(value, NOW).strip()
    KindChecker(as_html(value, NOW))


@pytest.mark.parametrize("value", every_kind.VALUES, ids=name_of)
def test_jupyterlab_takes_nothing_away(value):
    drawn = as_html(value, NOW)
    assert parts(jupyterlab_rules.sanitize(drawn)) == parts(drawn)


class _Parts(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, sorted((name, value) for name, value in attrs if name != "style")))
        style = dict(attrs).get("style") or ""
        self.found += sorted(filter(None, style.split(";")))

    def handle_data(self, data):
        self.found.append(data)


def parts(text):
    return _Parts(text).found


def test_the_oracle_does_take_away():
    bad = '<style>p{}</style><p onclick="x" role="note" style="color:red;behavior:url(x)">a</p>'
    assert jupyterlab_rules.sanitize(bad) == 'p{}<p style="color:red">a</p>'
    assert "svg" not in jupyterlab_rules.sanitize("<svg><text>a</text></svg>")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("value", [*DRAWN, *HOSTILES, *LARGE], ids=name_of)
def test_every_word_of_a_picture_can_be_read(value, dark):
    for alt, picture in pictures(value):
        assert len(alt) > 20
        width, height = svg_reader.size_of(picture)
        for words in svg_reader.read(picture, dark=dark):
            for ground in words.grounds:
                assert svg_reader.contrast(words.ink, ground) >= 4.5, words
            assert words.left >= 0, words
            assert words.right <= width, words
            assert words.base <= height, words


@pytest.mark.parametrize("value", [*DRAWN, *HOSTILES, *LARGE], ids=name_of)
def test_a_picture_needs_nothing_and_has_a_twin_of_tables(value):
    drawn = as_html(value, NOW)
    for alt, picture in pictures(value):
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", picture)
        assert "<script" not in picture
        assert f"<title>{alt[:8]}" in picture
    assert "\x1b" not in drawn
    assert "<details" in drawn
    assert "<table" in drawn


def test_one_theme_whatever_the_page_s():
    drawn = as_html(network_map(), NOW)
    light, dark = (pictures_of(in_theme(drawn, theme))[0] for theme in ("light", "dark"))
    assert "prefers-color-scheme" in pictures_of(drawn)[0]
    assert "prefers-color-scheme" not in light + dark
    inks = [{words.ink for words in svg_reader.read(each, dark=False)} for each in (light, dark)]
    assert all(svg_reader.luminance(ink) < 0.1 for ink in inks[0])
    assert all(svg_reader.luminance(ink) > 0.5 for ink in inks[1])


def test_the_readers_own_contrast_is_right():
    assert svg_reader.contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    grey = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><style>{}</style>{}</svg>'
    css = ".text{fill:#777777}@media screen and (prefers-color-scheme:dark){.text{fill:#ffffff}}"
    body = (
        '<rect x="0" y="0" width="9" height="9" fill="#888888"/>'
        '<text x="1" y="5" font-size="3" class="text">a</text>'
    )
    for dark in (False, True):
        [words] = svg_reader.read(grey.format(css, body), dark=dark)
        assert svg_reader.contrast(words.ink, words.grounds[0]) < 4.5


# -- as data ----------------------------------------------------------------------


@pytest.mark.parametrize("value", every_kind.VALUES, ids=name_of)
def test_every_kind_becomes_json(value):
    made = values.to_dict(value)
    assert isinstance(made, dict)
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    "value", [each for each in every_kind.VALUES if type(each) in values.DOCUMENTS], ids=name_of
)
def test_documents_are_docker_s(value):
    document = values.DOCUMENTS[type(value)](value)
    assert all(key[0].isupper() for key in document)
    json.dumps(document)


@pytest.mark.parametrize(
    "value", [each for each in every_kind.VALUES if type(each) in values.LISTS], ids=name_of
)
def test_lists_become_rows(value):
    made = values.rows(value)
    assert made
    assert all(row.keys() == made[0].keys() for row in made)


@pytest.mark.parametrize(
    "value", [each for each in every_kind.VALUES if type(each) in values.GRAPHS], ids=name_of
)
def test_graphs_need_no_dot(value, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    graph = values.to_dot(value)
    assert graph.source.count("->") > 0
    assert graph._repr_mimebundle_() == {"text/plain": graph.source}


@pytest.mark.parametrize("value", HOSTILES, ids=name_of)
def test_graphs_quote_what_they_are_given(value):
    source = values.to_dot(value).source
    assert "\x1b" not in source
    assert "label=<" not in source


def test_a_graph_is_drawn_where_there_is_dot(tmp_path, monkeypatch):
    """A stand-in for dot, that answers as dot does: the picture is Graphviz' affair."""
    program = tmp_path / "dot"
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    program.write_text(f"#!/bin/sh\n/bin/cat >/dev/null\necho '{svg}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    bundle = values.to_dot(network_map())._repr_mimebundle_()
    [image] = Checker(bundle["text/html"]).images
    assert image["alt"].startswith("A graph of networks")
    assert base64.b64decode(image["src"].partition(",")[2]).decode().strip() == svg
    assert "->" in bundle["text/plain"]


@pytest.mark.parametrize(
    "value", [each for each in every_kind.VALUES if type(each) in values.GRAPHS], ids=name_of
)
def test_the_real_dot_draws_each_graph(value):
    if not shutil.which("dot"):
        pytest.skip("dot is not installed")
    bundle = values.to_dot(value)._repr_mimebundle_()
    [image] = Checker(bundle["text/html"]).images
    svg = base64.b64decode(image["src"].partition(",")[2]).decode()
    assert svg.count('class="node"') >= 2
    assert svg.count('class="edge"') == bundle["text/plain"].count("->")


def test_trees_of_images_are_one_graph():
    trees = every_kind.remote_samples.trees()
    source = values.to_dot(trees).source
    assert source.count("[label=index") + source.count('[label="index') >= 1
    assert source.count("->") >= sum(
        len(each.names) + len(each.parts) for each in trees if each.is_index
    )
    with pytest.raises(InvalidOption, match="this list is no graph"):
        values.to_dot((every_kind.samples.image(),))


def test_what_is_no_list_and_no_graph_says_so():
    with pytest.raises(InvalidOption, match="PullResult is no list"):
        values.rows(every_kind.samples.pull_result())
    with pytest.raises(InvalidOption, match="PullResult is no graph"):
        values.to_dot(every_kind.samples.pull_result())


def test_without_pandas_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(HostLacks, match="pandas is not installed") as caught:
        values.to_pandas(every_kind.samples.report())
    assert "pip install pandas" in caught.value.hint
