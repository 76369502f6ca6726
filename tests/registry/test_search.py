"""Search, against an emulation of Docker Hub's index.

What the emulation answers has the form that docker itself reads: moby's
``registry/search_session.go`` (``GET /v1/search?q=…&n=…``, one page) and
``api/types/registry/search.go`` (``query num_results results`` and five fields each).  Hub adds
``num_pages page page_size``, which docker does not read.
"""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted import Reply

from ocimagic import Engine
from ocimagic.errors import InvalidOption, RateLimited, RegistryAnswered
from ocimagic.model.distribution import SearchHit
from ocimagic.registry.search import HUB_INDEX, search

RESULTS = [
    {
        "name": "nginx",
        "description": "Official build of Nginx.",
        "star_count": 20000,
        "is_official": True,
        "is_automated": False,
    },
    {
        "name": "team/nginx",
        "description": "",
        "star_count": 3,
        "is_official": False,
        "is_automated": True,
    },
    {"name": "bare"},
]


def hub(seen):
    asked = parse_qs(urlsplit(seen.path).query)
    count = int(asked["n"][0])
    document = {
        "num_pages": 1,
        "num_results": len(RESULTS),
        "page_size": count,
        "page": 1,
        "query": asked["q"][0],
        "results": RESULTS[: count + 1],  # more than was asked for
    }
    return Reply(200, [("Content-Type", "application/json")], json.dumps(document).encode())


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    with Engine(root / "root", environment={"HOME": str(root)}) as engine:
        yield engine


def test_what_is_found(engine, scripted):
    server = scripted(hub)
    found = engine.images.search(f"{server.host}/nginx & more")
    assert found == (
        SearchHit(
            name="nginx", description="Official build of Nginx.", stars=20000, is_official=True
        ),
        SearchHit(name="team/nginx", description="", stars=3, is_official=False, is_automated=True),
        SearchHit(name="bare", description="", stars=0, is_official=False),
    )
    (seen,) = server.seen
    assert seen.path == "/v1/search?q=nginx+%26+more&n=25"
    assert "authorization" not in seen.headers
    assert len(engine.images.search(f"{server.host}/nginx", limit=1)) == 1


def test_hub_is_asked_at_its_index(transport):
    """Nothing leaves this machine: the request is looked at where it would."""
    asked = []

    def open_(request, *, cancelled=None):
        asked.append(request)
        raise RegistryAnswered("not sent")

    transport.open = open_
    with pytest.raises(RegistryAnswered, match="not sent"):
        search(transport, "docker.io", "nginx", 7)
    assert asked[0].url == f"{HUB_INDEX}/v1/search?q=nginx&n=7"


@pytest.mark.parametrize("term", ["", "  ", "library/", "quay.io/"])
def test_nothing_to_search_for(engine, term):
    with pytest.raises(InvalidOption, match="nothing to search for"):
        engine.images.search(term)


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_limits(engine, limit):
    with pytest.raises(InvalidOption, match=r"outside the range of \[1, 100\]"):
        engine.images.search("nginx", limit=limit)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(404), RegistryAnswered, "registry ls"),
        (Reply(401), RegistryAnswered, "HTTP 401"),
        (Reply(429, [("Retry-After", "100")]), RateLimited, "slow down"),
        (Reply(200, [], b"<html>"), RegistryAnswered, "JSON"),
        (Reply(200, [], b'{"results": [{"name": 1}]}'), RegistryAnswered, "text"),
        (
            Reply(200, [], b'{"results": [{"name": "a", "star_count": -1}]}'),
            RegistryAnswered,
            "neg",
        ),
    ],
)
def test_a_registry_that_cannot_be_searched(scripted, transport, reply, kind, words):
    server = scripted(lambda seen: reply)
    with pytest.raises(kind) as caught:
        search(transport, server.host, "nginx", 25)
    assert type(caught.value) is kind
    assert words in str(caught.value)
