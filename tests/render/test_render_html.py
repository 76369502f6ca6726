"""HTML that survives untrusted notebooks, and hostile strings in it."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from ocimagic.errors import DockerfileError, ImageNotFound, OcimagicError, StepFailed
from ocimagic.model.result import ExitStatus, LayerReport
from ocimagic.render.display import as_html, as_text, mimebundle
from ocimagic.render.inspect_tree import tree_html, tree_text

NOW, HOSTILE = samples.NOW, samples.HOSTILE
VOID = {"img", "br"}
ALLOWED = {
    "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "span", "div", "ul", "li",
    "details", "summary", "figure", "figcaption", "img", "pre", "code", "strong", "small",
    "progress", "br",
}  # fmt: skip
ATTRIBUTES = {"style", "scope", "open", "alt", "src", "max", "value"}


class Checker(HTMLParser):
    """Reads a fragment and keeps what it is made of."""

    allowed, attributes = ALLOWED, ATTRIBUTES

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.images = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag in self.allowed, tag
        assert {name for name, _ in attrs} <= self.attributes
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def hostile_values():
    layer = samples.layer("x", 1, HOSTILE, shared=(HOSTILE,))
    step = replace(samples.build_result().steps[0], text=HOSTILE)
    return [
        (samples.image(HOSTILE, HOSTILE),),
        (samples.container(HOSTILE, command=(HOSTILE,), image=HOSTILE, network=HOSTILE),),
        (replace(samples.history()[0], created_by=HOSTILE, comment=HOSTILE),),
        (layer,),
        LayerReport(images=((HOSTILE, (layer,)), ("b", ())), total_bytes=2, stored_bytes=1),
        samples.image_details({HOSTILE: HOSTILE}),
        samples.container_details(labels={HOSTILE: HOSTILE}),
        samples.pull_result(reference=HOSTILE),
        samples.build_result(steps=(step,), tags=(HOSTILE,), warnings=(HOSTILE,)),
        samples.run_result(name=HOSTILE, network=HOSTILE, removed=False),
        replace(samples.removed(), untagged=(HOSTILE,)),
        replace(samples.system_info(), lacks=(HOSTILE,), kernel=HOSTILE),
        ImageNotFound(HOSTILE, why=HOSTILE, hint=HOSTILE, where=HOSTILE),
        DockerfileError(HOSTILE, line=1, column=1, source=HOSTILE),
        StepFailed(HOSTILE, command_exit_code=1, tail=[HOSTILE]),
        OcimagicError(HOSTILE),
        {HOSTILE: [HOSTILE, {HOSTILE: None}]},
    ]


@pytest.mark.parametrize("value", hostile_values(), ids=lambda value: type(value).__name__)
def test_hostile_strings_stay_words(value):
    drawn = as_html(value, NOW)
    assert "<script" not in drawn
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn
    Checker(drawn)
    assert "\x1b" not in as_text(value, NOW)


@pytest.mark.parametrize(
    "value",
    [
        (samples.image(),),
        samples.image(),
        (samples.container(), samples.exited()),
        samples.exited(),
        samples.history(),
        samples.report(),
        samples.image_details(),
        samples.container_details(),
        samples.pull_result(),
        samples.build_result(),
        samples.run_result(exit_code=3),
        samples.removed(),
        samples.system_info(),
        ExitStatus(code=3, signal=None, finished=NOW),
        [{"a": 1}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_result_has_text_and_html(value):
    bundle = mimebundle(value, NOW)
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"].strip()
    seen = Checker(bundle["text/html"])
    for image in seen.images:
        assert image["alt"].strip()
        assert image["src"].startswith("data:image/svg+xml;base64,")
    for tag, attributes in seen.tags:
        if tag == "th":
            assert attributes["scope"] in {"row", "col"}
    tables = [tag for tag, _ in seen.tags].count("table")
    assert [tag for tag, _ in seen.tags].count("caption") == tables


@pytest.mark.parametrize("made", [samples.push_result, samples.images_pruned, samples.saved])
def test_several_lines_stay_several(made):
    text, drawn = as_text(made(), NOW), as_html(made(), NOW)
    assert "\\n" not in drawn
    assert drawn.count("<br>") == text.count("\n")
    Checker(drawn)


@pytest.mark.parametrize("made", [samples.pull_result, samples.push_result, samples.removed])
def test_several_results_are_drawn_one_below_another(made):
    one, several = made(), (made(), made())
    assert as_text(several, NOW) == f"{as_text(one, NOW)}\n{as_text(one, NOW)}"
    assert as_html(several, NOW) == as_html(one, NOW) * 2
    assert as_html((one, "else"), NOW) is None


def test_unknown_values_have_no_html():
    assert as_html("words", NOW) is None
    assert mimebundle(7, NOW) == {"text/plain": "7"}


def test_inspect_tree_opens_its_first_levels():
    drawn = tree_html({"a": {"b": {"c": {"d": 1}}}}, title="x")
    assert drawn.count("<details open") == 2
    assert drawn.count("<details") == 3
    assert "(1 item)" in drawn


def test_links_to_ports_are_reached_by_keys():
    ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}
    drawn = tree_html({"NetworkSettings": {"Ports": ports}})
    assert drawn.count("<a href=") == 1
    assert "<a " not in "".join(re.findall("<summary.*?</summary>", drawn))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_drawn(document):
    Checker(tree_html(document))
    tree_text(document).encode()


def picture(report):
    source = Checker(as_html(report, NOW)).images[0]["src"]
    return base64.b64decode(source.partition(",")[2]).decode()


@pytest.mark.parametrize(
    "report",
    [samples.report(), hostile_values()[4], LayerReport(images=(), total_bytes=0, stored_bytes=0)],
)
def test_picture_is_well_formed_and_needs_nothing_from_outside(report):
    svg = picture(report)
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[0].text.startswith("Stacks of image layers")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", svg)
    assert "<script" not in svg
    width, height = (float(root.get(name)) for name in ("width", "height"))
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(rect.get("width")) >= 0
        assert float(rect.get("x", 0)) + float(rect.get("width")) <= width
        assert float(rect.get("y", 0)) + float(rect.get("height")) <= height


@given(st.text(max_size=40), st.text(max_size=40))
def test_picture_of_any_names_is_well_formed(name, created_by):
    layers = (samples.layer("x", 7, created_by),)
    report = LayerReport(images=((name, layers), (name, layers)), total_bytes=14, stored_bytes=7)
    ET.fromstring(picture(report))


def test_inspect_tree_folds_what_is_long_and_writes_out_what_is_deep():
    long = "x" * 5000
    drawn = tree_html({"Cmd": long, "Short": "y"})
    seen = Checker(drawn)
    assert drawn.count("<details") == 1
    assert "(5002 characters)" in "".join(seen.words)
    assert any(long in word for word in seen.words)

    deep = leaf = []
    for _ in range(400):
        leaf.append([])
        leaf = leaf[0]
    drawn = tree_html(deep)
    Checker(drawn)
    assert drawn.count("<ul") == 40

    assert "and 234 more items" in tree_html(list(range(1234)))
