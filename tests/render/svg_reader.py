"""Reads our SVG pictures as a browser paints them: what colours lie behind each text."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
_RULE = re.compile(r"((?:\.[\w-]+)+)\{([^}]*)\}")


@dataclass
class Words:
    """A text of a picture.

    Attributes:
        left, right: about where it begins and ends.
        inks: its colour.
        grounds: colours that lie behind it, stripes and gaps of a hatch both.
    """

    text: str
    left: float
    right: float
    base: float
    size: float
    ink: tuple
    grounds: list


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(text):
    return tuple(int(text[at : at + 2], 16) / 255 for at in (1, 3, 5))


def over(top, bottom, opacity):
    return tuple(t * opacity + b * (1 - opacity) for t, b in zip(top, bottom, strict=True))


def size_of(picture):
    root = ET.fromstring(picture)
    return float(root.get("width")), float(root.get("height"))


def read(picture, *, dark):
    """Return every text with what lies behind it, in the light or the dark theme."""
    root = ET.fromstring(picture)
    style = root.find(f"{SVG}style").text
    light, _, rest = style.partition("@media screen and (prefers-color-scheme:dark){")
    rules = _RULE.findall(light) + (_RULE.findall(rest) if dark else [])
    painted, found = [], []
    for element in root:
        tag = element.tag.removeprefix(SVG)
        if tag in {"rect", "circle", "path"}:
            painted.append((_extent(element, tag), _paint(element, rules)))
        elif tag == "text":
            found.append(_words(element, painted, rules))
        else:
            assert tag in {"title", "style", "defs"}, tag
    return found


def _looks(element, rules):
    """Return what CSS and attributes say of an element; the last rule that fits wins."""
    classes = set((element.get("class") or "").split())
    looks = {"fill": element.get("fill", "#000000")}
    for selector, body in rules:
        if set(selector.strip(".").split(".")) <= classes:
            looks |= dict(each.split(":", 1) for each in body.split(";") if each)
    return looks


def _paint(element, rules):
    """Return the colours an element may lay over what is below, each with its opacity."""
    looks = _looks(element, rules)
    fill = looks["fill"]
    if fill == "none":
        return []
    if fill.startswith("url(#hatch-"):
        kind = fill.removeprefix("url(#hatch-").rstrip(")")
        stripe = ET.Element("rect", {"class": f"hatch {kind}"})
        return [*_paint(stripe, rules), (None, 0.0)]
    return [(rgb(fill), float(looks.get("fill-opacity", 1)))]


def _extent(element, tag):
    if tag == "rect":
        x, y = float(element.get("x", 0)), float(element.get("y", 0))
        return x, y, x + float(element.get("width")), y + float(element.get("height"))
    if tag == "circle":
        x, y, r = (float(element.get(each)) for each in ("cx", "cy", "r"))
        return x - r, y - r, x + r, y + r
    way = element.get("d")
    if "H" not in way or "Z" not in way:
        return 0, 0, 0, 0  # a line: nothing lies on it
    first = re.match(r"M([\d.]+) ([\d.]+)", way)
    xs = [float(first[1]), *map(float, re.findall(r"H([\d.]+)", way))]
    ys = [float(first[2]), *map(float, re.findall(r"V([\d.]+)", way))]
    return min(xs), min(ys), max(xs), max(ys)


def _words(element, painted, rules):
    size, base, x = (float(element.get(each)) for each in ("font-size", "y", "x"))
    # A little less than what DejaVu Sans takes, so that only what really sticks out is told.
    width = len(element.text) * size * 0.5
    left = x - {"middle": width / 2, "end": width}.get(element.get("text-anchor"), 0)
    grounds = []
    for at in (left + 1, left + width / 2, left + width - 1):
        colours = [(1.0, 1.0, 1.0)]
        for (x0, y0, x1, y1), paints in painted:
            if paints and x0 <= at <= x1 and y0 <= base - size / 3 <= y1:
                colours = [
                    below if top is None else over(top, below, opacity)
                    for below in colours
                    for top, opacity in paints
                ]
        grounds += colours
    if stroke := _looks(element, rules).get("stroke"):
        grounds = [rgb(stroke)]  # a halo lies over all that
    ink = rgb(_looks(element, rules)["fill"])
    return Words(element.text, left, left + width, base, size, ink, grounds)
