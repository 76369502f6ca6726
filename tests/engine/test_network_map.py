"""The map of networks of real containers: what it says is what they can do."""

import pytest

from ocimagic.cli.grammar import execute
from ocimagic.cli.session import Session
from ocimagic.model.network import NetworkChoice, NetworkOptions
from ocimagic.model.request import ExecOptions
from ocimagic.render.display import as_html, as_text
from ocimagic.render.network_map import bands, reach, strangers

WAIT = ["sh", "-c", "trap exit TERM; while :; do sleep 0.05; done"]


@pytest.fixture(scope="module", autouse=True)
def possible(shared):
    if why := shared.networks.lacks():
        pytest.skip(f"no networks here: {why}")


@pytest.fixture(scope="module")
def town(shared):
    """Return front and back with web in the first, api in both, db in the second."""
    shared.networks.create(NetworkOptions(name="front"))
    shared.networks.create(NetworkOptions(name="back", internal=True))
    run = shared.containers.run
    run("busybox", WAIT, name="web", network="front", detach=True)
    run("busybox", WAIT, name="api", network="front", detach=True)
    shared.networks.connect("api", NetworkChoice(network="back"))
    run("busybox", WAIT, name="db", network="back", detach=True)
    run("busybox", WAIT, name="alone", network="none", detach=True)
    yield shared
    for each in ("web", "api", "db", "alone"):
        shared.containers.remove(each, force=True)
    shared.networks.remove("front")
    shared.networks.remove("back")


def look(engine, *names):
    return execute(["network", "map", *names], Session(engine=lambda: engine))


def pings(engine, one, other):
    asked = ExecOptions(command=("ping", "-c", "1", "-W", "1", other))
    return engine.containers.exec(one, asked).exit_code == 0


def test_who_is_where(town):
    found = {each.name: each for each in bands(look(town))}
    by_name = {each.name: each for each in look(town).containers}

    def members(network):
        names = {each.container_id: name for name, each in by_name.items()}
        return {names[each]: address for each, address in found[network].members.items()}

    assert set(members("front")) == {"web", "api"}
    assert set(members("back")) == {"api", "db"}
    assert set(members("none")) == {"alone"}
    assert "host" not in found
    inside = {each.container: each.addresses for each in town.networks.inspect("back").endpoints}
    assert members("back")["db"] == inside["db"][0].partition("/")[0]
    assert not found["back"].is_open
    assert found["front"].is_open


def test_reach_is_what_a_ping_finds(town):
    made = look(town)
    people = {each.name: each for each in made.containers}
    for one in ("web", "api", "db", "alone"):
        for other in ("web", "api", "db"):
            if one != other:
                said = reach(people[one], people[other], made)
                assert bool(said) == pings(town, one, other), (one, other, said)
    assert {frozenset(each) for each in strangers(made)} == {
        frozenset(each)
        for each in (("web", "db"), ("web", "alone"), ("api", "alone"), ("db", "alone"))
    }


def test_words_picture_and_one_network_alone(town):
    made = look(town)
    text, drawn = as_text(made, None), as_html(made, None)
    assert "back  (bridge, internal" in text
    assert "no way out" in text
    assert "web and db" in text
    assert drawn.count("<img") == 1
    only = look(town, "back")
    assert [each.name for each in bands(only)] == ["back"]
    assert {each.name for each in only.containers} == {"api", "db"}
