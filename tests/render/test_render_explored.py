"""An image's files and all containers drawn as text and HTML, hostile names among them."""

import re

import samples

from ocimagic.layers.accounting import explore
from ocimagic.layers.tarheader import Kind
from ocimagic.layers.toc import TocEntry
from ocimagic.model.overview import Overview
from ocimagic.model.report import PortBinding
from ocimagic.render.display import as_html, as_text, mimebundle
from ocimagic.render.overview import overview_rows

HOSTILE = "<script>x\x1b[31m\u202e'&"


def entry(path, kind=Kind.FILE, size=0, offset=0, link=""):
    return TocEntry(path, kind, 0o644, 0, 0, size, link, 0, offset)


def image(*paths):
    toc = [entry(path, Kind.DIR) for path in ("d", "d/e")]
    toc += [entry(path, size=10, offset=512 * at) for at, path in enumerate(paths, 1)]
    return explore([toc, [entry("d/e", Kind.WHITEOUT)]], [(f"RUN {HOSTILE}", True)])


def test_a_tree_has_its_lines():
    text = as_text(image("d/a", "d/e/b", "z").tree(), None)
    assert text.splitlines()[1:] == [
        "A0        10B  ├─ d/",
        "A0        10B  │  ├─ a",
        "A0 D1      0B  │  └─ e/",
        "A0 D1     10B  │     └─ b",
        "A0        10B  └─ z",
    ]
    html = as_html(image("d/a", "d/e/b", "z").tree(), None)
    assert html.count("<details") == 2
    assert "A0 D1 10B deleted" in html, "what is deleted is said by more than a letter"


def test_nothing_of_a_name_reaches_the_page_raw():
    found = image(f"d/{HOSTILE}")
    for value in (found, found.tree()):
        for drawn in mimebundle(value, samples.NOW).values():
            assert "\x1b" not in drawn
            assert "\u202e" not in drawn
        assert "<script" not in as_html(value, samples.NOW)


def test_no_style_sheet_and_no_script_in_a_twin():
    for value in (image("d/a"), image("d/a").tree(), overview()):
        html = as_html(value, samples.NOW)
        assert not re.search(r"<style|<script|\bclass=|\bid=|<svg", html)


def test_a_large_image_makes_a_small_twin():
    many = explore([[entry(f"f{at:05}", size=1, offset=at) for at in range(1, 20_001)]], [])
    bundle = mimebundle(many, samples.NOW)
    assert sum(map(len, bundle.values())) < 20_000
    assert "paths more" in bundle["text/plain"]
    tree = mimebundle(many.tree(), samples.NOW)
    assert "19,000 paths more" in tree["text/plain"]
    assert as_text(many.tree(), samples.NOW).count("\n") == 20_000, "a shell gets all of it"


def overview():
    port = PortBinding(container_port="80/tcp", host_ip="0.0.0.0", host_port=8080)
    runs = samples.container("web", ports=(port,), places=())
    ended = samples.exited("done", 3)
    stats = samples.stats(
        "web", cpu_percent=12.5, memory_bytes=50 << 20, memory_limit_bytes=100 << 20
    )
    return Overview(taken=samples.NOW, containers=(runs, ended), stats={runs.container_id: stats})


def test_an_overview_is_ls_and_stats_in_one():
    text = as_text(overview(), samples.NOW)
    head, web, done, said = text.splitlines()
    assert head.split("  ")[0] == "NAME"
    assert "12.50%" in web
    assert "50MiB" in web
    assert "50.00%" in web
    assert "Exited (3)" in done
    assert said == "1 container running, 1 not, 12% CPU, 50MiB, at 2026-03-21 12:00:00 UTC"
    assert "12.50%" in as_html(overview(), samples.NOW)


def test_buttons_are_those_that_make_sense():
    web, done = overview_rows(overview(), "")
    assert web["verbs"] == ["stop", "restart", "pause", "remove"]
    assert done["verbs"] == ["start", "restart", "remove"]
    assert (web["cpu"], done["cpu"]) == (12.5, None)
