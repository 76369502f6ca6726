"""How outputs look: to eyes in light and dark, and to a screen reader.

The screenshots stay in build/screenshots.  They are compared with looks.json, which says for
each how large it is and which colours its parts have in the mean: loose enough for other fonts,
tight enough to see that a picture is gone or white on white.  OCIMAGIC_LOOKS=write writes it anew.
"""

import base64
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import axe
from desk import CLONE, Notebook, once, write_notebook

pytestmark = [pytest.mark.slow, once]

CELLS = {
    "build": "%%dockerfile -t looks:1 -\nFROM busybox\nLABEL of=tests\n"
    "RUN echo hello > /hello\nCMD [\"cat\", \"/hello\"]",
    "images": "%image_ls looks",
    "layers": "%image_layers looks:1 busybox",
    "history": "%image_history looks:1",
    "inspect": "%image_inspect looks:1",
    "run": "%container_run --rm --network none looks:1",
    "error": "%image_inspect loks:1",
    "disk": "%system_df",
}  # fmt: skip
LOOKS = Path(__file__).with_name("looks.json")
SHOTS = CLONE / "build" / "screenshots"
GRID = 4
SETTLING_MS = 400  # after the page was given another size or theme
# In levels of 255 and in parts: other fonts and widths must pass.
COLOUR_SLACK, SIZE_SLACK = 45, 0.5
MIN_CONTRAST = 4.5  # WCAG 2.2, 1.4.3

_THEME = """async ([theme, path]) => {
    await window.jupyterapp.commands.execute("apputils:change-theme", {theme});
    window.jupyterapp.shell.activateById(window.panels[path].id);
}"""
# Reads a screenshot: size, mean colours of a grid, its ground, and the contrast of what differs
# most from the ground.
_READ = """async ([data, grid]) => {
    const picture = await createImageBitmap(await (await fetch(data)).blob());
    const {width, height} = picture;
    const canvas = new OffscreenCanvas(width, height).getContext("2d");
    canvas.drawImage(picture, 0, 0);
    const pixels = canvas.getImageData(0, 0, width, height).data;
    const light = (at) => {
        const [r, g, b] = [0, 1, 2].map((each) => pixels[at + each] / 255).map(
            (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const counts = new Map();
    for (let at = 0; at < pixels.length; at += 4) {
        const key = (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
        counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const [ground] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
    const rgb = [ground >> 16, (ground >> 8) & 255, ground & 255];
    const part = (each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((each) => part(each / 255));
    const under = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let contrast = 1;
    for (let at = 0; at < pixels.length; at += 4) {
        const [low, high] = [under, light(at)].sort((x, y) => x - y);
        contrast = Math.max(contrast, (high + 0.05) / (low + 0.05));
    }
    const means = [];
    for (let row = 0; row < grid; row += 1) {
        for (let column = 0; column < grid; column += 1) {
            const sums = [0, 0, 0];
            let count = 0;
            const [x0, x1] = [column, column + 1].map((n) => Math.floor(n * width / grid));
            const [y0, y1] = [row, row + 1].map((n) => Math.floor(n * height / grid));
            for (let y = y0; y < y1; y += 1) for (let x = x0; x < x1; x += 1) {
                const at = 4 * (y * width + x);
                for (const each of [0, 1, 2]) sums[each] += pixels[at + each];
                count += 1;
            }
            means.push(sums.map((sum) => Math.round(sum / Math.max(count, 1))));
        }
    }
    return {size: [width, height], ground: rgb, contrast, means};
}"""


@pytest.fixture(scope="module")
def shown(desk, lab):
    """One notebook with a value of each kind, executed."""
    write_notebook(desk.room / "looks.ipynb", CELLS.values())
    notebook = Notebook.open(lab, "looks.ipynb")
    for number in range(len(CELLS)):
        notebook.run(number)
    yield notebook
    notebook.close()
    desk.engine.images.remove("looks:1", force=True)


@pytest.fixture(scope="module", params=["JupyterLab Light", "JupyterLab Dark"])
def theme(request, lab, shown):
    lab.evaluate(_THEME, [request.param, shown.path])
    ground = {"JupyterLab Light": "rgb(255, 255, 255)", "JupyterLab Dark": "rgb(17, 17, 17)"}
    lab.wait_for_function(
        """ground => getComputedStyle(document.querySelector(".jp-Notebook")).backgroundColor
            === ground""",
        arg=ground[request.param],
    )
    lab.wait_for_timeout(SETTLING_MS)
    yield request.param.split()[-1].lower()
    lab.evaluate(_THEME, ["JupyterLab Light", shown.path])


@pytest.fixture(scope="module")
def screenshots(lab, shown, theme):
    """What each cell shows, as measured; the pictures themselves are kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, name in enumerate(CELLS):
        area = shown.cell(number).locator(".jp-OutputArea").first
        area.scroll_into_view_if_needed()
        picture = area.screenshot(path=SHOTS / f"{name}-{theme}.png", animations="disabled")
        data = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        found[name] = lab.evaluate(_READ, [data, GRID])
    return found


def test_everything_stands_out_from_its_ground(screenshots, theme):
    for name, look in screenshots.items():
        assert look["contrast"] >= MIN_CONTRAST, name
        is_dark = sum(look["ground"]) < 3 * 128
        assert is_dark == (theme == "dark"), f"{name} has the other theme's ground"


def test_pictures_follow_the_theme(lab, shown, theme):
    """The ground of a picture is the page's, or the picture would be a lamp in the dark."""
    pictures = shown.panel.locator(".jp-OutputArea-output img:visible")
    assert pictures.count() >= 1
    for number in range(pictures.count()):
        picture = pictures.nth(number).screenshot()
        data = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        look = lab.evaluate(_READ, [data, GRID])
        assert look["contrast"] >= MIN_CONTRAST
        lightest = max(sum(mean) for mean in look["means"])
        assert theme == "light" or lightest < 3 * 160, "a part of it is light"


def test_they_look_as_they_did(screenshots, theme):
    seen = {name: {"size": look["size"], "means": look["means"]}
            for name, look in screenshots.items()}  # fmt: skip
    if os.environ.get("OCIMAGIC_LOOKS") == "write":
        known = json.loads(LOOKS.read_text()) if LOOKS.exists() else {}
        LOOKS.write_text(_lines(known | {theme: seen}))
    known = json.loads(LOOKS.read_text())[theme]
    assert set(seen) == set(known)
    for name, look in seen.items():
        differ = [f"{name}-{theme}.png: {each}" for each in _differences(known[name], look)]
        assert not differ


def _differences(before, now):
    for word, old, new in zip(("width", "height"), before["size"], now["size"], strict=True):
        if abs(new - old) > SIZE_SLACK * old:
            yield f"its {word} was {old} and is {new}"
    for number, (old, new) in enumerate(zip(before["means"], now["means"], strict=True)):
        if max(abs(one - other) for one, other in zip(old, new, strict=True)) > COLOUR_SLACK:
            row, column = divmod(number, GRID)
            yield f"row {row + 1}, column {column + 1} was rgb{tuple(old)} and is rgb{tuple(new)}"


def _lines(known):
    """Write one line for each picture."""
    rows = [
        f'"{theme}": {{\n'
        + ",\n".join(f'  "{name}": {json.dumps(look)}' for name, look in looks.items())
        + "\n}"
        for theme, looks in sorted(known.items())
    ]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def test_a_difference_is_seen():
    white = {"size": [800, 100], "means": [[250, 250, 250]] * GRID * GRID}
    assert not list(_differences(white, white))
    gone = {"size": [800, 20], "means": [*white["means"][1:], [0, 114, 178]]}
    assert len(list(_differences(white, gone))) == 2


def _outputs(notebook):
    return f'[data-path="{notebook.path}"] .jp-OutputArea-output'


def test_a_screen_reader_is_told_everything(lab, shown, theme):
    before = lab.viewport_size
    lab.set_viewport_size({"width": before["width"], "height": 4000})  # nothing out of view
    lab.wait_for_timeout(SETTLING_MS)
    found = axe.read(lab, _outputs(shown))
    lab.set_viewport_size(before)
    assert not found["wrong"], "\n".join(found["wrong"])
    assert {"color-contrast", "image-alt"} <= set(found["passed"]), "\n".join(found["open"])


_WRONG = """path => {
    const output = window.panels[path].node.querySelector(".jp-OutputArea-output");
    const added = document.createElement("div");
    added.innerHTML = '<img src="data:,"><p style="color:#999;background:#fff;padding:5px">too pale</p>';
    output.append(added);
}"""


def test_what_is_wrong_is_found(desk, lab):
    """A picture without words and grey on white: or the tests above would say nothing."""
    write_notebook(desk.room / "wrong.ipynb", ["%image_ls"])
    notebook = Notebook.open(lab, "wrong.ipynb")
    notebook.run(0)
    lab.evaluate(_WRONG, notebook.path)
    wrong = "\n".join(axe.read(lab, _outputs(notebook))["wrong"])
    assert "image-alt" in wrong
    assert "color-contrast" in wrong
    box = notebook.panel.get_by_text("too pale").bounding_box()
    inside = {"x": box["x"] + 4, "y": box["y"] + 4, "width": 60, "height": box["height"] - 8}
    pale = lab.screenshot(clip=inside)
    data = f"data:image/png;base64,{base64.b64encode(pale).decode()}"
    assert lab.evaluate(_READ, [data, GRID])["contrast"] < MIN_CONTRAST
    notebook.close()
