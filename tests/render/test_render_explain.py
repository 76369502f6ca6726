"""The picture of ``explain`` and its twins, drawn of a story with everything in it."""

import base64
import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from ocimagic.model.chapters import CREATE
from ocimagic.model.explanation import Explanation, Moment, Party, Source, Step
from ocimagic.render.display import as_html, as_text
from ocimagic.render.explain import said

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'echo "<script>\x1b[31m\u202e&"'


def story(**changes):
    source = Source("ocimagic/runtime/init.py", 7, "mount_all", "def mount_all():\n    <b>")
    steps = (
        Step(party=Party.CLIENT, to=Party.CLIENT, title=f"docker run {NASTY}", at_s=0.0),
        Step(party=Party.CLIENT, to=Party.API, title="POST /containers/create", was_sent=False,
             documents={"body": {"Image": NASTY, "Empty": "", "Cmd": list("abcde")}}),
        Step(party=Party.CONTAINERD, to=Party.REGISTRY, title="GET " + "x" * 300, at_s=0.0101,
             seconds=0.009),
        Step(party=Party.SHIM, to=Party.RUNC, title="create", at_s=0.02, seconds=0.0004),
        Step(party=Party.RUNC, to=Party.RUNC, title="12 mounts", at_s=0.021, seconds=0.001,
             facts=(("1", NASTY), ("twelve", "proc on /proc")), chapter=CREATE, source=source,
             more=(source,), moments=(Moment(at_s=0.0205, name="pivot_root", detail=NASTY),)),
        Step(party=Party.RUNC, to=Party.RUNC, title="exits: nothing is left", at_s=0.022),
        Step(party=Party.PROCESS, to=Party.SHIM, title="exit code 0", at_s=1.5),
    )  # fmt: skip
    given = {"kind": "container", "name": "web", "line": f"docker run {NASTY}", "began": "2026",
             "seconds": 1.5, "ending": "exit code 0", "steps": steps,
             "lacks": (f"The rest: {NASTY}",)}  # fmt: skip
    return Explanation(**given | changes)


@pytest.fixture
def html():
    return as_html(story(), NOW)


@pytest.fixture
def svg(html):
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)[1]
    return ET.fromstring(base64.b64decode(data))


def texts(svg):
    return [each.text for each in svg.iter(f"{SVG}text")]


def test_the_text_has_everything_and_no_control_characters():
    text = as_text(story(), NOW)
    assert "\x1b" not in text
    assert "\u202e" not in text
    parts = ("pivot_root", "20.500 ms", "proc on /proc", CREATE.url, "Not told: The rest",
             "runtime/init.py:7 mount_all", "POST /containers/create", "1.50 s")  # fmt: skip
    for part in parts:
        assert part in text
    heads, *rows = next(p for p in text.split("\n\n") if p.lstrip().startswith("at")).splitlines()
    column = heads.index("what")
    assert all(row[column - 1] == " " != row[column] for row in rows)
    assert len(rows) == len(story().steps)


def test_the_page_is_what_an_untrusted_notebook_shows(html):
    assert "<script" not in html
    assert "<style" not in html
    assert not re.search(r"\s(id|class|on\w+)=", html)
    assert not re.search(r"<svg\b", html)
    assert html.count("<details") == html.count("</details>") > 8
    [alt] = re.findall(r'<img alt="([^"]+)"', html)
    for step in story().steps[1:]:
        assert step.title.split("x" * 20)[0] in alt
    assert f'<a href="{CREATE.url}">' in html
    assert "&lt;b&gt;" in html  # the code of a source
    assert "<table" in html


def test_the_picture_has_a_line_for_each_party_and_a_number_for_each_step(svg):
    said_there = texts(svg)
    for party in ("REST API", "containerd", "registry", "shim", "runc", "process"):
        assert said_there.count(party) == 1
    assert "daemon" not in said_there
    numbers = [each for each in said_there if each.isdigit()]
    assert sorted(map(int, numbers)) == list(range(1, len(story().steps) + 1))
    dashed = [e for e in svg.iter(f"{SVG}path") if e.get("stroke-dasharray") == "6 4"]
    assert len(dashed) == 2  # the request, and the legend


def test_nothing_leaves_the_picture(svg):
    width, height = (float(svg.get(each)) for each in ("width", "height"))
    for each in svg.iter(f"{SVG}text"):
        size, x = float(each.get("font-size")), float(each.get("x"))
        long = len(each.text) * size * 0.56
        left = {"end": x - long, "middle": x - long / 2}.get(each.get("text-anchor"), x)
        assert -1 <= left <= left + long <= width + 1, each.text
        assert 0 < float(each.get("y")) < height
        assert size >= 11


def test_words_over_lines_have_a_halo_as_wide_as_they_are_and_cut_no_process():
    """Behind words stood a box of their width as guessed, which cut lines where no letter was."""
    steps = (
        Step(party=Party.RUNC, to=Party.PROCESS, title="clone3: process 7", at_s=0.1),
        Step(party=Party.SHIM, to=Party.SHIM, title="networks: bridge", at_s=0.2, seconds=0.0194),
        Step(party=Party.PROCESS, to=Party.SHIM, title="exit code 0", at_s=1.5),
        *(Step(party=each, to=each, title="") for each in (Party.CLIENT, Party.DAEMON)),
        *(Step(party=each, to=each, title="") for each in (Party.API, Party.CONTAINERD)),
    )
    html = as_html(story(steps=steps), NOW)
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)[1]
    picture = ET.fromstring(base64.b64decode(data))
    words = {each.text: each for each in picture.iter(f"{SVG}text")}
    networks = words["networks: bridge · 19.4 ms"]
    assert "halo" in networks.get("class")
    assert networks.get("text-anchor") == "end", "to the right is the process's life"
    assert float(networks.get("x")) < float(words["shim"].get("x"))
    assert not [e for e in picture.iter(f"{SVG}rect") if e.get("fill-opacity") == ".88"]


def test_heads_do_not_touch_the_edges_of_their_boxes():
    step = Step(party=Party.CONTAINERD, to=Party.IMAGES, title="find image")
    data = re.search(r"base64,([^\"]+)", as_html(story(steps=(step,)), NOW))[1]
    picture = ET.fromstring(base64.b64decode(data))
    sizes = {each.text: float(each.get("font-size")) for each in picture.iter(f"{SVG}text")}
    assert len("local image") * sizes["local image"] * 0.66 <= 92 - 8
    assert 11 <= sizes["local image"] < sizes["containerd"] <= 13


def test_the_sentence_has_a_moment_that_people_can_read():
    began = "2026-11-30T10:21:31.556354+00:00"
    text = as_text(story(began=began), NOW)
    assert ": exit code 0 after 1.50 s, begun 2026-11-30 10:21:31 UTC" in text
    assert "556354" not in text


def test_a_story_of_many_steps_is_as_long_as_it_must_be():
    step = Step(party=Party.CONTAINERD, to=Party.RUNC, title="RUN true", seconds=0.1)
    assert as_html(story(steps=(step,) * 200), NOW).count("<details") > 200
    assert as_html(story(steps=(), lacks=()), NOW)


def test_what_asks_for_nothing_is_left_out():
    assert said({"a": 0, "b": "", "c": {"d": None}, "e": [1], "f": False}) == {"e": [1]}
