"""What the search box finds, and what it tells a page; see tests/notebooks for the page."""

import pytest

from ocimagic.widgets.inspect_tree import InspectTree, search

DOCUMENT = {
    "Id": "sha256:abc",
    "Config": {"Env": ["PATH=/bin", "LANG=C"], "Labels": {"org.example": "<b>x</b>"}},
    "Size": 3,
    "Empty": {},
}


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("lang", [("Config.Env[1]", '"LANG=C"', (1, 0, 1))]),
        ("config env path", [("Config.Env[0]", '"PATH=/bin"', (1, 0, 0))]),
        ("SIZE", [("Size", "3", (2,))]),
        ("labels", [
            ("Config.Labels", "{1 item}", (1, 1)),
            ('Config.Labels["org.example"]', '"<b>x</b>"', (1, 1, 0)),
        ]),
        ("empty", [("Empty", "{0 items}", (3,))]),
        ("nothing like it", []),
    ],
)  # fmt: skip
def test_search(text, hits):
    assert [(hit.path, hit.value, hit.steps) for hit in search(DOCUMENT, text)] == hits


@pytest.fixture
def page(monkeypatch):
    """What views send."""
    sent = []
    monkeypatch.setattr(InspectTree, "send", lambda _self, content: sent.append(content))
    return sent


def test_a_page_is_told_what_it_asked_for(page):
    tree = InspectTree(DOCUMENT)
    tree.hear({"type": "ready"})
    tree.hear({"type": "search", "text": "org.example"})

    [answer] = page
    assert answer == {
        "type": "hits",
        "text": "org.example",
        "said": "1 hit for org.example",
        "rows": [('Config.Labels["org.example"]', '"<b>x</b>"', (1, 1, 0))],
    }


def test_many_hits_are_cut_and_counted(page):
    InspectTree({"list": list(range(500))}).hear({"type": "search", "text": "list"})

    [answer] = page
    assert answer["said"] == "501 hits for list, the first 100 shown"
    assert len(answer["rows"]) == 100


def test_what_hides_itself_is_made_visible(page):
    InspectTree({"a\x1b": "\u202egnp"}).hear({"type": "search", "text": "gnp"})

    [[path, value, _]] = page[0]["rows"]
    assert "\x1b" not in path
    assert "\u202e" not in value


def test_the_document_is_not_in_what_may_be_saved():
    state = InspectTree(DOCUMENT).get_state()
    assert "LANG" not in str({key: value for key, value in state.items() if key != "_esm"})
