"""A notebook that was exported: it opens with no network, and prints."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import NBCONVERT_ASKS_FOR, once
from test_notebooks import NOTEBOOKS

pytestmark = [pytest.mark.slow, once, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def exported(desk):
    """The notebook with pictures, as nbconvert exports it with nothing said."""
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter().from_notebook_node(nbformat.read(NOTEBOOKS[3], as_version=4))
    path = desk.room / "exported.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def page(desk, exported):
    context = desk.browser.new_context()
    page = context.new_page()
    desk.listen(page, also=("file:", *NBCONVERT_ASKS_FOR))
    page.goto(exported.as_uri(), wait_until="domcontentloaded")
    yield page
    context.close()


def test_it_opens_with_no_network(page):
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    pictures = page.locator(".jp-OutputArea-output img")
    stored = nbformat.read(NOTEBOOKS[3], as_version=4)
    assert pictures.count() == str([cell.get("outputs") for cell in stored.cells]).count("<img ")
    assert pictures.count() >= 3
    for number in range(pictures.count()):
        picture = pictures.nth(number)
        assert picture.evaluate("each => each.complete && each.naturalWidth > 100")
        assert len(picture.get_attribute("alt")) > 20
    text = page.inner_text("body")
    assert "model not found" not in text
    assert "shared" in text


# What a sheet of A4 would not show: lines wider than their place.
_CUT = """[...document.querySelectorAll("pre")]
    .filter(each => each.clientWidth && each.scrollWidth > each.clientWidth + 1).length"""


@pytest.mark.parametrize(("template", "is_cut"), [("lab", True), ("ocimagic", False)])
def test_lines_of_code_on_paper(desk, template, is_cut):
    from nbconvert import HTMLExporter

    ours = str(NOTEBOOKS[0].parents[1] / "share/jupyter/nbconvert/templates")
    exporter = HTMLExporter(template_name=template, extra_template_basedirs=[ours])
    html, _ = exporter.from_notebook_node(nbformat.read(NOTEBOOKS[3], as_version=4))
    path = desk.room / f"paper-{template}.html"
    path.write_text(html, encoding="utf-8")
    context = desk.browser.new_context(viewport={"width": 700, "height": 1000})
    page = context.new_page()
    desk.listen(page, also=("file:", *NBCONVERT_ASKS_FOR))
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    page.emulate_media(media="print")
    assert bool(page.evaluate(_CUT)) is is_cut
    # What the style sheets inside of pictures go by.
    scheme = page.evaluate("getComputedStyle(document.body).colorScheme")
    assert (scheme == "light") is not is_cut
    context.close()


def test_it_prints(page):
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 3 <= pages <= 40
    assert len(printed) > 50_000
