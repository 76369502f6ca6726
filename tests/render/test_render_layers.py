"""The wall of layers, its colours, its tree and its graph."""

import itertools
from dataclasses import replace

import pytest
import samples
from svg_reader import read

from ocimagic.model.result import LayerReport
from ocimagic.render.layer_graph import layers_digraph, layers_tree
from ocimagic.render.layer_svg import picture_words, wall_svg
from ocimagic.render.layer_wall import build_wall
from ocimagic.render.svg import DARK, LIGHT, ORANGE


def of(*images):
    return LayerReport(images=images, total_bytes=1, stored_bytes=1)


def test_shared_layers_are_one_brick_as_wide_as_what_stands_on_it():
    wall = build_wall(samples.report())
    bricks = {brick.letter: brick for brick in wall.bricks()}
    assert {letter: (b.level, b.column, b.width) for letter, b in bricks.items()} == {
        "A": (0, 0, 4),
        "B": (1, 1, 1),
        "C": (1, 2, 2),
        "D": (2, 2, 1),
        "E": (2, 3, 1),
        "F": (0, 4, 1),
    }
    assert [letter for letter, b in bricks.items() if b.shared] == ["A", "C"]
    assert bricks["A"].from_base
    assert list(wall.flags()) == [
        ("ubuntu:22.04", 0, 1),
        ("layerdemo:latest", 1, 2),
        ("web:1", 2, 3),
        ("web:2", 3, 3),
        ("busybox:latest", 4, 1),
    ]


def test_bricks_do_not_overlap_and_lie_on_what_is_below():
    for one, other in itertools.combinations(build_wall(samples.report()).bricks(), 2):
        if one.level == other.level:
            assert (
                one.column + one.width <= other.column or other.column + other.width <= one.column
            )
        if other.below is one:
            assert one.column <= other.column
            assert other.column + other.width <= one.column + one.width


def test_equal_layers_on_different_bases_have_one_letter():
    app = samples.layer("app", 5, "COPY app /")
    wall = build_wall(of(("a", (samples.layer("x", 1, "X"), app)), ("b", (app,))))
    assert [brick.letter for brick in wall.bricks()] == ["A", "B", "B"]
    assert [brick.shared for brick in wall.bricks()] == [False, True, True]


def test_two_names_of_one_image_and_an_image_without_layers():
    layers = (samples.layer("x", 1, "X"),)
    wall = build_wall(of(("a", layers), ("b", layers), ("empty", ())))
    assert wall.width == 3
    assert list(wall.flags()) == [("a", 0, 1), ("b", 1, 1), ("empty", 2, 0)]
    assert "empty has no layers" in picture_words(wall)


def test_shared_with_an_image_outside_the_report():
    wall = build_wall(of(("a", (samples.layer("x", 1, "X", shared=("other",)),))))
    assert wall.bottom[0].images == ("a", "other")


def test_what_is_shared_says_how_many_of_those_are_shown():
    """Three images were drawn, and their layer was "shared by 5"."""

    def base(*more):
        return samples.layer("x", 1, "X", shared=more)

    top = samples.layer("y", 1, "Y")
    alone = of(("a", (base("other"),)))
    assert "(shared with 1 image not shown)" in layers_tree(alone)
    some = of(("a", (base("b", "c"),)), ("b", (base("a", "c"), top)))
    assert "(shared by 2 here, 3 in all)" in layers_tree(some)
    assert "shared by 2 here" in wall_svg(build_wall(some), title="")
    whole = of(("a", (base("b"),)), ("b", (base("a"), top)))
    assert "(shared by 2)" in layers_tree(whole)


def test_a_legend_has_what_the_picture_has():
    top = samples.layer("y", 1, "Y")
    alone = wall_svg(build_wall(of(("a", (top,)))), title="")
    assert not {"from the base image", "shared: stored once"} & words(alone)
    stacks = wall_svg(build_wall(samples.report()), title="")
    assert {"from the base image", "added on top", "shared: stored once", "size"} < words(stacks)


def words(picture):
    return {each.text for each in read(picture, dark=False)}


def test_tall_stacks():
    layers = tuple(samples.layer(str(n), n, f"RUN step {n}") for n in range(512))
    report = of(("tall", layers), ("half", layers[:256]))
    assert build_wall(report).width == 2
    assert len(layers_tree(report).splitlines()) == 515
    assert [b.letter for b in build_wall(report).bricks()][25:28] == ["Z", "AA", "AB"]


def test_tree():
    assert layers_tree(samples.report()).splitlines()[:6] == [
        "A  67.8MB  ADD rootfs.tar /  (base, shared by 4)",
        "├─ [ubuntu:22.04]",
        "├─ B  38.1MB  RUN apt-get update",
        "│  └─ [layerdemo:latest]",
        "└─ C  12.4MB  RUN pip install --no-cache-dir flask gunicorn  (shared by 2)",
        "   ├─ D  2.31kB  COPY app.py /srv/app.py",
    ]


def test_digraph_needs_no_dot_and_quotes_what_it_is_given():
    hostile = replace(samples.layer("x", 1, "<b>RUN</b>\\N\x1b"), shared_with=())
    graph = layers_digraph(of(('<i>"a":1</i>', (hostile,)), ("none:1", ())))
    assert graph.source.count("->") == 1
    assert 'label="<i>\\"a\\":1</i>"' in graph.source
    assert "\x1b" not in graph.source
    assert "label=<" not in graph.source
    assert layers_digraph(samples.report()).source.count("->") == 9


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def rgb(text):
    return [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def over(top, bottom, opacity):
    return [t * opacity + b * (1 - opacity) for t, b in zip(top, bottom, strict=True)]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_has_contrast_on_every_fill(theme):
    panel = rgb(theme.panel)
    grounds = [panel]
    for colour in (theme.base, theme.own):
        tint = over(rgb(colour), panel, theme.tint)
        grounds += [tint, over(rgb(colour), tint, theme.hatch)]
    for ground, ink in itertools.product(grounds, (theme.text, theme.quiet)):
        assert contrast(rgb(ink), ground) >= 4.5
    assert contrast(rgb("#14181d"), rgb(ORANGE)) >= 4.5
    assert all(contrast(rgb(colour), panel) >= 3 for colour in (theme.base, theme.own))
