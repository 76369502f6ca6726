"""Our pictures where notebooks go: untrusted in JupyterLab, exported, without a network, printed.

A cell per kind that a command gives back, with its output as it would be saved.
"""

import re
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "render"))

import browser
import every_kind
from samples import NOW

from ocimagic.render.display import mimebundle
from ocimagic.render.html import figure
from ocimagic.render.svg import in_theme

NAME = "pictures.ipynb"
PANEL = {"light": (255, 255, 255), "dark": (20, 24, 29)}
INK_IN_THE_DARK = b".9569 .9647 .9725 rg"  # #f4f6f8, which no light picture has

# What is in each output, in order: element, its style as the browser understands it, words.
SEEN = """(outputs) => outputs.map(output => [...output.querySelectorAll('*')].map(
    each => [each.tagName, each.style.cssText, each.getAttribute('alt') || '']))"""
# JupyterLab's sanitizer knows no calc(): of a wide picture's two widths it keeps the first.
KEPT = re.compile(r"max-width:calc\([^;\"]*\);")
WANTED = """(texts) => texts.map(text => { const made = document.createElement('div');
    made.innerHTML = text; return [...made.querySelectorAll('*')].map(
    each => [each.tagName, each.style.cssText, each.getAttribute('alt') || '']); })"""
LOADED = """(images) => images.every(each => each.complete && each.naturalWidth > 100
    && each.getAttribute('alt').length > 20)"""


def bundles(theme="auto"):
    found = [mimebundle(each, NOW) for each in every_kind.VALUES]
    if theme != "auto":
        found = [each | {"text/html": in_theme(each["text/html"], theme)} for each in found]
    return found


def notebook(theme="auto"):
    made = nbformat.v4.new_notebook()
    for number, bundle in enumerate(bundles(theme), 1):
        output = nbformat.v4.new_output("execute_result", bundle, execution_count=number)
        cell = nbformat.v4.new_code_cell(f"value{number}", outputs=[output])
        cell.execution_count = number
        made.cells.append(cell)
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python", "language": "python"}
    return made


PICTURES = sum(each["text/html"].count("<img") for each in bundles())


def pixel(page, image):
    """Return the colour of a picture's panel near its upper left corner."""
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    clip = {"x": box["x"] + 12, "y": box["y"] + 12, "width": 1, "height": 1}
    data, at, packed = page.screenshot(clip=clip), 8, b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += length + 12
    return tuple(zlib.decompress(packed)[1:4])  # of the first pixel, no filter changes anything


@pytest.mark.slow
def test_an_untrusted_notebook_in_jupyterlab(tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    engine = SimpleNamespace(home=SimpleNamespace(data=tmp_path / "root"))
    more = "--LabApp.expose_app_in_browser=True"
    with browser.chromium() as running, browser.lab(engine, room, NAME, (), more) as address:
        nbformat.write(notebook(), room / NAME)
        settings = f"{address}/lab/api/settings/@jupyterlab/notebook-extension:tracker"
        wanted = [KEPT.sub("", each["text/html"]) for each in bundles()]
        with browser.page(running, address, NAME, {settings: {"windowingMode": "none"}}) as page:
            outputs = page.locator(".jp-RenderedHTMLCommon.jp-OutputArea-output")
            browser.until(lambda: outputs.count() == len(wanted))
            seen = outputs.evaluate_all(SEEN)
            for value, one, other in zip(
                every_kind.VALUES, seen, page.evaluate(WANTED, wanted), strict=True
            ):
                assert one == other, type(value)
            images = page.locator(".jp-OutputArea-output figure img")
            assert images.count() == PICTURES
            assert images.evaluate_all(LOADED)
            first = page.locator(".jp-OutputArea-output > figure img").first
            assert pixel(page, first) == PANEL["light"]
            change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
            page.evaluate(change, "JupyterLab Dark")
            browser.until(lambda: pixel(page, first) == PANEL["dark"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drawn", "machine", "seen"),
    [("auto", "light", "light"), ("auto", "dark", "dark"), ("light", "dark", "light")],
)
def test_an_exported_page_without_a_network_and_printed(tmp_path, drawn, machine, seen):
    """An exported page has no theme: pictures are the machine's or as was asked, on paper light."""
    from nbconvert import HTMLExporter

    made, _ = HTMLExporter().from_notebook_node(notebook(drawn))
    (tmp_path / "page.html").write_text(made)
    with browser.chromium() as running:
        page = running.new_context(color_scheme=machine, offline=True).new_page()
        page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
        images = page.locator(".jp-OutputArea-output figure img")
        assert images.count() == PICTURES
        assert images.evaluate_all(LOADED)
        first = page.locator(".jp-OutputArea-output > figure img").first
        assert pixel(page, first) == PANEL[seen]
        assert page.locator("text=REPOSITORY").first.is_visible()
        paper = page.pdf(print_background=True)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", paper, re.DOTALL)
    painted = b"".join(map(inflated, streams))
    assert b"0 .6196 .451 rg" in painted  # the green of what is added on top
    assert INK_IN_THE_DARK not in painted


WIDE_PX, HIGH_PX = 3000, 1500


@pytest.mark.slow
def test_a_wide_picture_scrolls_on_a_screen_and_fits_on_paper(tmp_path):
    from nbconvert import HTMLExporter

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE_PX}" height="{HIGH_PX}"/>'
    made = nbformat.v4.new_notebook()
    data = {"text/html": figure(svg, "something very wide", "wide", width=WIDE_PX)}
    output = nbformat.v4.new_output("display_data", data)
    made.cells.append(nbformat.v4.new_code_cell("wide", outputs=[output]))
    (tmp_path / "page.html").write_text(HTMLExporter().from_notebook_node(made)[0])
    with browser.chromium() as running:
        page = running.new_context(offline=True, viewport={"width": 1400, "height": 900}).new_page()
        page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
        frame, image = page.locator("figure"), page.locator("figure img")
        assert image.bounding_box()["width"] == WIDE_PX
        assert frame.evaluate("each => each.scrollWidth > each.clientWidth")
        # At its own height it would need several pages.
        for paper in ({"format": "A4"}, {"format": "A4", "landscape": True}, {"format": "Letter"}):
            assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(**paper))) == 1, paper
        page.set_viewport_size({"width": 1046, "height": 900})
        assert frame.evaluate("each => each.scrollWidth <= each.clientWidth")


def inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""  # a font, or a picture of another kind
