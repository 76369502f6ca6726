"""The search box, and what is left of it without a kernel."""

import pytest

from ocimagic.widgets.inspect_tree import Hit, InspectTree, search

DOCUMENT = {
    "Id": "sha256:abc",
    "Config": {"Env": ["PATH=/bin", "LANG=C"], "Labels": {"org.example": "<b>x</b>"}},
    "Size": 3,
    "Empty": {},
}


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("lang", [Hit("Config.Env[1]", '"LANG=C"')]),
        ("config env path", [Hit("Config.Env[0]", '"PATH=/bin"')]),
        ("SIZE", [Hit("Size", "3")]),
        ("labels", [
            Hit("Config.Labels", "{1 item}"),
            Hit('Config.Labels["org.example"]', '"<b>x</b>"'),
        ]),
        ("empty", [Hit("Empty", "{0 items}")]),
        ("nothing like it", []),
    ],
)  # fmt: skip
def test_search(text, hits):
    assert list(search(DOCUMENT, text)) == hits


def test_typing_filters_and_clearing_brings_the_tree_back():
    tree = InspectTree(DOCUMENT, title="image <x>")
    whole = tree.view.value

    tree.box.value = "org.example"
    filtered = tree.view.value
    tree.box.value = " "

    assert "1 hit for org.example" in filtered
    assert "&lt;b&gt;x&lt;/b&gt;" in filtered
    assert "<b>x" not in filtered
    assert "sha256:abc" not in filtered
    assert tree.view.value == whole
    assert "image &lt;x&gt;" in whole


def test_many_hits_are_cut_and_counted():
    tree = InspectTree({"list": list(range(500))})

    tree.box.value = "list"

    assert "501 hits for list, the first 100 shown" in tree.view.value


def test_the_static_twin_is_in_the_bundle():
    bundle = InspectTree(DOCUMENT)._repr_mimebundle_()

    assert "<details" in bundle["text/html"]
    assert '"LANG=C"' in bundle["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
