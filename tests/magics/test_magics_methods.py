"""Every result can be turned into data, printed, and shown in any place of a cell."""

import json
import subprocess
import sys

import pytest

from ocimagic.magics.drawing import _kinds
from ocimagic.magics.listing import Listing
from ocimagic.magics.methods import give
from ocimagic.render import display, values


def bundles(cell):
    kinds = ("display_data", "execute_result")
    return [each["data"] for each in cell.outputs if each["output_type"] in kinds]


def stream(cell):
    return "".join(each["text"] for each in cell.outputs if each["output_type"] == "stream")


def test_every_kind_has_what_fits_it(shell):
    for kind in set(_kinds()) - {Listing}:
        assert callable(kind.to_dict), kind
        assert ("to_dot" in vars(kind)) == (kind in values.GRAPHS), kind
        assert hasattr(kind, "to_pandas") == (kind in values.LISTS), kind
        if kind in values.DOCUMENTS:
            assert isinstance(vars(kind)["raw"], property), kind
        if display.draws(kind):
            assert kind.__str__ is not object.__str__, kind
    assert shell.run_line_magic("image_inspect", "web:1").raw[0]["Config"]["User"] == "app"


def test_unloading_takes_it_back():
    code = """if True:
        from IPython.core.interactiveshell import InteractiveShell
        from ocimagic.magics import load, unload
        from ocimagic.model.result import ImageSummary
        ip = InteractiveShell.instance()
        load(ip)
        assert hasattr(ImageSummary, "to_dict")
        unload(ip)
        assert not hasattr(ImageSummary, "to_dict")
        assert ImageSummary.__str__ is object.__str__
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_a_class_keeps_its_own():
    class Own:
        def to_dict(self):
            return "mine"

    take_back = give([Own])
    assert Own().to_dict() == "mine"
    take_back()
    assert Own().to_dict() == "mine"


def test_a_listing_is_data(shell):
    images = shell.run_line_magic("image_ls", "")
    made = images.to_dict()
    assert made[0]["repository"] == images[0].repository
    assert json.loads(json.dumps(made)) == made
    assert str(images).startswith("REPOSITORY")
    networks = shell.run_line_magic("network_ls", "")
    assert [each["Name"] for each in networks.raw] == networks.names
    with pytest.raises(AttributeError):
        images.raw  # noqa: B018


def test_print_and_display_in_loops_and_in_the_middle(run_notebook):
    loop, middle, printed, shown, graph, silent = run_notebook(
        "for name in ('web:1', 'web:2'):\n    %image_layers {name}\n'the end'",
        "%image_history web:1\nx = 1",
        "images = %image_ls\nlayers = %image_layers web:1 web:2\nprint(images)\nprint(layers)",
        "from IPython.display import display\ndisplay(layers)\ndisplay(images)\nlayers",
        "layers.to_dot()",
        "for name in ('web:1',):\n    %image_layers {name};",
    )
    *pictures, end = bundles(loop)
    assert len(pictures) == 2
    assert all("<img alt=" in each["text/html"] for each in pictures)
    assert end["text/plain"] == "'the end'"
    assert [("<table" in each["text/html"]) for each in bundles(middle)] == [True]
    assert stream(printed).startswith("REPOSITORY")
    assert "└─ [" in stream(printed)
    assert "LayerReport(" not in stream(printed)
    first, second, third = bundles(shown)
    assert first == third
    assert "<caption" in second["text/html"]
    assert bundles(graph)[0]["text/plain"].startswith("digraph layers {")
    assert silent.outputs == []
